//! The volumes that the pod gets and the mounts of the proxy's container: the proxy's configuration,
//! Secrets, and what the user wants. In: the pod and its wishes. Out: what to add; the pod's own
//! volumes are reused when they are equal, and never changed.

use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, DownwardAPIVolumeSource, ObjectFieldSelector, SecretVolumeSource, Volume,
};
use mtls_proxy::config::EgressRoute;
use serde_json::Value;

use super::container::mount;
use super::status::short_hash;
use super::{Draft, Understood};
use crate::annotations::{Key, SecretName, UserMount};
use crate::review::name_of;

/// Where the proxy finds its configuration.
pub(super) const CONFIG_DIRECTORY: &str = "/etc/mtls-proxy";

/// The volume with the proxy's configuration.
pub(super) const CONFIG_VOLUME: &str = "mtls-proxy-config";

/// Where the Secrets of single routes are mounted.
pub(super) const SECRETS_DIRECTORY: &str = "/etc/mtls-injector/secrets";

/// What to add to the pod and mount for the proxy.
#[derive(Default)]
pub(super) struct Volumes {
    /// Volumes that the pod lacks.
    pub(super) added: Vec<Value>,
    /// The mounts of the proxy's container.
    pub(super) mounts: Vec<Value>,
}

impl Volumes {
    /// Returns whether a path is, or is below, a place where something is mounted.
    pub(super) fn cover(&self, path: &str) -> bool {
        self.mount_paths().any(|mounted| is_within(path, mounted))
    }

    fn mount_paths(&self) -> impl Iterator<Item = &str> {
        let paths = self.mounts.iter();
        paths.filter_map(|mount| Some(mount.get("mountPath")?.as_str()?.trim_end_matches('/')))
    }
}

/// Whether a path is a directory or within it.
pub(super) fn is_within(path: &str, directory: &str) -> bool {
    path.strip_prefix(directory)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

impl Draft<'_> {
    /// Plans all volumes, and gives each route its credentials among them.
    pub(super) fn volumes(&mut self) -> (Volumes, Vec<EgressRoute>) {
        let mut volumes = Volumes::default();
        let wishes = self.wishes;
        self.add(&mut volumes, config_volume(), "volume mtls-proxy-config");
        volumes.mounts.push(mount(CONFIG_VOLUME, CONFIG_DIRECTORY));
        if let Some(secret) = &wishes.secret {
            self.refuse_a_reserved_place(&secret.value.path, &secret.path);
            let path = format!("{} at {}", secret.path, secret.value.path);
            self.add_secret(&mut volumes, &secret.value.name, &secret.value.path, &path);
        }
        for volume in &wishes.volumes {
            if let Some(allowed) = &self.config.allowed_volume_sources
                && !allowed.contains(volume.source)
            {
                let allowed: Vec<_> = allowed.iter().map(String::as_str).collect();
                let reason = format!("is not allowed here (allowed: {})", allowed.join(", "));
                self.mistakes
                    .add(&format!("{}.{}", volume.path, volume.source), None, &reason);
                continue;
            }
            let path = format!("{}.name", volume.path);
            self.add(&mut volumes, volume.volume.clone(), &path);
        }
        for mount in &wishes.mounts {
            self.add_mount(&mut volumes, mount);
        }
        let routes = self.egress(&mut volumes);
        (volumes, routes)
    }

    /// Adds a volume, unless the pod has an equal one.
    fn add(&mut self, volumes: &mut Volumes, volume: Value, path: &str) {
        let name = name_of(&volume);
        let same_name = |other: &&Value| name_of(other) == name;
        let in_pod = self.pod.list("volumes").iter().find(same_name);
        match (in_pod, volumes.added.iter().find(same_name)) {
            (None, None) => volumes.added.push(volume),
            (Some(other), _) | (None, Some(other)) if normal(other) == normal(&volume) => {}
            (Some(_), _) => {
                let reason = "names a volume of the pod that is defined otherwise";
                self.mistakes.add(path, Some(name), reason);
            }
            (None, Some(_)) => {
                let reason = "names two volumes that are defined differently";
                self.mistakes.add(path, Some(name), reason);
            }
        }
    }

    pub(super) fn add_secret(
        &mut self,
        volumes: &mut Volumes,
        secret: &SecretName,
        at: &str,
        path: &str,
    ) {
        let volume = secret_volume(secret);
        let name = name_of(&volume).to_owned();
        self.add(volumes, volume, path);
        let taken = volumes.mount_paths().any(|mounted| mounted == at);
        if !taken {
            volumes.mounts.push(mount(&name, at));
        }
    }

    fn add_mount(&mut self, volumes: &mut Volumes, wish: &UserMount) {
        let named = |volume: &Value| name_of(volume) == wish.name;
        let known = volumes.added.iter().any(named) || self.pod.list("volumes").iter().any(named);
        if !known && self.understood == Understood::Wholly {
            let reason = "is neither a volume of the pod nor one of userVolume";
            self.mistakes
                .add(&format!("{}.name", wish.path), Some(&wish.name), reason);
        }
        let path = format!("{}.mountPath", wish.path);
        if self.refuse_a_reserved_place(&wish.mount_path, &path) {
            return;
        }
        if volumes.mount_paths().any(|other| other == wish.mount_path) {
            let reason = match &self.wishes.secret {
                Some(secret) if secret.value.path == wish.mount_path => format!(
                    "is where {} mounts {}; give one of them another path",
                    secret.path,
                    secret.value.name.as_str()
                ),
                _ => "is mounted twice".to_owned(),
            };
            self.mistakes.add(&path, Some(&wish.mount_path), &reason);
        }
        volumes.mounts.push(wish.mount.clone());
    }

    /// Reports a place in which the proxy has its own files, or above it.
    fn refuse_a_reserved_place(&mut self, place: &str, path: &str) -> bool {
        let reserved = [CONFIG_DIRECTORY, SECRETS_DIRECTORY];
        let met = reserved
            .into_iter()
            .find(|own| is_within(place, own) || is_within(own, place));
        if let Some(own) = met {
            let reason = format!("meets {own}, where the proxy has its own files");
            self.mistakes.add(path, Some(place), &reason);
        }
        met.is_some()
    }
}

