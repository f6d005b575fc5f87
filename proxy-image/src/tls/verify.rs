//! Who a peer is: its [`Chain`] and, for an upstream, its name.
//!
//! Own verifiers over webpki, because rustls's cannot match a URI or one of several names, and joins
//! chain and name.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use webpki::{EndEntityCert, KeyUsage};

use crate::config::{InboundMode, SubjectAltName};
use crate::credentials::Credentials;

use super::chain::{Chain, carry, chain_error};
use super::failure::Reason;
use super::provider;

/// Verifies an upstream.
#[derive(Debug)]
pub(super) struct UpstreamVerifier {
    /// `None`: whoever answers is taken for the upstream, because that was asked for by name.
    chain: Option<Chain>,
    /// One of these must be in the certificate; empty: the name that was dialled.
    names: Vec<SubjectAltName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl UpstreamVerifier {
    pub(super) fn new(credentials: &Credentials, names: Vec<SubjectAltName>) -> Self {
        Self {
            chain: Some(Chain::new(credentials, KeyUsage::server_auth())),
            names,
            algorithms: provider().signature_verification_algorithms,
        }
    }

    pub(super) fn of_anyone() -> Self {
        Self {
            chain: None,
            names: Vec::new(),
            algorithms: provider().signature_verification_algorithms,
        }
    }
}

impl ServerCertVerifier for UpstreamVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else {
            return Ok(ServerCertVerified::assertion());
        };
        let leaf = EndEntityCert::try_from(end_entity).map_err(chain_error)?;
        chain
            .verify(&leaf, intermediates, now)
            .map_err(|error| match error {
                // Whoever reads this cannot look at the upstream's certificate as easily as we can.
                Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
                    let last = intermediates.last().unwrap_or(end_entity);
                    carry(Reason::unknown_ca(last, chain.trusted))
                }
                other => other,
            })?;
        let right = if self.names.is_empty() {
            leaf.verify_is_valid_for_subject_name(server_name).is_ok()
        } else {
            self.names.iter().any(|name| bears(&leaf, name))
        };
        if right {
            Ok(ServerCertVerified::assertion())
        } else {
            Err(carry(Reason::wrong_name(
                &self.names,
                server_name,
                end_entity,
            )))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// Returns whether a certificate bears a name among its subjectAltNames. The subject's common name
/// does not count (RFC 9525 section 2).
fn bears(leaf: &EndEntityCert<'_>, name: &SubjectAltName) -> bool {
    let name = match name {
        SubjectAltName::Uri(uri) => {
            return leaf.valid_uri_names().any(|presented| presented == uri);
        }
        SubjectAltName::Ip(ip) => Ok(ServerName::from(*ip)),
        SubjectAltName::Dns(name) => ServerName::try_from(name.as_str()),
    };
    name.is_ok_and(|name| leaf.verify_is_valid_for_subject_name(&name).is_ok())
}

/// Verifies clients.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    chain: Chain,
    mode: InboundMode,
    subjects: Vec<DistinguishedName>,
}

impl ClientVerifier {
    pub(super) fn new(credentials: &Credentials, mode: InboundMode) -> Self {
        let chain = Chain::new(credentials, KeyUsage::client_auth());
        let subjects = chain.roots.iter();
        let subjects = subjects.map(|root| DistinguishedName::in_sequence(root.subject.as_ref()));
        Self {
            subjects: subjects.collect(),
            chain,
            mode,
        }
    }
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.mode != InboundMode::OptionalMutual
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.subjects
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let leaf = EndEntityCert::try_from(end_entity).map_err(chain_error)?;
        self.chain
            .verify(&leaf, intermediates, now)
            .map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, cert, dss, &self.chain.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, cert, dss, &self.chain.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chain.algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, SanType};

    /// Matches a name of a certificate in the plainest way (RFC 9525 section 6.3).
    fn covers(presented: &str, name: &str) -> bool {
        match presented.strip_prefix("*.") {
            Some(parent) => name.split_once('.').is_some_and(|(_, rest)| rest == parent),
            None => presented == name,
        }
    }

    fn dns_name() -> impl Strategy<Value = String> {
        prop::collection::vec("[ab]|xn--a|a-b", 1..4).prop_map(|labels| labels.join("."))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn a_certificate_bears_exactly_the_names_in_it(
            presented in prop::collection::vec((dns_name(), any::<bool>()), 0..3),
            uris in prop::collection::vec("spiffe://[ab]/[ab]{0,2}", 0..2),
            name in dns_name(),
            uri in "spiffe://[ab]/[ab]{0,2}",
        ) {
            // A wildcard right above a top-level domain is one that no CA issues.
            let presented: Vec<_> = presented
                .into_iter()
                .map(|(name, wild)| if wild && name.contains('.') { format!("*.{name}") } else { name })
                .collect();
            let mut params = CertificateParams::default();
            let dns = presented.iter().map(|n| SanType::DnsName(n.as_str().try_into().unwrap()));
            let others = uris.iter().map(|u| SanType::URI(u.as_str().try_into().unwrap()));
            params.subject_alt_names = dns.chain(others).collect();
            let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
            let leaf = EndEntityCert::try_from(certificate.der()).unwrap();
            prop_assert_eq!(
                bears(&leaf, &SubjectAltName::Dns(name.clone())),
                presented.iter().any(|presented| covers(presented, &name))
            );
            prop_assert_eq!(bears(&leaf, &SubjectAltName::Uri(uri.clone())), uris.contains(&uri));
            prop_assert!(!bears(&leaf, &SubjectAltName::Uri(name)));
        }
    }
}
