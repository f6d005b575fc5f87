//! The webhook's life as one value: its certificate, the bundle that vouches for it, and whether
//! both agree. In: the connection and what is to be kept. Out: the certificate to show and the
//! API server's acceptance of it.

use std::sync::Arc;
use std::time::Duration;

use rustls::sign::CertifiedKey;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::cluster::acceptance::{Acceptance, AcceptanceWatch};
use crate::cluster::bundle::BundleKeeper;
use crate::cluster::certificates::{CertificateKeeper, Keeping};
use crate::cluster::client::Cluster;
use crate::cluster::metrics::ClusterMetrics;
use crate::cluster::serving::{Judge, Rollout};

/// What the listener shows; `None` before the first certificate.
pub type Shown = watch::Receiver<Option<Arc<CertifiedKey>>>;

/// The tasks that keep the webhook reachable.
pub struct WebhookLife {
    /// Absent when the certificate comes from files.
    own: Option<(CertificateKeeper, Rollout)>,
    bundle: BundleKeeper,
    acceptance: AcceptanceWatch,
    shown: Shown,
    resync: Duration,
}

impl WebhookLife {
    /// Keeps certificates of our own for the listener, and the bundle of the named MutatingWebhookConfiguration.
    #[must_use]
    pub fn with_own_certificates(
        cluster: &Cluster,
        keeping: Keeping,
        listener: watch::Sender<Option<Arc<CertifiedKey>>>,
        webhook: &str,
        metrics: &ClusterMetrics,
    ) -> Self {
        let judge = Judge::of(&keeping);
        let keeper = CertificateKeeper::new(cluster, keeping, metrics);
        let bundle = BundleKeeper::healing(cluster, webhook, metrics, keeper.issued());
        let shown = listener.subscribe();
        let rollout = Rollout {
            issued: keeper.issued(),
            bundle: bundle.bundle(),
            shown: listener,
            judge: judge.clone(),
            pace: cluster.pace().clone(),
        };
        let acceptance = AcceptanceWatch::new(shown.clone(), bundle.bundle(), judge, metrics);
        let resync = cluster.pace().resync;
        Self {
            own: Some((keeper, rollout)),
            bundle,
            acceptance,
            shown,
            resync,
        }
    }

    /// Only compares: the certificate comes from files, and somebody else keeps the bundle.
    #[must_use]
    pub fn with_mounted_certificate(
        cluster: &Cluster,
        shown: Shown,
        judge: Judge,
        webhook: &str,
        metrics: &ClusterMetrics,
    ) -> Self {
        let bundle = BundleKeeper::observing(cluster, webhook, metrics);
        let acceptance = AcceptanceWatch::new(shown.clone(), bundle.bundle(), judge, metrics);
        Self {
            own: None,
            bundle,
            acceptance,
            shown,
            resync: cluster.pace().resync,
        }
    }

    /// Follows the certificate to show.
    #[must_use]
    pub fn shown(&self) -> Shown {
        self.shown.clone()
    }

    /// Follows whether the API server accepts it.
    #[must_use]
    pub fn acceptance(&self) -> watch::Receiver<Acceptance> {
        self.acceptance.acceptance()
    }

    /// Lives until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let own = async {
            if let Some((keeper, rollout)) = self.own {
                tokio::join!(keeper.run(stop.clone()), rollout.run(stop.clone()));
            }
        };
        tokio::join!(
            own,
            self.bundle.run(stop.clone()),
            self.acceptance.run(self.resync, stop.clone()),
        );
    }
}
