//! Shows a new certificate once the API server vouches for it. In: certificates as they are issued,
//! the bundle as it is seen. Out: the certificate for the next handshake. Connections that are
//! open keep theirs: nothing is dropped.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::cluster::Clock;
use crate::cluster::bundle::Bundle;
use crate::cluster::certificates::{Issued, Keeping, trust};
use crate::cluster::client::Pace;

/// How a webhook's certificate is judged as the API server would.
#[derive(Clone)]
pub struct Judge {
    /// The cryptography.
    pub provider: Arc<CryptoProvider>,
    /// The name that the API server verifies: `SERVICE.NAMESPACE.svc`.
    pub name: String,
    /// The time.
    pub clock: Clock,
}

impl Judge {
    /// Judges by the first name that certificates are kept for.
    #[must_use]
    pub fn of(keeping: &Keeping) -> Self {
        Self {
            provider: Arc::clone(&keeping.provider),
            name: keeping.policy.names.first().cloned().unwrap_or_default(),
            clock: Arc::clone(&keeping.clock),
        }
    }

    /// Finds the first webhook that would not accept the certificate, and why.
    #[must_use]
    pub fn objection(
        &self,
        bundle: &Bundle,
        certified: &CertifiedKey,
    ) -> Option<(String, trust::Distrust)> {
        let Bundle::Present(webhooks) = bundle else {
            return None;
        };
        let now = (self.clock)();
        webhooks.iter().find_map(|webhook| {
            let chain = &certified.cert;
            trust::verify(&self.provider, chain, &webhook.anchors, &self.name, now)
                .err()
                .map(|distrust| (webhook.webhook.clone(), distrust))
        })
    }
}

/// Moves issued certificates to the listener.
pub struct Rollout {
    /// What the Secret holds.
    pub issued: watch::Receiver<Option<Arc<Issued>>>,
    /// What the API server trusts.
    pub bundle: watch::Receiver<Bundle>,
    /// What the listener is to show from the next handshake on.
    pub shown: watch::Sender<Option<Arc<CertifiedKey>>>,
    /// How certificates are judged.
    pub judge: Judge,
    /// How long to wait after the bundle vouches for a certificate.
    pub pace: Pace,
}

impl Rollout {
    /// Moves certificates until told to stop.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut showing: Option<Arc<Issued>> = None;
        let mut vouched: Option<(Arc<Issued>, Instant)> = None;
        loop {
            let candidate = self.issued.borrow_and_update().clone();
            let bundle = self.bundle.borrow_and_update().clone();
            let mut wake = Instant::now() + self.pace.resync;
            if let Some(candidate) = candidate {
                match self.step(showing.as_deref(), &candidate, &bundle) {
                    Step::Show => {
                        self.show(&candidate);
                        showing = Some(candidate);
                    }
                    Step::Vouched => {
                        let now = Instant::now();
                        let since = match &vouched {
                            Some((known, since)) if Arc::ptr_eq(known, &candidate) => *since,
                            _ => now,
                        };
                        vouched = Some((Arc::clone(&candidate), since));
                        wake = since + self.pace.settle;
                        if wake <= now {
                            self.show(&candidate);
                            showing = Some(candidate);
                            continue;
                        }
                    }
                    Step::Wait => vouched = None,
                    Step::Same => showing = Some(candidate),
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                Ok(()) = self.issued.changed() => {}
                Ok(()) = self.bundle.changed() => {}
                () = tokio::time::sleep_until(wake) => {}
            }
        }
    }

    fn step(&self, showing: Option<&Issued>, candidate: &Issued, bundle: &Bundle) -> Step {
        let Some(showing) = showing else {
            return Step::Show;
        };
        if showing.certified.cert == candidate.certified.cert {
            return Step::Same;
        }
        let now: SystemTime = (self.judge.clock)();
        match bundle {
            // Nothing calls us, or what we show is refused by everybody: no reason to wait.
            Bundle::Absent => Step::Show,
            _ if !showing.leaf.contains(now) => Step::Show,
            Bundle::Unknown => Step::Wait,
            Bundle::Present(_) => match self.judge.objection(bundle, &candidate.certified) {
                None => Step::Vouched,
                Some(_) => Step::Wait,
            },
        }
    }

    fn show(&self, issued: &Issued) {
        self.shown.send_replace(Some(Arc::clone(&issued.certified)));
        info!("serving certificate exchanged");
    }
}

/// What to do with the certificate that was issued last.
enum Step {
    /// It is the one shown.
    Same,
    /// Show it at once.
    Show,
    /// The bundle vouches for it: show it once that has reached every API server.
    Vouched,
    /// The bundle does not vouch for it yet.
    Wait,
}
