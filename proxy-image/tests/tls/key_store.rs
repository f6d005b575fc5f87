//! PKCS#12 key stores, as OpenSSL and Java's keytool write them, in today's and in legacy formats.

use std::fs;
use std::path::Path;
use std::process::Command;

use mtls_proxy::config::{InboundMode, KeyStore, Material, UpstreamMode};
use mtls_proxy::credentials::{self, Credentials, Side};

use crate::pki::{Ca, Leaf};

const MUTUAL: Side = Side::Upstream(UpstreamMode::Mutual);
const STRICT: Side = Side::Inbound(InboundMode::Strict);

/// Makes `leaf.pem` (with its chain), `key`, `root.pem` and `password` in a directory.
fn prepare(home: &Path) {
    let root = Ca::new("root");
    let below = root.intermediate_with_serial("below", 2);
    let issued = below.issue(&Leaf::default());
    fs::write(home.join("leaf.pem"), issued.certificate.pem()).unwrap();
    fs::write(home.join("below.pem"), below.pem()).unwrap();
    fs::write(home.join("chain.pem"), below.pem() + &root.pem()).unwrap();
    fs::write(home.join("key"), issued.key.serialize_pem()).unwrap();
    fs::write(home.join("root.pem"), root.pem()).unwrap();
    fs::write(home.join("password"), "changeit\n").unwrap();
}

fn run(home: &Path, line: &str) -> bool {
    let output = Command::new("bash")
        .args(["-ec", line])
        .current_dir(home)
        .output()
        .unwrap();
    if !output.status.success() {
        eprintln!("{line}: {}", String::from_utf8_lossy(&output.stderr));
    }
    output.status.success()
}

fn export(home: &Path, arguments: &str) {
    let line = format!("openssl pkcs12 -export -inkey key -in leaf.pem -out store.p12 {arguments}");
    assert!(run(home, &line), "{line}");
}

fn material(home: &Path) -> Material {
    Material {
        key_store: Some(KeyStore {
            file: home.join("store.p12"),
            password_file: Some(home.join("password")),
        }),
        ..Material::default()
    }
}

fn sizes(credentials: &Credentials) -> (usize, usize) {
    (
        credentials
            .certificate
            .as_ref()
            .map_or(0, |own| own.cert.len()),
        credentials.ca.as_ref().map_or(0, Vec::len),
    )
}

#[test]
fn every_format_that_openssl_writes_is_opened() {
    let home = tempfile::tempdir().unwrap();
    prepare(home.path());
    for format in [
        "",
        "-legacy",
        "-keypbe PBE-SHA1-3DES -certpbe PBE-SHA1-3DES -macalg sha1",
        "-keypbe AES-128-CBC -certpbe AES-128-CBC",
        "-keypbe AES-256-CBC -certpbe AES-256-CBC -macalg sha384 -iter 20000",
        "-legacy -keypbe PBE-SHA1-RC2-40 -certpbe PBE-SHA1-RC2-40",
        "-name friendly -caname below -caname root",
        "-certpbe NONE",
    ] {
        export(
            home.path(),
            &format!("-certfile chain.pem -passout file:password {format}"),
        );
        let loaded = credentials::load(&material(home.path()), STRICT).expect(format);
        let (chain, ca) = sizes(&loaded);
        assert!(
            chain >= 2 && ca == 1,
            "{format}: {chain} of the chain, {ca} of the CA"
        );
    }
}

#[test]
fn a_store_without_a_ca_leaves_that_to_the_named_file_or_the_public_roots() {
    let home = tempfile::tempdir().unwrap();
    prepare(home.path());
    export(home.path(), "-certfile below.pem -passout file:password");
    let mut material = material(home.path());
    assert_eq!(
        sizes(&credentials::load(&material, MUTUAL).unwrap()),
        (2, 0)
    );
    let error = credentials::load(&material, STRICT)
        .unwrap_err()
        .to_string();
    let store = home.path().join("store.p12");
    let expected = format!(
        "no CA to verify clients with: {} holds none",
        store.display()
    );
    assert_eq!(error, expected);
    material.ca = Some(home.path().join("root.pem"));
    assert_eq!(
        sizes(&credentials::load(&material, STRICT).unwrap()),
        (2, 1)
    );
}

