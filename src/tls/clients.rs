//! Who may call the webhook. In: a file of CA certificates. Out: a verifier that accepts only clients
//! with a certificate of one of them, as the file says at the moment of the handshake.

use std::fmt;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, SignatureScheme};
use rustls_pki_types::pem::{self, PemObject};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::provider;
use crate::changes::{Seen, keep_looking};
use crate::metrics::{Metrics, Reload};
use crate::telemetry::in_full;

/// Why a file names nobody who may call.
#[derive(Debug, thiserror::Error)]
pub enum ClientCaError {
    /// It cannot be read.
    #[error("failed to read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is no PEM.
    #[error("{path} is not PEM (RFC 7468)")]
    NotPem {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: pem::Error,
    },
    /// A certificate in it is no CA that can be trusted.
    #[error("{path} holds a certificate that cannot be trusted")]
    Untrusted {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: Error,
    },
    /// It holds no certificate.
    #[error("{path} holds no CERTIFICATE block")]
    Empty {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: VerifierBuilderError,
    },
}

type Verifier = Arc<dyn ClientCertVerifier>;

/// Accepts clients of the CAs in use.
pub struct ClientCa(ArcSwap<Verifier>);

/// The CAs in use, kept equal to their file.
pub struct FollowedClientCa {
    path: PathBuf,
    in_use: Arc<ClientCa>,
    metrics: Arc<Metrics>,
    seen: Seen,
}

impl FollowedClientCa {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// When it holds no CA: nobody could call.
    pub fn open(path: PathBuf, metrics: Arc<Metrics>) -> Result<Self, ClientCaError> {
        let content = read(&path)?;
        let in_use = Arc::new(ClientCa(ArcSwap::from_pointee(verifier(&path, &content)?)));
        let mut seen = Seen::default();
        seen.is_new(Ok::<_, String>(content));
        Ok(Self {
            path,
            in_use,
            metrics,
            seen,
        })
    }

    /// Returns what decides about a client.
    #[must_use]
    pub fn in_use(&self) -> Arc<ClientCa> {
        Arc::clone(&self.in_use)
    }

    /// Takes up every change of the file, until told to stop. What is wrong is logged and counted,
    /// and the CAs before stay in use.
    pub async fn follow(mut self, stop: CancellationToken) {
        keep_looking(stop, || self.look()).await;
    }

    fn look(&mut self) {
        let content = read(&self.path);
        if !self
            .seen
            .is_new(content.as_ref().map_err(ToString::to_string))
        {
            return;
        }
        match content.and_then(|content| verifier(&self.path, &content)) {
            Ok(verifier) => {
                self.in_use.0.store(Arc::new(verifier));
                self.metrics.record_reload("client_ca", Reload::Applied);
                info!("client CAs replaced");
            }
            Err(error) => {
                self.metrics.record_reload("client_ca", Reload::Rejected);
                warn!(
                    error = in_full(&error),
                    "new client CAs rejected; the old ones stay"
                );
            }
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ClientCaError> {
    fs::read(path).map_err(|source| ClientCaError::Read {
        path: path.to_owned(),
        source,
    })
}

fn verifier(path: &Path, pem: &[u8]) -> Result<Verifier, ClientCaError> {
    let mut roots = RootCertStore::empty();
    for der in CertificateDer::pem_slice_iter(pem) {
        let der = der.map_err(|source| ClientCaError::NotPem {
            path: path.to_owned(),
            source,
        })?;
        let added = roots.add(der);
        added.map_err(|source| ClientCaError::Untrusted {
            path: path.to_owned(),
            source,
        })?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map_err(|source| ClientCaError::Empty {
            path: path.to_owned(),
            source,
        })
}

impl fmt::Debug for ClientCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCa").finish_non_exhaustive()
    }
}

impl ClientCertVerifier for ClientCa {
    /// None: the names would have to outlive the CAs that are replaced. Clients then offer the
    /// certificate that they have (RFC 8446 section 4.2.4: the extension is optional).
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.0
            .load()
            .verify_client_cert(end_entity, intermediates, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.load().verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.load().verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.load().supported_verify_schemes()
    }
}
