//! The bytes of all files of one side, read as one.
//!
//! In: the [`Material`]. Out: a [`Snapshot`] in which every file was the same before and after all
//! the others were read, so a replacement half way through is never seen. Does not look into a file.

use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::config::Material;

use super::{CredentialError, Side};

/// The largest file that is read. A bundle of all public roots has 220 KB.
const LARGEST_FILE: u64 = 4 << 20;

/// How often a reading is repeated while the files change underneath.
const READINGS: usize = 5;

/// The names under which a directory is looked into; a certificate and key are of one row.
pub const DIRECTORY_NAMES: [DirectoryNames; 2] = [
    DirectoryNames {
        certificate: "cert",
        key: "key",
        ca: "cacert",
        crl: "crl",
    },
    DirectoryNames {
        certificate: "tls.crt",
        key: "tls.key",
        ca: "ca.crt",
        crl: "ca.crl",
    },
];

/// The names of the files of one side in a directory.
#[derive(Clone, Copy, Debug)]
pub struct DirectoryNames {
    /// The certificate and its chain.
    pub certificate: &'static str,
    /// Its key.
    pub key: &'static str,
    /// The trusted certificates.
    pub ca: &'static str,
    /// Revocation lists.
    pub crl: &'static str,
}

/// One file.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct Content {
    pub(super) path: PathBuf,
    pub(super) bytes: Vec<u8>,
}

/// A PKCS#12 file and its password.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) struct KeyStoreContent {
    pub(super) file: Content,
    pub(super) password: Option<Content>,
}

/// All files of one side, as they were at one time.
#[derive(Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub(super) side: Side,
    pub(super) certificate: Option<Content>,
    pub(super) key: Option<Content>,
    pub(super) ca: Option<Content>,
    pub(super) crl: Option<Content>,
    pub(super) key_store: Option<KeyStoreContent>,
    /// Where it was looked, for a message about what is not there.
    pub(super) place: String,
}

/// Tells one snapshot from another. Not for anything that an adversary could gain from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotId(u64);

impl Snapshot {
    /// Reads the files until two readings in a row agree.
    ///
    /// # Errors
    /// Which file is missing or cannot be read.
    pub fn read(material: &Material, side: Side) -> Result<Self, CredentialError> {
        let mut last = Self::read_once(material, side)?;
        for _ in 0..READINGS {
            let again = Self::read_once(material, side)?;
            if again == last {
                break;
            }
            last = again;
        }
        Ok(last)
    }

    fn read_once(material: &Material, side: Side) -> Result<Self, CredentialError> {
        let mut paths = material.clone();
        let place = place(material);
        if let Some(directory) = &material.directory {
            fill_from(directory, &mut paths);
        }
        if side.needs_certificate() {
            if paths.certificate.is_none() && paths.key_store.is_none() {
                return Err(CredentialError::NoCertificate { place });
            }
        } else {
            (paths.certificate, paths.key) = (None, None);
        }
        let (ca, crl) = if side.uses_ca() {
            (read_optional(paths.ca)?, read_optional(paths.crl)?)
        } else {
            (None, None)
        };
        let key_store = match paths.key_store {
            Some(store) => Some(KeyStoreContent {
                file: read(store.file)?,
                password: read_optional(store.password_file)?,
            }),
            None => None,
        };
        Ok(Self {
            side,
            certificate: read_optional(paths.certificate)?,
            key: read_optional(paths.key)?,
            ca,
            crl,
            key_store,
            place,
        })
    }

    /// Returns what tells this content from another.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        let mut hasher = DefaultHasher::new();
        (&self.certificate, &self.key, &self.ca).hash(&mut hasher);
        (&self.crl, &self.key_store).hash(&mut hasher);
        SnapshotId(hasher.finish())
    }
}

/// Returns the directories in which a change may mean other credentials.
pub(crate) fn directories(material: &Material) -> Vec<PathBuf> {
    let stores = material.key_store.iter();
    let stores = stores.flat_map(|store| [Some(&store.file), store.password_file.as_ref()]);
    let files = [
        &material.certificate,
        &material.key,
        &material.ca,
        &material.crl,
    ];
    let files = files
        .into_iter()
        .map(Option::as_ref)
        .chain(stores)
        .flatten();
    let parents = files.filter_map(|file| file.parent()).map(Path::to_owned);
    let mut all: Vec<_> = parents.chain(material.directory.clone()).collect();
    all.sort();
    all.dedup();
    all
}

/// Adds what is not named from a directory. A certificate never comes without the key beside it.
fn fill_from(directory: &Path, paths: &mut Material) {
    let there = |name: &str| Some(directory.join(name)).filter(|path| path.exists());
    if paths.certificate.is_none() && paths.key_store.is_none() {
        let names = DIRECTORY_NAMES
            .iter()
            .find(|names| there(names.certificate).is_some() || there(names.key).is_some());
        if let Some(names) = names {
            paths.certificate = Some(directory.join(names.certificate));
            paths.key = Some(directory.join(names.key));
        }
    }
    if paths.ca.is_none() {
        paths.ca = DIRECTORY_NAMES.iter().find_map(|names| there(names.ca));
    }
    if paths.crl.is_none() {
        paths.crl = DIRECTORY_NAMES.iter().find_map(|names| there(names.crl));
    }
}

/// Says where was looked, for a message about what is not there.
fn place(material: &Material) -> String {
    match (&material.directory, &material.key_store) {
        (Some(directory), _) if !directory.exists() => {
            format!("the directory {} does not exist", directory.display())
        }
        (Some(directory), _) => {
            let [short, long] = &DIRECTORY_NAMES;
            format!(
                "{} holds neither {}, {}, {} nor {}, {}, {}",
                directory.display(),
                short.certificate,
                short.key,
                short.ca,
                long.certificate,
                long.key,
                long.ca,
            )
        }
        (None, Some(store)) => format!("{} holds none", store.file.display()),
        (None, None) => "no file is named".to_owned(),
    }
}

fn read_optional(path: Option<PathBuf>) -> Result<Option<Content>, CredentialError> {
    path.map(read).transpose()
}

fn read(path: PathBuf) -> Result<Content, CredentialError> {
    let read = || -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        File::open(&path)?
            .take(LARGEST_FILE + 1)
            .read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) if bytes.is_empty() => Err(CredentialError::malformed(&path, "is empty")),
        Ok(bytes) if bytes.len() as u64 > LARGEST_FILE => Err(CredentialError::malformed(
            &path,
            "is larger than 4 MiB: not a certificate, key or list",
        )),
        Ok(bytes) => Ok(Content { path, bytes }),
        Err(source) => Err(CredentialError::reading(&path, source)),
    }
}
