//! The metrics of the webhook's own life: its certificates, its bundle, its Events.

use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

/// Cheap to clone: the metrics are shared.
#[derive(Clone, Debug)]
pub struct ClusterMetrics {
    /// When the CAs that the API server trusts expire, in seconds since 1970.
    pub bundle_not_after: IntGauge,
    /// 1 when the API server's bundle vouches for the certificate that is served, else 0.
    pub bundle_matches: IntGauge,
    /// Attempts to write the bundle by `outcome`: `patched`, `conflict`, `failed`.
    pub bundle_patches: IntCounterVec,
    /// Changes of the shared certificates by this replica, by `change`.
    pub certificate_changes: IntCounterVec,
    /// Events by `outcome`: `published`, `failed`, `dropped`.
    pub events: IntCounterVec,
    /// Running pods brought up to date by `outcome`: `patched`, `failed`.
    pub pod_refreshes: IntCounterVec,
    /// Proxies of Jobs that were told of their application's end, by `outcome`: `patched`, `failed`.
    pub job_ends: IntCounterVec,
}

impl ClusterMetrics {
    /// Registers the metrics.
    ///
    /// # Errors
    /// When one of the names is registered already.
    pub fn new(registry: &Registry) -> prometheus::Result<Self> {
        let counters = |name: &str, help: &str, label: &str| {
            let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        Ok(Self {
            bundle_not_after: gauge(
                "mtls_injector_ca_bundle_not_after_seconds",
                "When the CAs in the API server's caBundle expire, in Unix time.",
            )?,
            bundle_matches: gauge(
                "mtls_injector_ca_bundle_matches",
                "1 when the API server's caBundle vouches for the certificate that is served.",
            )?,
            bundle_patches: counters(
                "mtls_injector_ca_bundle_patches_total",
                "Attempts to write the caBundle.",
                "outcome",
            )?,
            certificate_changes: counters(
                "mtls_injector_certificate_changes_total",
                "Changes of the shared certificates made by this replica.",
                "change",
            )?,
            events: counters(
                "mtls_injector_events_total",
                "Kubernetes Events about denied and skipped pods.",
                "outcome",
            )?,
            pod_refreshes: counters(
                "mtls_injector_pod_refreshes_total",
                "Running pods brought up to date with the defaults of their namespace.",
                "outcome",
            )?,
            job_ends: counters(
                "mtls_injector_job_ends_total",
                "Proxies of Jobs that were told of their application's end.",
                "outcome",
            )?,
        })
    }
}
