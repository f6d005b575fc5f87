//! The gRPC Health Checking Protocol, as far as a probe needs it: one request of
//! `grpc.health.v1.Health/Check` over HTTP/2 without TLS, as kubelet sends it.
//!
//! In: a connection and the name of a service. Out: whether it is `SERVING`. The two messages are of
//! one field each, so that no code generator is needed.

use bytes::{BufMut, Bytes, BytesMut};
use http::header::{CONTENT_TYPE, TE};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_util::task::TaskTracker;

use super::{Unwell, driven};
use crate::http::sender::Spawn;

/// The most bytes of an answer; a good one has seven.
const LONGEST: usize = 4096;
/// `HealthCheckResponse.ServingStatus.SERVING`: field 1, a number, 1.
const SERVING: &[u8] = &[0x08, 0x01];

/// Asks once.
pub(super) async fn check(tcp: TcpStream, service: Option<&str>) -> Result<(), Unwell> {
    let broken = |error: hyper::Error| Unwell::Broken("gRPC", error.to_string());
    let tasks = TaskTracker::new();
    let builder = http2::Builder::new(Spawn(tasks));
    let (mut sender, connection) = builder.handshake(TokioIo::new(tcp)).await.map_err(broken)?;
    let asking = async {
        let response = sender
            .send_request(request(service))
            .await
            .map_err(broken)?;
        let (head, body) = response.into_parts();
        if head.status != StatusCode::OK {
            return Err(Unwell::Status(head.status));
        }
        let body = Limited::new(body, LONGEST).collect().await;
        let body = body.map_err(|error| Unwell::Broken("gRPC", error.to_string()))?;
        let trailers = body.trailers().cloned();
        judge(trailers.as_ref().unwrap_or(&head.headers), &body.to_bytes())
    };
    driven(connection, asking).await
}

fn request(service: Option<&str>) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(message(service.unwrap_or_default())));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = Uri::from_static("http://localhost/grpc.health.v1.Health/Check");
    let headers = request.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    headers.insert(TE, HeaderValue::from_static("trailers"));
    request
}

/// A frame of gRPC with a `HealthCheckRequest`: field 1, text. No text is no field.
fn message(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        put_varint(&mut message, service.len());
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    frame.put(message);
    frame.freeze()
}

/// Seven bits a byte, the lowest first; the highest bit says that more follow.
fn put_varint(into: &mut BytesMut, mut number: usize) {
    while let (low, rest @ 1..) = (number & 0x7f, number >> 7) {
        into.put_u8(low.to_le_bytes()[0] | 0x80);
        number = rest;
    }
    into.put_u8(number.to_le_bytes()[0]);
}

/// `grpc-status` says whether there is an answer, the message what it is.
fn judge(trailers: &HeaderMap, body: &[u8]) -> Result<(), Unwell> {
    let text = |name| trailers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status") {
        Some("0") => {}
        Some(code) => {
            let message = text("grpc-message").unwrap_or_default();
            return Err(Unwell::NotServing(format!("grpc-status {code} {message}")));
        }
        None => {
            return Err(Unwell::NotServing(
                "nothing: grpc-status is missing".to_owned(),
            ));
        }
    }
    // A flag for compression and four bytes of length precede the message.
    match body.get(5..) {
        Some(SERVING) => Ok(()),
        message => Err(Unwell::NotServing(format!(
            "that it is not SERVING: {message:?}"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_the_name_of_a_service() {
        assert_eq!(&message("")[..], [0, 0, 0, 0, 0]);
        assert_eq!(&message("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        let long = message(&"a".repeat(200));
        assert_eq!(&long[..9], [0, 0, 0, 0, 203, 0x0a, 0xc8, 1, b'a']);
    }

    #[test]
    fn only_serving_is_well() {
        let mut trailers = HeaderMap::new();
        assert!(judge(&trailers, &[0, 0, 0, 0, 2, 8, 1]).is_err());
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        assert!(judge(&trailers, &[0, 0, 0, 0, 2, 8, 1]).is_ok());
        assert!(judge(&trailers, &[0, 0, 0, 0, 2, 8, 2]).is_err());
        assert!(judge(&trailers, &[]).is_err());
        trailers.insert("grpc-status", HeaderValue::from_static("5"));
        assert!(judge(&trailers, &[0, 0, 0, 0, 2, 8, 1]).is_err());
    }
}
