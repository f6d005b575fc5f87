//! The side that is dialled: a rustls server configuration for one inbound port.

use std::fmt;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::NoClientAuth;
use rustls::sign::SingleCertAndKey;
use rustls::{CommonState, ServerConfig};

use crate::config::{InboundMode, InboundPort};
use crate::credentials::{CredentialError, Credentials, Side};
use crate::identity::ClientIdentity;

use super::failure::{HandshakeFailure, Peer, Reason};
use super::verify::ClientVerifier;
use super::{alpn_protocols, provider, versions};

/// Everything a connection from a client needs, of one generation of credentials.
///
/// Tickets for resumption are sealed with a key that lives in it: after a reload, also one of the CA
/// or of a revocation list alone, every client is verified anew.
pub struct ServerState {
    /// The configuration.
    pub config: Arc<ServerConfig>,
    /// Counts the loads of this port's credentials, from 1.
    pub generation: u64,
    mode: InboundMode,
}

impl ServerState {
    /// Builds the state of a port that is not in mode DISABLE.
    ///
    /// `alpn` holds the protocols to choose from, best first, such as `b"h2"` and `b"http/1.1"`.
    ///
    /// # Errors
    /// The credentials were loaded for another side, and lack a certificate.
    pub fn new(
        port: &InboundPort,
        credentials: &Credentials,
        alpn: &[&[u8]],
        generation: u64,
    ) -> Result<Self, CredentialError> {
        let own = credentials.certificate.as_ref();
        let own = own.ok_or_else(|| CredentialError::NoCertificate {
            place: "none was loaded".to_owned(),
        })?;
        let builder = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(versions(port.tls.min_protocol_version))
            .expect("the provider has suites for TLS 1.2 and 1.3");
        let builder = if Side::Inbound(port.mode).needs_ca() {
            let verifier = ClientVerifier::new(credentials, port.mode);
            builder.with_client_cert_verifier(Arc::new(verifier))
        } else {
            builder.with_client_cert_verifier(Arc::new(NoClientAuth))
        };
        let mut config =
            builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(own))));
        config.alpn_protocols = alpn_protocols(alpn);
        // A ticket carries the client's certificate, so that no session is kept here. When no key can
        // be made there is no resumption, and every handshake is a full one.
        if let Ok(ticketer) = rustls::crypto::aws_lc_rs::Ticketer::new() {
            config.ticketer = ticketer;
        }
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        config.send_tls13_tickets = 1;
        config.ignore_client_order = true;
        Ok(Self {
            config: Arc::new(config),
            generation,
            mode: port.mode,
        })
    }

    /// Returns who has shaken hands; `None`: nobody was asked, or an optional certificate was not
    /// shown.
    ///
    /// # Errors
    /// Without a certificate where one is required, or when it has ended since the session began: a
    /// resumed session is not verified by the handshake.
    pub fn client(
        &self,
        connection: &CommonState,
    ) -> Result<Option<ClientIdentity>, HandshakeFailure> {
        let refused = |reason| HandshakeFailure {
            peer: Peer::Client,
            reason,
        };
        let required =
            Side::Inbound(self.mode).needs_ca() && self.mode != InboundMode::OptionalMutual;
        match connection
            .peer_certificates()
            .and_then(<[CertificateDer<'_>]>::first)
        {
            Some(leaf) => {
                let identity = ClientIdentity::of(leaf)
                    .map_err(|why| refused(Reason::BadCertificate(why.to_owned())))?;
                if identity.has_expired() {
                    return Err(refused(Reason::Expired(Some(identity.not_after))));
                }
                Ok(Some(identity))
            }
            None if required => Err(refused(Reason::NoCertificate)),
            None => Ok(None),
        }
    }
}

impl fmt::Debug for ServerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ServerState")
            .field("generation", &self.generation)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}
