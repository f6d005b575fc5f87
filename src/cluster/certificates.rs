//! Keeps the webhook's CA and leaf in one Secret that all replicas share. In: what the Secret
//! holds. Out: the certificates to trust and to serve. Every replica may write; the Secret's
//! resourceVersion decides who was first, and everybody else adopts the winner's.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use k8s_openapi::api::core::v1::Secret;
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::cluster::Clock;
use crate::cluster::certificates::authority::{
    Anchor, CertificateError, Validity, certificates_pem,
};
use crate::cluster::certificates::plan::{Plan, plan};
use crate::cluster::certificates::stored::{CertificatePolicy, Entries, Stored};
use crate::cluster::client::Cluster;
use crate::cluster::failure::{ClusterError, ResourceName};
use crate::cluster::metrics::ClusterMetrics;
use crate::cluster::object::ObjectClient;
use crate::telemetry::in_full;

pub mod authority;
pub mod plan;
mod secret;
pub mod stored;
pub mod trust;

/// More steps in a row than any state needs; conflicts with other replicas count too.
const MOST_STEPS: usize = 16;

/// Certificates as the Secret holds them now.
pub struct Issued {
    /// What the webhook serves.
    pub certified: Arc<CertifiedKey>,
    /// The CAs to trust, the signing one first.
    pub anchors: Vec<CertificateDer<'static>>,
    /// When the leaf may be used.
    pub leaf: Validity,
    /// When the signing CA may be used.
    pub authority: Validity,
}

impl Issued {
    /// The value of `caBundle`: the CAs as PEM.
    #[must_use]
    pub fn bundle(&self) -> String {
        certificates_pem(&self.anchors)
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued")
            .field("leaf", &self.leaf)
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}

/// Where and how the certificates are kept.
#[derive(Clone)]
pub struct Keeping {
    /// The namespace of the Secret: our own.
    pub namespace: String,
    /// The name of the Secret.
    pub secret: String,
    /// Lives and names.
    pub policy: CertificatePolicy,
    /// The cryptography.
    pub provider: Arc<CryptoProvider>,
    /// The time.
    pub clock: Clock,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    #[error("the Secret still changes after {MOST_STEPS} attempts")]
    Unsettled,
}

/// Keeps the Secret in order and reports what it holds.
pub struct CertificateKeeper {
    cluster: Cluster,
    secret: ObjectClient<Secret>,
    keeping: Keeping,
    metrics: ClusterMetrics,
    issued: watch::Sender<Option<Arc<Issued>>>,
    /// The CAs of the leaves in use, in case the Secret is lost.
    remembered: Vec<Anchor>,
}

impl CertificateKeeper {
    /// Makes a keeper that knows nothing yet.
    #[must_use]
    pub fn new(cluster: &Cluster, keeping: Keeping, metrics: &ClusterMetrics) -> Self {
        let Keeping {
            namespace, secret, ..
        } = &keeping;
        Self {
            cluster: cluster.clone(),
            secret: ObjectClient::within(cluster, ResourceName::SECRETS, namespace, secret),
            keeping,
            metrics: metrics.clone(),
            issued: watch::Sender::new(None),
            remembered: Vec::new(),
        }
    }

    /// Follows what the Secret holds; `None` until it holds something usable.
    #[must_use]
    pub fn issued(&self) -> watch::Receiver<Option<Arc<Issued>>> {
        self.issued.subscribe()
    }

    /// Keeps the Secret in order until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut sightings = self.secret.watch();
        let mut pauses = self.cluster.backoff();
        let mut seen: Option<Option<Secret>> = None;
        let mut wake = Instant::now();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                sighting = sightings.next() => match sighting {
                    Some(Ok(sighted)) => {
                        seen = Some(self.secret.newest(seen.take(), sighted).await);
                    }
                    Some(Err(error)) => {
                        warn!(error = in_full(&error), "certificate watch failed");
                        continue;
                    }
                    None => return,
                },
                () = tokio::time::sleep_until(wake), if seen.is_some() => {}
            }
            let Some(secret) = &mut seen else { continue };
            let pause = match self.settle(secret).await {
                Ok(pause) => {
                    pauses = self.cluster.backoff();
                    pause
                }
                Err(error) => {
                    warn!(error = in_full(&error), "certificates not in order");
                    pauses.next().unwrap_or_default()
                }
            };
            wake = Instant::now() + pause;
        }
    }

    /// Takes steps until the plan is to keep what is there, and returns when to look again.
    async fn settle(&mut self, secret: &mut Option<Secret>) -> Result<Duration, StepError> {
        for _ in 0..MOST_STEPS {
            let now = (self.keeping.clock)();
            let stored = self.read(secret.as_ref());
            self.publish(&stored);
            let step = plan(&self.keeping.provider, &stored, &self.keeping.policy, now);
            if let Plan::Keep { until } = step {
                let left = until.duration_since(now).unwrap_or_default();
                // The clock may be set, and a timer does not run while the machine sleeps.
                return Ok(left.min(self.cluster.pace().resync));
            }
            for flaw in &stored.flaws {
                warn!(flaw = %flaw, secret = self.keeping.secret, "entry of the Secret not usable");
            }
            let next = step.apply(stored, &self.keeping.policy, now)?;
            match secret::write(&self.secret, secret.as_ref(), &next.entries()).await {
                Ok(written) => {
                    *secret = Some(written);
                    self.metrics
                        .certificate_changes
                        .with_label_values(&[step.label()])
                        .inc();
                    info!(reason = %step, secret = self.keeping.secret, "certificates changed");
                }
                Err(error) if error.is_conflict() || error.is_missing() => {
                    // Another replica was first: adopt what it wrote.
                    *secret = self.secret.get().await?;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(StepError::Unsettled)
    }

    fn read(&self, secret: Option<&Secret>) -> Stored {
        let Some(secret) = secret else {
            return Stored::remembering(self.remembered.clone());
        };
        let entries: Entries = secret
            .data
            .iter()
            .flatten()
            .map(|(key, value)| (key.clone(), value.0.clone()))
            .collect();
        let mut stored = Stored::read(&entries);
        if stored.authority.is_none() {
            let lost = self
                .remembered
                .iter()
                .filter(|anchor| !stored.previous.contains(anchor));
            let lost: Vec<_> = lost.cloned().collect();
            stored.previous.extend(lost);
        }
        stored
    }

    /// Reports what is usable now, even while a renewal is due but cannot be written.
    fn publish(&mut self, stored: &Stored) {
        let Keeping {
            provider,
            policy,
            clock,
            ..
        } = &self.keeping;
        let (Some(authority), Some(leaf)) = (&stored.authority, &stored.leaf) else {
            return;
        };
        let Ok(certified) = leaf.certified(provider) else {
            return;
        };
        let anchors = stored.anchors();
        let ders: Vec<_> = anchors.iter().map(|anchor| anchor.der.clone()).collect();
        let Some(name) = policy.names.first() else {
            return;
        };
        if trust::verify(provider, &leaf.chain, &ders, name, clock()).is_err() {
            return;
        }
        self.remembered = anchors;
        let issued = Issued {
            certified: Arc::new(certified),
            anchors: ders,
            leaf: leaf.validity,
            authority: authority.anchor.validity,
        };
        self.issued.send_if_modified(|current| {
            let same = current.as_ref().is_some_and(|current| {
                current.certified.cert == issued.certified.cert && current.anchors == issued.anchors
            });
            if !same {
                *current = Some(Arc::new(issued));
            }
            !same
        });
    }
}
