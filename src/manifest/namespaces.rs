//! What manifests declare for the pods among them. In: objects. Out: the annotations and labels of each
//! Namespace and Istio's resources; for other namespaces the cluster is asked.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::workload::objects;
use crate::admit::Namespaces;
use crate::istio::Resources;

/// The namespaces among some manifests, before those of a cluster.
pub(super) struct Declared {
    declared: HashMap<String, Metadata>,
    resources: Arc<Resources>,
    cluster: Box<dyn Namespaces>,
}

/// What a Namespace says about itself.
#[derive(Clone)]
struct Metadata {
    annotations: Map<String, Value>,
    labels: Map<String, Value>,
}

impl Declared {
    pub(super) fn among<'v>(
        documents: impl Iterator<Item = &'v Value>,
        default_namespace: &str,
        cluster: Box<dyn Namespaces>,
    ) -> Self {
        let mut declared = HashMap::new();
        let mut all = Vec::new();
        for document in documents {
            objects(document, &mut |object| {
                all.push(object);
                if let Some((name, metadata)) = namespace(object) {
                    declared.insert(name.to_owned(), metadata);
                }
            });
        }
        Self {
            declared,
            resources: Arc::new(Resources::read(all, default_namespace)),
            cluster,
        }
    }
}

fn namespace(object: &Value) -> Option<(&str, Metadata)> {
    let is = |key: &str, value: &str| object.get(key).is_some_and(|found| found == value);
    if !is("kind", "Namespace") || !is("apiVersion", "v1") {
        return None;
    }
    let name = object.pointer("/metadata/name")?.as_str()?;
    let map = |pointer: &str| {
        let map = object.pointer(pointer).and_then(Value::as_object).cloned();
        map.unwrap_or_default()
    };
    let metadata = Metadata {
        annotations: map("/metadata/annotations"),
        labels: map("/metadata/labels"),
    };
    Some((name, metadata))
}

impl Declared {
    /// Returns whether a namespace is declared, or known to the cluster.
    pub(super) fn knows(&self, namespace: &str) -> bool {
        self.declared.contains_key(namespace) || self.cluster.annotations(namespace).is_some()
    }
}

impl Namespaces for Declared {
    /// An unknown namespace counts as one without annotations; that is said once, not for every pod.
    fn annotations(&self, namespace: &str) -> Option<Map<String, Value>> {
        let declared = self.declared.get(namespace);
        let declared = declared.map(|metadata| metadata.annotations.clone());
        let known = declared.or_else(|| self.cluster.annotations(namespace));
        Some(known.unwrap_or_default())
    }

    fn labels(&self, namespace: &str) -> Option<Map<String, Value>> {
        let declared = self.declared.get(namespace);
        let declared = declared.map(|metadata| metadata.labels.clone());
        declared.or_else(|| self.cluster.labels(namespace))
    }

    fn resources(&self) -> Arc<Resources> {
        Arc::clone(&self.resources)
    }
}
