//! The TLS side of a route: modes, files, names and versions. Field names are those of Istio's
//! `ClientTLSSettings` and `ServerTLSSettings` where they have one. Reads no file.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::fields::Fields;
use super::scalars::{Host, words};

words! {
    /// How an upstream is spoken to.
    UpstreamMode {
        /// TLS with a client certificate.
        Mutual = "MUTUAL",
        /// TLS without a client certificate.
        Simple = "SIMPLE",
        /// Plaintext, because it was asked for by name.
        Disable = "DISABLE",
    }
}

words! {
    /// The oldest TLS version that is spoken.
    MinProtocolVersion {
        /// TLS 1.2 (RFC 5246).
        TlsV1_2 = "TLSV1_2",
        /// TLS 1.3 (RFC 8446).
        TlsV1_3 = "TLSV1_3",
    }
}

/// The TLS settings of an egress route.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ClientTls {
    /// How the upstream is spoken to.
    pub mode: UpstreamMode,
    /// The client certificate and its chain, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_certificate: Option<PathBuf>,
    /// The client certificate's key, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key: Option<PathBuf>,
    /// What the upstream's chain must end in, PEM. Absent everywhere: the public web roots.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_certificates: Option<PathBuf>,
    /// Revocation lists, PEM or DER.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crl: Option<PathBuf>,
    /// A directory, usually of a mounted Secret, in which the proxy looks for the files that are
    /// not named above: `cert`, `key`, `cacert`, or `tls.crt`, `tls.key`, `ca.crt`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential_directory: Option<PathBuf>,
    /// A PKCS#12 store with certificate, key and possibly CA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_store: Option<KeyStore>,
    /// The server name that is sent; the host, when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sni: Option<Host>,
    /// Names of which the upstream's certificate must bear one; the host, when empty.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subject_alt_names: Vec<SubjectAltName>,
    /// The oldest version that is spoken.
    pub min_protocol_version: MinProtocolVersion,
    /// Whether chain and name go unverified. Warned of and metered.
    #[serde(skip_serializing_if = "is_false")]
    pub insecure_skip_verify: bool,
}

impl Default for ClientTls {
    fn default() -> Self {
        Self {
            mode: UpstreamMode::Mutual,
            client_certificate: None,
            private_key: None,
            ca_certificates: None,
            crl: None,
            credential_directory: None,
            key_store: None,
            sni: None,
            subject_alt_names: Vec::new(),
            min_protocol_version: MinProtocolVersion::TlsV1_2,
            insecure_skip_verify: false,
        }
    }
}

impl ClientTls {
    pub(super) fn from_fields(mut fields: Fields<'_>) -> Self {
        let default = Self::default();
        let tls = Self {
            mode: fields.or("mode", default.mode),
            client_certificate: fields.optional("clientCertificate"),
            private_key: fields.optional("privateKey"),
            ca_certificates: fields.optional("caCertificates"),
            crl: fields.optional("crl"),
            credential_directory: fields.optional("credentialDirectory"),
            key_store: fields
                .object_if_present("keyStore", KeyStore::from_fields)
                .flatten(),
            sni: fields.optional("sni"),
            subject_alt_names: fields.list("subjectAltNames"),
            min_protocol_version: fields.or("minProtocolVersion", default.min_protocol_version),
            insecure_skip_verify: fields.or("insecureSkipVerify", false),
        };
        if tls.client_certificate.is_some() != tls.private_key.is_some() {
            let (there, missing) = if tls.private_key.is_some() {
                ("privateKey", "clientCertificate")
            } else {
                ("clientCertificate", "privateKey")
            };
            fields.mistake(missing, &format!("is required beside {there}"));
        }
        if tls.sni.as_ref().is_some_and(|sni| sni.name().is_none()) {
            fields.mistake("sni", "must be a DNS name (RFC 6066 section 3)");
        }
        fields.finish();
        tls
    }

    /// Returns whether own credentials are named, so that no default applies.
    #[must_use]
    pub fn has_credentials(&self) -> bool {
        self.client_certificate.is_some()
            || self.credential_directory.is_some()
            || self.key_store.is_some()
    }

    /// Returns where certificate, key and CA are read from.
    #[must_use]
    pub fn material(&self) -> Material {
        Material {
            certificate: self.client_certificate.clone(),
            key: self.private_key.clone(),
            ca: self.ca_certificates.clone(),
            crl: self.crl.clone(),
            directory: self.credential_directory.clone(),
            key_store: self.key_store.clone(),
        }
    }
}

/// The TLS settings of an inbound port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServerTls {
    /// The server certificate and its chain, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_certificate: Option<PathBuf>,
    /// The server certificate's key, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub private_key: Option<PathBuf>,
    /// What a client's chain must end in, PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_certificates: Option<PathBuf>,
    /// Revocation lists, PEM or DER.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crl: Option<PathBuf>,
    /// See [`ClientTls::credential_directory`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub credential_directory: Option<PathBuf>,
    /// A PKCS#12 store with certificate, key and possibly CA.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_store: Option<KeyStore>,
    /// The oldest version that is spoken.
    pub min_protocol_version: MinProtocolVersion,
}

