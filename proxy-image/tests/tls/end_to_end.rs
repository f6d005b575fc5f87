//! The certificate matrix through the real binary: curl as the application, nginx as the external
//! system that demands a client certificate, OpenSSL and curl as clients. Whatever goes wrong, no byte
//! of a request leaves in plaintext.

use std::fs;
use std::path::Path;

use mtls_proxy::config::{InboundMode, UpstreamMode};
use rcgen::ExtendedKeyUsagePurpose::ClientAuth;

use crate::matrix::{client_certificates, upstream_certificates};
use crate::pki::{Ca, Leaf, Valid};
use crate::ports::free_port;
use crate::processes::{Nginx, Proxy, Reply, Site, curl, eventually, quoted, s_client};
use crate::tap::{Behind, Tap, assert_only_tls};

/// In every request: in its path, a header and its body.
const MARKER: &str = "marker-";
/// In a header and in the body alone.
const SECRET: &str = "marker-7f3a9c";

/// A site that demands a client certificate and tells whose it saw.
fn external(port: u16, directory: &Path) -> Site {
    let file = |name| quoted(&directory.join(name));
    let (cert, key, ca) = (file("cert"), file("key"), file("cacert"));
    Site {
        port,
        listen: "ssl",
        block: format!(
            "ssl_certificate {cert}; ssl_certificate_key {key}; ssl_client_certificate {ca}; \
             ssl_verify_client on; add_header x-serial $ssl_client_serial; \
             location / {{ return 200 \"hello $ssl_client_s_dn\"; }}"
        ),
    }
}

pub(crate) fn egress(port: u16, target: u16, mode: UpstreamMode, credentials: &Path) -> String {
    let directory = quoted(credentials);
    format!(
        "{{host: shop.example, address: 127.0.0.1, port: {port}, targetPort: {target}, \
         tls: {{mode: {mode}, credentialDirectory: {directory}}}}}"
    )
}

/// Calls a route as an application would.
fn call(port: u16) -> Reply {
    curl(&[
        "--resolve",
        &format!("shop.example:{port}:127.0.0.1"),
        "--header",
        &format!("x-secret: {SECRET}"),
        "--data",
        SECRET,
        &format!("http://shop.example:{port}/{MARKER}path"),
    ])
}

fn assert_no_plaintext(tap: &Tap, case: &str) {
    for sent in tap.sent() {
        assert_only_tls(&sent, case);
        let found = sent
            .windows(MARKER.len())
            .any(|window| window == MARKER.as_bytes());
        assert!(!found, "{case}: the marker left in plaintext");
    }
}

fn assert_logs_no_secret(log: &str, own: &Path) {
    assert!(log.contains("request served"), "{log}");
    let key = fs::read_to_string(own.join("key")).unwrap();
    let lines = key.lines().filter(|line| !line.starts_with("-----"));
    for secret in lines.chain([SECRET]) {
        assert!(!log.contains(secret), "{secret} is logged");
    }
}

fn assert_refused(reply: &Reply, refusal: (&str, &str), proxy: &Proxy, port: u16) {
    assert_eq!(reply.status, 502, "{reply:?}");
    let text = error(port, refusal);
    assert_eq!(reply.header("x-mtls-proxy-error"), Some(text.as_str()));
    let counted = format!(
        "mtls_proxy_handshakes_total{{direction=\"egress\",outcome=\"failed\",reason=\"{}\"}}",
        refusal.0
    );
    assert!(proxy.metric(&counted) > 0, "{counted}");
}

/// Returns what leads an error of the proxy itself: `ROUTE: LABEL: SENTENCE`.
fn error(port: u16, refusal: (&str, &str)) -> String {
    format!("shop.example:{port}: {}: {}", refusal.0, refusal.1)
}

