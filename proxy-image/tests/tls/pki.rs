//! Certificates made for one test, and the directories they are mounted in.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationList,
    CertificateRevocationListParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber, date_time_ymd,
};
use time::{Duration, OffsetDateTime};

/// A certificate authority.
pub(crate) struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let params = ca_params(name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    /// Makes an authority below this one.
    pub(crate) fn intermediate_with_serial(&self, name: &str, serial: u64) -> Self {
        let mut params = ca_params(name);
        params.serial_number = Some(SerialNumber::from(serial));
        let key = KeyPair::generate().unwrap();
        let issuer = CertifiedIssuer::signed_by(params, key, &self.issuer).unwrap();
        Self { issuer }
    }

    /// Makes a list of revoked serial numbers that ends at a date.
    pub(crate) fn crl(
        &self,
        revoked: &[u64],
        next_update: OffsetDateTime,
    ) -> CertificateRevocationList {
        let revoke = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2020, 1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update,
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.iter().map(revoke).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap()
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub(crate) fn issue(&self, wanted: &Leaf<'_>) -> Issued {
        let key = KeyPair::generate().unwrap();
        let certificate = wanted.params().signed_by(&key, &self.issuer).unwrap();
        Issued { certificate, key }
    }
}

fn ca_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// What a certificate should say.
pub(crate) struct Leaf<'a> {
    pub(crate) common_name: &'a str,
    pub(crate) dns: &'a [&'a str],
    pub(crate) ips: &'a [IpAddr],
    pub(crate) uris: &'a [&'a str],
    pub(crate) usage: Option<ExtendedKeyUsagePurpose>,
    pub(crate) serial: u64,
    pub(crate) valid: Valid,
}

/// When a certificate is valid.
#[derive(Clone, Copy)]
pub(crate) enum Valid {
    Now,
    /// Until 2002-01-01.
    Past,
    /// From 2100-01-01.
    Future,
}

impl Valid {
    fn dates(self) -> (OffsetDateTime, OffsetDateTime) {
        let now = OffsetDateTime::now_utc();
        match self {
            Self::Now => (now - Duration::HOUR, now + Duration::days(90)),
            Self::Past => (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1)),
            Self::Future => (date_time_ymd(2100, 1, 1), date_time_ymd(2101, 1, 1)),
        }
    }
}

impl Default for Leaf<'_> {
    fn default() -> Self {
        Self {
            common_name: "leaf",
            dns: &[],
            ips: &[],
            uris: &[],
            usage: None,
            serial: 1,
            valid: Valid::Now,
        }
    }
}

impl Leaf<'_> {
    fn params(&self) -> CertificateParams {
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, self.common_name);
        let dns = self
            .dns
            .iter()
            .map(|name| SanType::DnsName((*name).try_into().unwrap()));
        let ips = self.ips.iter().map(|ip| SanType::IpAddress(*ip));
        let uris = self
            .uris
            .iter()
            .map(|uri| SanType::URI((*uri).try_into().unwrap()));
        params.subject_alt_names = dns.chain(ips).chain(uris).collect();
        params.extended_key_usages = self.usage.iter().cloned().collect();
        params.serial_number = Some(SerialNumber::from(self.serial));
        (params.not_before, params.not_after) = self.valid.dates();
        params
    }
}

/// A certificate and its key.
pub(crate) struct Issued {
    pub(crate) certificate: Certificate,
    pub(crate) key: KeyPair,
}

impl Issued {
    /// Writes `cert`, `key` and `cacert` into a directory, as a Secret is mounted.
    pub(crate) fn write(&self, directory: &Path, ca: &Ca) -> PathBuf {
        fs::create_dir_all(directory).unwrap();
        fs::write(directory.join("cert"), self.certificate.pem()).unwrap();
        fs::write(directory.join("key"), self.key.serialize_pem()).unwrap();
        fs::write(directory.join("cacert"), ca.pem()).unwrap();
        directory.to_owned()
    }
}
