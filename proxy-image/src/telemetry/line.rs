//! Access lines, written without a detour: one is written for each request, or connection of protocol
//! tcp, and the general way, through spans, visitors and maps, costs more than routing it.
//!
//! In: the fields of one line. Out: the same JSON object that the general way writes, in the buffer
//! of standard output.

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::json::Line;
use super::{clock, stdout};

/// Whether lines are JSON objects.
static JSON: AtomicBool = AtomicBool::new(false);

/// A line about one request or one connection. What is none is left out.
#[derive(Clone, Debug)]
pub(crate) struct AccessLine<'l> {
    pub(crate) message: &'static str,
    pub(crate) direction: Option<&'l str>,
    pub(crate) route: Option<&'l str>,
    pub(crate) peer_address: SocketAddr,
    pub(crate) peer_identity: Option<&'l str>,
    /// Of a request, as are the next three.
    pub(crate) method: Option<&'l str>,
    pub(crate) path: Option<&'l str>,
    pub(crate) status: Option<u16>,
    pub(crate) complete: Option<bool>,
    /// Of a connection.
    pub(crate) outcome: Option<&'l str>,
    pub(crate) error: Option<&'l str>,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) duration: Duration,
}

/// Says how lines look from now on.
pub(super) fn set_json(json: bool) {
    JSON.store(json, Ordering::Relaxed);
}

impl AccessLine<'_> {
    /// Writes the line, if the level of logging lets it through.
    pub(crate) fn write(&self) {
        if !tracing::enabled!(target: "mtls_proxy::access", tracing::Level::INFO) {
            return;
        }
        if JSON.load(Ordering::Relaxed) {
            stdout::line(false, |out| self.write_json(out));
        } else {
            self.write_through_tracing();
        }
    }

    fn write_json(&self, out: &mut Vec<u8>) {
        let mut line = Line(out);
        line.piece(r#"{"timestamp":""#);
        line.0.extend_from_slice(clock::now().as_bytes());
        line.piece(r#"","level":"INFO""#);
        line.text(r#","message":"#, self.message);
        line.optional(r#","direction":"#, self.direction);
        line.optional(r#","route":"#, self.route);
        line.address(r#","peer.address":"#, self.peer_address);
        line.optional(r#","peer.identity":"#, self.peer_identity);
        line.optional(r#","http.method":"#, self.method);
        line.optional(r#","http.path":"#, self.path);
        if let Some(status) = self.status {
            line.number(r#","http.status":"#, status.into());
        }
        match self.complete {
            Some(true) => line.piece(r#","complete":true"#),
            Some(false) => line.piece(r#","complete":false"#),
            None => {}
        }
        line.optional(r#","outcome":"#, self.outcome);
        line.optional(r#","error":"#, self.error);
        line.number(r#","bytes.received":"#, self.received);
        line.number(r#","bytes.sent":"#, self.sent);
        line.thousandths(r#","duration_ms":"#, self.microseconds());
        line.piece(",\"target\":\"mtls_proxy::access\"}\n");
    }

    fn microseconds(&self) -> u64 {
        let rounded = self.duration.saturating_add(Duration::from_nanos(500));
        u64::try_from(rounded.as_micros()).unwrap_or(u64::MAX)
    }

    fn write_through_tracing(&self) {
        #[expect(clippy::cast_precision_loss, reason = "microseconds fit for 285 years")]
        let duration_ms = self.microseconds() as f64 / 1e3;
        tracing::info!(
            target: "mtls_proxy::access",
            direction = self.direction,
            route = self.route,
            peer.address = %self.peer_address,
            peer.identity = self.peer_identity,
            http.method = self.method,
            http.path = self.path,
            http.status = self.status,
            complete = self.complete,
            outcome = self.outcome,
            error = self.error,
            bytes.received = self.received,
            bytes.sent = self.sent,
            duration_ms,
            "{}", self.message
        );
    }
}
