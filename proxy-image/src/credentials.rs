//! Certificate, key, trusted certificates and revocation lists of one side of a connection.
//!
//! In: the [`Material`] of a route or port, which names files. Out: [`Credentials`], parsed and
//! checked, or a [`CredentialError`] that names the file and what to do about it. All files are read
//! as one, so that a certificate is never joined with the key of its predecessor. Key bytes live only
//! in the provider's key. Knows no sockets, and does not know when it is called again.

mod error;
mod key_store;
mod own;
mod pem;
mod snapshot;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use rustls::sign::CertifiedKey;
use webpki::CertRevocationList;

use crate::config::{InboundMode, Material, UpstreamMode};

pub use error::CredentialError;
pub(crate) use snapshot::directories;
pub use snapshot::{DIRECTORY_NAMES, DirectoryNames, Snapshot, SnapshotId};

use pem::PemFile;

/// For what credentials are loaded, which decides what must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// An upstream is dialled.
    Upstream(UpstreamMode),
    /// Clients are let in.
    Inbound(InboundMode),
}

impl Side {
    /// Returns whether a certificate of our own must be there. Otherwise it is not even read.
    #[must_use]
    pub const fn needs_certificate(self) -> bool {
        match self {
            Self::Upstream(mode) => matches!(mode, UpstreamMode::Mutual),
            Self::Inbound(mode) => !matches!(mode, InboundMode::Disable),
        }
    }

    /// Returns whether trusted certificates must be there. An upstream is otherwise verified
    /// against the public web roots; for clients there is no such default.
    #[must_use]
    pub const fn needs_ca(self) -> bool {
        matches!(
            self,
            Self::Inbound(
                InboundMode::Strict | InboundMode::Permissive | InboundMode::OptionalMutual
            )
        )
    }

    /// Returns whether trusted certificates are of any use.
    const fn uses_ca(self) -> bool {
        match self {
            Self::Upstream(mode) => !matches!(mode, UpstreamMode::Disable),
            Self::Inbound(_) => self.needs_ca(),
        }
    }
}

/// What was read: ready to be built into a TLS configuration.
#[derive(Clone)]
pub struct Credentials {
    /// Our own certificate, its chain and its key.
    pub certificate: Option<Arc<CertifiedKey>>,
    /// The certificates that a peer's chain must end in; `None`: the public web roots.
    pub ca: Option<Vec<CertificateDer<'static>>>,
    /// Revocation lists; when there is one, every certificate of a peer's chain must be covered.
    pub crls: Vec<Arc<CertRevocationList<'static>>>,
    /// When what ends, file by file.
    pub expiries: Vec<Expiry>,
}

/// The end of the first of a file's certificates or lists to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// The file.
    pub file: PathBuf,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub not_after: i64,
}

/// Reads and checks the credentials of one side.
///
/// # Errors
/// What is missing or wrong, with the file's name.
pub fn load(material: &Material, side: Side) -> Result<Credentials, CredentialError> {
    Credentials::parse(&Snapshot::read(material, side)?, UnixTime::now())
}

impl Credentials {
    /// Checks what was read.
    ///
    /// # Errors
    /// What is missing or wrong, with the file's name.
    pub fn parse(snapshot: &Snapshot, now: UnixTime) -> Result<Self, CredentialError> {
        let store = snapshot
            .key_store
            .as_ref()
            .map(key_store::open)
            .transpose()?;
        let mut expiries = Vec::new();
        let own = match (&snapshot.certificate, &snapshot.key, &store) {
            (Some(certificate), Some(key), _) => Some(own::Own {
                chain: PemFile(certificate).certificates()?,
                key: PemFile(key).key()?,
                certificate_file: &certificate.path,
                key_file: &key.path,
            }),
            (_, _, Some(store)) if snapshot.side.needs_certificate() => Some(store.own()?),
            _ => None,
        };
        let certificate = match own {
            Some(own) => {
                expiries.push(own.expiry()?);
                Some(own.check(now)?)
            }
            None => None,
        };
        let ca = match (&snapshot.ca, store) {
            (Some(file), _) => Some((file.path.clone(), PemFile(file).certificates()?)),
            (None, Some(store)) if snapshot.side.uses_ca() => store.ca(),
            (None, _) => None,
        };
        if let Some((path, certificates)) = &ca {
            expiries.push(own::first_expiry(path, certificates)?);
            trust_anchors(certificates)
                .map_err(|reason| CredentialError::malformed(path, reason))?;
        } else if snapshot.side.needs_ca() {
            return Err(CredentialError::NoCa {
                place: snapshot.place.clone(),
            });
        }
        let crls = match &snapshot.crl {
            Some(file) => PemFile(file).crls(&mut expiries)?,
            None => Vec::new(),
        };
        Ok(Self {
            certificate,
            ca: ca.map(|(_, certificates)| certificates),
            crls,
            expiries,
        })
    }

    /// Returns what a peer's chain may end in: the CA, or the public web roots.
    pub(crate) fn trust_anchors(&self) -> Vec<TrustAnchor<'static>> {
        match &self.ca {
            Some(ca) => trust_anchors(ca).expect("each was parsed when it was read"),
            None => trust_anchors(webpki_root_certs::TLS_SERVER_ROOT_CERTS)
                .expect("the compiled-in roots are well formed"),
        }
    }
}

fn trust_anchors(certificates: &[CertificateDer<'_>]) -> Result<Vec<TrustAnchor<'static>>, String> {
    certificates
        .iter()
        .map(|der| webpki::anchor_from_trusted_cert(der).map(|anchor| anchor.to_owned()))
        .collect::<Result<_, _>>()
        .map_err(|error| format!("holds a certificate that cannot be trusted: {error}"))
}

/// Prints what it is, never a key.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("certificate", &self.certificate.is_some())
            .field("ca", &self.ca.as_ref().map(Vec::len))
            .field("crls", &self.crls.len())
            .field("expiries", &self.expiries)
            .finish()
    }
}
