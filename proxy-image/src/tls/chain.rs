//! Whether a chain leads to a trusted root: signatures, dates, usage and revocation (RFC 5280
//! section 6). Failures that rustls has no variant for travel inside its error as a [`Reason`].

use std::sync::Arc;

use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use rustls::{CertificateError, Error, OtherError};
use webpki::{
    CertRevocationList, EndEntityCert, ExpirationPolicy, KeyUsage, RevocationCheckDepth,
    RevocationOptionsBuilder, UnknownStatusPolicy,
};

use crate::credentials::Credentials;

use super::failure::{Reason, Trusted};
use super::provider;
use super::verified::{Fingerprint, Verified};

/// Verifies chains against fixed roots and revocation lists.
#[derive(Debug)]
pub(super) struct Chain {
    pub(super) roots: Vec<TrustAnchor<'static>>,
    pub(super) trusted: Trusted,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
    usage: KeyUsage,
    crls: Vec<Arc<CertRevocationList<'static>>>,
    /// `None`: every chain is verified in full, because there are revocation lists.
    verified: Option<Verified>,
}

impl Chain {
    /// Makes that of peers that must be one of `usage`.
    pub(super) fn new(credentials: &Credentials, usage: KeyUsage) -> Self {
        Self {
            roots: credentials.trust_anchors(),
            trusted: match credentials.ca {
                Some(_) => Trusted::Given,
                None => Trusted::PublicRoots,
            },
            algorithms: provider().signature_verification_algorithms,
            usage,
            crls: credentials.crls.clone(),
            verified: credentials.crls.is_empty().then(Verified::default),
        }
    }

    /// Verifies a chain, unless it was before and nothing that matters has changed.
    pub(super) fn verify(
        &self,
        leaf: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let Some(verified) = &self.verified else {
            return self.verify_in_full(leaf, intermediates, now);
        };
        let der = leaf.der();
        let chain = Fingerprint::of(&der, intermediates);
        if verified.has(&chain, now) {
            return Ok(());
        }
        self.verify_in_full(leaf, intermediates, now)?;
        verified.add(&chain, &der, intermediates);
        Ok(())
    }

    /// Verifies chain, dates, usage and, with a list, that nothing of the chain is revoked. What no
    /// list covers, or only an outdated one, is refused: a list that is there is meant.
    fn verify_in_full(
        &self,
        leaf: &EndEntityCert<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let crls: Vec<_> = self.crls.iter().map(AsRef::as_ref).collect();
        let revocation = RevocationOptionsBuilder::new(&crls).ok().map(|options| {
            options
                .with_depth(RevocationCheckDepth::Chain)
                .with_status_policy(UnknownStatusPolicy::Deny)
                .with_expiration_policy(ExpirationPolicy::Enforce)
                .build()
        });
        let algorithms = self.algorithms.all;
        leaf.verify_for_usage(
            algorithms,
            &self.roots,
            intermediates,
            now,
            self.usage,
            revocation,
            None,
        )
        .map(drop)
        .map_err(chain_error)
    }
}

/// Translates what webpki found, so that the peer gets the alert that fits.
pub(super) fn chain_error(error: webpki::Error) -> Error {
    use webpki::Error as E;
    let error = match error {
        E::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after },
        E::CertNotValidYet { time, not_before } => {
            CertificateError::NotValidYetContext { time, not_before }
        }
        E::UnknownIssuer => CertificateError::UnknownIssuer,
        E::CertRevoked => CertificateError::Revoked,
        E::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus,
        E::CrlExpired { time, next_update } => {
            CertificateError::ExpiredRevocationListContext { time, next_update }
        }
        E::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        E::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        other => return carry(Reason::BadCertificate(bad_certificate(&other))),
    };
    Error::InvalidCertificate(error)
}

fn bad_certificate(error: &webpki::Error) -> String {
    match error {
        webpki::Error::UnsupportedCertVersion => "it is X.509 version 1; reissue it with a \
            subjectAltName, which makes it version 3: openssl x509 -req ... -extfile \
            <(echo subjectAltName=DNS:NAME)"
            .to_owned(),
        webpki::Error::CaUsedAsEndEntity => {
            "it is a CA's own certificate; issue one for the peer itself".to_owned()
        }
        other => other.to_string(),
    }
}

/// Wraps a reason that rustls has no variant for.
pub(super) fn carry(reason: Reason) -> Error {
    Error::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(reason))))
}

#[cfg(test)]
mod tests;
