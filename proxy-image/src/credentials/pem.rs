//! PEM (RFC 7468): certificates, keys in PKCS#8, PKCS#1 and SEC1, revocation lists.
//!
//! In: a file's bytes. Out: DER values, or an error that names the file. A file that is DER where PEM
//! is customary is told so.

use std::sync::Arc;

use rustls::pki_types::pem::{Error as PemError, SectionKind, from_buf};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use webpki::{CertRevocationList, OwnedCertRevocationList};
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};

use super::snapshot::Content;
use super::{CredentialError, Expiry};

/// The first byte of every DER certificate, key and list: a SEQUENCE.
const DER_SEQUENCE: u8 = 0x30;

/// A file of PEM sections.
pub(super) struct PemFile<'a>(pub(super) &'a Content);

impl PemFile<'_> {
    /// Returns the certificates, at least one.
    pub(super) fn certificates(&self) -> Result<Vec<CertificateDer<'static>>, CredentialError> {
        let sections = self.sections("a certificate")?;
        let certificates: Vec<_> = sections
            .into_iter()
            .filter(|(kind, _)| *kind == SectionKind::Certificate)
            .map(|(_, der)| CertificateDer::from(der))
            .collect();
        if certificates.is_empty() {
            return Err(self.wrong("holds no certificate (-----BEGIN CERTIFICATE-----)"));
        }
        Ok(certificates)
    }

    /// Returns the first key.
    pub(super) fn key(&self) -> Result<PrivateKeyDer<'static>, CredentialError> {
        let encrypted = |needle: &[u8]| contains(&self.0.bytes, needle);
        if encrypted(b"-----BEGIN ENCRYPTED PRIVATE KEY-----")
            || encrypted(b"Proc-Type: 4,ENCRYPTED")
        {
            return Err(self.wrong(
                "is encrypted with a passphrase; decrypt it with \
                 `openssl pkey -in KEY -out PLAIN`, or use a PKCS#12 key store with a password file",
            ));
        }
        let keys = self.sections("a private key")?.into_iter();
        keys.filter_map(|(kind, der)| match kind {
            SectionKind::PrivateKey => Some(PrivateKeyDer::Pkcs8(der.into())),
            SectionKind::RsaPrivateKey => Some(PrivateKeyDer::Pkcs1(der.into())),
            SectionKind::EcPrivateKey => Some(PrivateKeyDer::Sec1(der.into())),
            _ => None,
        })
        .next()
        .ok_or_else(|| self.wrong("holds no private key (-----BEGIN PRIVATE KEY-----)"))
    }

    /// Returns the revocation lists, at least one; also of a DER file, as CAs publish them.
    pub(super) fn crls(
        &self,
        expiries: &mut Vec<Expiry>,
    ) -> Result<Vec<Arc<CertRevocationList<'static>>>, CredentialError> {
        let ders: Vec<CertificateRevocationListDer<'_>> =
            if self.0.bytes.first() == Some(&DER_SEQUENCE) {
                vec![CertificateRevocationListDer::from(self.0.bytes.as_slice())]
            } else {
                let sections = self.sections("a revocation list")?.into_iter();
                sections
                    .filter(|(kind, _)| *kind == SectionKind::Crl)
                    .map(|(_, der)| CertificateRevocationListDer::from(der))
                    .collect()
            };
        if ders.is_empty() {
            return Err(self.wrong("holds no revocation list (-----BEGIN X509 CRL-----)"));
        }
        let crls = ders
            .iter()
            .map(|der| self.crl(der))
            .collect::<Result<_, _>>()?;
        let ends = ders.iter().filter_map(|der| next_update(der));
        expiries.extend(ends.min().map(|not_after| Expiry {
            file: self.0.path.clone(),
            not_after,
        }));
        Ok(crls)
    }

    fn crl(&self, der: &[u8]) -> Result<Arc<CertRevocationList<'static>>, CredentialError> {
        OwnedCertRevocationList::from_der(der)
            .map(|crl| Arc::new(CertRevocationList::Owned(crl)))
            .map_err(|error| {
                self.wrong(&format!(
                    "holds a revocation list that cannot be used: {error}"
                ))
            })
    }

    /// Returns all sections; one that is cut off or garbled is an error, never skipped.
    fn sections(&self, what: &str) -> Result<Vec<(SectionKind, Vec<u8>)>, CredentialError> {
        if self.0.bytes.first() == Some(&DER_SEQUENCE) {
            return Err(self.wrong(&format!(
                "is DER, not PEM; convert {what} with `openssl x509`, `openssl pkey` or `openssl crl`, \
                 each `-inform DER`"
            )));
        }
        let mut rest = self.0.bytes.as_slice();
        let mut sections = Vec::new();
        loop {
            match from_buf(&mut rest) {
                Ok(Some(section)) => sections.push(section),
                Ok(None) => return Ok(sections),
                Err(error) => return Err(self.wrong(&pem_mistake(&error))),
            }
        }
    }

    fn wrong(&self, reason: &str) -> CredentialError {
        CredentialError::malformed(&self.0.path, reason)
    }
}

fn pem_mistake(error: &PemError) -> String {
    match error {
        PemError::MissingSectionEnd { .. } => {
            "is cut off: a PEM section has no -----END line".to_owned()
        }
        PemError::IllegalSectionStart { .. } => "has a garbled -----BEGIN line".to_owned(),
        PemError::Base64Decode(_) => "is not PEM: its base64 is garbled".to_owned(),
        other => format!("is not PEM: {other}"),
    }
}

fn next_update(der: &[u8]) -> Option<i64> {
    let (_, crl) = CertificateRevocationList::from_der(der).ok()?;
    crl.next_update().map(|time| time.timestamp())
}

fn contains(bytes: &[u8], needle: &[u8]) -> bool {
    bytes.windows(needle.len()).any(|window| window == needle)
}
