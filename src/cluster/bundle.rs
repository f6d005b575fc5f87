//! The `caBundle` of every webhook in our MutatingWebhookConfiguration. In: the CAs to trust, and
//! the object as it changes. Out: the object healed, and what it holds. Only that one field is
//! ours, by server-side apply with a field manager of its own, so GitOps tools see no drift.

use std::sync::Arc;
use std::time::Duration;

use backon::ExponentialBackoff;
use futures::StreamExt;
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::api::{Patch, PatchParams};
use kube::{Api, ResourceExt};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::cluster::certificates::Issued;
use crate::cluster::client::Cluster;
use crate::cluster::failure::{Attempt, ClusterError, ResourceName};
use crate::cluster::metrics::ClusterMetrics;
use crate::telemetry::in_full;

/// The name under which the API server records our ownership of `caBundle`.
pub const FIELD_MANAGER: &str = "mtls-injector-ca";

/// Somebody who keeps overwriting the bundle is answered at most this slowly.
const SLOWEST_HEALING: Duration = Duration::from_secs(5);

/// What the API server was last seen to trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bundle {
    /// Not seen yet.
    Unknown,
    /// There is no such MutatingWebhookConfiguration.
    Absent,
    /// The CAs of each of its webhooks.
    Present(Vec<WebhookBundle>),
}

/// The CAs that one webhook is verified with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookBundle {
    /// The name of the webhook.
    pub webhook: String,
    /// Its `caBundle`, PEM; empty when it is not set.
    pub pem: Vec<u8>,
    /// The certificates in it that can be read.
    pub anchors: Vec<CertificateDer<'static>>,
}

impl Bundle {
    fn of(object: Option<&MutatingWebhookConfiguration>) -> Self {
        let Some(object) = object else {
            return Self::Absent;
        };
        let webhooks = object.webhooks.iter().flatten().map(|webhook| {
            let pem = webhook
                .client_config
                .ca_bundle
                .clone()
                .map(|bytes| bytes.0)
                .unwrap_or_default();
            let anchors = CertificateDer::pem_slice_iter(&pem)
                .filter_map(Result::ok)
                .collect();
            WebhookBundle {
                webhook: webhook.name.clone(),
                pem,
                anchors,
            }
        });
        Self::Present(webhooks.collect())
    }
}

/// What is wrong with the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// A CA that is needed now is not in it.
    Lacking,
    /// All that we know of is in it, and something more: another replica may know better.
    Surplus,
}

impl Fault {
    fn of(bundle: &Bundle, wanted: &Issued) -> Option<Self> {
        let Bundle::Present(webhooks) = bundle else {
            return None;
        };
        let pem = wanted.bundle();
        if webhooks.iter().all(|webhook| webhook.pem == pem.as_bytes()) {
            return None;
        }
        let lacks = |webhook: &WebhookBundle| {
            wanted
                .anchors
                .iter()
                .any(|anchor| !webhook.anchors.contains(anchor))
        };
        Some(if webhooks.iter().any(lacks) {
            Self::Lacking
        } else {
            Self::Surplus
        })
    }
}

/// Watches the bundle and, when it is ours to keep, heals it.
pub struct BundleKeeper {
    cluster: Cluster,
    /// The name of the MutatingWebhookConfiguration.
    name: String,
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
            name: name.to_owned(),
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
        let attempt = Attempt::new("watch", ResourceName::WEBHOOKS).on(&self.name);
        let mut sightings = self.cluster.watch_one(self.api(), &self.name, attempt);
        let mut schedule = Schedule::new(&self.cluster);
        let mut seen: Option<Option<MutatingWebhookConfiguration>> = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                sighting = sightings.next() => match sighting {
                    Some(Ok(object)) => seen = Some(object),
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
                info!(webhook.configuration = self.name, "caBundle written");
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
        let attempt = Attempt::new("get", ResourceName::WEBHOOKS).on(&self.name);
        match self
            .cluster
            .call(&attempt, self.api().get_opt(&self.name))
            .await
        {
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
            "metadata": {"name": self.name, "resourceVersion": present.resource_version()},
            "webhooks": webhooks,
        });
        let params = PatchParams::apply(FIELD_MANAGER).force();
        let attempt = Attempt::new("patch", ResourceName::WEBHOOKS).on(&self.name);
        let api = self.api();
        self.cluster
            .call(
                &attempt,
                api.patch(&self.name, &params, &Patch::Apply(&ours)),
            )
            .await
    }

    fn api(&self) -> Api<MutatingWebhookConfiguration> {
        Api::all(self.cluster.client())
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

/// When to heal: at once, but patiently with those who keep overwriting, and only after a while
/// when another replica may be ahead of us.
struct Schedule {
    cluster: Cluster,
    wake: Instant,
    /// The next failure or repeated healing waits this long.
    pauses: ExponentialBackoff,
    not_before: Instant,
    last_healed: Option<Instant>,
    surplus_since: Option<Instant>,
}

impl Schedule {
    fn new(cluster: &Cluster) -> Self {
        let now = Instant::now();
        Self {
            cluster: cluster.clone(),
            wake: now,
            pauses: cluster.backoff(),
            not_before: now,
            last_healed: None,
            surplus_since: None,
        }
    }

    /// Whether to heal now; else sets the alarm.
    fn is_due(&mut self, fault: Option<Fault>) -> bool {
        let now = Instant::now();
        let pace = self.cluster.pace();
        let at = match fault {
            None => {
                self.surplus_since = None;
                self.wake = now + pace.resync;
                return false;
            }
            Some(Fault::Lacking) => self.not_before,
            Some(Fault::Surplus) => self
                .not_before
                .max(*self.surplus_since.get_or_insert(now) + pace.settle),
        };
        self.wake = at;
        at <= now
    }

    fn healed(&mut self) {
        let now = Instant::now();
        let quiet = self.cluster.pace().resync;
        if self.last_healed.is_none_or(|last| now - last > quiet) {
            self.pauses = self.cluster.backoff();
        }
        self.last_healed = Some(now);
        self.surplus_since = None;
        self.pause();
    }

    fn failed(&mut self) {
        self.pause();
    }

    fn pause(&mut self) {
        let pause = self
            .pauses
            .next()
            .unwrap_or(SLOWEST_HEALING)
            .min(SLOWEST_HEALING);
        self.not_before = Instant::now() + pause;
        self.wake = self.not_before;
    }
}