#[test]
fn an_application_learns_what_is_wrong_with_the_upstreams_certificate() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let home = tempfile::tempdir().unwrap();
    let own = Leaf {
        common_name: "inventory",
        usage: Some(ClientAuth),
        ..Leaf::default()
    };
    let own = ca.issue(&own).write(&home.path().join("own"), &ca);
    let cases: Vec<_> = upstream_certificates()
        .into_iter()
        .map(|case| {
            let issuer = if case.trusted { &ca } else { &other };
            let directory = issuer
                .issue(&case.leaf)
                .write(&home.path().join(case.name), &ca);
            (case, external(free_port(), &directory), free_port())
        })
        .collect();
    let nginx = Nginx::start_all(cases.iter().map(|(_, site, _)| site));
    let taps: Vec<_> = cases
        .iter()
        .map(|(_, site, _)| Tap::start(Behind::Server(site.port)))
        .collect();
    let routes = cases.iter().zip(&taps);
    let routes: Vec<_> = routes
        .map(|((_, _, port), tap)| egress(*port, tap.port, UpstreamMode::Mutual, &own))
        .collect();
    let proxy = Proxy::ready(&format!(
        "logLevel: trace\negress: [{}]",
        routes.join(",\n")
    ));

    for ((case, _, port), tap) in cases.iter().zip(&taps) {
        let reply = call(*port);
        match case.expected {
            None => assert_eq!(reply.body, "hello CN=inventory", "{}: {reply:?}", case.name),
            Some(refusal) => assert_refused(&reply, refusal, &proxy, *port),
        }
        assert!(
            !tap.sent().is_empty(),
            "{}: the upstream was dialled",
            case.name
        );
        assert_no_plaintext(tap, case.name);
    }
    assert_eq!(
        nginx.requests(),
        1,
        "only the right certificate was sent a request"
    );
    assert_logs_no_secret(&proxy.log(), &own);
}

/// An external system, the authority that it trusts, and another.
pub(crate) fn external_system(home: &Path) -> (Site, Nginx, Ca, Ca) {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let shop = Leaf {
        dns: &["shop.example"],
        ..Leaf::default()
    };
    let shop = ca.issue(&shop).write(&home.join("shop"), &ca);
    let site = external(free_port(), &shop);
    let nginx = Nginx::start(&site);
    (site, nginx, ca, other)
}

#[test]
fn an_application_learns_that_the_upstream_refuses_its_certificate() {
    let home = tempfile::tempdir().unwrap();
    let (site, _nginx, ca, other) = external_system(home.path());
    let own = home.path().join("shop");
    let stranger = other
        .issue(&Leaf::default())
        .write(&home.path().join("stranger"), &ca);
    for (mode, credentials, text) in [
        (
            UpstreamMode::Simple,
            &own,
            "No required SSL certificate was sent",
        ),
        (UpstreamMode::Mutual, &stranger, "The SSL certificate error"),
    ] {
        let (tap, port) = (Tap::start(Behind::Server(site.port)), free_port());
        let route = egress(port, tap.port, mode, credentials);
        let _proxy = Proxy::ready(&format!("egress: [{route}]"));
        let reply = call(port);
        assert_eq!(reply.status, 400, "{text}: {reply:?}");
        assert!(reply.body.contains(text), "{reply:?}");
        assert_no_plaintext(&tap, text);
    }
}

