//! Which files are read, in which formats, and what is said about those that cannot be used.

use std::fs;
use std::path::Path;
use std::process::Command;

use mtls_proxy::config::{InboundMode, Material, UpstreamMode};
use mtls_proxy::credentials::{self, Credentials, Side};

use crate::pki::{Ca, Leaf, Valid};

const MUTUAL: Side = Side::Upstream(UpstreamMode::Mutual);
const STRICT: Side = Side::Inbound(InboundMode::Strict);

fn directory(path: &Path) -> Material {
    Material {
        directory: Some(path.to_owned()),
        ..Material::default()
    }
}

fn common_name(credentials: &Credentials) -> String {
    let own = credentials.certificate.as_ref().unwrap();
    mtls_proxy::identity::ClientIdentity::of(&own.cert[0])
        .unwrap()
        .common_name
        .unwrap()
}

/// Runs openssl in a directory; the shell joins the words.
fn openssl(home: &Path, line: &str) {
    let output = Command::new("bash")
        .args(["-ec", &format!("openssl {line}")])
        .current_dir(home)
        .output()
        .unwrap();
    assert!(output.status.success(), "openssl {line}: {output:?}");
}

fn named(home: &Path, certificate: &str, key: &str) -> Material {
    Material {
        certificate: Some(home.join(certificate)),
        key: Some(home.join(key)),
        ca: Some(home.join("cacert")),
        ..Material::default()
    }
}

#[test]
fn a_named_file_wins_over_the_key_store_and_that_over_the_directory() {
    let ca = Ca::new("ca");
    let home = tempfile::tempdir().unwrap();
    let issue = |name: &'static str| {
        let leaf = Leaf {
            common_name: name,
            ..Leaf::default()
        };
        ca.issue(&leaf).write(&home.path().join(name), &ca)
    };
    let (file, store, dir) = (issue("file"), issue("store"), issue("directory"));
    openssl(
        &store,
        "pkcs12 -export -in cert -inkey key -passout pass: -out store.p12",
    );
    let mut material = named(&file, "cert", "key");
    material.directory = Some(dir);
    material.key_store = Some(mtls_proxy::config::KeyStore {
        file: store.join("store.p12"),
        password_file: None,
    });
    assert_eq!(
        common_name(&credentials::load(&material, MUTUAL).unwrap()),
        "file"
    );
    (material.certificate, material.key) = (None, None);
    assert_eq!(
        common_name(&credentials::load(&material, MUTUAL).unwrap()),
        "store"
    );
    material.key_store = None;
    assert_eq!(
        common_name(&credentials::load(&material, MUTUAL).unwrap()),
        "directory"
    );
}

#[test]
fn a_directory_has_the_names_of_one_row_or_the_other() {
    let ca = Ca::new("ca");
    let home = tempfile::tempdir().unwrap();
    ca.issue(&Leaf::default()).write(home.path(), &ca);
    credentials::load(&directory(home.path()), STRICT).unwrap();
    for (short, long) in [
        ("cert", "tls.crt"),
        ("key", "tls.key"),
        ("cacert", "ca.crt"),
    ] {
        fs::rename(home.path().join(short), home.path().join(long)).unwrap();
    }
    credentials::load(&directory(home.path()), STRICT).unwrap();
    // A certificate and a key of two rows are two pairs cut in half.
    fs::rename(home.path().join("tls.crt"), home.path().join("cert")).unwrap();
    refuses(
        home.path(),
        &directory(home.path()),
        STRICT,
        "HOME/key does not exist",
    );
}

