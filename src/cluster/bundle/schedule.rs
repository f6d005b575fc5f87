//! When the bundle is healed. In: its fault, and how healing went. Out: whether it is time.

use std::time::Duration;

use backon::ExponentialBackoff;
use tokio::time::Instant;

use crate::cluster::bundle::trusted::Fault;
use crate::cluster::client::Cluster;

/// Somebody who keeps overwriting the bundle is answered at most this slowly.
const SLOWEST_HEALING: Duration = Duration::from_secs(5);

/// When to heal: at once, but patiently with those who keep overwriting, and only after a while
/// when another replica may be ahead of us.
pub(super) struct Schedule {
    cluster: Cluster,
    pub(super) wake: Instant,
    /// The next failure or repeated healing waits this long.
    pauses: ExponentialBackoff,
    not_before: Instant,
    last_healed: Option<Instant>,
    surplus_since: Option<Instant>,
}

impl Schedule {
    pub(super) fn new(cluster: &Cluster) -> Self {
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
    pub(super) fn is_due(&mut self, fault: Option<Fault>) -> bool {
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

    pub(super) fn healed(&mut self) {
        let now = Instant::now();
        let quiet = self.cluster.pace().resync;
        if self.last_healed.is_none_or(|last| now - last > quiet) {
            self.pauses = self.cluster.backoff();
        }
        self.last_healed = Some(now);
        self.surplus_since = None;
        self.pause();
    }

    pub(super) fn failed(&mut self) {
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
