//! Brings running pods up to date with the defaults of their namespace. In: namespaces whose
//! annotations changed, and what that means for a pod, as a function. Out: annotations patched, one
//! pod at a time and slowly; the kubelet carries them into the pod.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use serde_json::{Value, json};
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::cluster::client::Cluster;
use crate::cluster::failure::{Attempt, ClusterError, ResourceName};
use crate::cluster::metrics::ClusterMetrics;
use crate::cluster::namespaces::Changed;
use crate::telemetry::in_full;

const PODS: ResourceName = ResourceName {
    plural: "pods",
    group: "",
};
const FIELD_MANAGER: &str = "mtls-injector";
/// At most five pods a second: a change for a large namespace is no burst for the API server.
const BETWEEN_PATCHES: Duration = Duration::from_millis(200);
const PAGE: u32 = 100;

/// Tells which annotations bring a pod (raw JSON) up to date, given its namespace; `None` for a pod
/// that is to be left alone.
pub type Refresh = Box<dyn Fn(&str, &Value) -> Option<BTreeMap<String, String>> + Send + Sync>;

/// Patches the pods of namespaces that changed.
pub struct PodRefresher {
    cluster: Cluster,
    changed: Changed,
    refresh: Refresh,
    metrics: ClusterMetrics,
}

impl PodRefresher {
    /// Makes a refresher that follows these changes.
    #[must_use]
    pub fn new(
        cluster: &Cluster,
        changed: Changed,
        refresh: Refresh,
        metrics: &ClusterMetrics,
    ) -> Self {
        Self {
            cluster: cluster.clone(),
            changed,
            refresh,
            metrics: metrics.clone(),
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
        let api = self.api(namespace);
        let attempt = Attempt::new("list", PODS).within(namespace);
        let mut pace = interval(BETWEEN_PATCHES);
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut page = ListParams::default().limit(PAGE);
        loop {
            let pods = self.cluster.call(&attempt, api.list(&page)).await?;
            for pod in pods.items {
                if let Some(patch) = self.patch_for(namespace, &pod) {
                    pace.tick().await;
                    self.pod(namespace, pod, patch).await?;
                }
            }
            match pods.metadata.continue_.filter(|token| !token.is_empty()) {
                Some(token) => page.continue_token = Some(token),
                None => return Ok(()),
            }
        }
    }

    /// Patches one pod. If it changed in the meantime it is looked at once more.
    async fn pod(
        &self,
        namespace: &str,
        pod: DynamicObject,
        patch: Value,
    ) -> Result<(), ClusterError> {
        let Some(name) = pod.metadata.name else {
            return Ok(());
        };
        let outcome = match self.patch(namespace, &name, &patch).await {
            Err(error) if error.is_conflict() => {
                let attempt = Attempt::new("get", PODS).within(namespace).on(&name);
                let api = self.api(namespace);
                let current = self.cluster.call(&attempt, api.get_opt(&name)).await?;
                match current.and_then(|pod| self.patch_for(namespace, &pod)) {
                    Some(patch) => self.patch(namespace, &name, &patch).await,
                    // Another replica was first, or the pod is gone.
                    None => return Ok(()),
                }
            }
            outcome => outcome,
        };
        match outcome {
            Ok(()) => {
                self.metrics
                    .pod_refreshes
                    .with_label_values(&["patched"])
                    .inc();
                info!(
                    pod.namespace = namespace,
                    pod.name = name,
                    "running pod brought up to date"
                );
                Ok(())
            }
            Err(error) if error.is_missing() => Ok(()),
            Err(error) => {
                self.metrics
                    .pod_refreshes
                    .with_label_values(&["failed"])
                    .inc();
                Err(error)
            }
        }
    }

    /// The merge patch for a pod, which holds for the version that was looked at alone.
    fn patch_for(&self, namespace: &str, pod: &DynamicObject) -> Option<Value> {
        let raw = serde_json::to_value(pod).ok()?;
        let annotations = (self.refresh)(namespace, &raw)?;
        let version = &pod.metadata.resource_version;
        Some(json!({"metadata": {"resourceVersion": version, "annotations": annotations}}))
    }

    async fn patch(&self, namespace: &str, name: &str, patch: &Value) -> Result<(), ClusterError> {
        let attempt = Attempt::new("patch", PODS).within(namespace).on(name);
        let params = PatchParams {
            field_manager: Some(FIELD_MANAGER.to_owned()),
            ..PatchParams::default()
        };
        let api = self.api(namespace);
        self.cluster
            .call(&attempt, api.patch(name, &params, &Patch::Merge(patch)))
            .await?;
        Ok(())
    }

    /// Untyped, so that no field of a pod is unknown to us.
    fn api(&self, namespace: &str) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<Pod>(&());
        Api::namespaced_with(self.cluster.client(), namespace, &resource)
    }
}
