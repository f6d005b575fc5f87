//! The access line of a request, written without a detour: one is written for each request, and the
//! general way, through spans, visitors and maps, costs more than reading and routing the request.
//!
//! In: the fields of one line. Out: the same JSON object that the general way writes, in the buffer
//! of standard output.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::json::Line;
use super::{clock, stdout};

/// Whether lines are JSON objects.
static JSON: AtomicBool = AtomicBool::new(false);

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

/// Says how lines look from now on.
pub(super) fn set_json(json: bool) {
    JSON.store(json, Ordering::Relaxed);
}

impl RequestLine<'_> {
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
        line.piece(r#"","level":"INFO","message":"request served""#);
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
            error = self.error,
            bytes.received = self.received,
            bytes.sent = self.sent,
            duration_ms,
            "request served"
        );
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use serde_json::Value;
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn parsed(bytes: &[u8]) -> Value {
        let mut value: Value = serde_json::from_slice(bytes).unwrap();
        assert!(value["timestamp"].as_str().unwrap().ends_with('Z'));
        value["timestamp"] = Value::Null;
        value
    }

    #[test]
    fn both_ways_write_the_same_object() {
        let full = RequestLine {
            direction: Some("inbound"),
            route: Some("inbound:8443"),
            peer_address: "127.0.0.1:5".parse().unwrap(),
            peer_identity: Some("CN=\"a\\b\"\n\u{e9}"),
            method: "GET",
            path: "/a\"b",
            status: Some(502),
            complete: true,
            error: Some("upstream_broken: x"),
            received: 1,
            sent: u64::MAX,
            duration: Duration::from_nanos(12_345_678),
        };
        let bare = RequestLine {
            direction: None,
            route: None,
            peer_identity: None,
            status: None,
            error: None,
            peer_address: "[2001:db8::1]:65535".parse().unwrap(),
            duration: Duration::from_secs(3),
            ..full.clone()
        };
        for line in [full, bare] {
            let kept = Kept::default();
            let writer = kept.clone();
            let general = tracing_subscriber::fmt::layer()
                .with_writer(move || writer.clone())
                .json()
                .flatten_event(true);
            let subscriber = tracing_subscriber::registry().with(general);
            tracing::subscriber::with_default(subscriber, || line.write_through_tracing());
            let mut direct = Vec::new();
            line.write_json(&mut direct);
            assert_eq!(parsed(&direct), parsed(&kept.0.lock().unwrap()));
        }
    }
}
