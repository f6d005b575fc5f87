//! Whether a connection begins with TLS is decided once, and never against TLS itself.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| mtls_proxy::rig::hello::check(bytes));
