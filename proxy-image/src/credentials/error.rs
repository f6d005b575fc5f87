//! Why credentials cannot be used: sentences for the people who mount them.

use std::io;
use std::path::{Path, PathBuf};

/// What was attempted, and with which file.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// A file that is named is not there (yet).
    #[error("{} does not exist", file.display())]
    Missing {
        /// The file.
        file: PathBuf,
    },
    /// A file is there and cannot be read.
    #[error("{} cannot be read: {source}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nothing names a certificate and a key.
    #[error("no certificate and key: {place}")]
    NoCertificate {
        /// Where they were looked for.
        place: String,
    },
    /// Nothing names the CA that clients are verified with.
    #[error("no CA to verify clients with: {place}")]
    NoCa {
        /// Where it was looked for.
        place: String,
    },
    /// A file does not hold what it should.
    #[error("{} {reason}", file.display())]
    Malformed {
        /// The file.
        file: PathBuf,
        /// What is wrong, after the file's name.
        reason: String,
    },
    /// The key is another certificate's.
    #[error(
        "{} is not the key of the certificate in {}: their public keys differ",
        key.display(),
        certificate.display()
    )]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// Our own certificate is not valid now; a peer would refuse it.
    #[error("{} is not valid now: {reason}", file.display())]
    NotValidNow {
        /// The certificate's file.
        file: PathBuf,
        /// Since or until when.
        reason: String,
    },
}

impl CredentialError {
    pub(super) fn malformed(file: &Path, reason: impl Into<String>) -> Self {
        Self::Malformed {
            file: file.to_owned(),
            reason: reason.into(),
        }
    }

    pub(super) fn reading(file: &Path, source: io::Error) -> Self {
        let file = file.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Self::Missing { file },
            _ => Self::Read { file, source },
        }
    }
}
