//! PKCS#12 key stores (RFC 7292), as Java and Windows teams have them.
//!
//! In: the store's bytes and its password. Out: the one key with its chain, and the CA: certificates
//! that the store holds as trusted, else its self-signed ones.

use std::path::{Path, PathBuf};

use p12_keystore::error::Error as StoreError;
use p12_keystore::{Certificate, Pkcs12Archive};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use super::CredentialError;
use super::own::Own;
use super::snapshot::{Content, KeyStoreContent};

/// The longest chain that is put together, so that no circle of issuers is followed for ever.
const LONGEST_CHAIN: usize = 10;

/// An opened store.
pub(super) struct OpenStore<'a> {
    file: &'a Path,
    archive: Pkcs12Archive,
}

/// Opens a store with its password.
pub(super) fn open(content: &KeyStoreContent) -> Result<OpenStore<'_>, CredentialError> {
    let file = content.file.path.as_path();
    let password = match &content.password {
        Some(password) => text(password)?.trim_end_matches(['\r', '\n']),
        None => "",
    };
    Pkcs12Archive::from_pkcs12(&content.file.bytes, password)
        .map(|archive| OpenStore { file, archive })
        .map_err(|error| CredentialError::malformed(file, mistake(&error, content)))
}

fn text(content: &Content) -> Result<&str, CredentialError> {
    std::str::from_utf8(&content.bytes)
        .map_err(|_| CredentialError::malformed(&content.path, "is not UTF-8 text"))
}

fn mistake(error: &StoreError, content: &KeyStoreContent) -> String {
    let bytes = content.file.bytes.as_slice();
    if bytes.starts_with(b"-----BEGIN") {
        return "is PEM, not PKCS#12; name its files as certificate and key".to_owned();
    }
    if bytes.starts_with(&[0xfe, 0xed, 0xfe, 0xed]) {
        return "is a JKS key store; convert it with `keytool -importkeystore -srckeystore JKS \
            -destkeystore P12 -deststoretype PKCS12`"
            .to_owned();
    }
    match (error, &content.password) {
        (StoreError::MacError(_) | StoreError::UnpadError | StoreError::Pkcs5Error(_), None) => {
            "needs a password; name the file that holds it as passwordFile".to_owned()
        }
        (
            StoreError::MacError(_) | StoreError::UnpadError | StoreError::Pkcs5Error(_),
            Some(password),
        ) => format!(
            "cannot be opened with the password in {}",
            password.path.display()
        ),
        (StoreError::DerError(_), _) => "is not a PKCS#12 key store, or is cut off".to_owned(),
        (other, _) => format!("is a PKCS#12 key store that cannot be read: {other}"),
    }
}

impl<'a> OpenStore<'a> {
    /// Returns the store's key and its chain.
    pub(super) fn own(&self) -> Result<Own<'a>, CredentialError> {
        let [key] = self.archive.keys.as_slice() else {
            let count = self.archive.keys.len();
            let reason = format!("holds {count} private keys; it must hold one");
            return Err(CredentialError::malformed(self.file, reason));
        };
        let certificates = &self.archive.certs;
        // Most tools mark the key's certificate; where none is marked, it comes first.
        let id = key.local_key_id.as_ref().map(|id| &id.0);
        let marked = certificates
            .iter()
            .find(|bag| id.is_some() && bag.local_key_id.as_ref() == id);
        let leaf = marked.or_else(|| certificates.iter().find(|bag| !bag.trusted));
        let Some(leaf) = leaf else {
            let reason = "holds a private key without its certificate";
            return Err(CredentialError::malformed(self.file, reason));
        };
        Ok(Own {
            chain: self.chain(&leaf.cert).into_iter().map(der).collect(),
            key: PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.key.as_der().to_owned())),
            certificate_file: self.file,
            key_file: self.file,
        })
    }

    /// Returns a certificate and those above it. A root is left out, as no peer needs it.
    fn chain<'b>(&'b self, leaf: &'b Certificate) -> Vec<&'b Certificate> {
        let mut chain = vec![leaf];
        let mut last = leaf;
        while chain.len() < LONGEST_CHAIN {
            let mut others = self.archive.certs.iter().map(|bag| &bag.cert);
            let above = others.find(|c| c.subject() == last.issuer() && !is_root(c));
            let Some(next) = above.filter(|next| !chain.contains(next)) else {
                break;
            };
            chain.push(next);
            last = next;
        }
        chain
    }

    /// Returns the certificates that a peer's chain must end in, when the store holds any.
    pub(super) fn ca(&self) -> Option<(PathBuf, Vec<CertificateDer<'static>>)> {
        let bags = self.archive.certs.iter();
        let trusted = bags.filter(|bag| bag.trusted);
        let mut ca: Vec<_> = trusted.map(|bag| der(&bag.cert)).collect();
        if ca.is_empty() {
            // A store that `openssl pkcs12 -export -certfile` made marks none.
            let others = self
                .archive
                .certs
                .iter()
                .filter(|bag| bag.local_key_id.is_none());
            ca = others
                .map(|bag| &bag.cert)
                .filter(|c| is_root(c))
                .map(der)
                .collect();
        }
        (!ca.is_empty()).then(|| (self.file.to_owned(), ca))
    }
}

fn is_root(certificate: &Certificate) -> bool {
    certificate.subject() == certificate.issuer()
}

fn der(certificate: &Certificate) -> CertificateDer<'static> {
    certificate.as_der().to_owned().into()
}
