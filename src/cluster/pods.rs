//! Brings running pods up to date with the defaults of their namespace. In: namespaces whose
//! annotations changed, and what that means for a pod, as a function. Out: annotations patched, one
//! pod at a time and slowly; the kubelet carries them into the pod.

use std::time::Duration;

use kube::ResourceExt;
use kube::api::ListParams;
use serde_json::Value;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::cluster::annotating::{Annotator, Wanted};
use crate::cluster::client::Cluster;
use crate::cluster::failure::{Attempt, ClusterError, ResourceName};
use crate::cluster::metrics::ClusterMetrics;
use crate::cluster::namespaces::Changed;
use crate::telemetry::in_full;

/// At most five pods a second: a change for a large namespace is no burst for the API server.
const BETWEEN_PATCHES: Duration = Duration::from_millis(200);
const PAGE: u32 = 100;

/// Patches the pods of namespaces that changed.
pub struct PodRefresher {
    cluster: Cluster,
    changed: Changed,
    annotator: Annotator,
}

impl PodRefresher {
    /// Makes a refresher that follows these changes; the function returns the annotations that bring a
    /// pod up to date.
    #[must_use]
    pub fn new(
        cluster: &Cluster,
        changed: Changed,
        refresh: Wanted,
        metrics: &ClusterMetrics,
    ) -> Self {
        Self {
            cluster: cluster.clone(),
            changed,
            annotator: Annotator::new(cluster, refresh, &metrics.pod_refreshes),
        }
    }

    /// Patches until told to stop. A namespace that failed is tried again after a pause.
    pub async fn run(self, stop: CancellationToken) {
        let mut pauses = self.cluster.backoff();
        while let Some(namespace) = stop.run_until_cancelled(self.changed.next()).await {
            match stop.run_until_cancelled(self.namespace(&namespace)).await {
                None => return,
                Some(Ok(())) => pauses = self.cluster.backoff(),
                Some(Err(error)) => {
                    warn!(
                        error = in_full(&error),
                        namespace, "running pods not brought up to date"
                    );
                    self.changed.add(&namespace);
                    let pause = tokio::time::sleep(pauses.next().unwrap_or_default());
                    stop.run_until_cancelled(pause).await;
                }
            }
        }
    }

    async fn namespace(&self, namespace: &str) -> Result<(), ClusterError> {
        let api = self.annotator.api(namespace);
        let attempt = Attempt::new("list", ResourceName::PODS).within(namespace);
        let mut pace = interval(BETWEEN_PATCHES);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let pods = self.cluster.call(&attempt, api.list(&page)).await?;
            for pod in pods.items {
                if let Some(patch) = self.annotator.patch_for(namespace, &pod) {
                    pace.tick().await;
                    self.pod(namespace, &pod.name_any(), &patch).await?;
                }
            }
            match pods.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page.continue_token = Some(token),
                None => return Ok(()),
            }
        }
    }

    async fn pod(&self, namespace: &str, name: &str, patch: &Value) -> Result<(), ClusterError> {
        if self.annotator.pod(namespace, name, patch).await? {
            info!(
                pod.namespace = namespace,
                pod.name = name,
                "running pod brought up to date"
            );
        }
        Ok(())
    }
}
