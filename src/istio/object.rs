//! What all resources share: whose they are, how old, whom they are shown to, which pods they mean.

use serde_json::Value;

use super::finding::{Finding, Findings};
use super::reader::{Labels, Reader};

/// The namespace whose policies hold for the whole mesh.
pub(super) const ROOT_NAMESPACE: &str = "istio-system";

/// A pod as resources see it.
#[derive(Clone, Copy, Debug)]
pub struct Workload<'a> {
    /// The pod's namespace.
    pub namespace: &'a str,
    /// The pod's labels.
    pub labels: &'a Labels,
}

/// A resource that has been read: where it comes from, what it says, and what was found in it.
#[derive(Clone, Debug)]
pub(super) struct Resource<T> {
    pub(super) meta: Meta,
    pub(super) spec: T,
    pub(super) findings: Vec<Finding>,
}

/// The name of a resource and its age.
#[derive(Clone, Debug)]
pub(super) struct Meta {
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
    /// RFC 3339, so that text order is age; empty in a file.
    created: String,
}

impl<T> Resource<T> {
    /// Reads `metadata` and `spec` of an object.
    pub(super) fn read(
        object: &Value,
        default_namespace: &str,
        read: impl FnOnce(&mut Reader<'_, '_>) -> Option<T>,
    ) -> Result<Self, Vec<Finding>> {
        let meta = Meta::of(object, default_namespace);
        let mut findings = Findings::new(meta.label());
        let spec = object.get("spec").unwrap_or(&Value::Null);
        let spec = Reader::read(spec, "spec", &mut findings, read).flatten();
        let findings = findings.into_vec();
        match spec {
            Some(spec) => Ok(Self {
                meta,
                spec,
                findings,
            }),
            None => Err(findings),
        }
    }
}

impl Meta {
    pub(super) fn of(object: &Value, default_namespace: &str) -> Self {
        let text = |pointer: &str| {
            let value = object.pointer(pointer).and_then(Value::as_str);
            value.filter(|text| !text.is_empty())
        };
        Self {
            kind: text("/kind").unwrap_or("object").to_owned(),
            namespace: text("/metadata/namespace")
                .unwrap_or(default_namespace)
                .to_owned(),
            name: text("/metadata/name").unwrap_or("(unnamed)").to_owned(),
            created: text("/metadata/creationTimestamp")
                .unwrap_or_default()
                .to_owned(),
        }
    }

    /// `KIND NAMESPACE/NAME`, as findings begin.
    pub(super) fn label(&self) -> String {
        format!("{} {}/{}", self.kind, self.namespace, self.name)
    }

    /// Orders the oldest first, as Istio breaks a tie between resources, then by name.
    pub(super) fn age(&self) -> (&str, &str, &str) {
        (&self.created, &self.name, &self.namespace)
    }

    pub(super) fn warning(&self, path: &str, reason: &str) -> Finding {
        let mut findings = Findings::new(self.label());
        findings.warn(path, reason);
        findings.into_vec().remove(0)
    }

    pub(super) fn denial(&self, path: &str, reason: &str) -> Finding {
        let mut findings = Findings::new(self.label());
        findings.deny(path, reason);
        findings.into_vec().remove(0)
    }
}

/// `exportTo`: the namespaces that see a resource.
#[derive(Clone, Debug)]
pub(super) struct ExportTo(Vec<String>);

impl ExportTo {
    pub(super) fn read(reader: &mut Reader<'_, '_>) -> Self {
        Self(reader.list("exportTo"))
    }

    /// Returns whether a namespace sees a resource of the namespace `own`.
    pub(super) fn reaches(&self, own: &str, namespace: &str) -> bool {
        self.0.is_empty()
            || self.0.iter().any(|to| match to.as_str() {
                "*" => true,
                "." => own == namespace,
                to => to == namespace,
            })
    }
}

/// Returns whether all labels that are asked for are there; none asked for means every pod.
pub(super) fn selects(asked: &Labels, labels: &Labels) -> bool {
    asked
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value))
}
