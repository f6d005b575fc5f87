//! The first bytes of a connection are TLS or plaintext, and that is decided as TLS itself would.
//!
//! In: any bytes. Out: nothing, or a failed assertion.

use std::io::Cursor;

use rustls::server::Acceptor;

use crate::terminate::is_client_hello;

/// Looks at bytes as they may come to a port that takes both.
///
/// # Panics
/// When more bytes change what was decided, or when a ClientHello that the library accepts was taken
/// for plaintext, which would hand it to the application.
pub fn check(bytes: &[u8]) {
    let mut decided = None;
    for end in 0..=bytes.len().min(8) {
        let now = is_client_hello(bytes.get(..end).unwrap_or_default());
        assert!(
            decided.is_none() || now == decided,
            "{end} bytes of {bytes:?}"
        );
        decided = now;
    }
    assert_eq!(is_client_hello(bytes), decided, "{bytes:?}");
    if bytes.len() >= 6 {
        assert!(decided.is_some(), "{bytes:?}");
    }
    if begins_a_handshake(bytes) {
        assert_eq!(decided, Some(true), "{bytes:?}");
    }
}

fn begins_a_handshake(bytes: &[u8]) -> bool {
    let (mut acceptor, mut bytes) = (Acceptor::default(), Cursor::new(bytes));
    while acceptor.read_tls(&mut bytes).is_ok_and(|read| read > 0) {
        match acceptor.accept() {
            Ok(Some(_)) => return true,
            Ok(None) => {}
            Err(_) => return false,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    /// Returns the first flight of the library's own client.
    fn client_hello() -> Vec<u8> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let name = ServerName::try_from("a.example").unwrap();
        let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut hello = Vec::new();
        client.write_tls(&mut hello).unwrap();
        hello
    }

    #[test]
    fn a_real_hello_is_one() {
        let hello = client_hello();
        assert!(begins_a_handshake(&hello));
        check(&hello);
    }

    proptest! {
        #[test]
        fn any_bytes_are_decided_once(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            check(&bytes);
        }

        #[test]
        fn a_changed_hello_is_decided_as_tls_itself_would(at in 0_usize..60, byte: u8, end in 0_usize..2000) {
            let mut hello = client_hello();
            hello[at] = byte;
            hello.truncate(end);
            check(&hello);
        }
    }
}
