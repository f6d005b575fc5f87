//! Any files are credentials, or an error that names one of them: PEM, DER and PKCS#12.
//!
//! The first byte says which file holds the rest; the others are good.

#![no_main]

use std::fs;
use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use mtls_proxy::config::{InboundMode, KeyStore, Material};
use mtls_proxy::credentials::{self, CredentialError, Side};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use tempfile::TempDir;

static HOME: LazyLock<TempDir> = LazyLock::new(|| {
    let home = TempDir::new_in("/dev/shm").expect("shared memory is there");
    let key = KeyPair::generate().expect("a key can be made");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let certificate = params.self_signed(&key).expect("a certificate can be made");
    for (name, content) in [
        ("cert", certificate.pem()),
        ("key", key.serialize_pem()),
        ("cacert", certificate.pem()),
        ("password", "changeit".to_owned()),
    ] {
        fs::write(home.path().join(name), content).expect("it can be written");
    }
    home
});

fuzz_target!(|input: &[u8]| {
    let Some((which, content)) = input.split_first() else {
        return;
    };
    let file = |name: &str| -> PathBuf { HOME.path().join(name) };
    let fuzzed = file("fuzzed");
    fs::write(&fuzzed, content).expect("it can be written");
    let mut material = Material {
        certificate: Some(file("cert")),
        key: Some(file("key")),
        ca: Some(file("cacert")),
        ..Material::default()
    };
    match which % 5 {
        0 => material.certificate = Some(fuzzed.clone()),
        1 => material.key = Some(fuzzed.clone()),
        2 => material.ca = Some(fuzzed.clone()),
        3 => material.crl = Some(fuzzed.clone()),
        _ => {
            (material.certificate, material.key) = (None, None);
            material.key_store = Some(KeyStore {
                file: fuzzed.clone(),
                password_file: Some(file("password")),
            });
        }
    }
    match credentials::load(&material, Side::Inbound(InboundMode::Strict)) {
        Ok(loaded) => assert!(loaded.certificate.is_some() && loaded.ca.is_some()),
        Err(CredentialError::Missing { file }) => panic!("{} is there", file.display()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
