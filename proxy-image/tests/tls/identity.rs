//! Who a client is: the same text as OpenSSL prints, and never text that breaks a header.

use std::io::Write as _;
use std::process::{Command, Stdio};

use mtls_proxy::config::AllowRule;
use mtls_proxy::identity::ClientIdentity;
use proptest::prelude::*;
use rcgen::{CertificateParams, DnType, DnValue, KeyPair, SanType};

/// Makes a self-signed certificate with a subject and names.
fn certificate(subject: Vec<(DnType, DnValue)>, names: Vec<SanType>) -> rcgen::Certificate {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    for (kind, value) in subject {
        params.distinguished_name.push(kind, value);
    }
    params.subject_alt_names = names;
    params.serial_number = Some(rcgen::SerialNumber::from(vec![0x0a, 0xbc, 0x00, 0x01]));
    params.not_after = rcgen::date_time_ymd(2030, 2, 3);
    params.self_signed(&KeyPair::generate().unwrap()).unwrap()
}

/// Returns what `openssl x509` prints of a certificate.
fn openssl(pem: &str, arguments: &[&str]) -> String {
    let mut process = Command::new("openssl")
        .args(["x509", "-noout"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    process
        .stdin
        .take()
        .unwrap()
        .write_all(pem.as_bytes())
        .unwrap();
    let output = process.wait_with_output().unwrap();
    String::from_utf8(output.stdout)
        .unwrap()
        .trim_end()
        .to_owned()
}

/// Returns the SHA-256 digest of a certificate, as OpenSSL computes it.
pub(crate) fn openssl_sha256(pem: &str) -> String {
    let printed = openssl(pem, &["-fingerprint", "-sha256"]);
    let (_, digest) = printed.split_once('=').unwrap();
    digest.replace(':', "").to_lowercase()
}

fn utf8(text: &str) -> DnValue {
    DnValue::Utf8String(text.to_owned())
}

#[test]
fn reads_as_openssl_prints_it() {
    let certificate = certificate(
        vec![
            (DnType::CountryName, utf8("CH")),
            (
                DnType::OrganizationName,
                utf8("Beispiel, Söhne + Co; <gut> #1"),
            ),
            (DnType::OrganizationalUnitName, utf8(" shop ")),
            (
                DnType::from_oid(&[0, 9, 2342, 19_200_300, 100, 1, 25]),
                utf8("example"),
            ),
            (DnType::from_oid(&[1, 2, 3, 4]), utf8("unknown")),
            (DnType::CommonName, utf8("#inventory")),
        ],
        Vec::new(),
    );
    let identity = ClientIdentity::of(certificate.der()).unwrap();
    let pem = certificate.pem();
    assert_eq!(
        identity.subject,
        "CN=\\#inventory,1.2.3.4=#0C07756E6B6E6F776E,DC=example,OU=\\ shop\\ ,\
         O=Beispiel\\, S\\C3\\B6hne \\+ Co\\; \\<gut\\> #1,C=CH"
    );
    let printed = openssl(&pem, &["-subject", "-nameopt", "RFC2253"]);
    assert_eq!(printed, format!("subject={}", identity.subject));
    assert_eq!(
        openssl(&pem, &["-serial"]),
        format!("serial={}", identity.serial.to_uppercase())
    );
    assert_eq!(identity.hash, openssl_sha256(&pem));
    assert_eq!(identity.not_after(), "2030-02-03T00:00:00Z");
    assert_eq!(identity.issuer, identity.subject);
}

#[test]
fn a_name_in_another_string_type_is_read_too() {
    let name = "Müller";
    for value in [
        DnValue::BmpString(name.try_into().unwrap()),
        DnValue::Utf8String(name.to_owned()),
    ] {
        let certificate = certificate(vec![(DnType::CommonName, value)], Vec::new());
        let identity = ClientIdentity::of(certificate.der()).unwrap();
        assert_eq!(identity.subject, "CN=M\\C3\\BCller");
        let printed = openssl(&certificate.pem(), &["-subject", "-nameopt", "RFC2253"]);
        assert_eq!(printed, format!("subject={}", identity.subject));
    }
}

fn identity() -> ClientIdentity {
    ClientIdentity {
        subject: "CN=inventory".to_owned(),
        issuer: "CN=ca".to_owned(),
        serial: "01".to_owned(),
        not_after: 0,
        uris: vec!["spiffe://cluster.local/ns/shop/sa/inventory".to_owned()],
        dns_names: vec!["client.example.com".to_owned()],
        common_name: Some("inventory".to_owned()),
        hash: "ab".to_owned(),
    }
}

#[test]
fn a_rule_lets_in_by_uri_dns_name_or_common_name() {
    let identity = identity();
    let allowed = |rules: &[&str]| {
        let rules: Vec<AllowRule> = rules.iter().map(|rule| rule.parse().unwrap()).collect();
        identity.is_allowed(&rules)
    };
    assert!(allowed(&[]));
    assert!(allowed(&[
        "cn:nobody",
        "spiffe://cluster.local/ns/shop/sa/*"
    ]));
    assert!(allowed(&["spiffe://cluster.local/ns/**"]));
    assert!(allowed(&["dns:CLIENT.example.com"]));
    assert!(allowed(&["dns:*.example.com"]));
    assert!(allowed(&["cn:inventory"]));
    for rule in [
        "spiffe://cluster.local/ns/*/sa",
        "spiffe://cluster.local/ns/pay/sa/*",
        "spiffe://cluster.local/ns/shop/sa/inventory/**",
        "spiffe://cluster.local/*",
        "dns:*.com",
        "dns:example.com",
        "dns:inventory",
        "cn:client.example.com",
        "cn:Inventory",
        "uri:inventory",
    ] {
        assert!(!allowed(&[rule]), "{rule}");
    }
}

/// Matches a rule against a name in the plainest way.
fn matches_by_hand(pattern: &[&str], name: &[&str]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        (["**"], [first, ..]) => !first.is_empty(),
        (["*", pattern @ ..], [first, name @ ..]) => {
            !first.is_empty() && matches_by_hand(pattern, name)
        }
        ([exact, pattern @ ..], [first, name @ ..]) => {
            exact == first && matches_by_hand(pattern, name)
        }
        _ => false,
    }
}

/// Splits an element of the header into keys and values, as Envoy's documentation describes it: a
/// value may be quoted, and a quote in it is escaped by a backslash.
fn parse_element(text: &str) -> Vec<(String, String)> {
    let (mut pairs, mut rest) = (Vec::new(), text);
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=').expect("a key and a value");
        let (value, after) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').expect("a closing quote"),
            None => after.split_at(after.find([';', ',']).unwrap_or(after.len())),
        };
        pairs.push((key.to_owned(), value.to_owned()));
        rest = match after.strip_prefix(';') {
            Some(more) => more,
            None if after.is_empty() => "",
            None => panic!("{after:?} follows a value: another element has begun"),
        };
    }
    pairs
}

