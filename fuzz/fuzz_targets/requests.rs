//! A client's bytes, from its socket to the upstream's: nothing goes on that has two readings.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| mtls_proxy::rig::requests::check(input));
