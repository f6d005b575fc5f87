//! A certificate authority made for one test, and the files it fills.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls_pki_types::CertificateDer;

pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate with its key, PEM.
pub(crate) struct Leaf {
    pub(crate) certificate: String,
    pub(crate) key: String,
    pub(crate) der: CertificateDer<'static>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        // A name of its own: verifiers look for an issuer by its name first.
        let name = format!("authority {:02x?}", &key.public_key_raw()[..8]);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, key).unwrap())
    }

    pub(crate) fn der(&self) -> CertificateDer<'static> {
        self.0.der().clone()
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn leaf(&self) -> Leaf {
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(names).unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Leaf {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
            der: certificate.der().clone(),
        }
    }
}

/// A Secret as kubelet mounts it: the files are symlinks into `..data`, which is swapped as a whole.
pub(crate) struct MountedSecret {
    directory: PathBuf,
    versions: usize,
}

impl MountedSecret {
    pub(crate) fn new(directory: &Path, leaf: &Leaf) -> Self {
        let mut secret = Self {
            directory: directory.to_owned(),
            versions: 0,
        };
        secret.write(&leaf.certificate, &leaf.key);
        symlink("..data/tls.crt", secret.certificate()).unwrap();
        symlink("..data/tls.key", secret.key()).unwrap();
        secret
    }

    pub(crate) fn write(&mut self, certificate: &str, key: &str) {
        self.versions += 1;
        let version = format!("..version_{}", self.versions);
        let folder = self.directory.join(&version);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("tls.crt"), certificate).unwrap();
        fs::write(folder.join("tls.key"), key).unwrap();
        let fresh = self.directory.join("..data_tmp");
        symlink(version, &fresh).unwrap();
        fs::rename(fresh, self.directory.join("..data")).unwrap();
    }

    pub(crate) fn certificate(&self) -> PathBuf {
        self.directory.join("tls.crt")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.directory.join("tls.key")
    }
}
