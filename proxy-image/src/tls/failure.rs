//! Why a handshake failed: a closed set of labels for metrics, and sentences for people.
//!
//! In: the errors of rustls and of the socket. Out: a [`HandshakeFailure`] whose `Display` is written
//! for the developer of an application who has never seen a certificate, and who reads it in the
//! `x-mtls-proxy-error` header.

use std::error::Error as StdError;
use std::fmt;
use std::io;

use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    AlertDescription, CertificateError, Error as TlsError, InvalidMessage, PeerIncompatible,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::config::SubjectAltName;
use crate::identity;

use super::rfc3339;

/// Who is at the other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A client that dialled us.
    Client,
    /// An upstream that we dialled.
    Upstream,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Client => "client",
            Self::Upstream => "upstream",
        })
    }
}

/// A handshake that did not end in a verified connection.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct HandshakeFailure {
    /// Who is at the other end.
    pub peer: Peer,
    /// What was wrong.
    pub reason: Reason,
}

/// What was wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The peer showed no certificate.
    #[error("showed no certificate")]
    NoCertificate,
    /// No trusted CA vouches for the peer's certificate; with what is known of its issuer.
    #[error("shows a certificate that no trusted CA vouches for{0}")]
    UnknownCa(String),
    /// The peer's certificate, or one above it, has expired; with the time, when known.
    #[error("shows a certificate that has expired{}", Since("at", *.0))]
    Expired(Option<i64>),
    /// The peer's certificate, or one above it, is of the future.
    #[error("shows a certificate that is not valid yet{}", Since("before", *.0))]
    NotYetValid(Option<i64>),
    /// The peer's certificate, or one above it, is revoked.
    #[error("shows a certificate that is revoked")]
    Revoked,
    /// No current list says whether the certificate is revoked.
    #[error("shows a certificate of which no current revocation list knows: {0}")]
    RevocationUnknown(String),
    /// The certificate is good, and no rule lets its bearer in.
    #[error("is not allowed: none of its names ({0}) matches a rule of this port")]
    NotAllowed(String),
    /// The certificate is for other uses than this side of TLS.
    #[error("shows a certificate that is not for this use: its extendedKeyUsage lacks {0}")]
    WrongUsage(&'static str),
    /// The certificate is another host's.
    #[error("shows a certificate for {presented}, not for {expected}")]
    WrongName {
        /// What was wanted.
        expected: String,
        /// What was shown instead, or that there is nothing but a common name.
        presented: String,
    },
    /// The certificate cannot be used at all.
    #[error("shows a certificate that cannot be used: {0}")]
    BadCertificate(String),
    /// The peer refused us, most often our certificate.
    #[error("refused us: {0}")]
    Refused(String),
    /// The bytes are not the TLS that was expected.
    #[error("does not speak TLS as we do: {0}")]
    Protocol(String),
    /// The peer took too long.
    #[error("did not finish the TLS handshake in time")]
    Timeout,
    /// The peer went away in the middle.
    #[error("closed the connection during the TLS handshake")]
    Closed,
}

/// Which CAs count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trusted {
    Given,
    PublicRoots,
}

/// Writes a time that may not be known.
struct Since(&'static str, Option<i64>);

impl fmt::Display for Since {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1 {
            Some(seconds) => write!(f, " {} {}", self.0, rfc3339(seconds)),
            None => Ok(()),
        }
    }
}

impl fmt::Display for HandshakeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the {} {}", self.peer, self.reason)
    }
}

impl HandshakeFailure {
    /// Makes the failure of a handshake that took too long.
    #[must_use]
    pub const fn timeout(peer: Peer) -> Self {
        Self {
            peer,
            reason: Reason::Timeout,
        }
    }

    /// Understands what a handshake, or the first read after it, failed with. A TLS 1.3 server tells
    /// only then that it refuses the client's certificate.
    #[must_use]
    pub fn of(peer: Peer, error: &io::Error) -> Self {
        let reason = match error.get_ref().and_then(|inner| find::<TlsError>(inner)) {
            Some(error) => Reason::of(peer, error),
            None => match error.kind() {
                io::ErrorKind::TimedOut => Reason::Timeout,
                io::ErrorKind::InvalidData => Reason::Protocol(error.to_string()),
                _ => Reason::Closed,
            },
        };
        Self { peer, reason }
    }

    /// Understands an error of rustls.
    #[must_use]
    pub fn of_tls(peer: Peer, error: &TlsError) -> Self {
        Self {
            peer,
            reason: Reason::of(peer, error),
        }
    }

    /// Returns the reason's name in metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        self.reason.label()
    }
}

