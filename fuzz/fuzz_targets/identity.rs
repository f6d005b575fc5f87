//! Whatever a CA let into a certificate, what goes into headers is one valid value each.

#![no_main]

use http::HeaderValue;
use libfuzzer_sys::fuzz_target;
use mtls_proxy::identity::ClientIdentity;
use rustls_pki_types::CertificateDer;

fuzz_target!(|der: &[u8]| {
    let Ok(identity) = ClientIdentity::of(&CertificateDer::from(der)) else {
        return;
    };
    for value in [
        identity.subject.clone(),
        identity.issuer.clone(),
        identity.serial.clone(),
        identity.not_after(),
        identity.all_names(),
        identity.xfcc(None),
    ] {
        HeaderValue::from_str(&value).expect("a valid header value");
        assert!(value.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{value}");
    }
    assert!(!identity.subject.contains('"'), "{}", identity.subject);
});
