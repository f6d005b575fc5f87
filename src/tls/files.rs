//! A certificate and its key in two files, as kubelet mounts a Secret. In: two paths. Out: the
//! identity in them, now and whenever they change.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{Identity, IdentityError, ServedCertificate};
use crate::changes::{Seen, keep_looking};
use crate::metrics::{Metrics, Reload};
use crate::telemetry::in_full;

/// Where certificate chain and key are.
#[derive(Clone, Debug)]
pub struct CertificateFiles {
    /// The chain, leaf first, PEM.
    pub certificate: PathBuf,
    /// The leaf's key, PEM.
    pub key: PathBuf,
}

/// Why the two files give no identity.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// A file cannot be read.
    #[error("failed to read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Both can be read and do not make an identity.
    #[error("failed to use {certificate} with {key}")]
    Use {
        /// The chain's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// Why.
        #[source]
        source: IdentityError,
    },
}

/// The certificate that is served, kept equal to its files.
#[derive(Debug)]
pub struct FollowedFiles {
    files: CertificateFiles,
    served: Arc<ServedCertificate>,
    metrics: Arc<Metrics>,
    /// What was last looked at, good or bad, so that each state is reported once.
    seen: Seen,
}

impl FollowedFiles {
    /// Reads the files and serves what is in them.
    ///
    /// # Errors
    /// When they give no identity: a server must not start without one.
    pub fn open(
        files: CertificateFiles,
        served: Arc<ServedCertificate>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, FilesError> {
        let mut followed = Self {
            files,
            served,
            metrics,
            seen: Seen::default(),
        };
        let (chain, key) = followed.files.read()?;
        followed.seen.is_new((&chain, &key));
        followed.serve(&followed.files.identity(&chain, &key)?);
        Ok(followed)
    }

    /// Serves whatever the files hold, until told to stop. What is wrong in them is logged and
    /// counted, and the certificate before stays in use.
    pub async fn follow(mut self, stop: CancellationToken) {
        keep_looking(stop, || self.look()).await;
    }

    fn look(&mut self) {
        let identity = match self.files.read() {
            Ok((chain, key)) => {
                if !self.seen.is_new((&chain, &key)) {
                    return;
                }
                self.files.identity(&chain, &key)
            }
            Err(unread) => {
                if !self.seen.is_new(unread.to_string()) {
                    return;
                }
                Err(unread)
            }
        };
        match identity {
            Ok(identity) => {
                self.serve(&identity);
                self.metrics.record_reload("certificate", Reload::Applied);
                info!(
                    certificate.not_after = identity.not_after(),
                    "certificate replaced"
                );
            }
            Err(error) => {
                self.metrics.record_reload("certificate", Reload::Rejected);
                let error = in_full(&error);
                warn!(error, "new certificate rejected; the old one stays");
            }
        }
    }

    fn serve(&self, identity: &Identity) {
        self.served.replace(identity);
        self.metrics.set_certificate_not_after(identity.not_after());
    }
}

impl CertificateFiles {
    fn read(&self) -> Result<(Vec<u8>, Vec<u8>), FilesError> {
        let read = |path: &Path| {
            fs::read(path).map_err(|source| FilesError::Read {
                path: path.to_owned(),
                source,
            })
        };
        Ok((read(&self.certificate)?, read(&self.key)?))
    }

    fn identity(&self, chain: &[u8], key: &[u8]) -> Result<Identity, FilesError> {
        Identity::from_pem(chain, key).map_err(|source| FilesError::Use {
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            source,
        })
    }
}
