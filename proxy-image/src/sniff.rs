//! Looks at the first bytes of a redirected connection for the name that the application wants.
//!
//! In: a connection, and how long its silence is waited for. Out: what it seems to speak, the name if
//! it says one, and the bytes that were read, which are still to be passed on. Decides nothing.

use std::time::Duration;

use rustls::server::Acceptor;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use crate::http::PREFACE;

/// The most bytes that are looked at.
const MOST: usize = 16 * 1024;
/// The most fields of a head that is looked at.
const FIELDS: usize = 64;

/// What the first bytes seem to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Spoken {
    /// Nothing was said: perhaps the server speaks first.
    Nothing,
    /// The application speaks TLS itself; with the name it sends (RFC 6066 section 3).
    Tls(Option<String>),
    /// HTTP/1; with `Host` or the name in the target, without a port.
    Http(Option<String>),
    /// HTTP whose head could not be read, or not yet.
    HeadUnread,
    /// HTTP/2 by prior knowledge. Its names are compressed.
    Http2,
    /// Something else.
    Other,
}

/// Reads until it is clear what is spoken, or the time is over.
pub(crate) async fn sniff(tcp: &mut TcpStream, patience: Duration) -> (Spoken, Vec<u8>) {
    let deadline = Instant::now() + patience;
    let mut read = Vec::new();
    loop {
        let spoken = match recognise(&read) {
            Some(spoken) => Some(spoken),
            None if read.len() >= MOST => Some(Spoken::HeadUnread),
            None => None,
        };
        if let Some(spoken) = spoken {
            return (spoken, read);
        }
        read.reserve(1024);
        match timeout_at(deadline, tcp.read_buf(&mut read)).await {
            Ok(Ok(more)) if more > 0 => {}
            // The end, an error, or too long a silence: what there is must do.
            _ => return (unfinished(&read), read),
        }
    }
}

/// What came is the beginning of something, and no more of it came.
fn unfinished(read: &[u8]) -> Spoken {
    match read.first() {
        None => Spoken::Nothing,
        Some(22) => Spoken::Tls(None),
        Some(_) => Spoken::HeadUnread,
    }
}

/// Returns what is spoken as soon as the bytes can tell.
pub(crate) fn recognise(read: &[u8]) -> Option<Spoken> {
    // Empty lines before a request are none of it (RFC 9112 section 2.2).
    let empty = read.iter().position(|byte| !matches!(byte, b'\r' | b'\n'));
    let read = read.get(empty?..).unwrap_or_default();
    let first = *read.first()?;
    if first == 22 {
        return client_hello(read);
    }
    let preface = PREFACE.get(..read.len().min(PREFACE.len()));
    if read.starts_with(preface.unwrap_or_default()) {
        return (read.len() >= PREFACE.len()).then_some(Spoken::Http2);
    }
    match is_request_line(read) {
        Some(false) => Some(Spoken::Other),
        None => None,
        Some(true) => head(read),
    }
}

fn client_hello(read: &[u8]) -> Option<Spoken> {
    let mut acceptor = Acceptor::default();
    let mut rest = read;
    while !rest.is_empty() {
        if acceptor.read_tls(&mut rest).is_err() {
            return Some(Spoken::Other);
        }
        match acceptor.accept() {
            Ok(Some(accepted)) => {
                let hello = accepted.client_hello();
                return Some(Spoken::Tls(hello.server_name().map(str::to_owned)));
            }
            Ok(None) => {}
            Err(_) => return Some(Spoken::Other),
        }
    }
    None
}

