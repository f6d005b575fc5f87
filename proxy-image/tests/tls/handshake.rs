//! Handshakes between our two sides, over a socket.

use std::path::Path;
use std::sync::Arc;

use mtls_proxy::config::{ClientTls, EgressRoute, InboundPort, Port, ServerTls};
use mtls_proxy::credentials::{self, Side};
use mtls_proxy::identity::ClientIdentity;
use mtls_proxy::tls::client::ClientState;
use mtls_proxy::tls::failure::{HandshakeFailure, Peer};
use mtls_proxy::tls::server::ServerState;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use crate::pki::{Ca, Leaf};

pub(crate) fn route(host: &str, directory: &Path) -> EgressRoute {
    let mut route = EgressRoute::to_host(host.parse().unwrap());
    route.tls = ClientTls {
        credential_directory: Some(directory.to_owned()),
        ..ClientTls::default()
    };
    route
}

pub(crate) fn port(directory: &Path) -> InboundPort {
    let mut port = InboundPort::new(Port::new(8443).unwrap(), Port::new(8080).unwrap());
    port.tls = ServerTls {
        credential_directory: Some(directory.to_owned()),
        ..ServerTls::default()
    };
    port
}

/// What both ends of one connection came to.
pub(crate) struct Ends {
    pub(crate) client: Result<(), HandshakeFailure>,
    pub(crate) server: Result<Option<ClientIdentity>, HandshakeFailure>,
}

/// Shakes hands and sends one byte each way.
pub(crate) async fn shake(client: &ClientState, server: Arc<ServerState>) -> Ends {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let serving = async {
        let (socket, _) = listener.accept().await.unwrap();
        let acceptor = TlsAcceptor::from(Arc::clone(&server.config));
        let failed = |error| HandshakeFailure::of(Peer::Client, &error);
        let mut stream = acceptor.accept(socket).await.map_err(failed)?;
        let identity = server.client(stream.get_ref().1)?;
        stream.write_all(b"!").await.map_err(failed)?;
        let _ = stream.read(&mut [0]).await;
        Ok(identity)
    };
    let dialling = async {
        let failed = |error| HandshakeFailure::of(Peer::Upstream, &error);
        let socket = TcpStream::connect(address).await.unwrap();
        let connector = TlsConnector::from(Arc::clone(&client.config));
        let name = client.server_name("").expect("a name to send");
        let mut stream = connector.connect(name, socket).await.map_err(failed)?;
        stream.read_exact(&mut [0]).await.map_err(failed)?;
        Ok(())
    };
    let (server, client) = tokio::join!(serving, dialling);
    Ends { client, server }
}

#[tokio::test]
async fn both_sides_verify_each_other_and_the_server_learns_who_calls() {
    let ca = Ca::new("ca");
    let home = tempfile::tempdir().unwrap();
    let server_leaf = Leaf {
        dns: &["shop.example"],
        ..Leaf::default()
    };
    let client_leaf = Leaf {
        common_name: "inventory",
        uris: &["spiffe://cluster.local/ns/shop/sa/inventory"],
        ..Leaf::default()
    };
    let server = ca
        .issue(&server_leaf)
        .write(&home.path().join("server"), &ca);
    let client = ca
        .issue(&client_leaf)
        .write(&home.path().join("client"), &ca);
    let (route, port) = (route("shop.example", &client), port(&server));

    let loaded = credentials::load(&route.tls.material(), Side::Upstream(route.tls.mode)).unwrap();
    let client = ClientState::new(&route, &loaded, &[b"h2", b"http/1.1"], 1);
    let loaded = credentials::load(&port.tls.material(), Side::Inbound(port.mode)).unwrap();
    let server = Arc::new(ServerState::new(&port, &loaded, &[b"h2", b"http/1.1"], 1).unwrap());

    for _ in 0..3 {
        let ends = shake(&client, Arc::clone(&server)).await;
        assert_eq!(ends.client, Ok(()));
        let identity = ends
            .server
            .unwrap()
            .expect("the client showed a certificate");
        assert_eq!(identity.subject, "CN=inventory");
        assert_eq!(
            identity.uris,
            ["spiffe://cluster.local/ns/shop/sa/inventory"]
        );
    }
}