impl Reason {
    /// Returns the reason's name in metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::UnknownCa(_) => "unknown_ca",
            Self::Expired(_) => "expired",
            Self::NotYetValid(_) => "not_yet_valid",
            Self::Revoked => "revoked",
            Self::RevocationUnknown(_) => "revocation_unknown",
            Self::NotAllowed(_) => "not_allowed",
            Self::WrongUsage(_) => "wrong_usage",
            Self::WrongName { .. } => "wrong_name",
            Self::BadCertificate(_) => "bad_certificate",
            Self::Refused(_) => "refused_by_peer",
            Self::Protocol(_) => "protocol",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
        }
    }

    fn of(peer: Peer, error: &TlsError) -> Self {
        match error {
            TlsError::InvalidCertificate(CertificateError::InvalidPurpose) => {
                Self::WrongUsage(match peer {
                    Peer::Client => "clientAuth",
                    Peer::Upstream => "serverAuth",
                })
            }
            TlsError::NoCertificatesPresented => Self::NoCertificate,
            TlsError::InvalidCertificate(error) => Self::of_certificate(error),
            TlsError::AlertReceived(AlertDescription::CloseNotify) => Self::Closed,
            TlsError::AlertReceived(alert) => Self::Refused(refusal(*alert)),
            other => Self::Protocol(misunderstanding(other)),
        }
    }

    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::ExpiredContext { not_after, .. } => {
                Self::Expired(seconds(*not_after))
            }
            CertificateError::Expired => Self::Expired(None),
            CertificateError::NotValidYetContext { not_before, .. } => {
                Self::NotYetValid(seconds(*not_before))
            }
            CertificateError::NotValidYet => Self::NotYetValid(None),
            CertificateError::Revoked => Self::Revoked,
            CertificateError::UnknownRevocationStatus => {
                Self::RevocationUnknown("none covers its issuer".to_owned())
            }
            CertificateError::ExpiredRevocationListContext { next_update, .. } => {
                let end = seconds(*next_update).map_or_else(String::new, rfc3339);
                Self::RevocationUnknown(format!("the list ended at {end}"))
            }
            CertificateError::UnknownIssuer => Self::UnknownCa(String::new()),
            CertificateError::Other(other) => find::<Self>(other.0.as_ref())
                .cloned()
                .unwrap_or_else(|| Self::BadCertificate(other.to_string())),
            other => Self::BadCertificate(other.to_string()),
        }
    }

    /// Says who issued a certificate that no trusted CA vouches for.
    pub(super) fn unknown_ca(last_of_chain: &CertificateDer<'_>, trusted: Trusted) -> Self {
        let issuer = X509Certificate::from_der(last_of_chain)
            .map(|(_, certificate)| identity::issuer_of(&certificate))
            .unwrap_or_default();
        let hint = match trusted {
            Trusted::Given => "",
            Trusted::PublicRoots => "; no caCertificates are given, so the public web roots count",
        };
        Self::UnknownCa(format!(": its issuer is {issuer}{hint}"))
    }

    /// Says which names were wanted and which are there.
    pub(super) fn wrong_name(
        wanted: &[SubjectAltName],
        dialled: &ServerName<'_>,
        certificate: &CertificateDer<'_>,
    ) -> Self {
        let expected = match wanted {
            [] => dialled.to_str().into_owned(),
            names => names
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" or "),
        };
        let presented = X509Certificate::from_der(certificate)
            .map(|(_, certificate)| presented_names(&certificate))
            .unwrap_or_else(|_| "no name that can be read".to_owned());
        Self::WrongName {
            expected,
            presented,
        }
    }
}

fn presented_names(certificate: &X509Certificate<'_>) -> String {
    let names = identity::names(certificate);
    if names.is_empty() {
        return format!(
            "no name at all: it has only the subject {}, whose common name no longer counts (RFC 9525); \
             reissue it with a subjectAltName: openssl x509 -req ... -extfile \
             <(echo subjectAltName=DNS:NAME)",
            identity::subject_of(certificate)
        );
    }
    names.join(", ")
}

/// Says what two that do not understand each other have not in common.
fn misunderstanding(error: &TlsError) -> String {
    use PeerIncompatible as P;
    let meaning = match error {
        TlsError::InvalidMessage(InvalidMessage::InvalidContentType) => {
            "what it sends is no TLS at all; is this its TLS port?"
        }
        TlsError::PeerIncompatible(
            P::ServerDoesNotSupportTls12Or13
            | P::ServerTlsVersionIsDisabledByOurConfig
            | P::SupportedVersionsExtensionRequired
            | P::Tls12NotOffered
            | P::Tls12NotOfferedOrEnabled,
        ) => "it has no TLS version in common with us (1.2 and 1.3, or as minProtocolVersion says)",
        TlsError::PeerIncompatible(P::NoCipherSuitesInCommon | P::NoKxGroupsInCommon) => {
            "it has no cipher suite or key exchange in common with us"
        }
        TlsError::PeerIncompatible(
            P::NoSignatureSchemesInCommon | P::NoCertificateRequestSignatureSchemesInCommon,
        ) => "it cannot verify signatures by the kind of key that we have",
        other => return other.to_string(),
    };
    meaning.to_owned()
}

/// What an alert of the peer most often means (RFC 8446 section 6.2).
fn refusal(alert: AlertDescription) -> String {
    use AlertDescription as A;
    let meaning = match alert {
        A::CertificateRequired => "it wants a certificate and got none",
        A::UnknownCA => "its CA does not vouch for our certificate",
        A::CertificateExpired => "it says that our certificate is not valid now",
        A::CertificateRevoked => "it says that our certificate is revoked",
        A::BadCertificate | A::CertificateUnknown | A::UnsupportedCertificate => {
            "it does not accept our certificate"
        }
        A::AccessDenied => "our certificate is not allowed there",
        A::UnrecognisedName => "it does not know the server name that we sent (SNI)",
        A::ProtocolVersion => "it speaks no TLS version that we do",
        A::HandshakeFailure => "it found no common cipher, or wants a certificate and got none",
        A::NoApplicationProtocol => "it speaks none of the offered protocols (ALPN)",
        _ => "it gave no better reason",
    };
    format!("{meaning} (alert {alert:?})")
}

/// Finds an error of one type in a chain of causes.
fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn seconds(time: UnixTime) -> Option<i64> {
    i64::try_from(time.as_secs()).ok()
}
