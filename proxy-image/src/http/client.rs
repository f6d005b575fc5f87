//! The upstream side: takes a pooled connection or opens one, sends a request, and tries again
//! where nothing of it can have reached the upstream.
//!
//! In: a request that is ready to go. Out: the answer's head, and the lease of its connection.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::TokioIo;
use tokio::time::sleep_until;

use super::body::{Progress, RequestBody};
use super::refusal::Refusal;
use super::sender::{Sender, Spawn};
use crate::config::RetryOn;
use crate::route::Route;
use crate::stream::Meter;
use crate::tls::generation::Generation;
use crate::upstream::{self, Connected, Offer, Wanted};
use crate::worker::Worker;

/// An open connection to an upstream.
#[derive(Debug)]
pub(super) struct Connection {
    sender: Sender,
    meter: Arc<Meter>,
    /// Of the credentials that it was opened with.
    pub(super) generation: Generation,
    /// The name that was dialled, on a wildcard route.
    pub(super) name: Option<Box<str>>,
}

impl Connection {
    pub(super) fn is_open(&self) -> bool {
        !self.sender.is_closed()
    }

    /// Returns whether a request that was offered so can be sent on it.
    pub(super) const fn suits(&self, offer: Offer) -> bool {
        self.sender.suits(offer)
    }

    /// Returns the same connection once more, where it takes several requests at once.
    pub(super) fn share(&self) -> Option<Self> {
        Some(Self {
            sender: self.sender.share()?,
            meter: Arc::clone(&self.meter),
            generation: self.generation,
            name: self.name.clone(),
        })
    }
}

/// A connection in use, which goes back to its pool when it is released.
#[derive(Debug)]
pub(super) struct Lease {
    connection: Connection,
    route: Arc<Route>,
    worker: Arc<Worker>,
}

impl Lease {
    /// Puts the connection into its pool as soon as it can take another request.
    pub(super) fn release(self) {
        let Self {
            mut connection,
            route,
            worker,
        } = self;
        if !connection.is_open() || worker.shared.drain.has_started() {
            return;
        }
        // A connection of HTTP/2 has been in its pool all the time.
        let Sender::Http1(sender) = &mut connection.sender else {
            return;
        };
        let index = worker.index;
        if sender.is_ready() {
            if let Some(pool) = route.pool(index) {
                pool.put(connection);
            }
            return;
        }
        // An upstream may answer before it has read all of the request. The connection is worth
        // waiting for, but not for long.
        worker.upstreams.spawn(async move {
            const PATIENCE: Duration = Duration::from_secs(5);
            let Sender::Http1(sender) = &mut connection.sender else {
                return;
            };
            let ready = tokio::time::timeout(PATIENCE, sender.ready()).await;
            if let (Ok(Ok(())), Some(pool)) = (ready, route.pool(index)) {
                pool.put(connection);
            }
        });
    }
}

/// What a request is sent with.
pub(super) struct Errand<'a> {
    pub(super) route: &'a Arc<Route>,
    pub(super) worker: &'a Arc<Worker>,
    /// The host of the request, without a port.
    pub(super) host: &'a str,
    /// The address that the client dialled.
    pub(super) headed_to: SocketAddr,
    pub(super) progress: Option<&'a Progress>,
    /// The versions of HTTP that the upstream is offered.
    pub(super) offer: Offer,
}

