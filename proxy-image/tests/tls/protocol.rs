//! Peers that do not speak TLS as we do: told apart from those with a wrong certificate.

use mtls_proxy::config::MinProtocolVersion;
use mtls_proxy::credentials::{self, Side};
use mtls_proxy::tls::failure::{HandshakeFailure, Peer};
use mtls_proxy::tls::server::ServerState;
use tokio::io::AsyncWriteExt as _;
use tokio_rustls::TlsAcceptor;

use crate::handshake::{port, route};
use crate::matrix::{check, dial};
use crate::openssl;
use crate::pki::{Ca, Leaf};

#[tokio::test]
async fn a_client_that_speaks_otherwise_is_told_apart_from_one_with_a_wrong_certificate() {
    let ca = Ca::new("ca");
    let home = tempfile::tempdir().unwrap();
    let own = ca
        .issue(&Leaf::default())
        .write(&home.path().join("own"), &ca);
    let cases: [(&[u8], &str, &str); 3] = [
        (
            b"GET / HTTP/1.1\r\nHost: app\r\n\r\n",
            "protocol",
            "the client does not speak TLS as we do: what it sends is no TLS at all; is this its TLS \
             port?",
        ),
        (
            b"",
            "closed",
            "the client closed the connection during the TLS handshake",
        ),
        (
            b"\x16\x03\x01",
            "closed",
            "the client closed the connection during the TLS handshake",
        ),
    ];
    for (bytes, label, sentence) in cases {
        let (mut near, far) = tokio::io::duplex(4096);
        near.write_all(bytes).await.unwrap();
        near.shutdown().await.unwrap();
        let port = port(&own);
        let loaded = credentials::load(&port.tls.material(), Side::Inbound(port.mode)).unwrap();
        let server = ServerState::new(&port, &loaded, &[], 1).unwrap();
        let error = TlsAcceptor::from(server.config)
            .accept(far)
            .await
            .unwrap_err();
        let failure = HandshakeFailure::of(Peer::Client, &error);
        check(label, Some(failure), Some((label, sentence)));
    }
    let timeout = HandshakeFailure::timeout(Peer::Upstream);
    let sentence = "the upstream did not finish the TLS handshake in time";
    check("timeout", Some(timeout), Some(("timeout", sentence)));
}

#[tokio::test]
async fn an_upstream_with_no_version_or_cipher_in_common_is_told_so() {
    let ca = Ca::new("ca");
    let home = tempfile::tempdir().unwrap();
    let shop = Leaf {
        dns: &["shop.example"],
        ..Leaf::default()
    };
    let own = ca.issue(&shop).write(&home.path().join("own"), &ca);
    let mut route = route("shop.example", &own);
    route.tls.min_protocol_version = MinProtocolVersion::TlsV1_3;
    let server = openssl::Server::start(&own, &["-tls1_2"]);
    let version =
        "the upstream refused us: it speaks no TLS version that we do (alert ProtocolVersion)";
    check(
        "version",
        dial(&route, &server).await.err(),
        Some(("refused_by_peer", version)),
    );
    route.tls.min_protocol_version = MinProtocolVersion::TlsV1_2;
    let server = openssl::Server::start(&own, &["-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256"]);
    let cipher = "the upstream refused us: it found no common cipher, or wants a certificate and got \
                  none (alert HandshakeFailure)";
    check(
        "cipher",
        dial(&route, &server).await.err(),
        Some(("refused_by_peer", cipher)),
    );
}
