//! The side that dials: a rustls client configuration for one egress route.

use std::fmt;
use std::sync::{Arc, LazyLock};

use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::sign::SingleCertAndKey;

use crate::config::{EgressRoute, Host, MinProtocolVersion, SubjectAltName};
use crate::credentials::Credentials;

use super::generation::Generation;
use super::verify::UpstreamVerifier;
use super::{alpn_protocols, provider, versions};

/// How many upstream names sessions are kept for. A route has one, a wildcard's has several.
const REMEMBERED_NAMES: usize = 8;

/// Everything a connection to an upstream needs, of one generation of credentials.
///
/// Sessions for resumption live in it, so those of older credentials end with them.
pub struct ClientState {
    /// The configuration.
    pub config: Arc<ClientConfig>,
    /// Which load of this route's credentials it is of.
    pub generation: Generation,
    server_name: Option<ServerName<'static>>,
}

impl ClientState {
    /// Builds the state of a route that is not in mode DISABLE.
    ///
    /// `alpn` holds the protocols to offer, best first, such as `b"h2"` and `b"http/1.1"`.
    #[must_use]
    pub fn new(
        route: &EgressRoute,
        credentials: &Credentials,
        alpn: &[&[u8]],
        generation: u64,
    ) -> Self {
        let verifier = if route.tls.insecure_skip_verify {
            UpstreamVerifier::of_anyone()
        } else {
            UpstreamVerifier::new(credentials, expected_names(route))
        };
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(route.tls.min_protocol_version))
            .expect("the provider has suites for TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let mut config = match &credentials.certificate {
            Some(own) => {
                builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(own))))
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn_protocols(alpn);
        config.resumption = Resumption::in_memory_sessions(REMEMBERED_NAMES);
        Self {
            config: Arc::new(config),
            generation: Generation::new(generation, credentials),
            server_name: route
                .tls
                .sni
                .as_ref()
                .map_or_else(|| name_of(&route.host), name_of),
        }
    }

    /// Returns the name to begin a connection with. `dialled` is what the application asked for, and
    /// matters for a wildcard route only; `None`: that is no name a certificate could bear.
    #[must_use]
    pub fn server_name(&self, dialled: &str) -> Option<ServerName<'static>> {
        self.server_name
            .clone()
            .or_else(|| ServerName::try_from(dialled.to_owned()).ok())
    }
}

/// Returns the configuration of probes, which ask whether an application is well and not who it is.
pub(crate) fn of_anyone() -> &'static Arc<ClientConfig> {
    static OF_ANYONE: LazyLock<Arc<ClientConfig>> = LazyLock::new(|| {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(MinProtocolVersion::TlsV1_2))
            .expect("the provider has suites for TLS 1.2 and 1.3")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(UpstreamVerifier::of_anyone()));
        Arc::new(builder.with_no_client_auth())
    });
    &OF_ANYONE
}

fn name_of(host: &Host) -> Option<ServerName<'static>> {
    match host {
        Host::Name(name) => ServerName::try_from(name.clone()).ok(),
        Host::Ip(ip) => Some(ServerName::from(*ip)),
        Host::Wildcard(_) => None,
    }
}

/// Returns the names of which an upstream must bear one; empty: the one that was dialled. A server
/// name that is merely sent does not become the one that is verified.
fn expected_names(route: &EgressRoute) -> Vec<SubjectAltName> {
    if !route.tls.subject_alt_names.is_empty() {
        return route.tls.subject_alt_names.clone();
    }
    match &route.host {
        Host::Name(name) => vec![SubjectAltName::Dns(name.clone())],
        Host::Ip(ip) => vec![SubjectAltName::Ip(*ip)],
        Host::Wildcard(_) => Vec::new(),
    }
}

impl fmt::Debug for ClientState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientState")
            .field("generation", &self.generation.number)
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}
