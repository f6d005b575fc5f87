//! Both ways write the same.

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

fn assert_the_same_both_ways(line: &AccessLine<'_>) {
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

#[test]
fn requests_are_written_the_same_both_ways() {
    let full = AccessLine {
        message: "request served",
        direction: Some("inbound"),
        route: Some("inbound:8443"),
        peer_address: "127.0.0.1:5".parse().unwrap(),
        peer_identity: Some("CN=\"a\\b\"\n\u{e9}"),
        method: Some("GET"),
        path: Some("/a\"b"),
        status: Some(502),
        complete: Some(true),
        outcome: None,
        error: Some("upstream_broken: x"),
        received: 1,
        sent: u64::MAX,
        duration: Duration::from_nanos(12_345_678),
    };
    let bare = AccessLine {
        direction: None,
        route: None,
        peer_identity: None,
        status: None,
        error: None,
        peer_address: "[2001:db8::1]:65535".parse().unwrap(),
        duration: Duration::from_secs(3),
        ..full.clone()
    };
    assert_the_same_both_ways(&full);
    assert_the_same_both_ways(&bare);
}

#[test]
fn connections_are_written_the_same_both_ways() {
    let full = AccessLine {
        message: "connection closed",
        direction: Some("egress"),
        route: Some("a.example:80"),
        peer_address: "[::1]:1".parse().unwrap(),
        peer_identity: Some("spiffe://x/\u{7f}y"),
        method: None,
        path: None,
        status: None,
        complete: None,
        outcome: Some("reset"),
        error: Some("said \"no\""),
        received: 0,
        sent: 7,
        duration: Duration::from_micros(1_005),
    };
    let bare = AccessLine {
        peer_identity: None,
        error: None,
        ..full.clone()
    };
    assert_the_same_both_ways(&full);
    assert_the_same_both_ways(&bare);
}
