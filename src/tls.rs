//! The TLS side of the webhook. In: a certificate with its key, replaced while it serves. Out: a
//! rustls configuration. Knows neither HTTP nor where a certificate comes from; files are read by
//! [`files`].

pub mod clients;
pub mod files;
mod identity;

use std::fmt;
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{
    ClientHello, NoServerSessionStorage, ResolvesServerCert, WebPkiClientVerifier,
};
use rustls::sign::CertifiedKey;
use tokio::sync::watch;

use self::clients::ClientCa;

pub use identity::{Identity, IdentityError};

/// The certificate that new connections are served with. Before the first one every handshake
/// fails. Connections that are open keep the one they began with.
pub struct ServedCertificate(watch::Sender<Option<Arc<CertifiedKey>>>);

impl Default for ServedCertificate {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl ServedCertificate {
    /// Serves another certificate from the next handshake on.
    pub fn replace(&self, identity: &Identity) {
        self.0.send_replace(Some(identity.certified_key()));
    }

    /// Returns what serves whatever is sent to it, from the next handshake on.
    #[must_use]
    pub fn sender(&self) -> watch::Sender<Option<Arc<CertifiedKey>>> {
        self.0.clone()
    }

    /// Follows what is served; `None` before the first certificate.
    #[must_use]
    pub fn followed(&self) -> watch::Receiver<Option<Arc<CertifiedKey>>> {
        self.0.subscribe()
    }
}

impl ResolvesServerCert for ServedCertificate {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.borrow().clone()
    }
}

impl fmt::Debug for ServedCertificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServedCertificate").finish_non_exhaustive()
    }
}

/// Returns the webhook's TLS settings: TLS 1.2 and 1.3, HTTP/2 preferred; anybody may connect.
#[must_use]
pub fn server_config(certificate: Arc<ServedCertificate>) -> ServerConfig {
    config_for(WebPkiClientVerifier::no_client_auth(), certificate)
}

/// The same, for clients with a certificate of these CAs alone. Sessions are not resumed: each
/// connection is decided by the CAs of its moment.
#[must_use]
pub fn server_config_for(
    clients: Arc<ClientCa>,
    certificate: Arc<ServedCertificate>,
) -> ServerConfig {
    let mut config = config_for(clients, certificate);
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config
}

fn config_for(
    clients: Arc<dyn ClientCertVerifier>,
    certificate: Arc<ServedCertificate>,
) -> ServerConfig {
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("the provider supports the default protocol versions")
        .with_client_cert_verifier(clients)
        .with_cert_resolver(certificate);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config
}

/// The one crypto provider, always passed explicitly.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}