/// The proxy's configuration: an annotation of the pod that kubelet writes to a file. The whole
/// directory is mounted, as kubelet updates no file that is mounted by `subPath`.
fn config_volume() -> Value {
    let field = ObjectFieldSelector {
        api_version: Some("v1".to_owned()),
        field_path: format!("metadata.annotations['{}']", Key::ProxyConfig.name()),
    };
    let file = DownwardAPIVolumeFile {
        path: "config.yaml".to_owned(),
        field_ref: Some(field),
        ..DownwardAPIVolumeFile::default()
    };
    json(Volume {
        name: CONFIG_VOLUME.to_owned(),
        downward_api: Some(DownwardAPIVolumeSource {
            items: Some(vec![file]),
            default_mode: None,
        }),
        ..Volume::default()
    })
}

/// A Secret's volume, with Kubernetes' default mode 0644. The proxy runs as a user that owns nothing,
/// so its group or all have to read; a `fsGroup` would change the owner of every volume of the pod,
/// while this volume is mounted in the proxy's container alone.
fn secret_volume(secret: &SecretName) -> Value {
    json(Volume {
        name: secret_volume_name(secret.as_str()),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.as_str().to_owned()),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    })
}

/// A volume's name is a DNS label of at most 63 characters; a Secret's name can be longer and have
/// dots. What had to be changed ends in a hash, so that no two Secrets share a volume.
fn secret_volume_name(secret: &str) -> String {
    const PREFIX: &str = "mtls-secret-";
    const ROOM: usize = 63 - PREFIX.len();
    const HASH: usize = 11;
    if secret.len() <= ROOM && !secret.contains('.') {
        return format!("{PREFIX}{secret}");
    }
    let kept: String = secret.chars().take(ROOM - HASH).collect();
    format!("{PREFIX}{}-{}", kept.replace('.', "-"), short_hash(secret))
}

fn json(volume: Volume) -> Value {
    serde_json::to_value(volume).expect("a volume is made of JSON values")
}

/// A volume as it is compared: without `null`, and without the defaults that the API server fills in
/// (core/v1 defaults).
fn normal(value: &Value) -> Value {
    match value {
        Value::Object(object) => object
            .iter()
            .filter(|(key, value)| !value.is_null() && !is_default(key, value))
            .map(|(key, value)| (key.clone(), normal(value)))
            .collect(),
        Value::Array(items) => items.iter().map(normal).collect(),
        other => other.clone(),
    }
}

fn is_default(key: &str, value: &Value) -> bool {
    match key {
        "defaultMode" => value == 0o644,
        "apiVersion" => value == "v1",
        "optional" | "readOnly" => value == false,
        // hostPath.type
        "type" => value == "",
        "iscsiInterface" => value == "default",
        "expirationSeconds" => value == 3600,
        "divisor" => value == "0" || value == 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_volume_has_a_name_of_its_own_that_kubernetes_takes() {
        assert_eq!(secret_volume_name("a-b"), "mtls-secret-a-b");
        let long = "x".repeat(253);
        for secret in ["a.b", "a-b.c", &long, &format!("{long}y")] {
            let name = secret_volume_name(secret);
            assert!(name.len() <= 63 && !name.contains('.'), "{name}");
        }
        assert_ne!(secret_volume_name("a.b"), secret_volume_name("a-b"));
        assert_ne!(
            secret_volume_name(&long),
            secret_volume_name(&format!("{long}y"))
        );
    }

    #[test]
    fn volumes_are_equal_whether_or_not_the_api_server_filled_in_its_defaults() {
        let written = serde_json::json!({"name":"v","secret":{"secretName":"s"}});
        let stored = serde_json::json!({"name":"v","secret":{"secretName":"s","defaultMode":420}});
        let other = serde_json::json!({"name":"v","secret":{"secretName":"s","defaultMode":256}});
        assert_eq!(normal(&written), normal(&stored));
        assert_ne!(normal(&written), normal(&other));
    }
}
