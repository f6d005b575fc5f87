//! HTTP: serves an application's or a client's connection, request by request.
//!
//! In: a connection of plain bytes. Out: each request sent to its route's upstream, its answer sent
//! back, or a refusal that names route and reason. Only the files of this module know hyper.

mod body;
mod client;
mod client_headers;
mod elsewhere;
pub(crate) mod fast;
mod forward;
mod guard;
mod headers;
pub(crate) mod pool;
mod refusal;
pub(crate) mod sender;
mod upgrade;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::time::{Instant, sleep_until};

use client_headers::ClientHeaders;
use guard::Guarded;
use sender::Spawn;

use crate::config::Scheme;
use crate::connection::{Downstream, Held, Parts, Peer};
use crate::front::Entry;
use crate::record;
use crate::stream::Stream;
use crate::tls::failure::HandshakeFailure;
use crate::worker::Worker;

/// How long a client may take for a request's head, and stay idle between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// The most bytes of a request's head.
const LARGEST_HEAD: usize = 64 * 1024;

/// What a client of HTTP/2 begins with (RFC 9113 section 3.4), as far as it looks like HTTP/1.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\n";
/// The most requests that are open at once on one connection of HTTP/2.
const MOST_STREAMS: u32 = 128;
/// The most bytes of a request's fields in HTTP/2.
const LARGEST_FIELDS: u32 = 64 * 1024;
/// After so long without a byte a client is asked to leave; requests in flight end first.
const HTTP2_IDLE: Duration = Duration::from_secs(300);

/// What the requests of one connection have in common.
pub(crate) struct Session {
    entry: Entry,
    worker: Arc<Worker>,
    peer: Peer,
    headed_to: SocketAddr,
    /// Whether the client came without TLS to a port that also speaks it.
    plaintext: bool,
    /// When the connection is asked to end because of its age.
    oldest: Option<Instant>,
    /// What the application is told of the client; egress: nothing.
    client: Option<ClientHeaders>,
    /// The same as lines, for the fast path; none where that path cannot tell it.
    told: Option<Vec<u8>>,
    /// Why the client may not come in although its certificate is good.
    refused: Option<HandshakeFailure>,
    /// Kept until an upgraded connection, too, has ended.
    _held: Held,
}

impl Session {
    fn new(stream: &Stream, parts: Parts, entry: Entry, worker: &Arc<Worker>) -> Self {
        let Parts {
            peer,
            client,
            headed_to,
            held,
        } = parts;
        let service = entry.service();
        let plaintext = stream.is_plain() && service.scheme() == Scheme::Https;
        let told = service.inbound.as_ref().map(|inbound| {
            let forward = inbound.port.forward_client_cert;
            ClientHeaders::new(forward, client.identity.as_deref())
        });
        let inbound = service.inbound.as_ref();
        let age = inbound.and_then(|inbound| inbound.port.max_connection_age.limit());
        Self {
            oldest: age.map(|age| Instant::now() + age),
            entry,
            worker: Arc::clone(worker),
            peer,
            told: told.as_ref().map_or(Some(Vec::new()), ClientHeaders::lines),
            headed_to,
            plaintext,
            client: told,
            refused: client.refused,
            _held: held,
        }
    }

    /// Returns whether the connection ends at its next good moment.
    fn ends(&self) -> bool {
        let too_old = self.oldest.is_some_and(|oldest| Instant::now() >= oldest);
        too_old || self.worker.shared.drain.has_started()
    }

    /// Returns whether the client is to be told that this answer is the last: the connection ends, or
    /// its port has become STRICT, where nobody stays who would not get in any more.
    fn says_farewell(&self) -> bool {
        self.ends() || self.is_unwelcome()
    }

    fn is_unwelcome(&self) -> bool {
        self.plaintext && !self.entry.service().takes_plaintext()
    }

    /// Resolves when the drain begins, or the connection has reached the age that the port allows.
    async fn asked_to_end(&self) {
        let drain = self.worker.shared.drain.started();
        match self.oldest {
            Some(oldest) => tokio::select! {
                () = drain => {}
                () = sleep_until(oldest) => {}
            },
            None => drain.await,
        }
    }
}

/// Serves one connection with protocol http. What is given is taken apart at once: a future keeps
/// its arguments for life.
pub(crate) fn serve(
    downstream: Downstream,
    entry: Entry,
    worker: &Arc<Worker>,
) -> impl Future<Output = ()> + use<> {
    let Downstream { stream, parts, .. } = downstream;
    let session = Arc::new(Session::new(&stream, parts, entry, worker));
    serve_session(stream, session)
}

async fn serve_session(stream: Stream, session: Arc<Session>) {
    let Some(stream) = fast::serve(stream, &session).await else {
        return;
    };
    if stream.begins_with(PREFACE) {
        Box::pin(serve_http2(stream, session)).await;
    } else {
        Box::pin(serve_in_general(stream, session)).await;
    }
}

/// Serves HTTP/2, by ALPN or prior knowledge: either way the client begins with its preface.
async fn serve_http2(stream: Stream, session: Arc<Session>) {
    let peer = session.peer.address;
    let meter = stream.meter();
    let handler = service_fn(|request| {
        let session = Arc::clone(&session);
        async move { Ok::<_, Infallible>(forward::answer(session, request).await) }
    });
    let connection = http2::Builder::new(Spawn(session.worker.tasks.clone()))
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(LARGEST_FIELDS)
        .serve_connection(TokioIo::new(stream), handler);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = session.asked_to_end() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
        () = meter.end_when_idle(Some(HTTP2_IDLE)) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(peer.address = %peer, %error, "connection failed");
    }
}

/// Serves whatever HTTP a connection speaks.
async fn serve_in_general(stream: Stream, session: Arc<Session>) {
    let peer = session.peer.clone();
    let guarded = Guarded::new(stream);
    let verdict = guarded.verdict();
    let handler = service_fn(|request| {
        let session = Arc::clone(&session);
        async move { Ok::<_, Infallible>(forward::answer(session, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(LARGEST_HEAD)
        // The end that the guard makes of a bad request leaves the answer before it alone.
        .half_close(true)
        .serve_connection(TokioIo::new(guarded), handler)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = session.asked_to_end() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    match (verdict.get(), ended) {
        (Some(why), _) => record::malformed(&peer, why),
        (None, Err(error)) => {
            tracing::debug!(peer.address = %peer.address, %error, "connection failed");
        }
        (None, Ok(())) => {}
    }
}
