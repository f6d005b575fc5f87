//! One connection to the webhook. In: an accepted socket. Out: requests for the routes. Owns the
//! handshake, the choice of HTTP version by ALPN, and the time a silent client is given.

mod activity;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{HeaderValue, Request, Response, Version, header};
use hyper::body::Incoming;
use hyper::rt::{Read, Write};
use hyper::service::Service;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;
use tracing::{debug, warn};

use self::activity::Activity;
use super::{Limits, Phase, Shutdown};
use crate::metrics::Metrics;

/// Who sent a request; for logs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer(pub(super) SocketAddr);

/// What stands between a socket and the routes; cheap to clone.
#[derive(Clone)]
pub(super) struct Front {
    acceptor: TlsAcceptor,
    routes: Router,
    metrics: Arc<Metrics>,
}

impl Front {
    pub(super) fn new(tls: Arc<ServerConfig>, routes: Router, metrics: Arc<Metrics>) -> Self {
        Self {
            acceptor: TlsAcceptor::from(tls),
            routes,
            metrics,
        }
    }

    /// Serves one connection to its end.
    pub(super) async fn serve(
        self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: Peer,
        shutdown: Shutdown,
    ) {
        let _open = self.metrics.open_connection();
        let handshake = tokio::select! {
            shaken = timeout(Limits::HANDSHAKE, self.acceptor.accept(stream)) => shaken,
            () = shutdown.reached(Phase::Closed) => return,
        };
        let tls = match handshake {
            Ok(Ok(tls)) => tls,
            Ok(Err(error)) => return self.refused(peer, &error),
            Err(_elapsed) => {
                self.metrics.record_handshake_failure("timeout");
                return debug!(peer.address = %peer.0, "TLS handshake timed out");
            }
        };
        let is_h2 = tls.get_ref().1.alpn_protocol() == Some(b"h2");
        let activity = Arc::new(Activity::default());
        let requests = Requests {
            routes: self.routes,
            peer,
            activity: Arc::clone(&activity),
            shutdown: shutdown.clone(),
        };
        let ended = if is_h2 {
            // GOAWAY loses nothing, so an old connection is sent elsewhere at once (RFC 9113 6.8).
            let until = match shutdown.phase() {
                Phase::Running => Phase::Draining,
                _ => Phase::Closed,
            };
            let connection = http2(TokioIo::new(tls), requests);
            run(connection, &activity, &shutdown, until).await
        } else {
            // An idle connection that is closed may have a request on its way to it, so it is told
            // with its next answer, and closed only at the end.
            let connection = http1(TokioIo::new(tls), requests);
            run(connection, &activity, &shutdown, Phase::Closed).await
        };
        if let Err(error) = ended {
            debug!(peer.address = %peer.0, %error, "connection failed");
        }
    }

    /// A client that refuses our certificate says so in an alert: the usual sign of a wrong
    /// caBundle, and worth a line that names it.
    fn refused(&self, peer: Peer, error: &io::Error) {
        let alert = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::AlertReceived(alert)) = alert {
            self.metrics.record_handshake_failure("alert");
            warn!(
                peer.address = %peer.0, ?alert,
                "client refused the TLS handshake; is the caBundle of the webhook configuration right?"
            );
        } else {
            // Port scans and load balancers end here, too.
            let reason = if alert.is_some() { "protocol" } else { "io" };
            self.metrics.record_handshake_failure(reason);
            debug!(peer.address = %peer.0, %error, "TLS handshake failed");
        }
    }
}

/// A connection of either HTTP version.
trait Graceful: Future<Output = hyper::Result<()>> {
    /// Ends it after the requests that are in flight.
    fn finish(self: Pin<&mut Self>);
}

impl<I: Read + Write + Unpin + Send + 'static> Graceful
    for hyper::server::conn::http1::Connection<I, Requests>
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I: Read + Write + Unpin + Send + 'static> Graceful
    for hyper::server::conn::http2::Connection<I, Requests, TokioExecutor>
{
    fn finish(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

fn http1<I: Read + Write + Unpin + Send + 'static>(io: I, requests: Requests) -> impl Graceful {
    hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        // `Activity` bounds silence, with more patience between requests than before the first.
        .header_read_timeout(Limits::IDLE)
        .serve_connection(io, requests)
}

fn http2<I: Read + Write + Unpin + Send + 'static>(io: I, requests: Requests) -> impl Graceful {
    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(256)
        .keep_alive_interval(Limits::IDLE / 4)
        .keep_alive_timeout(Limits::IDLE / 4)
        .serve_connection(io, requests)
}

/// Runs a connection until it ends, is silent for too long, or the server reaches a phase; requests
/// in flight are finished.
async fn run(
    connection: impl Graceful,
    activity: &Activity,
    shutdown: &Shutdown,
    until: Phase,
) -> hyper::Result<()> {
    let mut connection = pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return ended,
        () = activity.silence() => {}
        () = shutdown.reached(until) => {}
    }
    connection.as_mut().finish();
    // Who is still here when the server aborts is counted as cut off, and ends with the runtime.
    tokio::select! {
        ended = connection => ended,
        () = activity.silence() => Ok(()),
    }
}

/// The routes, as one connection calls them.
struct Requests {
    routes: Router,
    peer: Peer,
    activity: Arc<Activity>,
    shutdown: Shutdown,
}

impl Service<Request<Incoming>> for Requests {
    type Response = Response<Body>;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        let in_flight = self.activity.begin();
        request.extensions_mut().insert(self.peer);
        let is_http1 = request.version() < Version::HTTP_2;
        let answer = self.routes.clone().oneshot(request);
        let shutdown = self.shutdown.clone();
        Box::pin(async move {
            let Ok(mut answer) = answer.await;
            if is_http1 && shutdown.phase() > Phase::Running {
                let close = HeaderValue::from_static("close");
                answer.headers_mut().insert(header::CONNECTION, close);
            }
            drop(in_flight);
            Ok(answer)
        })
    }
}
