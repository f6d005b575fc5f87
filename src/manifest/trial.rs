//! One pod of a manifest, put to the core as the API server would put it. In: a pod or a template.
//! Out: what the webhook would answer, and the template after its patch.

use json_patch::Patch;
use serde_json::{Map, Value, json};

use super::workload::Subject;
use crate::admit::{Namespaces, Outcome, inject_pod};
use crate::config::Config;
use crate::decision::Decision;

/// A pod as it will come to the API server.
#[derive(Debug)]
pub(super) struct Trial<'s> {
    subject: &'s Subject,
    /// The pod that a controller would make of the template; a bare pod as it is.
    pod: Value,
    /// Top-level fields that a template does not have and a pod does.
    added: Vec<&'static str>,
    /// Fields of the metadata that the API server and the controllers add.
    added_metadata: Vec<&'static str>,
}

impl<'s> Trial<'s> {
    /// Makes the pod that will come to the API server.
    pub(super) fn of(subject: &'s Subject, template: &Value) -> Self {
        let mut pod = template.clone();
        let mut added = Vec::new();
        let mut added_metadata = Vec::new();
        if let Value::Object(pod) = &mut pod {
            add(pod, "apiVersion", "v1".into(), &mut added);
            add(pod, "kind", "Pod".into(), &mut added);
            add(pod, "metadata", json!({}), &mut added);
            if let Some(Value::Object(metadata)) = pod.get_mut("metadata") {
                let namespace = subject.namespace.as_str().into();
                add(metadata, "namespace", namespace, &mut added_metadata);
                if let Some(owner) = owner(subject) {
                    let prefix = format!("{}-", subject.name).into();
                    add(metadata, "generateName", prefix, &mut added_metadata);
                    add(metadata, "ownerReferences", owner, &mut added_metadata);
                }
            }
        }
        Self {
            subject,
            pod,
            added,
            added_metadata,
        }
    }

    /// Asks the core; returns its answer and, if that is to inject, what the template becomes.
    pub(super) fn run(
        self,
        config: &Config,
        namespaces: &dyn Namespaces,
    ) -> (Outcome, Option<Value>) {
        let outcome = inject_pod(config, namespaces, &self.subject.namespace, &self.pod);
        let changes = outcome.decision == Decision::Inject && !outcome.patch.0.is_empty();
        let injected = changes.then(|| self.patched(&outcome.patch));
        (outcome, injected)
    }

    /// Applies a patch, and takes away again what only the review needed.
    fn patched(mut self, patch: &Patch) -> Value {
        json_patch::patch(&mut self.pod, patch).expect("the core's patch fits the core's pod");
        if let Value::Object(pod) = &mut self.pod {
            if let Some(Value::Object(metadata)) = pod.get_mut("metadata") {
                for key in self.added_metadata {
                    metadata.shift_remove(key);
                }
            }
            for key in self.added {
                let is_needed = key == "metadata" && pod.get(key) != Some(&json!({}));
                if !is_needed {
                    pod.shift_remove(key);
                }
            }
        }
        self.pod
    }
}

/// Adds a field unless it has a value.
fn add(
    object: &mut Map<String, Value>,
    key: &'static str,
    value: Value,
    added: &mut Vec<&'static str>,
) {
    if object.get(key).is_none_or(Value::is_null) {
        object.insert(key.to_owned(), value);
        added.push(key);
    }
}

fn owner(subject: &Subject) -> Option<Value> {
    let kind = subject.owner?;
    let version = match kind {
        "Job" => "batch/v1",
        "ReplicationController" | "PodTemplate" => "v1",
        _ => "apps/v1",
    };
    let name = &subject.name;
    Some(json!([
        { "apiVersion": version, "kind": kind, "name": name, "uid": "", "controller": true }
    ]))
}