#[test]
fn an_application_learns_why_its_certificate_could_not_be_loaded_and_nobody_is_dialled() {
    let home = tempfile::tempdir().unwrap();
    let (site, _nginx, ca, _) = external_system(home.path());
    let past = Leaf {
        valid: Valid::Past,
        ..Leaf::default()
    };
    let expired = ca.issue(&past).write(&home.path().join("expired"), &ca);
    let missing = home.path().join("missing");
    for (credentials, text) in [
        (
            &expired,
            "HOME/expired/cert is not valid now: it expired at 2002-01-01T00:00:00Z",
        ),
        (
            &missing,
            "no certificate and key: the directory HOME/missing does not exist",
        ),
    ] {
        let text = text.replace("HOME", &home.path().display().to_string());
        let (tap, port) = (Tap::start(Behind::Server(site.port)), free_port());
        let route = egress(port, tap.port, UpstreamMode::Mutual, credentials);
        let proxy = Proxy::start(&format!("egress: [{route}]"));
        let reply = eventually("an answer", || {
            Some(call(port)).filter(|reply| reply.status > 0)
        });
        assert_eq!(reply.status, 503, "{reply:?}");
        let reason = format!("credentials are not loaded: {text}");
        let told = error(port, ("credentials_missing", &reason));
        assert_eq!(reply.header("x-mtls-proxy-error"), Some(told.as_str()));
        assert_eq!(proxy.readyz().status, 503);
        assert_eq!(
            proxy.readyz().body,
            format!("shop.example:{port}: {reason}\n")
        );
        assert!(tap.sent().is_empty(), "nobody was dialled");
    }
}

#[test]
fn an_upstream_that_answers_in_plaintext_gets_nothing_but_a_client_hello() {
    let (ca, home) = (Ca::new("ca"), tempfile::tempdir().unwrap());
    let own = ca.issue(&Leaf::default()).write(home.path(), &ca);
    let (tap, port) = (Tap::start(Behind::Plaintext), free_port());
    let route = egress(port, tap.port, UpstreamMode::Mutual, &own);
    let _proxy = Proxy::ready(&format!("egress: [{route}]"));
    let reply = call(port);
    assert_eq!(reply.status, 502, "{reply:?}");
    let sentence = "the upstream does not speak TLS as we do: what it sends is no TLS at all; is this \
                    its TLS port?";
    let told = error(port, ("protocol", sentence));
    assert_eq!(reply.header("x-mtls-proxy-error"), Some(told.as_str()));
    assert_no_plaintext(&tap, "plaintext");
}

/// An application that tells what it is told of the client.
pub(crate) fn application(port: u16) -> Site {
    Site {
        port,
        listen: "",
        block: "location / { return 200 \"$http_x_client_cert_subject|\
                $http_x_forwarded_client_cert\"; }"
            .to_owned(),
    }
}

pub(crate) fn inbound(port: u16, target: u16, mode: InboundMode, credentials: &Path) -> String {
    let directory = quoted(credentials);
    format!(
        "{{port: {port}, targetPort: {target}, listen: [127.0.0.1], mode: {mode}, \
         tls: {{credentialDirectory: {directory}}}}}"
    )
}

pub(crate) fn refused(reason: &str) -> String {
    format!(
        "mtls_proxy_handshakes_total{{direction=\"inbound\",outcome=\"failed\",reason=\"{reason}\"}}"
    )
}

#[test]
fn a_client_gets_in_with_the_right_certificate_only() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let home = tempfile::tempdir().unwrap();
    let shop = Leaf {
        dns: &["shop.example"],
        ..Leaf::default()
    };
    let own = ca.issue(&shop).write(&home.path().join("own"), &ca);
    let (port, app) = (free_port(), application(free_port()));
    let nginx = Nginx::start(&app);
    let config = inbound(port, app.port, InboundMode::Strict, &own);
    let proxy = Proxy::ready(&format!("inbound: [{config}]"));

    let mut let_in = 0;
    for case in client_certificates() {
        let issuer = if case.trusted { &ca } else { &other };
        let directory = issuer
            .issue(&case.leaf)
            .write(&home.path().join(case.name), &ca);
        for version in ["-tls1_2", "-tls1_3"] {
            let before = case
                .expected
                .map(|(label, _)| proxy.metric(&refused(label)));
            let answer = s_client(port, &directory, &["-cert", "cert", "-key", "key", version]);
            if let (Some((label, sentence)), Some(before)) = (case.expected, before) {
                assert!(!answer.contains("200 OK"), "{}: {answer}", case.name);
                assert!(answer.contains("alert"), "{}: {answer}", case.name);
                proxy.counts(&refused(label), before + 1);
                let why = format!("{label}: {sentence}");
                eventually(case.name, || proxy.log().contains(&why).then_some(()));
            } else {
                assert!(
                    answer.contains("CN=inventory|Hash="),
                    "{}: {answer}",
                    case.name
                );
                let_in += 1;
            }
        }
    }
    assert_eq!(
        (let_in, nginx.requests()),
        (2, 2),
        "the application saw no other request"
    );
}

