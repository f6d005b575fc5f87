//! What else a peer is verified by: names, revocation, versions; and what a resumed session carries.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use mtls_proxy::config::{EgressRoute, InboundPort, MinProtocolVersion, UpstreamMode};
use mtls_proxy::credentials::{self, Side};
use mtls_proxy::tls::client::ClientState;
use mtls_proxy::tls::server::ServerState;
use rcgen::date_time_ymd;
use rustls::pki_types::CertificateDer;
use rustls::{HandshakeKind, NamedGroup};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::handshake::{Ends, port, route, shake};
use crate::pki::{Ca, Leaf};

fn client(route: &EgressRoute) -> ClientState {
    let side = Side::Upstream(route.tls.mode);
    let loaded = credentials::load(&route.tls.material(), side).unwrap();
    ClientState::new(route, &loaded, &[], 1)
}

fn server(port: &InboundPort) -> Arc<ServerState> {
    let side = Side::Inbound(port.mode);
    let loaded = credentials::load(&port.tls.material(), side).unwrap();
    Arc::new(ServerState::new(port, &loaded, &[], 1).unwrap())
}

fn refusals(ends: &Ends) -> (Option<String>, Option<String>) {
    (
        ends.client.as_ref().err().map(ToString::to_string),
        ends.server.as_ref().err().map(ToString::to_string),
    )
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "one row per case")]
async fn one_of_the_listed_names_must_be_in_the_certificate() {
    let (ca, home) = (Ca::new("ca"), tempfile::tempdir().unwrap());
    let own = ca
        .issue(&Leaf::default())
        .write(&home.path().join("own"), &ca);
    let shop = ca.issue(&Leaf {
        common_name: "common.example",
        dns: &["shop.example", "*.wild.example"],
        ips: &[
            IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3)),
            IpAddr::V6(Ipv6Addr::LOCALHOST),
        ],
        uris: &["spiffe://cluster.local/ns/shop/sa/web"],
        ..Leaf::default()
    });
    let server = server(&port(&shop.write(&home.path().join("shop"), &ca)));
    for (host, names, right) in [
        ("shop.example", &[][..], true),
        ("SHOP.example.", &[], true),
        ("a.wild.example", &[], true),
        ("a.b.wild.example", &[], false),
        ("wild.example", &[], false),
        ("common.example", &[], false),
        ("10.1.2.3", &[], true),
        ("10.1.2.4", &[], false),
        ("::1", &[], true),
        ("other.example", &["shop.example"], true),
        ("shop.example", &["other.example"], false),
        ("other.example", &["nobody.example", "10.1.2.3"], true),
        (
            "other.example",
            &["spiffe://cluster.local/ns/shop/sa/web"],
            true,
        ),
        (
            "other.example",
            &["spiffe://cluster.local/ns/shop/sa/web2"],
            false,
        ),
        (
            "other.example",
            &["spiffe://cluster.local/ns/shop/sa/WEB"],
            false,
        ),
        (
            "other.example",
            &["spiffe://cluster.local/ns/shop/sa"],
            false,
        ),
    ] {
        let mut route = route(host, &own);
        route.tls.subject_alt_names = names.iter().map(|name| name.parse().unwrap()).collect();
        let ends = shake(&client(&route), Arc::clone(&server)).await;
        assert_eq!(
            ends.client.is_ok(),
            right,
            "{host} {names:?}: {:?}",
            ends.client
        );
    }
}

#[tokio::test]
async fn a_name_that_is_merely_sent_is_not_the_one_that_is_verified() {
    let (ca, home) = (Ca::new("ca"), tempfile::tempdir().unwrap());
    let leaf = Leaf {
        dns: &["front.example"],
        ..Leaf::default()
    };
    let own = ca.issue(&leaf).write(&home.path().join("own"), &ca);
    let mut route = route("shop.example", &own);
    route.tls.sni = Some("front.example".parse().unwrap());
    let ends = shake(&client(&route), server(&port(&own))).await;
    assert_eq!(
        refusals(&ends).0.as_deref(),
        Some("the upstream shows a certificate for dns:front.example, not for dns:shop.example")
    );
}

