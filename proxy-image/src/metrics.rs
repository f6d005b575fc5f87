//! Every metric of the proxy, in one place. Labels are bounded: directions, routes of the
//! configuration, closed enums and HTTP status codes.
//!
//! In: events, through counters that are resolved once per route. Out: the text exposition format.

use std::sync::OnceLock;

use prometheus::core::Collector;
use prometheus::{
    Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    Opts, Registry, TextEncoder,
};

use crate::credentials::Expiry;

/// Which way a connection goes, seen from the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Direction {
    /// From the application out.
    Egress,
    /// To the application.
    Inbound,
}

impl Direction {
    /// Returns the word for labels and logs.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Egress => "egress",
            Self::Inbound => "inbound",
        }
    }
}

/// The metrics, registered once per process.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    connections: IntCounterVec,
    connection_seconds: HistogramVec,
    bytes: IntCounterVec,
    requests: IntCounterVec,
    request_seconds: HistogramVec,
    handshakes: IntCounterVec,
    handshake_seconds: HistogramVec,
    plaintext: IntCounterVec,
    certificate_not_after: GaugeVec,
    reloads: IntCounterVec,
    /// Connections open now.
    pub(crate) open_connections: IntGauge,
    /// Times that accepting failed, for want of file descriptors most often.
    pub(crate) accept_errors: IntCounter,
}

/// Name, help and labels.
const COUNTERS: [(&str, &str, &[&str]); 6] = [
    (
        "mtls_proxy_connections_total",
        "Connections accepted, by how they ended.",
        &["direction", "route", "outcome"],
    ),
    (
        "mtls_proxy_handshakes_total",
        "TLS handshakes: egress with upstreams, inbound with clients.",
        &["direction", "outcome", "reason"],
    ),
    (
        "mtls_proxy_plaintext_connections_total",
        "Connections accepted in plaintext on a port that also speaks TLS.",
        &["route"],
    ),
    (
        "mtls_proxy_requests_total",
        "HTTP requests, by the status that was answered.",
        &["direction", "route", "code"],
    ),
    (
        "mtls_proxy_bytes_total",
        "Payload received from, and sent to, the side that dialled the proxy.",
        &["direction", "route", "flow"],
    ),
    (
        "mtls_proxy_reloads_total",
        "Reloads of configuration and credentials.",
        &["outcome"],
    ),
];
const NOT_AFTER: (&str, &str) = (
    "mtls_proxy_certificate_not_after_seconds",
    "When the certificate of a file ends, in seconds since 1970.",
);
const OPEN: (&str, &str) = (
    "mtls_proxy_open_connections",
    "Accepted connections open now.",
);
const ACCEPT: (&str, &str) = (
    "mtls_proxy_accept_errors_total",
    "Times that accepting a connection failed.",
);
/// Seconds; what a request or a handshake takes.
const FAST: [f64; 13] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0,
];

impl Metrics {
    /// Registers all metrics.
    ///
    /// # Panics
    /// Never: the names below are valid and distinct.
    pub(crate) fn new() -> Self {
        let registry = Registry::new();
        let build = Gauge::with_opts(
            Opts::new("mtls_proxy_build_info", "Always 1; the version is a label.")
                .const_label("version", env!("CARGO_PKG_VERSION")),
        );
        registered(&registry, build).set(1.0);
        let counters = |name, help, labels: &[&str]| {
            registered(&registry, IntCounterVec::new(Opts::new(name, help), labels))
        };
        let seconds = |name, help, labels: &[&str], buckets: &[f64]| {
            let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
            registered(&registry, HistogramVec::new(options, labels))
        };
        let [c, h, p, r, b, l] = COUNTERS.map(|(name, help, labels)| counters(name, help, labels));
        Self {
            connections: c,
            handshakes: h,
            plaintext: p,
            requests: r,
            bytes: b,
            reloads: l,
            connection_seconds: seconds(
                "mtls_proxy_connection_duration_seconds",
                "From accept to close.",
                &["direction", "route"],
                &[0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3600.0],
            ),
            request_seconds: seconds(
                "mtls_proxy_request_duration_seconds",
                "From a request's head to the last byte of its answer.",
                &["direction", "route"],
                &FAST,
            ),
            handshake_seconds: seconds(
                "mtls_proxy_handshake_duration_seconds",
                "Duration of TLS handshakes that succeeded.",
                &["direction"],
                &FAST,
            ),
            certificate_not_after: registered(
                &registry,
                GaugeVec::new(Opts::new(NOT_AFTER.0, NOT_AFTER.1), &["file"]),
            ),
            open_connections: registered(&registry, IntGauge::new(OPEN.0, OPEN.1)),
            accept_errors: registered(&registry, IntCounter::new(ACCEPT.0, ACCEPT.1)),
            registry,
        }
    }