#[test]
fn a_client_without_a_certificate_or_without_tls_reaches_no_strict_port() {
    let (ca, home) = (Ca::new("ca"), tempfile::tempdir().unwrap());
    let own = ca.issue(&Leaf::default()).write(home.path(), &ca);
    let (port, app) = (free_port(), application(free_port()));
    let nginx = Nginx::start(&app);
    let config = inbound(port, app.port, InboundMode::Strict, &own);
    let proxy = Proxy::ready(&format!("inbound: [{config}]"));
    for version in ["-tls1_2", "-tls1_3"] {
        let answer = s_client(port, &own, &[version]);
        assert!(
            answer.contains("alert") && !answer.contains("200 OK"),
            "{answer}"
        );
    }
    proxy.counts(&refused("no_certificate"), 2);
    let plain = curl(&[&format!("http://127.0.0.1:{port}/")]);
    assert_eq!(plain.status, 0, "{plain:?}");
    proxy.counts(&refused("protocol"), 1);
    assert_eq!(nginx.requests(), 0);
}

#[test]
fn an_application_is_told_who_calls_and_never_by_the_caller() {
    let (ca, home) = (Ca::new("ca"), tempfile::tempdir().unwrap());
    let shop = Leaf {
        dns: &["shop.example"],
        ..Leaf::default()
    };
    let own = ca.issue(&shop).write(&home.path().join("own"), &ca);
    let inventory = Leaf {
        common_name: "inventory, \"the\" one",
        uris: &["spiffe://cluster.local/ns/shop/sa/inventory"],
        dns: &["inventory.example"],
        ..Leaf::default()
    };
    let inventory = ca.issue(&inventory).write(&home.path().join("client"), &ca);
    let (port, optional, app) = (free_port(), free_port(), application(free_port()));
    let _nginx = Nginx::start(&app);
    let config = [
        inbound(port, app.port, InboundMode::Strict, &own),
        inbound(optional, app.port, InboundMode::OptionalMutual, &own),
    ];
    let _proxy = Proxy::ready(&format!("inbound: [{}]", config.join(",\n")));
    let file = |name: &str| inventory.join(name).display().to_string();
    let call = |port: u16, more: &[&str]| {
        let resolve = format!("shop.example:{port}:127.0.0.1");
        let (url, ca) = (format!("https://shop.example:{port}/"), file("cacert"));
        let mut arguments = vec!["--resolve", &resolve, "--cacert", &ca];
        arguments.extend(["--header", "x-client-cert-subject: CN=admin"]);
        arguments.extend([
            "--header",
            "x-forwarded-client-cert: Hash=0;Subject=\"CN=admin\"",
        ]);
        arguments.extend(more);
        arguments.push(&url);
        curl(&arguments).body
    };
    let pem = fs::read_to_string(file("cert")).unwrap();
    let hash = crate::identity::openssl_sha256(&pem);
    let subject = r"CN=inventory\, \22the\22 one";
    assert_eq!(
        call(port, &["--cert", &file("cert"), "--key", &file("key")]),
        format!(
            "{subject}|Hash={hash};Subject=\"{subject}\";\
             URI=spiffe://cluster.local/ns/shop/sa/inventory;DNS=inventory.example"
        )
    );
    assert_eq!(call(optional, &[]), "|");
}