#[tokio::test]
async fn a_wildcard_route_verifies_the_name_that_was_dialled() {
    let (ca, home) = (Ca::new("ca"), tempfile::tempdir().unwrap());
    let own = ca.issue(&Leaf::default()).write(home.path(), &ca);
    let state = client(&route("*.example.com", &own));
    assert_eq!(
        state.server_name("a.example.com").unwrap().to_str(),
        "a.example.com"
    );
    assert_eq!(state.server_name("not a name"), None);
}

#[tokio::test]
async fn anyone_is_taken_for_the_upstream_only_when_that_is_asked_for() {
    let (ca, other) = (Ca::new("ca"), Ca::new("other"));
    let home = tempfile::tempdir().unwrap();
    let own = ca
        .issue(&Leaf::default())
        .write(&home.path().join("own"), &ca);
    let stranger = other
        .issue(&Leaf::default())
        .write(&home.path().join("stranger"), &ca);
    let server = server(&port(&stranger));
    let mut route = route("shop.example", &own);
    assert!(
        shake(&client(&route), Arc::clone(&server))
            .await
            .client
            .is_err()
    );
    route.tls.insecure_skip_verify = true;
    assert_eq!(shake(&client(&route), server).await.client, Ok(()));
}

#[tokio::test]
async fn without_a_ca_the_public_web_roots_count() {
    let (ca, home) = (Ca::new("ca"), tempfile::tempdir().unwrap());
    let leaf = Leaf {
        dns: &["shop.example"],
        ..Leaf::default()
    };
    let own = ca.issue(&leaf).write(&home.path().join("own"), &ca);
    let server = server(&port(&own));
    fs::remove_file(own.join("cacert")).unwrap();
    let mut route = route("shop.example", &own);
    route.tls.mode = UpstreamMode::Simple;
    let ends = shake(&client(&route), server).await;
    assert_eq!(
        refusals(&ends).0.as_deref(),
        Some(
            "the upstream shows a certificate that no trusted CA vouches for: its issuer is CN=ca; \
             no caCertificates are given, so the public web roots count"
        )
    );
}

/// A client below an intermediate authority, which the list of either may revoke.
#[tokio::test]
async fn a_revocation_list_is_asked_about_the_whole_chain() {
    let root = Ca::new("root");
    let below = root.intermediate_with_serial("below", 50);
    let home = tempfile::tempdir().unwrap();
    let own = root.issue(&Leaf {
        dns: &["shop.example"],
        ..Leaf::default()
    });
    let own = own.write(&home.path().join("own"), &root);
    let issued = below.issue(&Leaf {
        serial: 7,
        ..Leaf::default()
    });
    let theirs = issued.write(&home.path().join("theirs"), &root);
    let chain = issued.certificate.pem() + &below.pem();
    fs::write(theirs.join("cert"), chain).unwrap();
    let client = client(&route("shop.example", &theirs));

    let later = date_time_ymd(2100, 1, 1);
    let good = [root.crl(&[], later), below.crl(&[], later)].map(|crl| crl.pem().unwrap());
    let revoked_leaf = below.crl(&[7], later).pem().unwrap();
    let revoked_ca = root.crl(&[50], later).pem().unwrap();
    let outdated = below.crl(&[], date_time_ymd(2021, 1, 1)).pem().unwrap();
    let revoked = "the client shows a certificate that is revoked";
    let unknown = "the client shows a certificate of which no current revocation list knows: ";
    for (crl, expected) in [
        (good.concat(), None),
        (good[0].clone() + &revoked_leaf, Some(revoked.to_owned())),
        (revoked_ca + &good[1], Some(revoked.to_owned())),
        (
            good[0].clone(),
            Some(format!("{unknown}none covers its issuer")),
        ),
        (
            good[0].clone() + &outdated,
            Some(format!("{unknown}the list ended at 2021-01-01T00:00:00Z")),
        ),
    ] {
        fs::write(own.join("crl"), crl).unwrap();
        let ends = shake(&client, server(&port(&own))).await;
        assert_eq!(refusals(&ends).1, expected);
    }
}

