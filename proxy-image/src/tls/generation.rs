//! Which credentials an upstream connection was opened with, and what becomes of it when they are
//! replaced. In: credentials and the number of their load. Out: [`Generation`], to compare.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::{Duration, Instant};

use crate::credentials::Credentials;

/// How long a connection that was opened with our certificate of before may take requests, while
/// one that is opened with the new certificate gets ready. A request that had to wait for that
/// itself would be slower than all others.
const HANDOVER: Duration = Duration::from_secs(1);

/// One load of a route's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generation {
    /// Counts the loads, from 1; 0 without TLS.
    pub number: u64,
    trust: Option<Trust>,
}

/// What upstreams are checked against, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trust {
    id: u64,
    since: Instant,
}

impl Generation {
    /// That of all connections without TLS.
    pub(crate) const PLAIN: Self = Self {
        number: 0,
        trust: None,
    };

    /// Makes that of credentials that were loaded just now.
    #[must_use]
    pub fn new(number: u64, credentials: &Credentials) -> Self {
        // What a list has revoked since must not be used for another moment.
        let trust = credentials.crls.is_empty().then(|| {
            let mut hasher = DefaultHasher::new();
            credentials.ca.hash(&mut hasher);
            Trust {
                id: hasher.finish(),
                since: Instant::now(),
            }
        });
        Self { number, trust }
    }

    /// Returns whether a connection of another generation may still take a request: both trust the
    /// same upstreams, and this one is new.
    #[must_use]
    pub fn hands_over_from(self, other: Self) -> bool {
        let (Some(now), Some(before)) = (self.trust, other.trust) else {
            return false;
        };
        now.id == before.id && now.since.elapsed() < HANDOVER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credentials(ca: &'static [u8]) -> Credentials {
        Credentials {
            certificate: None,
            ca: Some(vec![ca.into()]),
            crls: Vec::new(),
            expiries: Vec::new(),
        }
    }

    #[test]
    fn a_new_certificate_hands_over_and_another_trust_does_not() {
        let first = Generation::new(1, &credentials(b"one"));
        let second = Generation::new(2, &credentials(b"one"));
        assert_ne!(first, second);
        assert!(second.hands_over_from(first));
        let other = Generation::new(3, &credentials(b"other"));
        assert!(!other.hands_over_from(second));
        assert!(!other.hands_over_from(Generation::PLAIN));
    }

    #[test]
    fn a_handover_ends() {
        let first = Generation::new(1, &credentials(b"one"));
        let mut second = Generation::new(2, &credentials(b"one"));
        if let Some(trust) = &mut second.trust {
            trust.since -= HANDOVER;
        }
        assert!(!second.hands_over_from(first));
    }
}
