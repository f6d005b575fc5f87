//! A read-only view of a pod as raw JSON. In: a borrowed value, of any shape. Out: its parts, empty
//! where they are missing or of another type. Copies nothing, so fields that nobody knows survive.

use serde_json::{Map, Value};

/// A pod, or the template of one: an object with `metadata` and `spec`.
#[derive(Clone, Copy, Debug)]
pub struct Pod<'a>(&'a Value);

/// Who made a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Such as `apps/v1`.
    pub api_version: String,
    /// Such as `ReplicaSet`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

impl<'a> Pod<'a> {
    /// Looks at a value as a pod.
    #[must_use]
    pub const fn new(raw: &'a Value) -> Self {
        Self(raw)
    }

    /// Returns the whole value.
    #[must_use]
    pub const fn raw(self) -> &'a Value {
        self.0
    }

    /// Returns the value at these keys; `null` counts as absent.
    #[must_use]
    pub fn at(self, keys: &[&str]) -> Option<&'a Value> {
        keys.iter()
            .try_fold(self.0, |value, key| value.get(key))
            .filter(|value| !value.is_null())
    }

    /// Returns the name, or else the `generateName`.
    #[must_use]
    pub fn name(self) -> &'a str {
        let text = |key| self.at(&["metadata", key]).and_then(Value::as_str);
        let name = text("name").filter(|name| !name.is_empty());
        name.or_else(|| text("generateName")).unwrap_or_default()
    }

    /// Returns `metadata.namespace`.
    #[must_use]
    pub fn namespace(self) -> &'a str {
        self.at(&["metadata", "namespace"])
            .and_then(Value::as_str)
            .unwrap_or_default()
    }

    /// Returns the annotations.
    #[must_use]
    pub fn annotations(self) -> Option<&'a Map<String, Value>> {
        self.at(&["metadata", "annotations"])?.as_object()
    }

    /// Returns a label.
    #[must_use]
    pub fn label(self, key: &str) -> Option<&'a str> {
        self.at(&["metadata", "labels", key])?.as_str()
    }

    /// Returns the owner that manages the pod.
    #[must_use]
    pub fn owner(self) -> Option<Owner> {
        let owners = self.at(&["metadata", "ownerReferences"])?.as_array()?;
        let owner = owners
            .iter()
            .find(|owner| owner.get("controller") == Some(&Value::Bool(true)))?;
        let text = |key| Some(owner.get(key)?.as_str()?.to_owned());
        Some(Owner {
            api_version: text("apiVersion")?,
            kind: text("kind")?,
            name: text("name")?,
            uid: text("uid")?,
        })
    }

    /// Returns the list at `spec.KEY`.
    #[must_use]
    pub fn list(self, key: &str) -> &'a [Value] {
        self.at(&["spec", key])
            .and_then(Value::as_array)
            .map_or(&[], Vec::as_slice)
    }

    /// Yields init containers and containers, in the order in which they start.
    pub fn all_containers(self) -> impl Iterator<Item = &'a Value> {
        self.list("initContainers")
            .iter()
            .chain(self.list("containers"))
    }

    /// Returns whether the pod shares the network of its node.
    #[must_use]
    pub fn host_network(self) -> bool {
        self.at(&["spec", "hostNetwork"]) == Some(&Value::Bool(true))
    }

    /// Returns whether the pod is bound to Windows nodes, by `spec.os` or the well-known label.
    #[must_use]
    pub fn is_windows(self) -> bool {
        let os = self.at(&["spec", "os", "name"]);
        let selected = self.at(&["spec", "nodeSelector", "kubernetes.io/os"]);
        [os, selected]
            .into_iter()
            .flatten()
            .any(|os| os == "windows")
    }

    /// Returns whether the pod stands for one that a node runs from a file. Kubelet replaces such an
    /// object whenever it differs from the file.
    #[must_use]
    pub fn is_static(self) -> bool {
        self.annotations()
            .is_some_and(|annotations| annotations.contains_key("kubernetes.io/config.mirror"))
    }

    /// Returns `spec.terminationGracePeriodSeconds`, in seconds; 30 when it is absent.
    #[must_use]
    pub fn grace_period(self) -> u64 {
        self.at(&["spec", "terminationGracePeriodSeconds"])
            .and_then(Value::as_u64)
            .unwrap_or(30)
    }

    /// Returns whether the pod is to end by itself, as those of Jobs are.
    #[must_use]
    pub fn runs_to_completion(self) -> bool {
        self.at(&["spec", "restartPolicy"])
            .is_some_and(|policy| policy != "Always")
    }
}

/// Returns the `name` of a container, volume or mount.
#[must_use]
pub fn name_of(named: &Value) -> &str {
    named
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default()
}
