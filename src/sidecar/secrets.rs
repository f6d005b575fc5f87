//! What the proxy needs of the Secrets that are mounted for it. In: the finished configuration and
//! the volumes. Out: each Secret with the keys that must be in it; and, from somebody who could look,
//! which keys there are, what has to be said.

use std::collections::BTreeMap;
use std::path::Path;

use mtls_proxy::config::{self as proxy, Material};
use mtls_proxy::credentials::{DIRECTORY_NAMES, Side};
use serde_json::Value;

use super::Draft;
use super::volumes::Volumes;
use crate::cluster::secrets::SecretKeys;
use crate::review::name_of;

/// Something that a Secret must hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecretNeed {
    /// The name of the Secret.
    pub secret: String,
    /// Sets of keys of which one must be there whole; none when the Secret only has to exist.
    pub one_of: Vec<Vec<String>>,
}

impl SecretNeed {
    /// Returns what is wrong with a Secret that has these keys.
    fn flaw(&self, namespace: &str, keys: &SecretKeys) -> Option<String> {
        let secret = &self.secret;
        match keys {
            SecretKeys::Unknown => None,
            SecretKeys::Missing => Some(format!(
                "Secret {secret:?} does not exist in namespace {namespace:?}: the pod's containers wait until it does"
            )),
            SecretKeys::Present(keys) => {
                let whole = |set: &Vec<String>| set.iter().all(|key| keys.contains(key));
                let satisfied = self.one_of.is_empty() || self.one_of.iter().any(whole);
                let sets = self.one_of.iter().map(|set| set.join(" and "));
                let sets: Vec<_> = sets.collect();
                (!satisfied).then(|| {
                    let sets = sets.join(", or ");
                    format!("Secret {secret:?} lacks what the proxy needs: {sets}")
                })
            }
        }
    }
}

/// Says what is wrong with the Secrets of a pod in a namespace, each thing once.
#[must_use]
pub fn flaws(
    needs: &[SecretNeed],
    namespace: &str,
    known: &BTreeMap<String, SecretKeys>,
) -> Vec<String> {
    let mut flaws = Vec::new();
    for need in needs {
        let keys = known.get(&need.secret).unwrap_or(&SecretKeys::Unknown);
        if let Some(flaw) = need.flaw(namespace, keys)
            && !flaws.contains(&flaw)
        {
            flaws.push(flaw);
        }
    }
    flaws
}

impl Draft<'_> {
    /// Collects what the proxy needs of Secrets. A volume that may be absent is its author's choice,
    /// and of a projected one only its author knows which files come from where.
    pub(super) fn secret_needs(
        &self,
        config: &proxy::Config,
        volumes: &Volumes,
    ) -> Vec<SecretNeed> {
        let mounted = self.mounted(volumes);
        let exist = mounted.iter().map(|mount| SecretNeed {
            secret: mount.secret.to_owned(),
            one_of: Vec::new(),
        });
        let mut needs: Vec<_> = exist.collect();
        for route in &config.egress {
            let side = Side::Upstream(route.tls.mode);
            needs.extend(of_material(&mounted, &route.tls.material(), side));
        }
        for port in &config.inbound {
            let side = Side::Inbound(port.mode);
            needs.extend(of_material(&mounted, &port.tls.material(), side));
        }
        needs
    }

    /// The Secrets that are mounted for the proxy.
    fn mounted<'m>(&'m self, volumes: &'m Volumes) -> Vec<MountedSecret<'m>> {
        let of_pod = self.pod.list("volumes").iter();
        let all: Vec<_> = of_pod.chain(&volumes.added).collect();
        let mounts = volumes.mounts.iter().filter_map(|mount| {
            let volume = all
                .iter()
                .find(|volume| name_of(volume) == name_of(mount))?;
            let source = volume.get("secret")?;
            if source.get("optional") == Some(&Value::Bool(true)) {
                return None;
            }
            Some(MountedSecret {
                secret: source.get("secretName")?.as_str()?,
                items: source.get("items").and_then(Value::as_array),
                at: Path::new(mount.get("mountPath")?.as_str()?),
                below: mount.get("subPath").and_then(Value::as_str),
            })
        });
        mounts.collect()
    }
}

/// A Secret in the proxy's container.
struct MountedSecret<'m> {
    secret: &'m str,
    /// Which keys become which files; all, under their own names, when absent.
    items: Option<&'m Vec<Value>>,
    at: &'m Path,
    /// The one file that is mounted, when not all.
    below: Option<&'m str>,
}

impl MountedSecret<'_> {
    /// Returns the key whose value becomes the file at a path.
    fn key_at(&self, path: &Path) -> Option<String> {
        let within = path.strip_prefix(self.at).ok()?.to_str()?;
        let file = match (self.below, within) {
            (None, file) => file.to_owned(),
            (Some(file), "") => file.to_owned(),
            (Some(directory), file) => format!("{directory}/{file}"),
        };
        let Some(items) = self.items else {
            return (!file.is_empty() && !file.contains('/')).then_some(file);
        };
        let item = items
            .iter()
            .find(|item| item.get("path").and_then(Value::as_str) == Some(&file))?;
        Some(item.get("key")?.as_str()?.to_owned())
    }
}

fn of_material(mounted: &[MountedSecret<'_>], material: &Material, side: Side) -> Vec<SecretNeed> {
    let store = material.key_store.as_ref();
    let password = store.and_then(|store| store.password_file.as_ref());
    let named = [
        material.certificate.as_ref(),
        material.key.as_ref(),
        material.ca.as_ref(),
        material.crl.as_ref(),
        store.map(|store| &store.file),
        password,
    ];
    let named = named.into_iter().flatten();
    let mut needs: Vec<_> = named
        .filter_map(|path| one_of(mounted, &[&[path]]))
        .collect();
    if let Some(directory) = &material.directory {
        let rows = DIRECTORY_NAMES
            .map(|names| [names.certificate, names.key, names.ca].map(|name| directory.join(name)));
        let [[cert, key, ca], [tls_cert, tls_key, tls_ca]] = &rows;
        if side.needs_certificate() && material.certificate.is_none() && store.is_none() {
            needs.extend(one_of(mounted, &[&[cert, key], &[tls_cert, tls_key]]));
        }
        if side.needs_ca() && material.ca.is_none() {
            needs.extend(one_of(mounted, &[&[ca], &[tls_ca]]));
        }
    }
    needs
}

/// Turns sets of files into sets of keys of the Secret that they come from, if they come from one.
fn one_of<P: AsRef<Path>>(mounted: &[MountedSecret<'_>], sets: &[&[P]]) -> Option<SecretNeed> {
    let first = sets.first()?.first()?.as_ref();
    // Of nested mounts the innermost shows its files.
    let within = mounted.iter().filter(|mount| first.starts_with(mount.at));
    let mount = within.max_by_key(|mount| mount.at.components().count())?;
    let keys = |set: &&[P]| -> Option<Vec<String>> {
        set.iter().map(|path| mount.key_at(path.as_ref())).collect()
    };
    let one_of: Vec<_> = sets.iter().filter_map(keys).collect();
    (!one_of.is_empty()).then(|| SecretNeed {
        secret: mount.secret.to_owned(),
        one_of,
    })
}
