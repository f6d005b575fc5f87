//! Who a verified client is, as its certificate says.
//!
//! In: the leaf certificate of a verified chain. Out: a [`ClientIdentity`] for allow rules, logs and
//! headers. Everything that goes out as text is safe in a header: visible ASCII, quoted or escaped.

mod distinguished_name;
mod xfcc;

use std::fmt::Write as _;
use std::net::IpAddr;

use aws_lc_rs::digest::{SHA256, digest};
use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};
use x509_parser::x509::X509Name;

use crate::config::AllowRule;
use crate::tls::rfc3339;

/// A verified client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientIdentity {
    /// The subject, as RFC 4514 writes it: `CN=inventory,OU=shop,O=Example`.
    pub subject: String,
    /// The issuer, as RFC 4514 writes it.
    pub issuer: String,
    /// The serial number in lower-case hexadecimal, without separators.
    pub serial: String,
    /// The end of validity, in seconds since 1970.
    pub not_after: i64,
    /// The URI names, such as a SPIFFE ID.
    pub uris: Vec<String>,
    /// The DNS names, in lower case.
    pub dns_names: Vec<String>,
    /// The subject's common name, when it has exactly one.
    pub common_name: Option<String>,
    /// The SHA-256 digest of the certificate, in lower-case hexadecimal.
    pub hash: String,
}

impl ClientIdentity {
    /// Reads a certificate that has been verified.
    ///
    /// # Errors
    /// What cannot be read; after a verification that does not happen.
    pub fn of(leaf: &CertificateDer<'_>) -> Result<Self, &'static str> {
        let (_, certificate) =
            X509Certificate::from_der(leaf).map_err(|_| "the certificate is garbled")?;
        let mut identity = Self {
            subject: distinguished_name::write(certificate.subject()),
            issuer: distinguished_name::write(certificate.issuer()),
            serial: hexadecimal(certificate.raw_serial()),
            not_after: certificate.validity().not_after.timestamp(),
            uris: Vec::new(),
            dns_names: Vec::new(),
            common_name: common_name(certificate.subject()),
            hash: hexadecimal(digest(&SHA256, leaf).as_ref()),
        };
        for name in alternative_names(&certificate) {
            match name {
                GeneralName::URI(uri) => identity.uris.push((*uri).to_owned()),
                GeneralName::DNSName(name) => identity.dns_names.push(name.to_ascii_lowercase()),
                _ => {}
            }
        }
        Ok(identity)
    }

    /// Returns the end of validity as RFC 3339 writes it.
    #[must_use]
    pub fn not_after(&self) -> String {
        rfc3339(self.not_after)
    }

    /// Returns whether the certificate has ended by now.
    #[must_use]
    pub fn has_expired(&self) -> bool {
        i64::try_from(UnixTime::now().as_secs()).is_ok_and(|now| now > self.not_after)
    }

    /// Returns whether a rule lets this client in. Without rules everyone may.
    #[must_use]
    pub fn is_allowed(&self, rules: &[AllowRule]) -> bool {
        rules.is_empty() || rules.iter().any(|rule| self.matches(rule))
    }

    fn matches(&self, rule: &AllowRule) -> bool {
        match rule {
            AllowRule::Uri(pattern) => self.uris.iter().any(|uri| pattern.matches(uri)),
            AllowRule::Dns(pattern) => self.dns_names.iter().any(|name| pattern.matches(name)),
            AllowRule::CommonName(pattern) => self
                .common_name
                .as_deref()
                .is_some_and(|name| pattern.matches(name)),
        }
    }

    /// Returns the name that tells this client best, for logs: its first URI, else DNS name, else
    /// the subject.
    #[must_use]
    pub fn name(&self) -> &str {
        let names = self.uris.first().or_else(|| self.dns_names.first());
        names.unwrap_or(&self.subject)
    }

    /// Returns all names, for a message about a refusal.
    #[must_use]
    pub fn all_names(&self) -> String {
        let dns = self.dns_names.iter().map(|name| format!("dns:{name}"));
        let common = self.common_name.iter().map(|name| format!("cn:{name}"));
        let names: Vec<_> = self.uris.iter().cloned().chain(dns).chain(common).collect();
        distinguished_name::printable(&names.join(", "))
    }
}

/// Returns the subjectAltNames of a certificate as `dns:`, `ip:` and `uri:`.
pub(crate) fn names(certificate: &X509Certificate<'_>) -> Vec<String> {
    alternative_names(certificate)
        .filter_map(|name| match name {
            GeneralName::DNSName(name) => Some(format!("dns:{name}")),
            GeneralName::URI(uri) => Some(format!("uri:{uri}")),
            GeneralName::IPAddress(octets) => address(octets).map(|ip| format!("ip:{ip}")),
            _ => None,
        })
        .map(|name| distinguished_name::printable(&name))
        .collect()
}

/// Returns the subject of a certificate as RFC 4514 writes it.
pub(crate) fn subject_of(certificate: &X509Certificate<'_>) -> String {
    distinguished_name::write(certificate.subject())
}

/// Returns the issuer of a certificate as RFC 4514 writes it.
pub(crate) fn issuer_of(certificate: &X509Certificate<'_>) -> String {
    distinguished_name::write(certificate.issuer())
}

/// Returns the common name of a subject, when it has exactly one.
fn common_name(subject: &X509Name<'_>) -> Option<String> {
    let mut names = subject.iter_common_name();
    match (names.next(), names.next()) {
        (Some(name), None) => name.as_str().ok().map(str::to_owned),
        _ => None,
    }
}

fn alternative_names<'a>(
    certificate: &'a X509Certificate<'_>,
) -> impl Iterator<Item = &'a GeneralName<'a>> {
    let extension = certificate.subject_alternative_name().ok().flatten();
    extension
        .into_iter()
        .flat_map(|extension| extension.value.general_names.iter())
}

fn address(octets: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from))
        .ok()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
