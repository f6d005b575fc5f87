//! Our own certificate: whether it can be used, now, with this key.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{Error as TlsError, InconsistentKeys};
use x509_parser::prelude::{FromDer as _, X509Certificate, X509Version};

use crate::tls;

use super::{CredentialError, Expiry};

/// A certificate chain and a key, with where they come from.
pub(super) struct Own<'a> {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKeyDer<'static>,
    pub(super) certificate_file: &'a Path,
    pub(super) key_file: &'a Path,
}

impl Own<'_> {
    /// Returns when the first certificate of the chain ends.
    pub(super) fn expiry(&self) -> Result<Expiry, CredentialError> {
        first_expiry(self.certificate_file, &self.chain)
    }

    /// Joins certificate and key, unless a peer would have to refuse them.
    ///
    /// One that has expired is refused here, rather than by every peer in turn: what is in use stays
    /// in use, and the reason is where an operator looks.
    pub(super) fn check(self, now: UnixTime) -> Result<Arc<CertifiedKey>, CredentialError> {
        let leaf = self.chain.first().map(AsRef::as_ref).unwrap_or_default();
        let leaf = parse(self.certificate_file, leaf)?;
        if leaf.version() != X509Version::V3 {
            return Err(CredentialError::malformed(self.certificate_file, VERSION_1));
        }
        self.check_dates(&leaf, now)?;
        let provider = tls::provider();
        let key = provider.key_provider.load_private_key(self.key);
        let key = key.map_err(|error| {
            CredentialError::malformed(
                self.key_file,
                format!("holds a private key that cannot be used: {error}"),
            )
        })?;
        let certified = CertifiedKey::new(self.chain, key);
        match certified.keys_match() {
            Ok(()) | Err(TlsError::InconsistentKeys(InconsistentKeys::Unknown)) => {
                Ok(Arc::new(certified))
            }
            Err(TlsError::InconsistentKeys(_)) => Err(CredentialError::Mismatch {
                certificate: self.certificate_file.to_owned(),
                key: self.key_file.to_owned(),
            }),
            Err(error) => Err(CredentialError::malformed(
                self.certificate_file,
                format!("holds a certificate that cannot be used: {error}"),
            )),
        }
    }

    fn check_dates(
        &self,
        leaf: &X509Certificate<'_>,
        now: UnixTime,
    ) -> Result<(), CredentialError> {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let (from, to) = (leaf.validity().not_before, leaf.validity().not_after);
        let reason = if to.timestamp() < now {
            format!("it expired at {}", tls::rfc3339(to.timestamp()))
        } else if from.timestamp() > now {
            format!("it begins at {}", tls::rfc3339(from.timestamp()))
        } else {
            return Ok(());
        };
        Err(CredentialError::NotValidNow {
            file: self.certificate_file.to_owned(),
            reason,
        })
    }
}

/// Says what to do about a certificate from before 1996, as `openssl x509 -req` made them when given
/// no extensions.
const VERSION_1: &str = "holds an X.509 version 1 certificate, which TLS libraries of today refuse; \
    reissue it with a subjectAltName, which makes it version 3: `openssl x509 -req -in REQUEST \
    -CA CA -CAkey CAKEY -days 90 -extfile <(echo subjectAltName=DNS:NAME) -out CERT`";

/// Returns when the first of a file's certificates ends.
pub(super) fn first_expiry(
    file: &Path,
    certificates: &[CertificateDer<'_>],
) -> Result<Expiry, CredentialError> {
    let mut not_after = i64::MAX;
    for der in certificates {
        not_after = not_after.min(parse(file, der)?.validity().not_after.timestamp());
    }
    Ok(Expiry {
        file: file.to_owned(),
        not_after,
    })
}

fn parse<'a>(file: &Path, der: &'a [u8]) -> Result<X509Certificate<'a>, CredentialError> {
    X509Certificate::from_der(der)
        .map(|(_, certificate)| certificate)
        .map_err(|_| CredentialError::malformed(file, "holds a certificate that is not X.509"))
}