fn unescape(subject: &str) -> String {
    let (mut bytes, mut rest) = (Vec::new(), subject.as_bytes());
    while let [first, after @ ..] = rest {
        // The parser of numbers would also take a sign.
        let pair = |pair: &[u8]| {
            let digits = pair.iter().all(u8::is_ascii_hexdigit);
            let text = std::str::from_utf8(pair).ok().filter(|_| digits)?;
            u8::from_str_radix(text, 16).ok()
        };
        rest = match (first, after) {
            (b'\\', [high, low, after @ ..]) if pair(&[*high, *low]).is_some() => {
                bytes.extend(pair(&[*high, *low]));
                after
            }
            (b'\\', [escaped, after @ ..]) => {
                bytes.push(*escaped);
                after
            }
            _ => {
                bytes.push(*first);
                after
            }
        };
    }
    String::from_utf8(bytes).unwrap()
}

fn is_header_safe(text: &str) -> bool {
    text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_subject_is_safe_in_a_quoted_header_value_and_loses_nothing(name in "\\PC{1,12}|[\"\\\\,;=# +\r\n\u{0}]{1,6}") {
        let certificate = certificate(vec![(DnType::CommonName, utf8(&name))], Vec::new());
        let identity = ClientIdentity::of(certificate.der()).unwrap();
        let value = identity.subject.strip_prefix("CN=").unwrap();
        prop_assert!(is_header_safe(value), "{}", value);
        prop_assert!(!value.contains('"'), "{}", value);
        prop_assert_eq!(unescape(value), name);
        prop_assert!(is_header_safe(&identity.all_names()));
    }

    #[test]
    fn no_name_forges_a_key_or_an_element(
        uris in prop::collection::vec("[ -~]{1,20}|\\PC{1,8}|[\r\n\",;=\\\\]{1,5}", 0..3),
        dns in prop::collection::vec("[a-z*.,;=\" ]{1,12}", 0..3),
        by in prop::option::of("spiffe://[a-z,;=\"]{1,8}"),
    ) {
        let identity = ClientIdentity { uris: uris.clone(), dns_names: dns.clone(), ..identity() };
        let element = identity.xfcc(by.as_deref());
        prop_assert!(is_header_safe(&element), "{}", element);
        let pairs = parse_element(&element);
        let keys: Vec<_> = pairs.iter().map(|(key, _)| key.as_str()).collect();
        let mut expected = vec!["By"; usize::from(by.is_some())];
        expected.extend(["Hash", "Subject"]);
        expected.extend(vec!["URI"; uris.len()]);
        expected.extend(vec!["DNS"; dns.len()]);
        prop_assert_eq!(keys, expected);
    }

    #[test]
    fn a_rule_matches_segment_by_segment(
        pattern in prop::collection::vec("a|b|\\*|", 1..4),
        rest in any::<bool>(),
        name in prop::collection::vec("a|b|", 1..5),
    ) {
        let mut pattern = pattern;
        if rest {
            pattern.push("**".to_owned());
        }
        let rule: AllowRule = format!("uri:x/{}", pattern.join("/")).parse().unwrap();
        let identity = ClientIdentity { uris: vec![format!("x/{}", name.join("/"))], ..identity() };
        let parts = |texts: &[String]| texts.join("/");
        let (pattern, name) = (parts(&pattern), parts(&name));
        let (pattern, name): (Vec<_>, Vec<_>) = (pattern.split('/').collect(), name.split('/').collect());
        prop_assert_eq!(identity.is_allowed(&[rule]), matches_by_hand(&pattern, &name));
    }
}
