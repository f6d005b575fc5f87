//! Annotations of a running pod, patched so that no other change is lost. In: a pod as it was seen,
//! and what its annotations should be, as a function. Out: the patch, made once, whichever replica
//! comes first; and a count.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams};
use prometheus::IntCounterVec;
use serde_json::{Value, json};

use crate::cluster::client::Cluster;
use crate::cluster::failure::{Attempt, ClusterError, ResourceName};

const FIELD_MANAGER: &str = "mtls-injector";

/// Tells which annotations a pod (raw JSON) should get, given its namespace; `None` for a pod that is
/// to be left alone.
pub type Wanted = Box<dyn Fn(&str, &Value) -> Option<BTreeMap<String, String>> + Send + Sync>;

/// Patches pods.
pub(super) struct Annotator {
    cluster: Cluster,
    wanted: Wanted,
    /// By `outcome`: `patched`, `failed`.
    count: IntCounterVec,
}

impl Annotator {
    pub(super) fn new(cluster: &Cluster, wanted: Wanted, count: &IntCounterVec) -> Self {
        Self {
            cluster: cluster.clone(),
            wanted,
            count: count.clone(),
        }
    }

    /// The merge patch for a pod, which holds for the version that was looked at alone; `None` for one
    /// that is to be left alone.
    pub(super) fn patch_for(&self, namespace: &str, pod: &DynamicObject) -> Option<Value> {
        let raw = serde_json::to_value(pod).ok()?;
        let annotations = (self.wanted)(namespace, &raw)?;
        let version = &pod.metadata.resource_version;
        Some(json!({"metadata": {"resourceVersion": version, "annotations": annotations}}))
    }

    /// Patches one pod, and tells whether it was this replica that did. If the pod changed in the
    /// meantime it is looked at once more.
    pub(super) async fn pod(
        &self,
        namespace: &str,
        name: &str,
        patch: &Value,
    ) -> Result<bool, ClusterError> {
        let outcome = match self.patch(namespace, name, patch).await {
            Err(error) if error.is_conflict() => {
                let attempt = Attempt::new("get", ResourceName::PODS)
                    .within(namespace)
                    .on(name);
                let api = self.api(namespace);
                let current = self.cluster.call(&attempt, api.get_opt(name)).await?;
                match current.and_then(|pod| self.patch_for(namespace, &pod)) {
                    Some(patch) => self.patch(namespace, name, &patch).await,
                    // Another replica was first, or the pod is gone.
                    None => return Ok(false),
                }
            }
            outcome => outcome,
        };
        match outcome {
            Ok(()) => {
                self.count.with_label_values(&["patched"]).inc();
                Ok(true)
            }
            Err(error) if error.is_missing() => Ok(false),
            Err(error) => {
                self.count.with_label_values(&["failed"]).inc();
                Err(error)
            }
        }
    }

    async fn patch(&self, namespace: &str, name: &str, patch: &Value) -> Result<(), ClusterError> {
        let attempt = Attempt::new("patch", ResourceName::PODS)
            .within(namespace)
            .on(name);
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
    pub(super) fn api(&self, namespace: &str) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<Pod>(&());
        Api::namespaced_with(self.cluster.client(), namespace, &resource)
    }
}
