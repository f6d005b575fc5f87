//! Makes certificates: the CA and the leaf of the webhook. In: names and times. Out: certificates
//! with their keys, which never show in `Debug`.

use std::fmt;
use std::time::{Duration, SystemTime};

use pem::Pem;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

/// Certificates begin a little before they are made, as clocks differ.
const BACKDATE: Duration = Duration::from_secs(300);

/// Why a certificate could not be made or read.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// The certificate could not be made.
    #[error("cannot make a certificate")]
    Make(#[source] rcgen::Error),
    /// A certificate or key is not what its PEM block says.
    #[error("cannot read {what}: {why}")]
    Read {
        /// Which of the entries.
        what: &'static str,
        /// What is wrong with it; never the bytes.
        why: String,
    },
    /// The key belongs to another certificate.
    #[error("the key does not belong to {what}")]
    KeyMismatch {
        /// Which certificate.
        what: &'static str,
    },
}

/// The time during which a certificate may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// The first moment.
    pub not_before: SystemTime,
    /// The last moment.
    pub not_after: SystemTime,
}

impl Validity {
    fn from_now(now: SystemTime, life: Duration) -> Self {
        Self {
            not_before: now - BACKDATE,
            not_after: now + life,
        }
    }

    /// Whether the certificate may be used at `now`.
    #[must_use]
    pub fn contains(&self, now: SystemTime) -> bool {
        (self.not_before..=self.not_after).contains(&now)
    }

    /// The moment at which two thirds of the life have passed.
    #[must_use]
    pub fn renewal(&self) -> SystemTime {
        let made = self.made();
        made + self.not_after.duration_since(made).unwrap_or_default() * 2 / 3
    }

    /// The moment at which the certificate was made, if we made it.
    #[must_use]
    pub fn made(&self) -> SystemTime {
        self.not_before + BACKDATE
    }

    fn read(what: &'static str, der: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let (_, certificate) =
            x509_parser::parse_x509_certificate(der).map_err(|error| CertificateError::Read {
                what,
                why: error.to_string(),
            })?;
        let validity = certificate.validity();
        let time = |seconds: i64| {
            SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
        };
        Ok(Self {
            not_before: time(validity.not_before.timestamp()),
            not_after: time(validity.not_after.timestamp()),
        })
    }
}

/// A CA certificate without its key: something that the API server is to trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The certificate.
    pub der: CertificateDer<'static>,
    /// When it may be used.
    pub validity: Validity,
}

impl Anchor {
    /// Reads a certificate.
    ///
    /// # Errors
    /// When it is no X.509 certificate.
    pub fn of(der: CertificateDer<'static>) -> Result<Self, CertificateError> {
        Ok(Self {
            validity: Validity::read(CA, &der)?,
            der,
        })
    }

    /// Reads every certificate of a PEM text.
    ///
    /// # Errors
    /// When a block is no certificate.
    pub fn read_all(what: &'static str, pem: &[u8]) -> Result<Vec<Self>, CertificateError> {
        CertificateDer::pem_slice_iter(pem)
            .map(|der| {
                let der = der.map_err(|error| CertificateError::Read {
                    what,
                    why: error.to_string(),
                })?;
                Ok(Self {
                    validity: Validity::read(what, &der)?,
                    der,
                })
            })
            .collect()
    }
}

/// A CA that can sign.
pub struct Authority {
    /// Its certificate.
    pub anchor: Anchor,
    key: KeyPair,
}

impl Authority {
    /// Makes a new CA.
    ///
    /// # Errors
    /// When the system yields no randomness.
    pub fn make(now: SystemTime, life: Duration) -> Result<Self, CertificateError> {
        let validity = Validity::from_now(now, life);
        let key = new_key()?;
        let mut params = params(validity, format!("mtls-injector CA {}", stamp(now)));
        // Path length 0: it signs leaves, never another CA.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let certificate = params.self_signed(&key).map_err(CertificateError::Make)?;
        let der = certificate.der().clone();
        let validity = Validity::read(CA, &der)?;
        Ok(Self {
            anchor: Anchor { der, validity },
            key,
        })
    }

