//! Answers that the proxy gives itself: a status, the reason in `x-mtls-proxy-error`, and the same
//! in a short body for people.

use std::error::Error as _;
use std::fmt;
use std::io;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::body::ReplyBody;
use crate::record::RequestRecord;
use crate::tls::failure::{HandshakeFailure, Peer};
use crate::upstream::failure::ConnectFailure;

/// The header that names route and reason.
const ERROR: HeaderName = HeaderName::from_static("x-mtls-proxy-error");

const PLAIN: &str = "text/plain; charset=utf-8";

/// Why a request was not forwarded, or not answered by the upstream.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The request breaks HTTP, or is ambiguous.
    Malformed(&'static str),
    /// `CONNECT`: the proxy is no tunnel.
    Tunnel,
    /// The client has a good certificate, and no rule lets it in.
    NotAllowed(HandshakeFailure),
    /// No route takes this host and path.
    NoRoute(String),
    /// No connection to the upstream.
    Connect(ConnectFailure),
    /// The upstream closed, or answered with something that is not HTTP.
    Broken(hyper::Error),
    /// The upstream's connection ended before there was an answer.
    Lost(io::Error),
    /// The upstream's answer cannot be read in one way only.
    MalformedAnswer,
    /// The upstream switched protocols without having been asked to.
    UnaskedSwitch,
    /// The upstream was silent for the route's idle timeout.
    Idle(Duration),
    /// No answer within the route's request timeout.
    Timeout(Duration),
}

impl Refusal {
    /// Understands what an exchange failed with. A TLS 1.3 server tells only after the handshake
    /// that it refuses the client's certificate.
    pub(crate) fn broken(error: hyper::Error) -> Self {
        let io = error
            .source()
            .and_then(|source| source.downcast_ref::<io::Error>());
        match io.filter(|io| is_of_tls(io)) {
            Some(io) => Self::Connect(HandshakeFailure::of(Peer::Upstream, io).into()),
            None => Self::Broken(error),
        }
    }

    /// Understands what reading from an upstream failed with; see [`Refusal::broken`].
    pub(crate) fn lost(error: io::Error) -> Self {
        if is_of_tls(&error) {
            return Self::Connect(HandshakeFailure::of(Peer::Upstream, &error).into());
        }
        Self::Lost(error)
    }

    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed_request",
            Self::Tunnel => "connect_refused",
            Self::NotAllowed(failure) => failure.label(),
            Self::NoRoute(_) => "no_route",
            Self::Connect(failure) => failure.label(),
            Self::Broken(_) | Self::Lost(_) | Self::MalformedAnswer => "upstream_broken",
            Self::UnaskedSwitch => "unasked_switch",
            Self::Idle(_) => "idle_timeout",
            Self::Timeout(_) => "request_timeout",
        }
    }

    const fn status(&self) -> StatusCode {
        match self {
            Self::Malformed(_) => StatusCode::BAD_REQUEST,
            Self::Tunnel => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAllowed(_) => StatusCode::FORBIDDEN,
            Self::NoRoute(_) => StatusCode::NOT_FOUND,
            Self::Connect(failure) => failure.status(),
            Self::Broken(_) | Self::Lost(_) | Self::MalformedAnswer | Self::UnaskedSwitch => {
                StatusCode::BAD_GATEWAY
            }
            Self::Idle(_) | Self::Timeout(_) => StatusCode::GATEWAY_TIMEOUT,
        }
    }

    /// Completes the record, and returns the text of the answer, which names route and reason.
    fn note(&self, record: &mut RequestRecord) -> String {
        let reason = format!("{}: {self}", self.label());
        let route = record.route.as_ref();
        let text = format!(
            "{}: {reason}",
            route.map_or("no route", |route| &route.name)
        );
        record.status = Some(self.status());
        record.error = Some(reason);
        text
    }

    /// Writes the answer as HTTP/1.1, without its body to a HEAD.
    pub(crate) fn write(&self, record: &mut RequestRecord, is_head: bool, close: bool) -> Vec<u8> {
        let text = self.note(record);
        let status = self.status();
        let body = format!("mtls-proxy: {text}\n");
        let mut out = format!("HTTP/1.1 {status}\r\n{ERROR}: ").into_bytes();
        out.extend_from_slice(header_safe(&text).as_bytes());
        let length = body.len();
        let fields = format!("\r\ncontent-type: {PLAIN}\r\ncontent-length: {length}\r\n");
        out.extend_from_slice(fields.as_bytes());
        if close {
            out.extend_from_slice(b"connection: close\r\n");
        }
        out.extend_from_slice(b"\r\n");
        if !is_head {
            record.sent = length as u64;
            out.extend_from_slice(body.as_bytes());
        }
        record.complete = true;
        out
    }

    /// Makes the answer, and completes the record with it.
    pub(crate) fn reply(&self, mut record: Box<RequestRecord>) -> Response<ReplyBody> {
        let text = self.note(&mut record);
        let status = self.status();
        let header = header_safe(&text);
        let mut response = Response::new(ReplyBody::text(format!("mtls-proxy: {text}\n"), record));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(ERROR, header);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PLAIN));
        if matches!(
            self,
            Self::Malformed(_) | Self::Tunnel | Self::NotAllowed(_)
        ) {
            // What follows on this connection can no longer be told apart with certainty.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(what) => f.write_str(what),
            Self::Tunnel => f.write_str("CONNECT is not served; dial the host itself"),
            Self::NotAllowed(failure) => failure.fmt(f),
            Self::NoRoute(host) => {
                write!(f, "no route takes host {host:?} and this path")
            }
            Self::Connect(failure) => failure.fmt(f),
            Self::Broken(error) => write!(f, "the upstream broke off: {error}"),
            Self::Lost(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                f.write_str("the upstream closed without an answer")
            }
            Self::Lost(error) => write!(f, "the upstream broke off: {error}"),
            Self::MalformedAnswer => f.write_str("the upstream's answer is not proper HTTP/1.1"),
            Self::UnaskedSwitch => f.write_str("the upstream answered 101 to no Upgrade"),
            Self::Idle(limit) => {
                write!(f, "the upstream was silent for {} ms", limit.as_millis())
            }
            Self::Timeout(limit) => {
                write!(
                    f,
                    "no answer from the upstream within {} ms",
                    limit.as_millis()
                )
            }
        }
    }
}

fn is_of_tls(error: &io::Error) -> bool {
    error
        .get_ref()
        .is_some_and(|inner| inner.is::<rustls::Error>())
}

/// Keeps what RFC 9110 section 5.5 lets a field value have, and not too much of it.
fn header_safe(text: &str) -> HeaderValue {
    const LONGEST: usize = 512;
    let visible: String = text
        .chars()
        .take(LONGEST)
        .map(|c| {
            if c == ' ' || c.is_ascii_graphic() {
                c
            } else {
                '?'
            }
        })
        .collect();
    HeaderValue::try_from(visible).expect("visible ASCII and spaces make a header value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_reason_can_break_out_of_its_header() {
        let value = header_safe("a\r\nset-cookie: x=\u{e9}\u{0}");
        assert_eq!(value.as_bytes(), b"a??set-cookie: x=??");
        assert_eq!(header_safe(&"x".repeat(2000)).len(), 512);
    }
}