impl Default for ServerTls {
    fn default() -> Self {
        Self {
            server_certificate: None,
            private_key: None,
            ca_certificates: None,
            crl: None,
            credential_directory: None,
            key_store: None,
            min_protocol_version: MinProtocolVersion::TlsV1_2,
        }
    }
}

impl ServerTls {
    pub(super) fn from_fields(mut fields: Fields<'_>) -> Self {
        let tls = Self {
            server_certificate: fields.optional("serverCertificate"),
            private_key: fields.optional("privateKey"),
            ca_certificates: fields.optional("caCertificates"),
            crl: fields
                .optional::<OptionalPath>("crl")
                .and_then(|path| path.0),
            credential_directory: fields.optional("credentialDirectory"),
            key_store: fields
                .object_if_present("keyStore", KeyStore::from_fields)
                .flatten(),
            min_protocol_version: fields.or("minProtocolVersion", MinProtocolVersion::TlsV1_2),
        };
        if tls.server_certificate.is_some() != tls.private_key.is_some() {
            let (there, missing) = if tls.private_key.is_some() {
                ("privateKey", "serverCertificate")
            } else {
                ("serverCertificate", "privateKey")
            };
            fields.mistake(missing, &format!("is required beside {there}"));
        }
        fields.finish();
        tls
    }

    /// Returns whether own credentials are named, so that no default applies.
    #[must_use]
    pub fn has_credentials(&self) -> bool {
        self.server_certificate.is_some()
            || self.credential_directory.is_some()
            || self.key_store.is_some()
    }

    /// Returns where certificate, key and CA are read from.
    #[must_use]
    pub fn material(&self) -> Material {
        Material {
            certificate: self.server_certificate.clone(),
            key: self.private_key.clone(),
            ca: self.ca_certificates.clone(),
            crl: self.crl.clone(),
            directory: self.credential_directory.clone(),
            key_store: self.key_store.clone(),
        }
    }
}

/// A path, or the empty text for none.
struct OptionalPath(Option<PathBuf>);

impl FromStr for OptionalPath {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self((!text.is_empty()).then(|| PathBuf::from(text))))
    }
}

/// A PKCS#12 file (RFC 7292) and the file that holds its password.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyStore {
    /// The `.p12` or `.pfx` file.
    pub file: PathBuf,
    /// A file with the password; a line end at its end does not count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
}

impl KeyStore {
    fn from_fields(mut fields: Fields<'_>) -> Option<Self> {
        let file = fields.required("file");
        let password_file = fields.optional("passwordFile");
        fields.finish();
        Some(Self {
            file: file?,
            password_file,
        })
    }
}

/// Where the certificate, the key and the CA of one side are read from. A file that is named wins
/// over the key store, which wins over the directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Material {
    /// The certificate and its chain.
    pub certificate: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// The trusted certificates.
    pub ca: Option<PathBuf>,
    /// Revocation lists.
    pub crl: Option<PathBuf>,
    /// A directory with the files that are not named.
    pub directory: Option<PathBuf>,
    /// A PKCS#12 store.
    pub key_store: Option<KeyStore>,
}

/// A name that a certificate can bear (RFC 5280 section 4.2.1.6): `dns:`, `ip:` or `uri:`, each
/// guessed when left out.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SubjectAltName {
    /// A dNSName, in lower case. A certificate's wildcard stands for one label of it.
    Dns(String),
    /// An iPAddress.
    Ip(IpAddr),
    /// A uniformResourceIdentifier, such as a SPIFFE ID, compared as it is.
    Uri(String),
}

impl FromStr for SubjectAltName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "is not a DNS name, an IP address or a URI";
        if let Some(uri) = text.strip_prefix("uri:") {
            return if uri.contains(':') {
                Ok(Self::Uri(uri.to_owned()))
            } else {
                Err(WRONG)
            };
        }
        if text.contains("://") {
            return Ok(Self::Uri(text.to_owned()));
        }
        let name = text
            .strip_prefix("dns:")
            .or_else(|| text.strip_prefix("ip:"))
            .unwrap_or(text);
        match name.parse().map_err(|_| WRONG)? {
            Host::Name(name) => Ok(Self::Dns(name)),
            Host::Ip(ip) => Ok(Self::Ip(ip)),
            Host::Wildcard(_) => Err("is a wildcard; name the host itself"),
        }
    }
}

impl fmt::Display for SubjectAltName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns(name) => write!(f, "dns:{name}"),
            Self::Ip(ip) => write!(f, "ip:{ip}"),
            Self::Uri(uri) => write!(f, "uri:{uri}"),
        }
    }
}

impl Serialize for SubjectAltName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
pub(super) fn is_false(flag: &bool) -> bool {
    !flag
}
