//! What a redirected connection is taken for is decided once, and never against HTTP itself.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| mtls_proxy::rig::sniff::check(bytes));
