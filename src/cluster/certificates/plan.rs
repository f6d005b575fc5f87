//! Decides what to do with the shared certificates. In: the time and what the Secret holds. Out:
//! one step; doing it and asking again leads to `Keep`. Pure: no clock, no I/O.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::crypto::CryptoProvider;

use crate::cluster::certificates::authority::{CertificateError, Validity};
use crate::cluster::certificates::stored::{CertificatePolicy, Stored};
use crate::cluster::certificates::trust;

/// A certificate that begins later than this from now was made by a clock gone wrong.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(24 * 60 * 60);

/// The next step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// All is well; look again at that moment.
    Keep {
        /// When the next step is due.
        until: SystemTime,
    },
    /// Make a CA and a leaf of it.
    ReplaceAuthority(Cause),
    /// Make a leaf of the CA that is there.
    RenewLeaf(Cause),
    /// Nothing uses the previous CA any more.
    DropPrevious,
}

/// Why a certificate is replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// There is none that can be read.
    Absent,
    /// Two thirds of its life have passed.
    Due,
    /// It begins in the far future.
    FromTheFuture,
    /// It is not signed by the CA, or not for our names.
    Unfit,
}

impl Plan {
    /// The step as a metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Keep { .. } => "keep",
            Self::ReplaceAuthority(_) => "replace_authority",
            Self::RenewLeaf(_) => "renew_leaf",
            Self::DropPrevious => "drop_previous",
        }
    }

    /// Does the step.
    ///
    /// # Errors
    /// When certificates cannot be made.
    pub(crate) fn apply(
        self,
        stored: Stored,
        policy: &CertificatePolicy,
        now: SystemTime,
    ) -> Result<Stored, CertificateError> {
        match self {
            Self::Keep { .. } => Ok(stored),
            Self::ReplaceAuthority(_) => stored.with_new_authority(policy, now),
            Self::RenewLeaf(_) => stored.with_new_leaf(policy, now),
            Self::DropPrevious => Ok(stored.without_previous()),
        }
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Keep { .. } => f.write_str("the certificates are in order"),
            Self::ReplaceAuthority(cause) => write!(f, "the CA is replaced: {cause}"),
            Self::RenewLeaf(cause) => write!(f, "the serving certificate is renewed: {cause}"),
            Self::DropPrevious => f.write_str("the previous CA is no longer trusted"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "there is none that can be read",
            Self::Due => "two thirds of its life have passed",
            Self::FromTheFuture => "it begins more than a day from now",
            Self::Unfit => "it is not signed by the CA for the names of the Service",
        })
    }
}

/// Decides the next step.
#[must_use]
pub fn plan(
    provider: &Arc<CryptoProvider>,
    stored: &Stored,
    policy: &CertificatePolicy,
    now: SystemTime,
) -> Plan {
    let Some(authority) = &stored.authority else {
        return Plan::ReplaceAuthority(Cause::Absent);
    };
    let Some(leaf) = &stored.leaf else {
        return Plan::RenewLeaf(Cause::Absent);
    };
    if let Some(cause) = overdue(authority.anchor.validity, now) {
        return Plan::ReplaceAuthority(cause);
    }
    if let Some(cause) = overdue(leaf.validity, now) {
        return Plan::RenewLeaf(cause);
    }
    let fits = leaf.certified(provider).is_ok()
        && policy.names.iter().all(|name| {
            let anchors = [authority.anchor.der.clone()];
            // At a moment when both are valid: whether the time has come is decided above.
            let at = now
                .max(leaf.validity.not_before)
                .max(authority.anchor.validity.not_before);
            trust::verify(provider, &leaf.chain, &anchors, name, at).is_ok()
        });
    if !fits {
        return Plan::RenewLeaf(Cause::Unfit);
    }
    let renewal = leaf
        .validity
        .renewal()
        .min(authority.anchor.validity.renewal());
    if stored.previous.is_empty() {
        return Plan::Keep { until: renewal };
    }
    let overlap_end = leaf.validity.made() + policy.overlap;
    if now >= overlap_end {
        return Plan::DropPrevious;
    }
    Plan::Keep {
        until: renewal.min(overlap_end),
    }
}

fn overdue(validity: Validity, now: SystemTime) -> Option<Cause> {
    if now >= validity.renewal() {
        Some(Cause::Due)
    } else if validity.not_before > now + CLOCK_TOLERANCE {
        Some(Cause::FromTheFuture)
    } else {
        None
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