    /// Reads a CA from its certificate and key.
    ///
    /// # Errors
    /// When one of them cannot be read or they do not belong together.
    pub fn read(certificate: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let unreadable = |why: String| CertificateError::Read { what: CA, why };
        let anchor = Anchor::read_all(CA, certificate)?
            .into_iter()
            .next()
            .ok_or_else(|| unreadable("no certificate in it".to_owned()))?;
        let key = std::str::from_utf8(key)
            .ok()
            .and_then(|pem| KeyPair::from_pem(pem).ok())
            .ok_or_else(|| unreadable("its key is no PEM private key".to_owned()))?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&anchor.der)
            .map_err(|error| unreadable(error.to_string()))?;
        if !parsed.is_ca() {
            return Err(unreadable("it is not a CA certificate".to_owned()));
        }
        if parsed.public_key().subject_public_key.data != key.public_key_raw() {
            return Err(CertificateError::KeyMismatch { what: CA });
        }
        Ok(Self { anchor, key })
    }

    /// Signs a new leaf for the names of the webhook's Service. It never outlives the CA.
    ///
    /// # Errors
    /// When a name is no DNS name.
    pub fn sign(
        &self,
        names: &[String],
        now: SystemTime,
        life: Duration,
    ) -> Result<Leaf, CertificateError> {
        let mut validity = Validity::from_now(now, life);
        validity.not_after = validity.not_after.min(self.anchor.validity.not_after);
        let key = new_key()?;
        let mut params = params(validity, "mtls-injector".to_owned());
        params.subject_alt_names = CertificateParams::new(names)
            .map_err(CertificateError::Make)?
            .subject_alt_names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let issuer = Issuer::from_ca_cert_der(&self.anchor.der, &self.key)
            .map_err(CertificateError::Make)?;
        let certificate = params
            .signed_by(&key, &issuer)
            .map_err(CertificateError::Make)?;
        let der = certificate.der().clone();
        let validity = Validity::read(LEAF, &der)?;
        Ok(Leaf {
            chain: vec![der],
            key: PrivatePkcs8KeyDer::from(key).into(),
            validity,
        })
    }

    /// The private key as PEM, for the shared Secret alone.
    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("validity", &self.anchor.validity)
            .finish_non_exhaustive()
    }
}

/// The certificate that the webhook shows.
pub struct Leaf {
    /// The certificate, then those that lead to the CA, if any.
    pub chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    /// When it may be used.
    pub validity: Validity,
}

impl Leaf {
    /// Reads a leaf from its chain and key.
    ///
    /// # Errors
    /// When one of them cannot be read.
    pub fn read(chain: &[u8], key: &[u8]) -> Result<Self, CertificateError> {
        let anchors = Anchor::read_all(LEAF, chain)?;
        let validity = anchors
            .first()
            .ok_or_else(|| CertificateError::Read {
                what: LEAF,
                why: "no certificate in it".to_owned(),
            })?
            .validity;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| CertificateError::Read {
            what: LEAF,
            why: "its key is no PEM private key".to_owned(),
        })?;
        Ok(Self {
            chain: anchors.into_iter().map(|anchor| anchor.der).collect(),
            key,
            validity,
        })
    }

    /// Makes the form that rustls serves.
    ///
    /// # Errors
    /// When the key cannot sign or belongs to another certificate.
    pub fn certified(&self, provider: &CryptoProvider) -> Result<CertifiedKey, CertificateError> {
        CertifiedKey::from_der(self.chain.clone(), self.key.clone_key(), provider)
            .map_err(|_| CertificateError::KeyMismatch { what: LEAF })
    }

    /// The private key as PEM, for the shared Secret alone.
    pub(crate) fn key_pem(&self) -> String {
        let label = match self.key {
            PrivateKeyDer::Pkcs1(_) => "RSA PRIVATE KEY",
            PrivateKeyDer::Sec1(_) => "EC PRIVATE KEY",
            _ => "PRIVATE KEY",
        };
        pem::encode(&Pem::new(label, self.key.secret_der()))
    }

    /// The chain as PEM.
    #[must_use]
    pub fn chain_pem(&self) -> String {
        certificates_pem(&self.chain)
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaf")
            .field("validity", &self.validity)
            .finish_non_exhaustive()
    }
}

const CA: &str = "the CA certificate";
const LEAF: &str = "the serving certificate";

fn new_key() -> Result<KeyPair, CertificateError> {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(CertificateError::Make)
}

fn params(validity: Validity, common_name: String) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = validity.not_before.into();
    params.not_after = validity.not_after.into();
    params.distinguished_name = DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    params
}

/// Tells two CAs of one installation apart by name, which verifiers look for first.
fn stamp(now: SystemTime) -> u64 {
    now.duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

/// Renders certificates as PEM, one after the other.
pub(crate) fn certificates_pem<'a>(
    certificates: impl IntoIterator<Item = &'a CertificateDer<'static>>,
) -> String {
    certificates
        .into_iter()
        .map(|der| pem::encode(&Pem::new("CERTIFICATE", der.as_ref())))
        .collect()
}
