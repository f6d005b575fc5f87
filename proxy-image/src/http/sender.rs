//! One upstream connection's sending end, in whichever version of HTTP it speaks, and the shape that
//! a request has to have there.

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderValue, Request, Response, Uri, Version};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::{TrySendError, http1, http2};
use tokio_util::task::TaskTracker;

use super::body::RequestBody;
use crate::upstream::Offer;

/// The sending end of a connection.
#[derive(Debug)]
pub(super) enum Sender {
    /// One request at a time.
    Http1(http1::SendRequest<RequestBody>),
    /// Many at a time.
    Http2(http2::SendRequest<RequestBody>),
}

impl Sender {
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }

    /// Returns another sending end of the same connection, where it takes more than one request.
    pub(super) fn share(&self) -> Option<Self> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(sender) => Some(Self::Http2(sender.clone())),
        }
    }

    /// Returns whether a request that was offered so can be sent here.
    pub(super) const fn suits(&self, offer: Offer) -> bool {
        match self {
            Self::Http1(_) => !matches!(offer, Offer::Http2),
            Self::Http2(_) => !matches!(offer, Offer::Http1),
        }
    }

    /// Sends a request. With the error comes the request, when none of it was sent.
    pub(super) async fn send(
        &mut self,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, TrySendError<Request<RequestBody>>> {
        match self {
            Self::Http1(sender) => sender.try_send_request(as_http1(request)).await,
            Self::Http2(sender) => sender.try_send_request(as_http2(request)).await,
        }
    }
}

/// Runs the tasks of HTTP/2 connections among those of a worker.
#[derive(Clone, Debug)]
pub(crate) struct Spawn(pub(crate) TaskTracker);

impl<F> hyper::rt::Executor<F> for Spawn
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

/// Gives the target origin-form, and the authority back to `Host`: an earlier attempt may have been
/// made on another connection.
fn as_http1(mut request: Request<RequestBody>) -> Request<RequestBody> {
    if let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        let path = request.uri().path_and_query().cloned();
        let path = path.unwrap_or_else(|| PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from(path);
        request.headers_mut().insert(HOST, host);
    }
    // Unasked, the library would send a GET or HEAD without its body.
    let chunked = request.body().size_hint().exact().is_none();
    if chunked && !request.headers().contains_key(CONTENT_LENGTH) {
        let coding = HeaderValue::from_static("chunked");
        request.headers_mut().insert(TRANSFER_ENCODING, coding);
    }
    *request.version_mut() = Version::HTTP_11;
    request
}

/// Moves `Host` to `:authority` (RFC 9113 section 8.3.1), and drops what HTTP/2 has no room for.
fn as_http2(mut request: Request<RequestBody>) -> Request<RequestBody> {
    let authority = request
        .headers()
        .get(HOST)
        .and_then(|host| Authority::try_from(host.as_bytes()).ok());
    if let Some(authority) = authority {
        let mut parts = request.uri().clone().into_parts();
        parts.scheme = Some(Scheme::HTTPS);
        parts.authority = Some(authority);
        if let Ok(uri) = Uri::from_parts(parts) {
            *request.uri_mut() = uri;
            request.headers_mut().remove(HOST);
        }
    }
    request.headers_mut().remove(CONNECTION);
    request.headers_mut().remove(TRANSFER_ENCODING);
    *request.version_mut() = Version::HTTP_2;
    request
}
