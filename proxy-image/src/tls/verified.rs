//! Chains of peers that were verified before, so that one who connects again is not paid for again.
//!
//! What verification finds (RFC 5280 section 6.1) depends on the certificates, the roots, the usage
//! and the time. The first is compared in full, roots and usage are those of the verifier that this
//! belongs to and ends with, and within the dates of every certificate time changes nothing.
//! Revocation lists end by themselves, so with them nothing is remembered. That the peer holds the
//! key of its certificate is shown in every handshake, and names are compared in every handshake.

use std::iter;
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest::{Context, SHA256};
use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// How many chains are remembered, at 56 bytes; one more takes the place of another.
const SLOTS: usize = 64;

/// The chains that a verifier has verified.
#[derive(Debug, Default)]
pub(super) struct Verified {
    /// Empty until there is one. A chain's digest says where it is.
    slots: Mutex<Vec<Option<Known>>>,
}

#[derive(Clone, Debug)]
struct Known {
    chain: [u8; 32],
    /// When all certificates of the chain are valid, in seconds since 1970.
    dates: RangeInclusive<u64>,
}

/// The SHA-256 of a leaf and its intermediates, in the order in which they were sent.
pub(super) struct Fingerprint([u8; 32]);

impl Fingerprint {
    pub(super) fn of(leaf: &CertificateDer<'_>, intermediates: &[CertificateDer<'_>]) -> Self {
        let mut context = Context::new(&SHA256);
        for der in iter::once(leaf).chain(intermediates) {
            // Without the length, certificates that are cut elsewhere would be the same.
            context.update(&(der.len() as u64).to_be_bytes());
            context.update(der);
        }
        let digest = context.finish();
        Self(digest.as_ref().try_into().expect("a SHA-256 has 32 bytes"))
    }

    fn slot(&self) -> usize {
        usize::from(self.0[0]) % SLOTS
    }
}

impl Verified {
    /// Returns whether a chain was verified before, and would be now.
    pub(super) fn has(&self, chain: &Fingerprint, now: UnixTime) -> bool {
        let slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let known = slots.get(chain.slot()).and_then(Option::as_ref);
        known.is_some_and(|known| known.chain == chain.0 && known.dates.contains(&now.as_secs()))
    }

    /// Remembers a chain that has just been verified.
    pub(super) fn add(
        &self,
        chain: &Fingerprint,
        leaf: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
    ) {
        let Some(dates) = dates(iter::once(leaf).chain(intermediates)) else {
            return;
        };
        let known = Known {
            chain: chain.0,
            dates,
        };
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.resize(SLOTS, None);
        if let Some(slot) = slots.get_mut(chain.slot()) {
            *slot = Some(known);
        }
    }
}

/// Returns when all certificates are valid, also those that no path leads over. `None`: never, or
/// one cannot be read.
fn dates<'a>(chain: impl Iterator<Item = &'a CertificateDer<'a>>) -> Option<RangeInclusive<u64>> {
    let (mut from, mut to) = (0, u64::MAX);
    for der in chain {
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let validity = certificate.validity();
        // A start before 1970 is no limit, an end before it none that `now` could be within.
        from = from.max(u64::try_from(validity.not_before.timestamp()).unwrap_or(0));
        to = to.min(u64::try_from(validity.not_after.timestamp()).ok()?);
    }
    (from <= to).then_some(from..=to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_is_of_certificates_in_order() {
        let of = |shown: &[&'static [u8]]| {
            let shown: Vec<_> = shown.iter().map(|der| CertificateDer::from(*der)).collect();
            Fingerprint::of(&shown[0], &shown[1..]).0
        };
        assert_eq!(of(&[b"ab", b"c"]), of(&[b"ab", b"c"]));
        let others: [&[&[u8]]; 5] = [
            &[b"a", b"bc"],
            &[b"abc"],
            &[b"c", b"ab"],
            &[b"ab"],
            &[b"ab", b"c", b""],
        ];
        for other in others {
            assert_ne!(of(&[b"ab", b"c"]), of(other));
        }
    }
}
