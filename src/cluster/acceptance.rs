//! Whether the API server would accept the certificate that we show. In: the certificate and the
//! bundle as they change. Out: accepted or why not; readiness is held back until then.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::cluster::bundle::Bundle;
use crate::cluster::certificates::authority::Anchor;
use crate::cluster::certificates::trust::Distrust;
use crate::cluster::metrics::ClusterMetrics;
use crate::cluster::serving::Judge;

/// Whether admissions can reach us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Acceptance {
    /// The API server accepts what we show.
    Accepted,
    /// We have nothing to show yet.
    NoCertificate,
    /// The MutatingWebhookConfiguration has not been read yet.
    NotRead,
    /// There is no MutatingWebhookConfiguration.
    NoConfiguration,
    /// It has no webhook.
    NoWebhook,
    /// A webhook's bundle does not vouch for what we show.
    NotTrusted {
        /// The webhook.
        webhook: String,
        /// Why not.
        why: Distrust,
    },
}

impl Acceptance {
    /// Whether admissions can reach us.
    #[must_use]
    pub fn is_accepted(&self) -> bool {
        *self == Self::Accepted
    }

    /// The state in one word, for logs and metrics.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::NoCertificate => "no_certificate",
            Self::NotRead => "not_read",
            Self::NoConfiguration => "no_configuration",
            Self::NoWebhook => "no_webhook",
            Self::NotTrusted { .. } => "not_trusted",
        }
    }
}

impl fmt::Display for Acceptance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Accepted => f.write_str("accepted"),
            Self::NoCertificate => f.write_str("there is no certificate to serve yet"),
            Self::NotRead => f.write_str("the MutatingWebhookConfiguration has not been read yet"),
            Self::NoConfiguration => f.write_str("there is no MutatingWebhookConfiguration"),
            Self::NoWebhook => f.write_str("the MutatingWebhookConfiguration has no webhook"),
            Self::NotTrusted { webhook, why } => write!(
                f,
                "the caBundle of webhook \"{webhook}\" does not vouch for the certificate that is \
                 served: {why}"
            ),
        }
    }
}

/// Compares what is shown with what is trusted.
pub struct AcceptanceWatch {
    shown: watch::Receiver<Option<Arc<CertifiedKey>>>,
    bundle: watch::Receiver<Bundle>,
    judge: Judge,
    metrics: ClusterMetrics,
    acceptance: watch::Sender<Acceptance>,
}

impl AcceptanceWatch {
    /// Makes a watch that is not ready yet.
    #[must_use]
    pub fn new(
        shown: watch::Receiver<Option<Arc<CertifiedKey>>>,
        bundle: watch::Receiver<Bundle>,
        judge: Judge,
        metrics: &ClusterMetrics,
    ) -> Self {
        let acceptance = watch::Sender::new(Acceptance::NoCertificate);
        Self {
            shown,
            bundle,
            judge,
            metrics: metrics.clone(),
            acceptance,
        }
    }

    /// Follows the outcome.
    #[must_use]
    pub fn acceptance(&self) -> watch::Receiver<Acceptance> {
        self.acceptance.subscribe()
    }

    /// Compares on every change, and every `resync` as certificates expire without a change.
    pub async fn run(mut self, resync: Duration, stop: CancellationToken) {
        loop {
            let shown = self.shown.borrow_and_update().clone();
            let bundle = self.bundle.borrow_and_update().clone();
            self.report(self.compare(shown.as_deref(), &bundle));
            self.measure(&bundle);
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = self.shown.changed() => {}
                Ok(()) = self.bundle.changed() => {}
                () = tokio::time::sleep(resync) => {}
            }
        }
    }

    fn compare(&self, shown: Option<&CertifiedKey>, bundle: &Bundle) -> Acceptance {
        let Some(shown) = shown else {
            return Acceptance::NoCertificate;
        };
        match bundle {
            Bundle::Unknown => Acceptance::NotRead,
            Bundle::Absent => Acceptance::NoConfiguration,
            Bundle::Present(webhooks) if webhooks.is_empty() => Acceptance::NoWebhook,
            Bundle::Present(_) => match self.judge.objection(bundle, shown) {
                None => Acceptance::Accepted,
                Some((webhook, why)) => Acceptance::NotTrusted { webhook, why },
            },
        }
    }

    fn report(&self, now: Acceptance) {
        self.metrics
            .bundle_matches
            .set(i64::from(now.is_accepted()));
        self.acceptance.send_if_modified(|before| {
            if *before == now {
                return false;
            }
            if now.is_accepted() {
                info!(state = now.label(), "webhook trusted by the API server");
            } else {
                warn!(state = now.label(), reason = %now, "webhook not trusted by the API server");
            }
            *before = now;
            true
        });
    }

    fn measure(&self, bundle: &Bundle) {
        let Bundle::Present(webhooks) = bundle else {
            return;
        };
        // A bundle is good until the last of its CAs expires, and all until the first bundle.
        let ends = webhooks
            .iter()
            .filter_map(|webhook| webhook.anchors.iter().filter_map(not_after).max());
        if let Some(first) = ends.min() {
            self.metrics.bundle_not_after.set(first);
        }
    }
}

/// Seconds since 1970 at which a CA expires.
fn not_after(der: &CertificateDer<'static>) -> Option<i64> {
    let since = Anchor::of(der.clone())
        .ok()?
        .validity
        .not_after
        .duration_since(SystemTime::UNIX_EPOCH);
    i64::try_from(since.ok()?.as_secs()).ok()
}
