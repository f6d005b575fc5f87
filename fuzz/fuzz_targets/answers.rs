//! An upstream's bytes, from its socket to the client's: no answer is taken for another's.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| mtls_proxy::rig::answers::check(input));
