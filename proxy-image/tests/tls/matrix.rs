//! The certificate matrix, both ways, against OpenSSL, in TLS 1.2 and 1.3: every wrong certificate is
//! refused, with the label that is counted and the sentence that people read.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use mtls_proxy::config::{EgressRoute, InboundMode, UpstreamMode};
use mtls_proxy::credentials::{self, Side};
use mtls_proxy::tls::client::ClientState;
use mtls_proxy::tls::failure::{HandshakeFailure, Peer};
use mtls_proxy::tls::server::ServerState;
use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::handshake::{port, route};
use crate::openssl;
use crate::pki::{Ca, Leaf, Valid};

const VERSIONS: [&str; 2] = ["-tls1_2", "-tls1_3"];

/// The label and the sentence of a refusal.
type Refusal = Option<(&'static str, &'static str)>;

pub(crate) struct Case {
    pub(crate) name: &'static str,
    /// Who issues the certificate: the CA that is trusted, or another.
    pub(crate) trusted: bool,
    pub(crate) leaf: Leaf<'static>,
    pub(crate) expected: Refusal,
}

/// What an upstream may show to a route whose host is `shop.example`.
#[expect(clippy::too_many_lines, reason = "one row per case")]
pub(crate) fn upstream_certificates() -> Vec<Case> {
    let right = || Leaf {
        common_name: "shop.example",
        dns: &["shop.example"],
        usage: Some(ServerAuth),
        ..Leaf::default()
    };
    let case = |name, leaf, expected| Case {
        name,
        trusted: true,
        leaf,
        expected,
    };
    vec![
        case("right", right(), None),
        Case {
            trusted: false,
            ..case(
                "unknown CA",
                right(),
                Some((
                    "unknown_ca",
                    "the upstream shows a certificate that no trusted CA vouches for: its issuer is CN=other",
                )),
            )
        },
        case(
            "expired",
            Leaf {
                valid: Valid::Past,
                ..right()
            },
            Some((
                "expired",
                "the upstream shows a certificate that has expired at 2002-01-01T00:00:00Z",
            )),
        ),
        case(
            "not yet valid",
            Leaf {
                valid: Valid::Future,
                ..right()
            },
            Some((
                "not_yet_valid",
                "the upstream shows a certificate that is not valid yet before 2100-01-01T00:00:00Z",
            )),
        ),
        case(
            "wrong name",
            Leaf {
                dns: &["other.example", "*.shop.example"],
                ..right()
            },
            Some((
                "wrong_name",
                "the upstream shows a certificate for dns:other.example, dns:*.shop.example, \
             not for dns:shop.example",
            )),
        ),
        case(
            "common name only",
            Leaf {
                dns: &[],
                ..right()
            },
            Some((
                "wrong_name",
                "the upstream shows a certificate for no name at all: it has only the subject \
             CN=shop.example, whose common name no longer counts (RFC 9525); reissue it with a \
             subjectAltName: openssl x509 -req ... -extfile <(echo subjectAltName=DNS:NAME), \
             not for dns:shop.example",
            )),
        ),
        case(
            "wrong key usage",
            Leaf {
                usage: Some(ClientAuth),
                ..right()
            },
            Some((
                "wrong_usage",
                "the upstream shows a certificate that is not for this use: its extendedKeyUsage lacks serverAuth",
            )),
        ),
    ]
}