#[test]
fn every_format_of_a_private_key_is_read() {
    let ca = Ca::new("ca");
    let home = tempfile::tempdir().unwrap();
    fs::write(home.path().join("cacert"), ca.pem()).unwrap();
    for (make, key) in [
        (
            "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out key",
            "PRIVATE KEY",
        ),
        ("genrsa -traditional -out key 2048", "RSA PRIVATE KEY"),
        (
            "ecparam -name prime256v1 -genkey -noout -out key",
            "EC PRIVATE KEY",
        ),
        ("ecparam -name secp384r1 -genkey -out key", "EC PRIVATE KEY"),
        ("genpkey -algorithm ED25519 -out key", "PRIVATE KEY"),
    ] {
        openssl(home.path(), make);
        openssl(
            home.path(),
            "req -x509 -key key -subj /CN=leaf -addext subjectAltName=DNS:a -days 9 -out cert",
        );
        let text = fs::read_to_string(home.path().join("key")).unwrap();
        assert!(
            text.contains(&format!("-----BEGIN {key}-----")),
            "{make}: {text}"
        );
        credentials::load(&directory(home.path()), STRICT).expect(make);
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "one row per case")]
fn a_file_that_cannot_be_used_is_named_with_what_to_do() {
    let (ca, home) = (Ca::new("ca"), tempfile::tempdir().unwrap());
    let home = home.path();
    ca.issue(&Leaf::default()).write(home, &ca);
    let expired = Leaf {
        valid: Valid::Past,
        ..Leaf::default()
    };
    ca.issue(&expired).write(&home.join("expired"), &ca);
    let future = Leaf {
        valid: Valid::Future,
        ..Leaf::default()
    };
    ca.issue(&future).write(&home.join("future"), &ca);
    ca.issue(&Leaf::default()).write(&home.join("other"), &ca);
    openssl(
        home,
        "pkey -in key -aes256 -passout pass:secret -out encrypted",
    );
    openssl(home, "x509 -in cert -outform DER -out der");
    openssl(home, "req -new -key key -subj /CN=old -out request");
    openssl(home, "x509 -req -in request -key key -days 9 -out version1");
    let pem = fs::read_to_string(home.join("cert")).unwrap();
    fs::write(home.join("truncated"), &pem[..pem.len() / 2]).unwrap();
    fs::write(home.join("garbled"), pem.replacen('M', "~", 1)).unwrap();
    fs::write(home.join("empty"), "").unwrap();
    let der = "MIIB/w==";
    let wrong_der = format!("-----BEGIN CERTIFICATE-----\n{der}\n-----END CERTIFICATE-----\n");
    fs::write(home.join("not-a-certificate"), wrong_der).unwrap();

    for (certificate, key, expected) in [
        ("nothing", "key", "HOME/nothing does not exist"),
        (
            "other",
            "key",
            "HOME/other cannot be read: Is a directory (os error 21)",
        ),
        ("empty", "key", "HOME/empty is empty"),
        (
            "truncated",
            "key",
            "HOME/truncated is cut off: a PEM section has no -----END line",
        ),
        (
            "garbled",
            "key",
            "HOME/garbled is not PEM: its base64 is garbled",
        ),
        (
            "key",
            "key",
            "HOME/key holds no certificate (-----BEGIN CERTIFICATE-----)",
        ),
        (
            "cert",
            "cert",
            "HOME/cert holds no private key (-----BEGIN PRIVATE KEY-----)",
        ),
        (
            "not-a-certificate",
            "key",
            "HOME/not-a-certificate holds a certificate that is not X.509",
        ),
        (
            "der",
            "key",
            "HOME/der is DER, not PEM; convert a certificate with `openssl x509`, `openssl pkey` or \
             `openssl crl`, each `-inform DER`",
        ),
        (
            "cert",
            "encrypted",
            "HOME/encrypted is encrypted with a passphrase; decrypt it with `openssl pkey -in KEY \
             -out PLAIN`, or use a PKCS#12 key store with a password file",
        ),
        (
            "cert",
            "other/key",
            "HOME/other/key is not the key of the certificate in HOME/cert: their public keys differ",
        ),
        (
            "expired/cert",
            "expired/key",
            "HOME/expired/cert is not valid now: it expired at 2002-01-01T00:00:00Z",
        ),
        (
            "future/cert",
            "future/key",
            "HOME/future/cert is not valid now: it begins at 2100-01-01T00:00:00Z",
        ),
        (
            "version1",
            "key",
            "HOME/version1 holds an X.509 version 1 certificate, which TLS libraries of today \
             refuse; reissue it with a subjectAltName, which makes it version 3: `openssl x509 -req \
             -in REQUEST -CA CA -CAkey CAKEY -days 90 -extfile <(echo subjectAltName=DNS:NAME) -out \
             CERT`",
        ),
    ] {
        refuses(home, &named(home, certificate, key), MUTUAL, expected);
    }
}

#[test]
fn what_is_not_named_anywhere_is_said_with_where_it_was_looked_for() {
    let (ca, home) = (Ca::new("ca"), tempfile::tempdir().unwrap());
    let home = home.path();
    refuses(
        home,
        &Material::default(),
        MUTUAL,
        "no certificate and key: no file is named",
    );
    let rows = "HOME holds neither cert, key, cacert nor tls.crt, tls.key, ca.crt";
    refuses(
        home,
        &directory(home),
        MUTUAL,
        &format!("no certificate and key: {rows}"),
    );
    ca.issue(&Leaf::default()).write(home, &ca);
    fs::remove_file(home.join("cacert")).unwrap();
    refuses(
        home,
        &directory(home),
        STRICT,
        &format!("no CA to verify clients with: {rows}"),
    );
    // An upstream may be a public one, and a server that asks for no certificate verifies none.
    assert!(
        credentials::load(&directory(home), MUTUAL)
            .unwrap()
            .ca
            .is_none()
    );
    credentials::load(&directory(home), Side::Inbound(InboundMode::Simple)).unwrap();
}

#[test]
fn a_simple_route_does_not_even_look_at_a_certificate_of_ours() {
    let (ca, home) = (Ca::new("ca"), tempfile::tempdir().unwrap());
    fs::write(home.path().join("cacert"), ca.pem()).unwrap();
    fs::write(home.path().join("cert"), "garbage").unwrap();
    let simple = Side::Upstream(UpstreamMode::Simple);
    let loaded = credentials::load(&directory(home.path()), simple).unwrap();
    assert!(loaded.certificate.is_none());
    assert_eq!(loaded.ca.map(|ca| ca.len()), Some(1));
}

#[test]
fn nothing_of_a_key_is_ever_printed() {
    let (ca, home) = (Ca::new("ca"), tempfile::tempdir().unwrap());
    ca.issue(&Leaf::default()).write(home.path(), &ca);
    let loaded = credentials::load(&directory(home.path()), MUTUAL).unwrap();
    let printed = format!("{loaded:?}");
    assert!(
        printed.starts_with("Credentials { certificate: true, ca: Some(1), crls: 0,"),
        "{printed}"
    );
    assert!(printed.len() < 400, "{printed}");
}

/// Checks an error's text, in which HOME stands for the test's directory.
fn refuses(home: &Path, material: &Material, side: Side, expected: &str) {
    let error = credentials::load(material, side).unwrap_err().to_string();
    let error = error.replace(&home.display().to_string(), "HOME");
    assert_eq!(error, expected);
}
