//! The access record: one log line and the counters of a connection or a request, written together
//! so that they cannot disagree. Whoever is dropped without an outcome is recorded as aborted.
//!
//! In: what happened. Out: a `tracing` event of target `mtls_proxy::access`, and metrics. Holds no
//! header values and no bodies.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use http::{Method, StatusCode};
use tracing::info;

use crate::connection::{Downstream, Peer};
use crate::route::Route;
use crate::stream::Meter;
use crate::telemetry::line::AccessLine;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// Both sides closed.
    Closed,
    /// A side broke it off.
    Reset,
    /// Nothing moved for too long.
    Idle,
    /// No connection to the upstream came about.
    UpstreamFailed,
    /// The client's handshake failed, or it may not come in.
    Refused,
    /// The drain's deadline came first.
    Cut,
    /// Its task ended without a word.
    Aborted,
}

impl Outcome {
    const fn label(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Idle => "idle",
            Self::UpstreamFailed => "upstream_failed",
            Self::Refused => "refused",
            Self::Cut => "cut",
            Self::Aborted => "aborted",
        }
    }
}

/// The record of a tcp connection.
pub(crate) struct ConnectionRecord {
    route: Arc<Route>,
    peer: Peer,
    opened: Instant,
    meter: Arc<Meter>,
    closed: bool,
}

impl ConnectionRecord {
    pub(crate) fn open(route: &Arc<Route>, peer: Peer, opened: Instant) -> Self {
        Self {
            route: Arc::clone(route),
            peer,
            opened,
            meter: Arc::default(),
            closed: false,
        }
    }

    /// Opens the record of a connection whose bytes are counted.
    pub(crate) fn of(route: &Arc<Route>, downstream: &Downstream) -> Self {
        let mut record = Self::open(route, downstream.parts.peer.clone(), downstream.opened);
        record.meter = downstream.stream.meter();
        record
    }

    /// Writes the record. `error` says why, where there is more to say than the outcome does.
    pub(crate) fn close(&mut self, outcome: Outcome, error: Option<&dyn fmt::Display>) {
        self.closed = true;
        let metrics = &self.route.metrics;
        let elapsed = self.opened.elapsed();
        let (received, sent) = (self.meter.received(), self.meter.sent());
        metrics.count_connection(outcome.label());
        metrics.connection_seconds.observe(elapsed.as_secs_f64());
        metrics.received.inc_by(received);
        metrics.sent.inc_by(sent);
        let error = error.map(ToString::to_string);
        let line = AccessLine {
            message: "connection closed",
            direction: Some(self.route.direction.label()),
            route: Some(&self.route.name),
            peer_address: self.peer.address,
            peer_identity: self.peer.name(),
            method: None,
            path: None,
            status: None,
            complete: None,
            outcome: Some(outcome.label()),
            error: error.as_deref(),
            received,
            sent,
            duration: elapsed,
        };
        line.write();
    }
}

impl Drop for ConnectionRecord {
    fn drop(&mut self) {
        if !self.closed {
            self.close(Outcome::Aborted, None);
        }
    }
}

/// The record of an HTTP request; written when it is dropped, after the answer's last byte.
#[derive(Debug)]
pub(crate) struct RequestRecord {
    pub(crate) route: Option<Arc<Route>>,
    pub(crate) peer: Peer,
    pub(crate) started: Instant,
    pub(crate) method: Method,
    /// The path of the request, without its query, which may hold secrets.
    pub(crate) path: Box<str>,
    /// The answer's status; none when the peer left before there was one.
    pub(crate) status: Option<StatusCode>,
    pub(crate) error: Option<String>,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// Whether the answer was sent to its end.
    pub(crate) complete: bool,
}

impl RequestRecord {
    pub(crate) fn open(peer: &Peer, method: Method, path: &str) -> Self {
        Self {
            route: None,
            peer: peer.clone(),
            started: Instant::now(),
            method,
            path: path.into(),
            status: None,
            error: None,
            received: 0,
            sent: 0,
            complete: false,
        }
    }
}

impl Drop for RequestRecord {
    fn drop(&mut self) {
        let elapsed = self.started.elapsed();
        if let Some(route) = &self.route {
            if let Some(status) = self.status {
                route.metrics.count_request(status);
            }
            let metrics = &route.metrics;
            metrics.request_seconds.observe(elapsed.as_secs_f64());
            metrics.received.inc_by(self.received);
            metrics.sent.inc_by(self.sent);
        }
        let route = self.route.as_deref();
        let line = AccessLine {
            message: "request served",
            direction: route.map(|route| route.direction.label()),
            route: route.map(|route| route.name.as_str()),
            peer_address: self.peer.address,
            peer_identity: self.peer.name(),
            method: Some(self.method.as_str()),
            path: Some(&self.path),
            status: self.status.map(|status| status.as_u16()),
            complete: Some(self.complete),
            outcome: None,
            error: self.error.as_deref(),
            received: self.received,
            sent: self.sent,
            duration: elapsed,
        };
        line.write();
    }
}

/// Records a request that was refused before it was one.
pub(crate) fn malformed(from: &Peer, why: &str) {
    info!(
        target: "mtls_proxy::access",
        error = %format_args!("malformed_request: {why}"),
        peer.address = %from.address,
        peer.identity = from.name(),
        http.status = 400,
        "request refused"
    );
}
