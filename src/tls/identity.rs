//! A certificate chain with its private key. In: PEM. Out: what rustls signs with and when it
//! expires. Reads no file.

use std::fmt;
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::{self, PemObject};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

/// A certificate that can be served.
#[derive(Clone)]
pub struct Identity {
    key: Arc<CertifiedKey>,
    not_after: i64,
}

/// Why PEM text is no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The certificate's text is no PEM.
    #[error("the certificate is not PEM (RFC 7468)")]
    Certificate(#[source] pem::Error),
    /// There is PEM, but no certificate in it.
    #[error("the certificate file holds no CERTIFICATE block")]
    NoCertificate,
    /// The key's text is no PEM, or holds no key.
    #[error("the key file holds no PRIVATE KEY block")]
    Key(#[source] pem::Error),
    /// The first certificate cannot be read.
    #[error("the first certificate is not X.509: {0}")]
    NotX509(String),
    /// The key cannot be used, or belongs to another certificate.
    #[error("the key does not serve the first certificate")]
    Pair(#[source] rustls::Error),
}

impl Identity {
    /// Reads a chain, leaf first, and the leaf's key, both PEM.
    ///
    /// # Errors
    /// When either is unreadable or the key is another certificate's.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, IdentityError> {
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(IdentityError::Certificate)?;
        let leaf = chain.first().ok_or(IdentityError::NoCertificate)?;
        let not_after = not_after(leaf)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(IdentityError::Key)?;
        let key =
            CertifiedKey::from_der(chain, key, &super::provider()).map_err(IdentityError::Pair)?;
        Ok(Self {
            key: Arc::new(key),
            not_after,
        })
    }

    /// Returns when the leaf expires, in seconds of Unix time.
    #[must_use]
    pub fn not_after(&self) -> i64 {
        self.not_after
    }

    pub(super) fn certified_key(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.key)
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity")
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

fn not_after(leaf: &CertificateDer<'_>) -> Result<i64, IdentityError> {
    let parsed = X509Certificate::from_der(leaf);
    let (_, leaf) = parsed.map_err(|error| IdentityError::NotX509(error.to_string()))?;
    Ok(leaf.validity().not_after.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["webhook.svc".to_owned()]).unwrap();
        (made.cert.pem(), made.signing_key.serialize_pem())
    }

    fn refusal(chain: &str, key: &str) -> String {
        let error = Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err();
        error.to_string()
    }

    #[test]
    fn reads_a_certificate_with_its_key() {
        let (chain, key) = pair();
        let identity = Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap();
        assert!(identity.not_after() > 0);
        assert!(!format!("{identity:?}").contains("key"));
    }

    #[test]
    fn says_which_file_is_wrong() {
        let (chain, key) = pair();
        let (_, other) = pair();
        let wrong = [
            (
                refusal("", &key),
                "the certificate file holds no CERTIFICATE block",
            ),
            (
                refusal(&key, &key),
                "the certificate file holds no CERTIFICATE block",
            ),
            (
                refusal(&chain, ""),
                "the key file holds no PRIVATE KEY block",
            ),
            (
                refusal(&chain, &chain),
                "the key file holds no PRIVATE KEY block",
            ),
            (
                refusal(&chain, &other),
                "the key does not serve the first certificate",
            ),
        ];
        for (said, expected) in wrong {
            assert_eq!(said, expected);
        }
    }
}
