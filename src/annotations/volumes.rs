//! The values of `userVolume` and `userVolumeMount`: a list, or a map by volume name. In: JSON text.
//! Out: volumes and mounts as Kubernetes spells them, each with its path. Knows no pod.

use mtls_proxy::config::Mistakes;
use serde_json::{Map, Value};

use super::schema::{self, shown, step};
use super::secret::{is_label, mount_path};
use super::volume_schema::{MOUNT, VOLUME};

/// A volume that a pod asks for.
#[derive(Clone, Debug)]
pub struct UserVolume {
    /// How people are told where it stands.
    pub path: String,
    /// Its name.
    pub name: String,
    /// The name of its source, such as `secret`.
    pub source: &'static str,
    /// The whole volume.
    pub volume: Value,
}

/// A mount that a pod asks for in the proxy's container.
#[derive(Clone, Debug)]
pub struct UserMount {
    /// How people are told where it stands.
    pub path: String,
    /// The volume's name.
    pub name: String,
    /// Where the proxy sees it, without a final slash.
    pub mount_path: String,
    /// The whole mount.
    pub mount: Value,
}

/// Reads the value of `userVolume`.
pub(super) fn volumes(text: &str, path: &str, mistakes: &mut Mistakes) -> Vec<UserVolume> {
    let mut volumes = Vec::new();
    for (path, object) in entries(text, path, mistakes) {
        let before = mistakes.iter().count();
        let volume = schema::read(object, VOLUME, &path, mistakes);
        let understood = mistakes.iter().count() == before;
        let name = volume_name(&volume, &path, mistakes);
        let source = understood.then(|| only_source(&volume, &path, mistakes));
        if let (Some(name), Some(Some(source))) = (name, source) {
            let volume = Value::Object(volume);
            volumes.push(UserVolume {
                path,
                name,
                source,
                volume,
            });
        }
    }
    volumes
}

/// Reads the value of `userVolumeMount`.
pub(super) fn mounts(text: &str, path: &str, mistakes: &mut Mistakes) -> Vec<UserMount> {
    let mut mounts = Vec::new();
    for (path, object) in entries(text, path, mistakes) {
        let mount = schema::read(object, MOUNT, &path, mistakes);
        let name = volume_name(&mount, &path, mistakes);
        let at = mount.get("mountPath").and_then(Value::as_str);
        let at = at.and_then(|at| {
            let checked = mount_path(at);
            checked
                .map_err(|why| mistakes.add(&format!("{path}.mountPath"), Some(at), why))
                .ok()
        });
        if let (Some(name), Some(mount_path)) = (name, at) {
            let mount = Value::Object(mount);
            mounts.push(UserMount {
                path,
                name,
                mount_path,
                mount,
            });
        }
    }
    mounts
}

/// Brings both forms, the list and the map by name, into one: objects with their paths.
fn entries(text: &str, path: &str, mistakes: &mut Mistakes) -> Vec<(String, Map<String, Value>)> {
    let parsed = serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"));
    let items: Vec<(String, Value, Option<String>)> = match parsed {
        Err(reason) => {
            mistakes.add(path, None, &reason);
            Vec::new()
        }
        Ok(Value::Null) => Vec::new(),
        Ok(Value::Array(items)) => {
            let numbered = items.into_iter().enumerate();
            numbered
                .map(|(index, item)| (format!("{path}[{index}]"), item, None))
                .collect()
        }
        Ok(Value::Object(object)) => {
            let mut named: Vec<_> = object.into_iter().collect();
            named.sort_by(|(a, _), (b, _)| a.cmp(b));
            named
                .into_iter()
                .map(|(name, item)| (step(path, &name), item, Some(name)))
                .collect()
        }
        Ok(other) => {
            let reason = "is neither a list nor a map by name";
            mistakes.add(path, Some(&shown(&other)), reason);
            Vec::new()
        }
    };
    items
        .into_iter()
        .filter_map(|(path, item, name)| object_of(path, item, name, mistakes))
        .collect()
}

fn object_of(
    path: String,
    item: Value,
    name: Option<String>,
    mistakes: &mut Mistakes,
) -> Option<(String, Map<String, Value>)> {
    match item {
        Value::Object(mut object) => {
            let named = object.keys().any(|key| key.eq_ignore_ascii_case("name"));
            if let (Some(name), false) = (name, named) {
                object.insert("name".to_owned(), name.into());
            }
            Some((path, object))
        }
        other => {
            let reason = if name.is_some() {
                "is not an object; a single entry is written as a list: [{\"name\": …}]"
            } else {
                "is not an object"
            };
            mistakes.add(&path, Some(&shown(&other)), reason);
            None
        }
    }
}

fn volume_name(object: &Map<String, Value>, path: &str, mistakes: &mut Mistakes) -> Option<String> {
    let name = object.get("name")?.as_str()?;
    if name.len() <= 63 && is_label(name) {
        return Some(name.to_owned());
    }
    let reason = "is not a volume name: lower-case letters, digits and -, at most 63";
    mistakes.add(&format!("{path}.name"), Some(name), reason);
    None
}

fn only_source(
    volume: &Map<String, Value>,
    path: &str,
    mistakes: &mut Mistakes,
) -> Option<&'static str> {
    let sources: Vec<_> = VOLUME
        .iter()
        .map(|field| field.name)
        .filter(|name| *name != "name" && volume.contains_key(*name))
        .collect();
    match sources.as_slice() {
        [] => {
            mistakes.add(path, None, "has no source, such as secret or configMap");
            None
        }
        [source] => Some(*source),
        several => {
            let reason = format!(
                "has the sources {}; a volume has one",
                several.join(" and ")
            );
            mistakes.add(path, None, &reason);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use k8s_openapi::api::core::v1::{Volume, VolumeMount};
    use serde::Deserialize;
    use serde::de::{self, Deserializer, Visitor};

    use super::*;

    /// A deserializer that only learns which fields a type asks for.
    struct FieldNames<'a>(&'a mut BTreeSet<&'static str>);

    impl<'de> Deserializer<'de> for FieldNames<'_> {
        type Error = de::value::Error;

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Self::Error> {
            Err(de::Error::custom("not a struct"))
        }

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Self::Error> {
            self.0.extend(fields);
            Err(de::Error::custom("seen"))
        }

        serde::forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf
            option unit unit_struct newtype_struct seq tuple tuple_struct map enum identifier
            ignored_any
        }
    }

    fn fields_of<T: for<'de> Deserialize<'de>>() -> BTreeSet<&'static str> {
        let mut names = BTreeSet::new();
        assert!(T::deserialize(FieldNames(&mut names)).is_err());
        names
    }

    #[test]
    fn the_tables_know_every_volume_source_and_mount_field_of_kubernetes() {
        let ours =
            |fields: &[schema::Field]| fields.iter().map(|f| f.name).collect::<BTreeSet<_>>();
        assert_eq!(ours(VOLUME), fields_of::<Volume>());
        assert_eq!(ours(MOUNT), fields_of::<VolumeMount>());
    }
}