    /// Resolves the counters of one route.
    pub(crate) fn route(&self, direction: Direction, route: &str) -> RouteMetrics {
        let labels = [direction.label(), route];
        let of = |last: &str| [direction.label(), route, last].map(str::to_owned);
        let bytes = |flow| self.bytes.with_label_values(&of(flow));
        RouteMetrics {
            connection_seconds: self.connection_seconds.with_label_values(&labels),
            request_seconds: self.request_seconds.with_label_values(&labels),
            received: bytes("received"),
            sent: bytes("sent"),
            handshake_seconds: self
                .handshake_seconds
                .with_label_values(&[direction.label()]),
            plaintext: OnceLock::new(),
            codes: std::array::from_fn(|_| OnceLock::new()),
            families: Families {
                connections: self.connections.clone(),
                requests: self.requests.clone(),
                handshakes: self.handshakes.clone(),
                plaintext: self.plaintext.clone(),
            },
            direction,
            route: route.to_owned(),
        }
    }

    /// Counts a reload of the configuration or of credentials.
    pub(crate) fn count_reload(&self, outcome: &'static str) {
        self.reloads.with_label_values(&[outcome]).inc();
    }

    /// Shows when each certificate in use ends; forgets those that are no longer in use.
    pub(crate) fn show_expiries(&self, expiries: &[Expiry]) {
        self.certificate_not_after.reset();
        for expiry in expiries {
            let file = expiry.file.display().to_string();
            #[expect(
                clippy::cast_precision_loss,
                reason = "seconds fit for 285 million years"
            )]
            let seconds = expiry.not_after as f64;
            self.certificate_not_after
                .with_label_values(&[file.as_str()])
                .set(seconds);
        }
    }

    /// Writes all metrics in Prometheus's text format.
    pub(crate) fn encode(&self) -> String {
        TextEncoder::new()
            .encode_to_string(&self.registry.gather())
            .expect("every metric has a name and a value")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// The counters of one route.
#[derive(Debug)]
pub(crate) struct RouteMetrics {
    pub(crate) connection_seconds: Histogram,
    pub(crate) request_seconds: Histogram,
    pub(crate) received: IntCounter,
    pub(crate) sent: IntCounter,
    pub(crate) handshake_seconds: Histogram,
    plaintext: OnceLock<IntCounter>,
    codes: [OnceLock<IntCounter>; 500],
    families: Families,
    direction: Direction,
    route: String,
}

#[derive(Debug)]
struct Families {
    connections: IntCounterVec,
    requests: IntCounterVec,
    handshakes: IntCounterVec,
    plaintext: IntCounterVec,
}

impl RouteMetrics {
    /// Counts an answered request. The counter of a status is resolved the first time.
    pub(crate) fn count_request(&self, status: http::StatusCode) {
        let resolve = || {
            self.families.requests.with_label_values(&[
                self.direction.label(),
                self.route.as_str(),
                status.as_str(),
            ])
        };
        let slot = usize::from(status.as_u16()).checked_sub(100);
        match slot.and_then(|slot| self.codes.get(slot)) {
            Some(counter) => counter.get_or_init(resolve).inc(),
            None => resolve().inc(),
        }
    }

    /// Counts a connection that ended so.
    pub(crate) fn count_connection(&self, outcome: &'static str) {
        let labels = [self.direction.label(), self.route.as_str(), outcome];
        self.families.connections.with_label_values(&labels).inc();
    }

    /// Counts a handshake; `reason` is empty for a good one.
    pub(crate) fn count_handshake(&self, outcome: &'static str, reason: &'static str) {
        let labels = [self.direction.label(), outcome, reason];
        self.families.handshakes.with_label_values(&labels).inc();
    }

    /// Counts a plaintext connection on a port that also speaks TLS.
    pub(crate) fn count_plaintext(&self) {
        let family = &self.families.plaintext;
        self.plaintext
            .get_or_init(|| family.with_label_values(&[self.route.as_str()]))
            .inc();
    }
}

fn registered<C: Collector + Clone + 'static>(
    registry: &Registry,
    collector: prometheus::Result<C>,
) -> C {
    let collector = collector.expect("the name and labels of a metric are valid");
    let boxed = Box::new(collector.clone());
    registry
        .register(boxed)
        .expect("no two metrics share a name");
    collector
}
