//! Any text is a configuration that survives being rendered, or a list of mistakes.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mtls_proxy::config::Config;

fuzz_target!(|text: &str| {
    match Config::parse(text) {
        Ok(config) => assert_eq!(Config::parse(&config.render()).as_ref(), Ok(&config)),
        Err(mistakes) => assert!(!mistakes.to_string().is_empty()),
    }
});