impl Errand<'_> {
    /// Sends the request and waits for the answer's head.
    pub(super) async fn send(
        &self,
        mut request: Request<RequestBody>,
    ) -> Result<(Response<Incoming>, Lease), Refusal> {
        let mut left = self.route.retries.attempts;
        loop {
            let (mut connection, reused) = self.connection(&mut left).await?;
            let sent = self.exchange(&mut connection, request).await;
            match sent {
                Ok(response) => {
                    let lease = Lease {
                        connection,
                        route: Arc::clone(self.route),
                        worker: Arc::clone(self.worker),
                    };
                    return Ok((response, lease));
                }
                // The connection was closed before any of the request was written to it.
                Err((_, Some(unsent))) if reused => request = unsent,
                Err((_, Some(unsent))) if left > 0 && self.retries(RetryOn::ResetBeforeRequest) => {
                    left -= 1;
                    request = unsent;
                }
                Err((refusal, _)) => return Err(refusal),
            }
        }
    }

    /// Returns a connection, and whether it has been used before.
    async fn connection(&self, left: &mut u8) -> Result<(Connection, bool), Refusal> {
        let key = self.route.upstream_key(self.host, self.headed_to);
        let name = key.as_deref();
        let pool = self.route.pool(self.worker.index);
        let generation = self.route.generation();
        let generation = generation.map_err(|missing| Refusal::Connect(missing.into()))?;
        if let Some(connection) = pool.and_then(|pool| pool.take(name, generation, self.offer)) {
            return Ok((connection, true));
        }
        let wanted = Wanted {
            route: self.route,
            shared: &self.worker.shared,
            dialled: name,
            headed_to: self.headed_to,
            offer: self.offer,
        };
        let opened = open(&wanted, self.worker, left).await?;
        if let (Some(shared), Some(pool)) = (opened.share(), pool) {
            pool.put(shared);
        }
        Ok((opened, false))
    }

    fn retries(&self, on: RetryOn) -> bool {
        self.route.retries.on.contains(&on)
    }

    /// Sends on one connection. With the refusal comes the request, when none of it was sent.
    async fn exchange(
        &self,
        connection: &mut Connection,
        request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, (Refusal, Option<Request<RequestBody>>)> {
        let sending = connection.sender.send(request);
        let sent = match self.route.timeouts.request.limit() {
            None => sending.await,
            Some(limit) => tokio::select! {
                sent = sending => sent,
                () = silence_after(self.progress, limit) => {
                    return Err((Refusal::Timeout(limit), None));
                }
            },
        };
        sent.map_err(|mut failed| {
            let unsent = failed.take_message();
            let idle = connection.meter.ended_idle();
            let refusal = match (idle, self.route.timeouts.idle.limit()) {
                (true, Some(limit)) => Refusal::Idle(limit),
                _ => Refusal::broken(failed.into_error()),
            };
            (refusal, unsent)
        })
    }
}

async fn open(
    wanted: &Wanted<'_>,
    worker: &Worker,
    attempts: &mut u8,
) -> Result<Connection, Refusal> {
    let connected = upstream::connect_with_retries(wanted, attempts).await;
    let Connected {
        stream,
        generation,
        http2,
    } = connected.map_err(Refusal::Connect)?;
    let meter = stream.meter();
    let watch = Arc::clone(&meter);
    let limit = wanted.route.timeouts.idle.limit();
    let io = TokioIo::new(stream);
    // A driver ends by itself: when the sender is dropped, the upstream closes, or nothing moves.
    let sender = if http2 {
        let spawn = Spawn(worker.upstreams.clone());
        let handshake = http2::Builder::new(spawn).handshake(io).await;
        let (sender, driver) = handshake.map_err(Refusal::broken)?;
        worker.upstreams.spawn(async move {
            tokio::select! {
                _ended = driver => {}
                () = watch.end_when_idle(limit) => {}
            }
        });
        Sender::Http2(sender)
    } else {
        let handshake = http1::Builder::new().handshake(io).await;
        let (sender, driver) = handshake.map_err(Refusal::broken)?;
        worker.upstreams.spawn(async move {
            tokio::select! {
                _ended = driver.with_upgrades() => {}
                () = watch.end_when_idle(limit) => {}
            }
        });
        Sender::Http1(sender)
    };
    Ok(Connection {
        sender,
        meter,
        generation,
        name: wanted.dialled.map(Into::into),
    })
}

/// Resolves when `limit` has passed since the request's last byte was read.
async fn silence_after(progress: Option<&Progress>, limit: Duration) {
    let mut from = Instant::now();
    loop {
        sleep_until((from + limit).into()).await;
        match progress.map(Progress::ended) {
            // There is no body: its last byte was its head's.
            None => return,
            Some(Some(ended)) if ended + limit <= Instant::now() => return,
            Some(Some(ended)) => from = ended,
            Some(None) => from = Instant::now(),
        }
    }
}