#[tokio::test]
async fn an_upstream_is_refused_for_every_wrong_certificate() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let home = tempfile::tempdir().unwrap();
    let own = ca
        .issue(&Leaf::default())
        .write(&home.path().join("own"), &ca);
    for case in upstream_certificates() {
        let issuer = if case.trusted { &ca } else { &other };
        let directory = issuer
            .issue(&case.leaf)
            .write(&home.path().join(case.name), &ca);
        for version in VERSIONS {
            let server = openssl::Server::start(&directory, &["-Verify", "1", version]);
            let outcome = dial(&route("shop.example", &own), &server).await;
            check(
                &format!("{} {version}", case.name),
                outcome.err(),
                case.expected,
            );
        }
    }
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one row per case")]
async fn an_upstream_without_a_mutual_route_says_that_it_wants_a_certificate() {
    let ca = Ca::new("ca");
    let other = Ca::new("other");
    let home = tempfile::tempdir().unwrap();
    let shop = Leaf {
        dns: &["shop.example"],
        ..Leaf::default()
    };
    let directory = ca.issue(&shop).write(&home.path().join("shop"), &ca);
    let without = ca.issue(&shop).write(&home.path().join("without"), &ca);
    let stranger = other
        .issue(&Leaf::default())
        .write(&home.path().join("stranger"), &ca);
    let wrong_usage = Leaf {
        usage: Some(ServerAuth),
        ..Leaf::default()
    };
    let wrong_usage = ca
        .issue(&wrong_usage)
        .write(&home.path().join("usage"), &ca);
    let cases: [(&Path, UpstreamMode, [Refusal; 2]); 3] = [
        (
            &without,
            UpstreamMode::Simple,
            [
                Some((
                    "refused_by_peer",
                    "the upstream refused us: it found no common cipher, or wants \
                 a certificate and got none (alert HandshakeFailure)",
                )),
                Some((
                    "refused_by_peer",
                    "the upstream refused us: it wants a certificate and got none \
                 (alert CertificateRequired)",
                )),
            ],
        ),
        (
            &stranger,
            UpstreamMode::Mutual,
            [Some((
                "refused_by_peer",
                "the upstream refused us: its CA does not vouch for our \
                 certificate (alert UnknownCA)",
            )); 2],
        ),
        (
            &wrong_usage,
            UpstreamMode::Mutual,
            [Some((
                "refused_by_peer",
                "the upstream refused us: it does not accept our certificate \
                 (alert UnsupportedCertificate)",
            )); 2],
        ),
    ];
    for (own, mode, expected) in cases {
        let mut route = route("shop.example", own);
        route.tls.mode = mode;
        for (version, expected) in VERSIONS.into_iter().zip(expected) {
            let arguments = ["-Verify", "1", "-verify_return_error", version];
            let server = openssl::Server::start(&directory, &arguments);
            let outcome = dial(&route, &server).await;
            check(
                &format!("{} {version}", own.display()),
                outcome.err(),
                expected,
            );
        }
    }
}

/// Dials as a route does and asks for the status page.
pub(crate) async fn dial(
    route: &EgressRoute,
    server: &openssl::Server,
) -> Result<(), HandshakeFailure> {
    let side = Side::Upstream(route.tls.mode);
    let loaded = credentials::load(&route.tls.material(), side).unwrap();
    let client = ClientState::new(route, &loaded, &[], 1);
    let failed = |error| HandshakeFailure::of(Peer::Upstream, &error);
    let socket = TcpStream::connect(server.address).await.unwrap();
    let name = client.server_name("").expect("a name to send");
    let connector = TlsConnector::from(client.config);
    let mut stream = connector.connect(name, socket).await.map_err(failed)?;
    stream
        .write_all(b"GET / HTTP/1.0\r\n\r\n")
        .await
        .map_err(failed)?;
    stream.read_exact(&mut [0]).await.map_err(failed)?;
    Ok(())
}

