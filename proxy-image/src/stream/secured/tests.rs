//! Both kinds of sessions, against each other and against rustls with buffers of its own.

use std::io::Write;
use std::sync::Arc;

use rustls::client::UnbufferedClientConnection;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::UnbufferedServerConnection;
use rustls::{AlertDescription, ClientConfig, ClientConnection, RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::tls::provider;

type Client = Secured<UnbufferedClientConnection>;
type Server = Secured<UnbufferedServerConnection>;

struct Sides {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

impl Sides {
    /// A server, and a client that trusts it.
    fn new() -> Self {
        let own = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap();
        let certificate = CertificateDer::from(own.cert.der().to_vec());
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).unwrap();
        let client = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let server = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .unwrap();
        Self {
            client: Arc::new(client),
            server: Arc::new(server),
        }
    }

    async fn connect(&self, tcp: TcpStream) -> io::Result<Client> {
        let session = UnbufferedClientConnection::new(Arc::clone(&self.client), name());
        Secured::shake_hands(tcp, session.unwrap()).await
    }

    async fn accept(&self, tcp: TcpStream) -> io::Result<Server> {
        let session = UnbufferedServerConnection::new(Arc::clone(&self.server));
        Secured::shake_hands(tcp, session.unwrap()).await
    }

    async fn pair(&self) -> (Client, Server) {
        let (near, far) = sockets().await;
        let (client, server) = tokio::join!(self.connect(near), self.accept(far));
        (client.unwrap(), server.unwrap())
    }
}

fn name() -> ServerName<'static> {
    "a.example".try_into().unwrap()
}

async fn sockets() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (dialled, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
    (dialled.unwrap(), accepted.unwrap().0)
}

fn much() -> Vec<u8> {
    (0..3_000_001_u32).map(|n| (n % 251) as u8).collect()
}

/// Sends much in pieces of some size, says goodbye, and reads it with a buffer of another.
async fn passes<W, R>(mut from: W, mut to: R, piece: usize, buffer: usize)
where
    W: AsyncWrite + Unpin,
    R: AsyncRead + Unpin,
{
    let much = much();
    let sending = async {
        for piece in much.chunks(piece) {
            from.write_all(piece).await.unwrap();
        }
        from.shutdown().await.unwrap();
    };
    let receiving = async {
        let mut received = Vec::new();
        let mut buffer = vec![0; buffer];
        loop {
            match to.read(&mut buffer).await.unwrap() {
                0 => return received,
                some => received.extend_from_slice(&buffer[..some]),
            }
        }
    };
    let ((), received) = tokio::join!(sending, receiving);
    assert!(received == much, "{piece} and {buffer}");
}

#[tokio::test]
async fn bytes_stay_as_they_are_whatever_the_pieces() {
    let sides = Sides::new();
    for (piece, buffer) in [
        (3_000_001, 100_000),
        (70_000, 1000),
        (999, 70_000),
        (16_384, 1),
    ] {
        let (client, server) = sides.pair().await;
        passes(client, server, piece, buffer).await;
        let (client, server) = sides.pair().await;
        passes(server, client, piece, buffer).await;
    }
}

#[tokio::test]
async fn others_understand_and_are_understood() {
    let sides = Sides::new();
    let (near, far) = sockets().await;
    let other = TlsAcceptor::from(Arc::clone(&sides.server)).accept(far);
    let (client, other) = tokio::join!(sides.connect(near), other);
    let (reading, writing) = tokio::io::split(other.unwrap());
    let (back, onward) = tokio::io::split(client.unwrap());
    tokio::join!(
        passes(onward, reading, 50_000, 5000),
        passes(writing, back, 5000, 50_000)
    );

    let (near, far) = sockets().await;
    let other = TlsConnector::from(Arc::clone(&sides.client)).connect(name(), near);
    let (server, other) = tokio::join!(sides.accept(far), other);
    let (reading, writing) = tokio::io::split(other.unwrap());
    let (back, onward) = tokio::io::split(server.unwrap());
    tokio::join!(
        passes(onward, reading, 50_000, 5000),
        passes(writing, back, 5000, 50_000)
    );
}

#[tokio::test]
async fn all_may_be_said_in_one_piece_with_the_end_of_the_handshake() {
    let sides = Sides::new();
    let (mut near, far) = sockets().await;
    let mut client = ClientConnection::new(Arc::clone(&sides.client), name()).unwrap();
    let saying = async {
        send_all(&mut client, &mut near).await;
        let mut flight = [0; 16 * 1024];
        while client.is_handshaking() {
            let received = near.read(&mut flight).await.unwrap();
            client.read_tls(&mut &flight[..received]).unwrap();
            client.process_new_packets().unwrap();
        }
        Write::write_all(&mut client.writer(), b"all of it").unwrap();
        client.send_close_notify();
        send_all(&mut client, &mut near).await;
    };
    let ((), server) = tokio::join!(saying, sides.accept(far));
    let mut said = String::new();
    server.unwrap().read_to_string(&mut said).await.unwrap();
    assert_eq!(said, "all of it");
}

