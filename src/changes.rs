//! Notices that files have changed. In: what they hold, looked at again and again. Out: whether that
//! is new. Contents are compared because kubelet replaces the `..data` symlink above a mounted file,
//! which a watch on the file itself misses.

use std::hash::{BuildHasher, Hash, RandomState};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

/// A few small reads: cheap enough to notice a change within a second.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// What was last seen, as a fingerprint that tells nothing of it.
#[derive(Debug, Default)]
pub struct Seen {
    hasher: RandomState,
    last: Option<u64>,
}

impl Seen {
    /// Remembers a state, good or bad; returns whether it differs from the one before.
    pub fn is_new(&mut self, state: impl Hash) -> bool {
        let state = Some(self.hasher.hash_one(state));
        let is_new = self.last != state;
        self.last = state;
        is_new
    }
}

/// Looks once a second, until told to stop.
pub async fn keep_looking(stop: CancellationToken, mut look: impl FnMut()) {
    let mut ticks = interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while stop.run_until_cancelled(ticks.tick()).await.is_some() {
        look();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_difference_is_new() {
        let mut seen = Seen::default();
        assert!(seen.is_new("a"));
        assert!(!seen.is_new("a"));
        assert!(seen.is_new("b"));
        assert!(seen.is_new("a"));
    }
}