#[test]
fn a_store_that_cannot_be_opened_says_why() {
    let home = tempfile::tempdir().unwrap();
    let home = home.path();
    prepare(home);
    let check = |material: &Material, expected: &str| {
        let error = credentials::load(material, MUTUAL).unwrap_err().to_string();
        assert_eq!(error.replace(&home.display().to_string(), "HOME"), expected);
    };
    export(home, "-passout file:password");
    let mut right = material(home);
    fs::write(home.join("password"), "wrong").unwrap();
    check(
        &right,
        "HOME/store.p12 cannot be opened with the password in HOME/password",
    );
    right.key_store.as_mut().unwrap().password_file = None;
    check(
        &right,
        "HOME/store.p12 needs a password; name the file that holds it as passwordFile",
    );
    right.key_store.as_mut().unwrap().password_file = Some(home.join("none"));
    check(&right, "HOME/none does not exist");

    fs::write(home.join("password"), "changeit").unwrap();
    let material = material(home);
    let store = fs::read(home.join("store.p12")).unwrap();
    fs::write(home.join("store.p12"), &store[..store.len() / 2]).unwrap();
    check(
        &material,
        "HOME/store.p12 is not a PKCS#12 key store, or is cut off",
    );
    fs::write(home.join("store.p12"), [0xfe, 0xed, 0xfe, 0xed, 0, 0, 0, 2]).unwrap();
    check(
        &material,
        "HOME/store.p12 is a JKS key store; convert it with `keytool -importkeystore -srckeystore JKS \
         -destkeystore P12 -deststoretype PKCS12`",
    );
    fs::copy(home.join("leaf.pem"), home.join("store.p12")).unwrap();
    check(
        &material,
        "HOME/store.p12 is PEM, not PKCS#12; name its files as certificate and key",
    );
    assert!(run(
        home,
        "openssl pkcs12 -export -nokeys -in root.pem -passout file:password -out store.p12"
    ));
    check(
        &material,
        "HOME/store.p12 holds 0 private keys; it must hold one",
    );
}

/// Skipped, with its reason, where Java is not installed.
#[test]
fn every_store_that_keytool_writes_is_opened() {
    if Command::new("keytool").arg("-help").output().is_err() {
        eprintln!("skipped: keytool, of any Java runtime, is not installed");
        return;
    }
    let home = tempfile::tempdir().unwrap();
    prepare(home.path());
    export(
        home.path(),
        "-certfile chain.pem -name own -passout file:password",
    );
    for legacy in ["", "-J-Dkeystore.pkcs12.legacy"] {
        let keytool = format!("keytool {legacy} -storetype PKCS12 -storepass changeit");
        let line = format!(
            "rm -f java.p12; {keytool} -importkeystore -srckeystore store.p12 -srcstorepass changeit \
             -destkeystore java.p12 -deststorepass changeit -deststoretype PKCS12 && \
             {keytool} -importcert -noprompt -alias trusted -file root.pem -keystore java.p12"
        )
        .replace("-storetype PKCS12 -storepass changeit -importkeystore", "-importkeystore");
        assert!(run(home.path(), &line), "{line}");
        let mut material = material(home.path());
        material.key_store.as_mut().unwrap().file = home.path().join("java.p12");
        let loaded = credentials::load(&material, STRICT).expect(legacy);
        let (chain, ca) = sizes(&loaded);
        assert!(
            chain >= 2 && ca == 1,
            "{legacy}: {chain} of the chain, {ca} of the CA"
        );
    }
}
