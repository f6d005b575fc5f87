//! A wire between the proxy and an upstream that keeps a copy of what the proxy sends.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// Bytes of the connections that were made, one after the other.
type Connections = Arc<Mutex<Vec<Vec<u8>>>>;

/// What is behind the wire.
#[derive(Clone, Copy)]
pub(crate) enum Behind {
    /// A server on this port.
    Server(u16),
    /// Someone who answers whatever comes in plaintext.
    Plaintext,
}

/// The wire; its threads end with the process.
pub(crate) struct Tap {
    pub(crate) port: u16,
    connections: Connections,
}

impl Tap {
    pub(crate) fn start(behind: Behind) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let connections: Connections = Arc::default();
        let kept = Arc::clone(&connections);
        thread::spawn(move || {
            for (index, connection) in listener.incoming().map_while(Result::ok).enumerate() {
                kept.lock().unwrap().push(Vec::new());
                let kept = Arc::clone(&kept);
                thread::spawn(move || carry(connection, behind, index, &kept));
            }
        });
        Self { port, connections }
    }

    /// Returns what was sent so far, connection by connection.
    pub(crate) fn sent(&self) -> Vec<Vec<u8>> {
        self.connections.lock().unwrap().clone()
    }
}

fn carry(mut proxy: TcpStream, behind: Behind, index: usize, kept: &Connections) {
    let mut server = match behind {
        Behind::Server(port) => {
            let server = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
            let (mut from, mut to) = (server.try_clone().unwrap(), proxy.try_clone().unwrap());
            thread::spawn(move || {
                let _ = std::io::copy(&mut from, &mut to);
                let _ = to.shutdown(Shutdown::Write);
            });
            Some(server)
        }
        Behind::Plaintext => None,
    };
    let mut buffer = [0; 16384];
    while let Ok(length @ 1..) = proxy.read(&mut buffer) {
        kept.lock().unwrap()[index].extend(&buffer[..length]);
        match &mut server {
            Some(server) => drop(server.write_all(&buffer[..length])),
            None => drop(proxy.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")),
        }
    }
    if let Some(server) = server {
        let _ = server.shutdown(Shutdown::Write);
    }
}

/// Asserts that bytes are TLS records from the first to the last (RFC 8446 section 5.1), the last of
/// which may be cut off.
pub(crate) fn assert_only_tls(mut bytes: &[u8], case: &str) {
    assert!(!bytes.is_empty(), "{case}: nothing was sent");
    while let [kind, major, minor, high, low, rest @ ..] = bytes {
        assert!(
            (20..=23).contains(kind) && *major == 3 && *minor <= 4,
            "{case}: {bytes:?}"
        );
        let length = usize::from(*high) << 8 | usize::from(*low);
        bytes = rest.get(length..).unwrap_or_default();
    }
}
