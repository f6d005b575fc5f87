//! The access line of a request.

use std::net::SocketAddr;
use std::time::Duration;

use super::{AccessLine, microseconds, milliseconds};
use crate::telemetry::json::Line;

/// A line about one request.
#[derive(Clone, Debug)]
pub(crate) struct RequestLine<'r> {
    pub(crate) direction: Option<&'r str>,
    pub(crate) route: Option<&'r str>,
    pub(crate) peer_address: SocketAddr,
    pub(crate) peer_identity: Option<&'r str>,
    pub(crate) method: &'r str,
    pub(crate) path: &'r str,
    pub(crate) status: Option<u16>,
    pub(crate) complete: bool,
    pub(crate) error: Option<&'r str>,
    pub(crate) received: u64,
    pub(crate) sent: u64,
    pub(crate) duration: Duration,
}

impl AccessLine for RequestLine<'_> {
    const MESSAGE: &'static str = "request served";

    fn add_fields(&self, line: &mut Line<'_>) {
        line.optional(r#","direction":"#, self.direction);
        line.optional(r#","route":"#, self.route);
        line.address(r#","peer.address":"#, self.peer_address);
        line.optional(r#","peer.identity":"#, self.peer_identity);
        line.text(r#","http.method":"#, self.method);
        line.text(r#","http.path":"#, self.path);
        if let Some(status) = self.status {
            line.number(r#","http.status":"#, status.into());
        }
        line.piece(if self.complete {
            r#","complete":true"#
        } else {
            r#","complete":false"#
        });
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
            http.method = self.method,
            http.path = self.path,
            http.status = self.status,
            complete = self.complete,
            error = self.error,
            bytes.received = self.received,
            bytes.sent = self.sent,
            duration_ms = milliseconds(self.duration),
            "{}", Self::MESSAGE
        );
    }
}