/// What a client may show to a STRICT port.
#[expect(clippy::too_many_lines, reason = "one row per case")]
pub(crate) fn client_certificates() -> Vec<Case> {
    let right = || Leaf {
        common_name: "inventory",
        usage: Some(ClientAuth),
        ..Leaf::default()
    };
    let case = |name, leaf, expected| Case {
        name,
        trusted: true,
        leaf,
        expected,
    };
    vec![
        case("right", right(), None),
        Case {
            trusted: false,
            ..case(
                "unknown CA",
                right(),
                Some((
                    "unknown_ca",
                    "the client shows a certificate that no trusted CA vouches for",
                )),
            )
        },
        case(
            "expired",
            Leaf {
                valid: Valid::Past,
                ..right()
            },
            Some((
                "expired",
                "the client shows a certificate that has expired at 2002-01-01T00:00:00Z",
            )),
        ),
        case(
            "not yet valid",
            Leaf {
                valid: Valid::Future,
                ..right()
            },
            Some((
                "not_yet_valid",
                "the client shows a certificate that is not valid yet before 2100-01-01T00:00:00Z",
            )),
        ),
        case(
            "wrong key usage",
            Leaf {
                usage: Some(ServerAuth),
                ..right()
            },
            Some((
                "wrong_usage",
                "the client shows a certificate that is not for this use: its extendedKeyUsage lacks clientAuth",
            )),
        ),
    ]
}

#[tokio::test]
async fn a_client_is_refused_for_every_wrong_certificate() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let home = tempfile::tempdir().unwrap();
    let own = ca
        .issue(&Leaf::default())
        .write(&home.path().join("own"), &ca);
    for case in client_certificates() {
        let issuer = if case.trusted { &ca } else { &other };
        let directory = issuer
            .issue(&case.leaf)
            .write(&home.path().join(case.name), &ca);
        for version in VERSIONS {
            let arguments = vec!["-cert", "cert", "-key", "key", version];
            let outcome = accept(&own, InboundMode::Strict, directory.clone(), arguments).await;
            check(
                &format!("{} {version}", case.name),
                outcome.err(),
                case.expected,
            );
        }
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused_unless_it_is_optional() {
    let ca = Ca::new("ca");
    let home = tempfile::tempdir().unwrap();
    let own = ca
        .issue(&Leaf::default())
        .write(&home.path().join("own"), &ca);
    let refusal = Some(("no_certificate", "the client showed no certificate"));
    let cases = [
        (InboundMode::Strict, refusal),
        (InboundMode::Permissive, refusal),
        (InboundMode::OptionalMutual, None),
        (InboundMode::Simple, None),
    ];
    for (mode, expected) in cases {
        for version in VERSIONS {
            let outcome = accept(&own, mode, own.clone(), vec![version]).await;
            check(&format!("{mode} {version}"), outcome.err(), expected);
        }
    }
}

/// Lets one `s_client` in, or not.
async fn accept(
    own: &Path,
    mode: InboundMode,
    directory: PathBuf,
    arguments: Vec<&'static str>,
) -> Result<(), HandshakeFailure> {
    let mut port = port(own);
    port.mode = mode;
    let loaded = credentials::load(&port.tls.material(), Side::Inbound(mode)).unwrap();
    let server = ServerState::new(&port, &loaded, &[], 1).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let client =
        tokio::task::spawn_blocking(move || openssl::connect(address, &directory, &arguments));
    let (socket, _) = listener.accept().await.unwrap();
    let handshake = TlsAcceptor::from(Arc::clone(&server.config)).accept(socket);
    let handshake = tokio::time::timeout(Duration::from_secs(10), handshake)
        .await
        .unwrap();
    let outcome = match handshake {
        Ok(stream) => server.client(stream.get_ref().1).map(drop),
        Err(error) => Err(HandshakeFailure::of(Peer::Client, &error)),
    };
    let output = client.await.unwrap();
    let alerted = String::from_utf8_lossy(&output.stderr).contains("alert");
    assert_eq!(alerted, outcome.is_err(), "s_client is told: {output:?}");
    outcome
}

pub(crate) fn check(case: &str, outcome: Option<HandshakeFailure>, expected: Refusal) {
    let outcome = outcome.map(|failure| (failure.label(), failure.to_string()));
    let outcome = outcome
        .as_ref()
        .map(|(label, sentence)| (*label, sentence.as_str()));
    assert_eq!(outcome, expected, "{case}");
}
