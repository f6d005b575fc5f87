//! Whether a chain is one that the API server would accept. In: the chain, the CAs, the name and
//! the time. Out: yes, or why not. Pure.

use std::sync::Arc;
use std::time::SystemTime;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier;
use rustls::crypto::CryptoProvider;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

/// Why a chain is not trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// There is no CA to verify with.
    #[error("there is no CA certificate to verify with")]
    NoAnchor,
    /// There is nothing to verify.
    #[error("there is no certificate")]
    NoCertificate,
    /// The name cannot be verified.
    #[error("\"{0}\" is not a DNS name")]
    Name(String),
    /// Verification failed.
    #[error("{0}")]
    Verification(String),
}

/// Verifies a chain for a name at a moment, as a TLS client does.
///
/// # Errors
/// The first reason not to trust it.
pub fn verify(
    provider: &Arc<CryptoProvider>,
    chain: &[CertificateDer<'static>],
    anchors: &[CertificateDer<'static>],
    name: &str,
    at: SystemTime,
) -> Result<(), Distrust> {
    let (leaf, intermediates) = chain.split_first().ok_or(Distrust::NoCertificate)?;
    let server =
        ServerName::try_from(name.to_owned()).map_err(|_| Distrust::Name(name.to_owned()))?;
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(anchors.iter().cloned());
    if usable == 0 {
        return Err(Distrust::NoAnchor);
    }
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .build()
            .map_err(|error| Distrust::Verification(error.to_string()))?;
    let since_epoch = at
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    verifier
        .verify_server_cert(
            leaf,
            intermediates,
            &server,
            &[],
            UnixTime::since_unix_epoch(since_epoch),
        )
        .map(|_| ())
        .map_err(|error| Distrust::Verification(error.to_string()))
}