/// Whether this begins `METHOD TARGET HTTP/`; `None` while it may still become that.
fn is_request_line(read: &[u8]) -> Option<bool> {
    let end = read.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
    let line = read.get(..end.unwrap_or(read.len())).unwrap_or_default();
    let mut words = line.split(|byte| *byte == b' ');
    let method = words.next().unwrap_or_default();
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if method.is_empty() || !method.iter().all(token) {
        return Some(false);
    }
    // Also one that is not percent-encoded: it is HTTP, and is refused as such.
    let of_target = |byte: &u8| byte.is_ascii_graphic() || !byte.is_ascii();
    if words
        .next()
        .is_some_and(|target| !target.iter().all(of_target))
    {
        return Some(false);
    }
    let version = words.next();
    match (version, end) {
        (Some(version), _) if version.starts_with(b"HTTP/") => Some(true),
        (Some(version), None) => b"HTTP/"
            .starts_with(version)
            .then_some(())
            .map_or(Some(false), |()| None),
        (_, Some(_)) => Some(false),
        (None, None) => None,
    }
}

fn head(read: &[u8]) -> Option<Spoken> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS];
    let mut request = httparse::Request::new(&mut fields);
    match request.parse(read) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) => return None,
        // Whoever serves HTTP says what is wrong with it.
        Err(_) => return Some(Spoken::HeadUnread),
    }
    let target = request.path.unwrap_or_default();
    let absolute = target.split_once("://").map(|(_, rest)| {
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        rest.get(..end).unwrap_or_default()
    });
    let host = request
        .headers
        .iter()
        .find(|field| field.name.eq_ignore_ascii_case("host"));
    let host = host.and_then(|field| std::str::from_utf8(field.value).ok());
    let authority = absolute.filter(|_| !target.starts_with('/')).or(host);
    let name = authority.map(|authority| crate::config::without_port(authority.trim()));
    Some(Spoken::Http(
        name.filter(|name| !name.is_empty()).map(str::to_owned),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(name: &str) -> Option<Spoken> {
        Some(Spoken::Http(Some(name.to_owned())))
    }

    #[test]
    fn reads_the_name_of_a_request() {
        let check =
            |text: &str, expected| assert_eq!(recognise(text.as_bytes()), expected, "{text}");
        check(
            "GET / HTTP/1.1\r\nHost: A.example:80\r\n\r\n",
            http("A.example"),
        );
        check("GET / HTTP/1.1\nhost: a.example\n\n", http("a.example"));
        check(
            "GET http://b.example:81/x HTTP/1.1\r\nHost: a.example\r\n\r\n",
            http("b.example"),
        );
        check(
            "POST /?u=http://b HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
            http("[::1]"),
        );
        check("GET / HTTP/1.0\r\n\r\n", Some(Spoken::Http(None)));
        check(
            "GET / HTTP/1.1\r\nHo st: a\r\n\r\n",
            Some(Spoken::HeadUnread),
        );
        check("GET / HTTP/1.1\r\nHost: a.exa", None);
    }

    #[test]
    fn tells_other_protocols_from_http() {
        let check = |bytes: &[u8], expected| assert_eq!(recognise(bytes), expected, "{bytes:?}");
        check(b"", None);
        check(b"GE", None);
        check(b"\r\n", None);
        check(b"GET /x HT", None);
        check(b"GET /x\r\n", Some(Spoken::Other));
        check(b"EHLO mail.example\r\n", Some(Spoken::Other));
        check(b"SSH-2.0-x y z\r\n", Some(Spoken::Other));
        check(b"\0\0\0\x08\x04\xd2\x16\x2f", Some(Spoken::Other));
        check(b"PRI * HT", None);
        check("GET /ü HTTP/1.1\r\n".as_bytes(), None);
        check(&[b'A'; 200], None);
        check(PREFACE, Some(Spoken::Http2));
        check(&[22, 3, 1, 0], None);
        check(&[22, 9, 9, 9, 9, 9, 9], Some(Spoken::Other));
    }

    #[test]
    fn what_breaks_off_is_never_taken_for_nothing() {
        assert_eq!(unfinished(b""), Spoken::Nothing);
        assert_eq!(unfinished(b"GET"), Spoken::HeadUnread);
        assert_eq!(unfinished(&[22, 3]), Spoken::Tls(None));
    }
}
