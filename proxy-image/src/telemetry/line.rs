//! The access line of a request, written without a detour: one is written for each request, and the
//! general way, through spans, visitors and maps, costs more than reading and routing the request.
//!
//! In: the fields of one line. Out: the same JSON object that the general way writes, in the buffer
//! of standard output.

use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::stdout;

/// Whether lines are JSON objects.
static JSON: AtomicBool = AtomicBool::new(false);

/// A line about one request. Names have dots where the general way has them.
#[derive(Debug, Serialize)]
pub(crate) struct RequestLine<'r> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) direction: Option<&'r str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) route: Option<&'r str>,
    #[serde(rename = "peer.address")]
    pub(crate) peer_address: std::net::SocketAddr,
    #[serde(rename = "peer.identity", skip_serializing_if = "Option::is_none")]
    pub(crate) peer_identity: Option<&'r str>,
    #[serde(rename = "http.method")]
    pub(crate) method: &'r str,
    #[serde(rename = "http.path")]
    pub(crate) path: &'r str,
    #[serde(rename = "http.status", skip_serializing_if = "Option::is_none")]
    pub(crate) status: Option<u16>,
    pub(crate) complete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<&'r str>,
    #[serde(rename = "bytes.received")]
    pub(crate) received: u64,
    #[serde(rename = "bytes.sent")]
    pub(crate) sent: u64,
    pub(crate) duration_ms: f64,
}

/// What every event has around its own fields.
#[derive(Serialize)]
struct Event<'r> {
    timestamp: &'r str,
    level: &'static str,
    message: &'static str,
    #[serde(flatten)]
    line: &'r RequestLine<'r>,
    target: &'static str,
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
        let mut timestamp = String::with_capacity(32);
        // Fails only where the clock cannot be read; the line is worth having without it.
        let _no_clock = SystemTime.format_time(&mut Writer::new(&mut timestamp));
        let event = Event {
            timestamp: &timestamp,
            level: "INFO",
            message: "request served",
            line: self,
            target: "mtls_proxy::access",
        };
        let _a_vector_takes_all = serde_json::to_writer(&mut *out, &event);
        out.push(b'\n');
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
            duration_ms = self.duration_ms,
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
            duration_ms: 0.125,
        };
        let bare = RequestLine {
            direction: None,
            route: None,
            peer_identity: None,
            status: None,
            error: None,
            ..full
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
