//! The access line of a connection.

use std::net::SocketAddr;
use std::time::Duration;

use super::{AccessLine, microseconds, milliseconds};
use crate::telemetry::json::Line;

/// A line about one connection that carried bytes, or none because it was refused.
#[derive(Clone, Debug)]
pub(crate) struct ConnectionLine<'c> {
    pub(crate) direction: &'c str,
    pub(crate) route: &'c str,
    pub(crate) peer_address: SocketAddr,
    pub(crate) peer_identity: Option<&'c str>,
    pub(crate) outcome: &'c str,
    pub(crate) error: Option<&'c str>,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) duration: Duration,
}

impl AccessLine for ConnectionLine<'_> {
    const MESSAGE: &'static str = "connection closed";

    fn add_fields(&self, line: &mut Line<'_>) {
        line.text(r#","direction":"#, self.direction);
        line.text(r#","route":"#, self.route);
        line.address(r#","peer.address":"#, self.peer_address);
        line.optional(r#","peer.identity":"#, self.peer_identity);
        line.text(r#","outcome":"#, self.outcome);
        line.optional(r#","error":"#, self.error);
        line.number(r#","bytes.received":"#, self.received);
        line.number(r#","bytes.sent":"#, self.sent);
        line.thousandths(r#","duration_ms":"#, microseconds(self.duration));
    }

    fn write_through_tracing(&self) {
        tracing::info!(
            target: "mtls_proxy::access",
            direction = self.direction,
            route = self.route,
            peer.address = %self.peer_address,
            peer.identity = self.peer_identity,
            outcome = self.outcome,
            error = self.error,
            bytes.received = self.received,
            bytes.sent = self.sent,
            duration_ms = milliseconds(self.duration),
            "{}", Self::MESSAGE
        );
    }
}