async fn send_all(client: &mut ClientConnection, near: &mut TcpStream) {
    let mut piece = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut piece).unwrap();
    }
    near.write_all(&piece).await.unwrap();
}

#[tokio::test]
async fn new_keys_are_answered_with_new_keys() {
    let sides = Sides::new();
    let (near, far) = sockets().await;
    let other = TlsConnector::from(Arc::clone(&sides.client)).connect(name(), near);
    let (server, other) = tokio::join!(sides.accept(far), other);
    let (mut server, mut other) = (server.unwrap(), other.unwrap());
    let mut word = [0; 4];
    for _ in 0..3 {
        other.get_mut().1.refresh_traffic_keys().unwrap();
        other.write_all(b"ping").await.unwrap();
        server.read_exact(&mut word).await.unwrap();
        server.write_all(b"pong").await.unwrap();
        other.read_exact(&mut word).await.unwrap();
        assert_eq!(&word, b"pong");
    }
}

#[tokio::test]
async fn an_end_without_goodbye_is_no_end() {
    let (mut client, mut server) = Sides::new().pair().await;
    client.tcp.shutdown().await.unwrap();
    let error = server.read(&mut [0; 9]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn what_comes_with_the_end_of_the_handshake_is_read() {
    let sides = Sides::new();
    let (near, far) = sockets().await;
    let (client, server) = (sides.connect(near), sides.accept(far));
    let (mut client, mut server) = (std::pin::pin!(client), std::pin::pin!(server));
    let mut client = tokio::select! {
        client = &mut client => client.unwrap(),
        _ = &mut server => panic!("the client has the last word of a handshake"),
    };
    // The server looks at the end of the handshake, the bytes and the goodbye only now.
    client.write_all(b"all at once").await.unwrap();
    client.shutdown().await.unwrap();
    let mut received = Vec::new();
    server
        .await
        .unwrap()
        .read_to_end(&mut received)
        .await
        .unwrap();
    assert_eq!(received, b"all at once");
}

#[tokio::test]
async fn a_half_close_leaves_the_other_half_open() {
    let (mut client, mut server) = Sides::new().pair().await;
    client.shutdown().await.unwrap();
    assert_eq!(server.read(&mut [0; 9]).await.unwrap(), 0);
    assert_eq!(server.read(&mut [0; 9]).await.unwrap(), 0);
    server.write_all(b"late").await.unwrap();
    server.shutdown().await.unwrap();
    let mut late = Vec::new();
    client.read_to_end(&mut late).await.unwrap();
    assert_eq!(late, b"late");
}

#[tokio::test]
async fn a_peer_that_is_refused_hears_why() {
    let (client, server) = (Sides::new(), Sides::new());
    let (near, far) = sockets().await;
    let (refusing, refused) = tokio::join!(client.connect(near), async {
        let mut server = server.accept(far).await?;
        server.read(&mut [0; 9]).await
    });
    let tls = |error: io::Error| error.downcast::<rustls::Error>().unwrap();
    assert!(matches!(
        tls(refusing.unwrap_err()),
        rustls::Error::InvalidCertificate(_)
    ));
    assert_eq!(
        tls(refused.unwrap_err()),
        // Both are issued by the same name, with different keys.
        rustls::Error::AlertReceived(AlertDescription::DecryptError)
    );
}

#[tokio::test]
async fn who_does_not_speak_tls_is_refused() {
    let (mut near, far) = sockets().await;
    near.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let error = Sides::new().accept(far).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

#[tokio::test]
async fn a_connection_at_rest_owns_no_buffer() {
    let (mut client, mut server) = Sides::new().pair().await;
    let mut word = [0; 4];
    client.write_all(b"ping").await.unwrap();
    server.read_exact(&mut word).await.unwrap();
    server.write_all(b"pong").await.unwrap();
    client.read_exact(&mut word).await.unwrap();
    assert_eq!(client.partial.capacity() + server.partial.capacity(), 0);
    assert_eq!(client.opened.capacity() + server.opened.capacity(), 0);
    let sealed = format!("{:?} {:?}", client.sealed, server.sealed);
    let nothing = format!("{0:?} {0:?}", Leftover::default());
    assert_eq!(sealed, nothing);
}