#[tokio::test]
async fn a_list_is_read_as_der_too_and_counts_for_upstreams() {
    let (ca, home) = (Ca::new("ca"), tempfile::tempdir().unwrap());
    let leaf = Leaf {
        dns: &["shop.example"],
        serial: 9,
        ..Leaf::default()
    };
    let shop = ca.issue(&leaf).write(&home.path().join("shop"), &ca);
    let own = ca
        .issue(&Leaf::default())
        .write(&home.path().join("own"), &ca);
    let list = ca.crl(&[9], date_time_ymd(2100, 1, 1));
    fs::write(own.join("crl"), list.der()).unwrap();
    let ends = shake(&client(&route("shop.example", &own)), server(&port(&shop))).await;
    assert_eq!(
        refusals(&ends).0.as_deref(),
        Some("the upstream shows a certificate that is revoked")
    );
}

/// What one connection used.
struct Used {
    kind: HandshakeKind,
    group: Option<NamedGroup>,
    peer: Option<CertificateDer<'static>>,
}

/// Shakes hands and reads what comes after it, such as tickets.
async fn connect(client: &ClientState, server: Arc<ServerState>) -> Used {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepting = async {
        let (socket, _) = listener.accept().await.unwrap();
        let mut stream = TlsAcceptor::from(Arc::clone(&server.config))
            .accept(socket)
            .await
            .unwrap();
        tokio::io::AsyncWriteExt::shutdown(&mut stream)
            .await
            .unwrap();
        let identity = server.client(stream.get_ref().1).unwrap();
        assert_eq!(identity.unwrap().subject, "CN=leaf");
        let connection = stream.get_ref().1;
        Used {
            kind: connection.handshake_kind().unwrap(),
            group: connection
                .negotiated_key_exchange_group()
                .map(|group| group.name()),
            peer: connection
                .peer_certificates()
                .map(|chain| chain[0].clone().into_owned()),
        }
    };
    let dialling = async {
        let socket = TcpStream::connect(address).await.unwrap();
        let connector = TlsConnector::from(Arc::clone(&client.config));
        let name = client.server_name("").unwrap();
        let mut stream = connector.connect(name, socket).await.unwrap();
        tokio::io::AsyncReadExt::read_to_end(&mut stream, &mut Vec::new())
            .await
            .unwrap();
    };
    tokio::join!(accepting, dialling).0
}

fn own(ca: &Ca, home: &Path) -> std::path::PathBuf {
    let leaf = Leaf {
        dns: &["shop.example"],
        ..Leaf::default()
    };
    ca.issue(&leaf).write(home, ca)
}

#[tokio::test]
async fn a_resumed_session_carries_the_certificate_and_ends_with_its_generation() {
    let (ca, home) = (Ca::new("ca"), tempfile::tempdir().unwrap());
    let own = own(&ca, home.path());
    for oldest in [MinProtocolVersion::TlsV1_2, MinProtocolVersion::TlsV1_3] {
        let mut route = route("shop.example", &own);
        route.tls.min_protocol_version = oldest;
        let client = client(&route);
        let first = server(&port(&own));
        let full = connect(&client, Arc::clone(&first)).await;
        assert_eq!(full.kind, HandshakeKind::Full);
        let resumed = connect(&client, first).await;
        assert_eq!(resumed.kind, HandshakeKind::Resumed);
        assert!(resumed.peer.is_some());
        assert_eq!(resumed.peer, full.peer);
        let reloaded = connect(&client, server(&port(&own))).await;
        assert_eq!(reloaded.kind, HandshakeKind::Full);
    }
}

#[tokio::test]
async fn the_hybrid_post_quantum_group_is_preferred() {
    let (ca, home) = (Ca::new("ca"), tempfile::tempdir().unwrap());
    let own = own(&ca, home.path());
    let used = connect(&client(&route("shop.example", &own)), server(&port(&own))).await;
    assert_eq!(used.group, Some(NamedGroup::X25519MLKEM768));
}
