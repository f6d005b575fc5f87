//! The `caBundle` of every webhook in our MutatingWebhookConfiguration. In: the CAs to trust, and
//! the object as it changes. Out: the object healed, and what it holds. Only that one field is
//! ours, by server-side apply with a field manager of its own, so GitOps tools see no drift.

use std::sync::Arc;

use futures::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::ResourceExt;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::cluster::bundle::schedule::Schedule;
use crate::cluster::bundle::trusted::Fault;
use crate::cluster::certificates::Issued;
use crate::cluster::client::Cluster;
use crate::cluster::failure::{ClusterError, ResourceName};
use crate::cluster::metrics::ClusterMetrics;
use crate::cluster::object::ObjectClient;
use crate::telemetry::in_full;

mod schedule;
mod trusted;

pub use trusted::{Bundle, WebhookBundle};

/// The name under which the API server records our ownership of `caBundle`.
pub const FIELD_MANAGER: &str = "mtls-injector-ca";

/// Watches the bundle and, when it is ours to keep, heals it.
pub struct BundleKeeper {
    cluster: Cluster,
    webhooks: ObjectClient<MutatingWebhookConfiguration>,
    /// The CAs to put in; `None` when somebody else keeps the bundle (cert-manager).
    wanted: Option<watch::Receiver<Option<Arc<Issued>>>>,
    metrics: ClusterMetrics,
    bundle: watch::Sender<Bundle>,
}

impl BundleKeeper {
    /// Makes a keeper that only watches.
    #[must_use]
    pub fn observing(cluster: &Cluster, name: &str, metrics: &ClusterMetrics) -> Self {
        Self {
            cluster: cluster.clone(),
            webhooks: ObjectClient::cluster_wide(cluster, ResourceName::WEBHOOKS, name),
            wanted: None,
            metrics: metrics.clone(),
            bundle: watch::Sender::new(Bundle::Unknown),
        }
    }

    /// Makes a keeper that puts the issued CAs in.
    #[must_use]
    pub fn healing(
        cluster: &Cluster,
        name: &str,
        metrics: &ClusterMetrics,
        wanted: watch::Receiver<Option<Arc<Issued>>>,
    ) -> Self {
        Self {
            wanted: Some(wanted),
            ..Self::observing(cluster, name, metrics)
        }
    }

    /// Follows what the API server trusts.
    #[must_use]
    pub fn bundle(&self) -> watch::Receiver<Bundle> {
        self.bundle.subscribe()
    }

    /// Watches and heals until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut sightings = self.webhooks.watch();
        let mut schedule = Schedule::new(&self.cluster);
        let mut seen: Option<Option<MutatingWebhookConfiguration>> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                sighting = sightings.next() => match sighting {
                    Some(Ok(sighted)) => {
                        seen = Some(self.webhooks.newest(seen.take(), sighted).await);
                    }
                    Some(Err(error)) => {
                        warn!(error = in_full(&error), "webhook watch failed");
                        continue;
                    }
                    None => return,
                },
                () = changed(&mut self.wanted) => {}
                () = tokio::time::sleep_until(schedule.wake), if seen.is_some() => {}
            }
            if let Some(object) = &mut seen {
                self.bundle.send_replace(Bundle::of(object.as_ref()));
                self.keep(object, &mut schedule).await;
            }
        }
    }

    /// Heals the object if it is time to, and plans the next look.
    async fn keep(
        &self,
        object: &mut Option<MutatingWebhookConfiguration>,
        schedule: &mut Schedule,
    ) {
        let wanted = self
            .wanted
            .as_ref()
            .and_then(|wanted| wanted.borrow().clone());
        let fault = wanted
            .as_ref()
            .and_then(|wanted| Fault::of(&Bundle::of(object.as_ref()), wanted));
        let (Some(wanted), true) = (wanted, schedule.is_due(fault)) else {
            return;
        };
        let Some(present) = object.as_ref() else {
            return;
        };
        match self.apply(present, &wanted).await {
            Ok(healed) => {
                *object = Some(healed);
                schedule.healed();
                self.metrics
                    .bundle_patches
                    .with_label_values(&["patched"])
                    .inc();
                info!(
                    webhook.configuration = self.webhooks.name(),
                    "caBundle written"
                );
            }
            Err(error) => {
                schedule.failed();
                if error.is_conflict() {
                    self.metrics
                        .bundle_patches
                        .with_label_values(&["conflict"])
                        .inc();
                    self.refresh(object).await;
                } else {
                    self.metrics
                        .bundle_patches
                        .with_label_values(&["failed"])
                        .inc();
                    warn!(error = in_full(&error), "caBundle not written");
                }
            }
        }
        self.bundle.send_replace(Bundle::of(object.as_ref()));
    }

    async fn refresh(&self, object: &mut Option<MutatingWebhookConfiguration>) {
        match self.webhooks.get().await {
            Ok(current) => *object = current,
            Err(error) => warn!(error = in_full(&error), "webhook not read"),
        }
    }

    /// Applies our one field to each webhook that is there.
    async fn apply(
        &self,
        present: &MutatingWebhookConfiguration,
        wanted: &Issued,
    ) -> Result<MutatingWebhookConfiguration, ClusterError> {
        let bundle = ByteString(wanted.bundle().into_bytes());
        let webhooks: Vec<_> = present
            .webhooks
            .iter()
            .flatten()
            .map(|webhook| json!({"name": webhook.name, "clientConfig": {"caBundle": bundle}}))
            .collect();
        let ours = json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "MutatingWebhookConfiguration",
            // With the version that we looked at, a webhook that was deleted or lost an entry in
            // the meantime is a conflict and not brought back as a stump.
            "metadata": {"name": self.webhooks.name(), "resourceVersion": present.resource_version()},
            "webhooks": webhooks,
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let (api, patch) = (self.webhooks.api(), Patch::Apply(&ours));
        let applying = api.patch(self.webhooks.name(), &params, &patch);
        self.webhooks.call("patch", applying).await
    }
}

/// Waits for the wanted CAs to change; for ever when there are none to come.
async fn changed(wanted: &mut Option<watch::Receiver<Option<Arc<Issued>>>>) {
    if let Some(wanted) = wanted
        && wanted.changed().await.is_ok()
    {
        return;
    }
    std::future::pending().await
}
