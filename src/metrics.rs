//! Everything that is counted. In: outcomes, with labels from closed sets. Out: the text that
//! Prometheus scrapes. Never a pod's name: labels are bounded.

use std::time::Duration;

use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

/// The injector's metrics; one for a process.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    admissions: IntCounterVec,
    admission_duration: Histogram,
    handshake_failures: IntCounterVec,
    connections: IntGauge,
    certificate_not_after: IntGauge,
    reloads: IntCounterVec,
}

/// From a tenth of a millisecond to the five seconds after which a review is given up.
const DURATIONS: [f64; 14] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0,
];

impl Metrics {
    /// Makes all metrics, at zero.
    #[must_use]
    pub fn new() -> Self {
        let registry = Registry::new();
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels);
            registered(&registry, counters)
        };
        let gauge = |name: &str, help: &str| registered(&registry, IntGauge::new(name, help));
        Self {
            admissions: counters(
                "mtls_injector_admissions_total",
                "Reviews answered, by decision and its reason.",
                &["decision", "reason"],
            ),
            admission_duration: registered(
                &registry,
                Histogram::with_opts(
                    HistogramOpts::new(
                        "mtls_injector_admission_duration_seconds",
                        "Time from a review's headers to its answer.",
                    )
                    .buckets(DURATIONS.to_vec()),
                ),
            ),
            handshake_failures: counters(
                "mtls_injector_handshake_failures_total",
                "TLS handshakes that did not succeed, by reason.",
                &["reason"],
            ),
            connections: gauge(
                "mtls_injector_connections",
                "Connections to the webhook that are open.",
            ),
            certificate_not_after: gauge(
                "mtls_injector_certificate_not_after_seconds",
                "When the served certificate expires, in Unix time.",
            ),
            reloads: counters(
                "mtls_injector_reloads_total",
                "Files read again after they changed, by what they hold and outcome.",
                &["subject", "outcome"],
            ),
            registry,
        }
    }

    /// Counts one answered or refused review.
    pub fn record_admission(&self, decision: &str, reason: &str, duration: Duration) {
        self.admissions.with_label_values(&[decision, reason]).inc();
        self.admission_duration.observe(duration.as_secs_f64());
    }

    /// Counts one handshake that failed.
    pub fn record_handshake_failure(&self, reason: &str) {
        self.handshake_failures.with_label_values(&[reason]).inc();
    }

    /// Counts one file that was read again, `subject` being `certificate` or `config`.
    pub fn record_reload(&self, subject: &str, outcome: Reload) {
        let labels = [subject, outcome.label()];
        self.reloads.with_label_values(&labels).inc();
    }

    /// Tells when the served certificate expires, in seconds of Unix time.
    pub fn set_certificate_not_after(&self, seconds: i64) {
        self.certificate_not_after.set(seconds);
    }

    /// Counts a connection as open for as long as the guard lives.
    #[must_use]
    pub fn open_connection(&self) -> OpenConnection {
        self.connections.inc();
        OpenConnection(self.connections.clone())
    }

    /// Lets other layers add metrics of their own.
    #[must_use]
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Returns all metrics in Prometheus's text format, version 0.0.4.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .expect("writing to memory does not fail");
        text
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

/// What became of a changed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// It is in use.
    Applied,
    /// It is wrong; what was in use still is.
    Rejected,
}

impl Reload {
    /// Returns the metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Rejected => "rejected",
        }
    }
}

/// A connection that is counted as open until this is dropped.
#[derive(Debug)]
pub struct OpenConnection(IntGauge);

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

fn registered<M: prometheus::core::Collector + Clone + 'static>(
    registry: &Registry,
    metric: prometheus::Result<M>,
) -> M {
    let metric = metric.expect("names and labels of metrics are constants");
    let added = registry.register(Box::new(metric.clone()));
    added.expect("each metric is registered once");
    metric
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_shows_up_under_its_documented_name() {
        let metrics = Metrics::new();
        metrics.record_admission("inject", "asked", Duration::from_millis(1));
        metrics.record_handshake_failure("timeout");
        metrics.record_reload("certificate", Reload::Applied);
        metrics.set_certificate_not_after(1_800_000_000);
        let text = String::from_utf8(metrics.render()).unwrap();
        for line in [
            "mtls_injector_admissions_total{decision=\"inject\",reason=\"asked\"} 1",
            "mtls_injector_admission_duration_seconds_count 1",
            "mtls_injector_handshake_failures_total{reason=\"timeout\"} 1",
            "mtls_injector_reloads_total{outcome=\"applied\",subject=\"certificate\"} 1",
            "mtls_injector_certificate_not_after_seconds 1800000000",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_connection_is_counted_until_its_guard_is_dropped() {
        let metrics = Metrics::new();
        let open = metrics.open_connection();
        assert_eq!(metrics.connections.get(), 1);
        drop(open);
        assert_eq!(metrics.connections.get(), 0);
    }
}
