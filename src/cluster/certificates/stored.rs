//! The contents of the Secret that all replicas share. In: its entries, whatever they are. Out:
//! what of them is usable, and the entries to write back. Pure.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use crate::cluster::certificates::authority::{
    Anchor, Authority, CertificateError, Leaf, certificates_pem,
};

/// The entries of a Secret.
pub(crate) type Entries = BTreeMap<String, Vec<u8>>;

const CA_CERTIFICATE: &str = "ca.crt";
const CA_KEY: &str = "ca.key";
const PREVIOUS: &str = "previous-ca.crt";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";

/// How long certificates live, and for which names they are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificatePolicy {
    /// Life of a CA.
    pub ca_life: Duration,
    /// Life of a leaf.
    pub leaf_life: Duration,
    /// How long a replaced CA stays trusted after the first leaf of the new one was made.
    pub overlap: Duration,
    /// The DNS names of the webhook's Service; the API server verifies the first.
    pub names: Vec<String>,
}

impl CertificatePolicy {
    /// The names under which the API server and others reach a Service, with the default lives:
    /// three years for the CA, 90 days for the leaf, an hour of overlap.
    #[must_use]
    pub fn for_service(service: &str, namespace: &str) -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            ca_life: DAY * 3 * 365,
            leaf_life: DAY * 90,
            overlap: Duration::from_secs(60 * 60),
            names: ["svc", "svc.cluster.local"]
                .map(|suffix| format!("{service}.{namespace}.{suffix}"))
                .to_vec(),
        }
    }
}

/// What the Secret holds, as far as it can be used.
#[derive(Debug, Default)]
pub struct Stored {
    /// The CA that signs.
    pub authority: Option<Authority>,
    /// CAs that signed before and may still vouch for a leaf in use.
    pub previous: Vec<Anchor>,
    /// The leaf that all replicas serve.
    pub leaf: Option<Leaf>,
    /// What could not be read of the entries that are there.
    pub flaws: Vec<CertificateError>,
}

impl Stored {
    /// Reads the entries. An entry that is absent or unusable is left out; the latter is a flaw.
    pub(crate) fn read(entries: &Entries) -> Self {
        let mut stored = Self::default();
        if let (Some(certificate), Some(key)) = (entries.get(CA_CERTIFICATE), entries.get(CA_KEY)) {
            match Authority::read(certificate, key) {
                Ok(authority) => stored.authority = Some(authority),
                Err(flaw) => stored.flaws.push(flaw),
            }
        }
        if let (Some(chain), Some(key)) = (entries.get(CERTIFICATE), entries.get(KEY)) {
            match Leaf::read(chain, key) {
                Ok(leaf) => stored.leaf = Some(leaf),
                Err(flaw) => stored.flaws.push(flaw),
            }
        }
        if let Some(previous) = entries.get(PREVIOUS) {
            match Anchor::read_all("the previous CA certificates", previous) {
                Ok(previous) => stored.previous = previous,
                Err(flaw) => stored.flaws.push(flaw),
            }
        }
        stored
    }

    /// What remains when the Secret is gone: the CAs that vouched for the leaves still in use.
    pub(crate) fn remembering(anchors: Vec<Anchor>) -> Self {
        Self {
            previous: anchors,
            ..Self::default()
        }
    }

    /// Renders the entries that [`Stored::read`] reads.
    pub(crate) fn entries(&self) -> Entries {
        let mut entries = Entries::new();
        let mut put = |key: &str, text: String| entries.insert(key.to_owned(), text.into_bytes());
        if let Some(authority) = &self.authority {
            put(CA_CERTIFICATE, certificates_pem([&authority.anchor.der]));
            put(CA_KEY, authority.key_pem());
        }
        if let Some(leaf) = &self.leaf {
            put(CERTIFICATE, leaf.chain_pem());
            put(KEY, leaf.key_pem());
        }
        if !self.previous.is_empty() {
            put(
                PREVIOUS,
                certificates_pem(self.previous.iter().map(|anchor| &anchor.der)),
            );
        }
        entries
    }

    /// The keys under which [`Stored::entries`] writes.
    pub(crate) const fn keys() -> [&'static str; 5] {
        [CA_CERTIFICATE, CA_KEY, PREVIOUS, CERTIFICATE, KEY]
    }

    /// Every CA that the API server is to trust, the signing one first.
    #[must_use]
    pub fn anchors(&self) -> Vec<Anchor> {
        let current = self
            .authority
            .iter()
            .map(|authority| authority.anchor.clone());
        current.chain(self.previous.iter().cloned()).collect()
    }

    /// Replaces the CA, and the leaf with it. The replaced CA loses its key but stays trusted.
    ///
    /// # Errors
    /// When certificates cannot be made.
    pub(crate) fn with_new_authority(
        self,
        policy: &CertificatePolicy,
        now: SystemTime,
    ) -> Result<Self, CertificateError> {
        let previous = self
            .anchors()
            .into_iter()
            .filter(|a| a.validity.not_after > now)
            .collect();
        let authority = Authority::make(now, policy.ca_life)?;
        let leaf = authority.sign(&policy.names, now, policy.leaf_life)?;
        Ok(Self {
            authority: Some(authority),
            previous,
            leaf: Some(leaf),
            flaws: Vec::new(),
        })
    }

    /// Replaces the leaf. Without a CA nothing changes.
    ///
    /// # Errors
    /// When certificates cannot be made.
    pub(crate) fn with_new_leaf(
        self,
        policy: &CertificatePolicy,
        now: SystemTime,
    ) -> Result<Self, CertificateError> {
        let Some(authority) = self.authority else {
            return Ok(self);
        };
        let leaf = authority.sign(&policy.names, now, policy.leaf_life)?;
        Ok(Self {
            authority: Some(authority),
            leaf: Some(leaf),
            ..self
        })
    }

    /// Ends the trust in replaced CAs.
    pub(crate) fn without_previous(self) -> Self {
        Self {
            previous: Vec::new(),
            ..self
        }
    }
}
