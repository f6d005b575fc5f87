//! Takes from the process what it does not need, before it has read a byte from anyone: no new
//! privileges, no core dumps with keys in them, no writing, no executing, no reading but of its own
//! files (Landlock, where the kernel has it). Also lets it have all the file descriptors it may.
//!
//! In: the configuration and its file. Out: what could be enforced, for the log.

use std::io;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access as _, AccessFs, PathBeneath, PathFd, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetError, RulesetStatus,
};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};

use crate::config::{Config, DEFAULT_CREDENTIALS, Material};

/// What the kernel enforces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Enforced {
    /// All that was asked for.
    Fully,
    /// What this kernel knows of it.
    Partly,
    /// Nothing: the kernel has no Landlock, or it is switched off.
    Nothing,
}

impl Enforced {
    /// Returns the word for logs.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::Fully => "fully",
            Self::Partly => "partly",
            Self::Nothing => "nothing",
        }
    }
}

/// Confines this thread and all that it starts; call it before there are others.
///
/// # Errors
/// What could not be done. The proxy runs all the same.
pub(crate) fn enter(config: &Config, file: &Path) -> Result<Enforced, SandboxError> {
    raise_file_limit().map_err(SandboxError::FileLimit)?;
    no_core_dumps().map_err(SandboxError::CoreDumps)?;
    rustix::thread::set_no_new_privs(true)
        .map_err(|errno| SandboxError::Privileges(errno.into()))?;
    Ok(restrict_files(config, file)?)
}

/// What could not be done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SandboxError {
    /// The soft limit of open files stays.
    #[error("raise the limit of open files")]
    FileLimit(#[source] io::Error),
    /// A core dump could be written.
    #[error("switch core dumps off")]
    CoreDumps(#[source] io::Error),
    /// A program with set-user-ID could gain privileges.
    #[error("give up new privileges")]
    Privileges(#[source] io::Error),
    /// Landlock is there and refuses.
    #[error("restrict file access")]
    Landlock(#[from] RulesetError),
}

/// Each connection takes two descriptors, and the usual soft limit of 1024 is for `select`.
fn raise_file_limit() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    Ok(setrlimit(Resource::Nofile, raised)?)
}

fn no_core_dumps() -> io::Result<()> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    setrlimit(Resource::Core, none)?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

fn restrict_files(config: &Config, file: &Path) -> Result<Enforced, RulesetError> {
    const NEWEST: ABI = ABI::V5;
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))?
        .create()?;
    for place in places(config, file) {
        if let Ok(opened) = PathFd::new(&place) {
            ruleset = ruleset.add_rule(PathBeneath::new(opened, read))?;
        }
    }
    for device in RANDOMNESS {
        if let Ok(opened) = PathFd::new(device) {
            ruleset = ruleset.add_rule(PathBeneath::new(opened, AccessFs::ReadFile))?;
        }
    }
    Ok(match ruleset.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced => Enforced::Fully,
        RulesetStatus::PartiallyEnforced => Enforced::Partly,
        RulesetStatus::NotEnforced => Enforced::Nothing,
    })
}

/// What libraries fill their generators of random numbers from, where a static program lets them find
/// no `getrandom` by name: without it no name is resolved, because DNS queries have random numbers.
const RANDOMNESS: [&str; 2] = ["/dev/random", "/dev/urandom"];

/// Directories rather than files: kubelet replaces what is in them. `/etc` has resolv.conf.
fn places(config: &Config, file: &Path) -> Vec<PathBuf> {
    let egress = config.egress.iter().map(|route| route.tls.material());
    let inbound = config.inbound.iter().map(|port| port.tls.material());
    let mut places: Vec<PathBuf> = egress.chain(inbound).flat_map(|one| files(&one)).collect();
    places.push(file.to_owned());
    let parents: Vec<PathBuf> = places.iter().filter_map(|place| parent(place)).collect();
    let linked: Vec<PathBuf> = places
        .iter()
        .filter_map(|place| parent(&place.canonicalize().ok()?))
        .collect();
    let fixed = ["/etc", DEFAULT_CREDENTIALS].map(PathBuf::from);
    let mut all: Vec<PathBuf> = parents
        .into_iter()
        .chain(linked)
        .chain(fixed)
        .map(|place| existing(&place))
        .collect();
    all.sort();
    all.dedup();
    all
}

fn files(material: &Material) -> Vec<PathBuf> {
    let store = material.key_store.as_ref();
    let store_files = store
        .into_iter()
        .flat_map(|store| [Some(store.file.clone()), store.password_file.clone()]);
    // Named as if it were a file in it, so that the directory itself is what is allowed.
    let directory = material.directory.as_ref().map(|place| place.join("cert"));
    [
        &material.certificate,
        &material.key,
        &material.ca,
        &material.crl,
    ]
    .into_iter()
    .cloned()
    .chain(store_files)
    .chain([directory])
    .flatten()
    .collect()
}

fn parent(file: &Path) -> Option<PathBuf> {
    let parent = file.parent()?;
    Some(if parent.as_os_str().is_empty() {
        PathBuf::from(".")
    } else {
        parent.to_owned()
    })
}

/// A place that is not there yet is allowed by the nearest one above it that is.
fn existing(place: &Path) -> PathBuf {
    let found = place.ancestors().find(|ancestor| ancestor.exists());
    found.map_or_else(|| PathBuf::from("/"), Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_places_of_its_own_files_are_allowed() {
        let folder = tempfile::tempdir().unwrap();
        let secret = folder.path().join("secret");
        std::fs::create_dir(&secret).unwrap();
        let later = folder.path().join("later/cert");
        let text = serde_json::json!({"egress": [
            {"host": "a.example", "tls": {"credentialDirectory": secret}},
            {"host": "b.example", "port": 81, "tls": {"clientCertificate": later, "privateKey": later}},
        ]});
        let config = Config::parse(&text.to_string()).unwrap();
        let file = secret.join("config.yaml");
        let mut expected = vec![PathBuf::from("/etc"), folder.path().to_owned(), secret];
        expected.sort();
        assert_eq!(places(&config, &file), expected);
    }
}
