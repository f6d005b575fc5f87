//! Where pods are in Kubernetes objects. In: any object. Out: each pod or pod template in it, with
//! what its controller would call it.

use std::fmt;

use serde_json::Value;

use crate::annotations::PREFIX;

/// A pod, or the template of pods, in a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    /// The kind of the object that holds it.
    pub kind: String,
    /// The name of that object; empty when it has none.
    pub name: String,
    /// The namespace the pod will be in.
    pub namespace: String,
    /// The JSON pointer (RFC 6901) from the document to that object.
    object: String,
    /// The JSON pointer from the document to the pod.
    pub(super) pointer: String,
    /// The kind that will own the pod; none for a bare pod.
    pub(super) owner: Option<&'static str>,
}

impl Subject {
    /// Returns the path of the pod's template in its document, such as `spec.template`; empty for a
    /// pod itself.
    #[must_use]
    pub fn path(&self) -> String {
        let mut path = String::new();
        for token in self.pointer.split('/').skip(1) {
            if token.bytes().all(|byte| byte.is_ascii_digit()) {
                path.push_str(&format!("[{token}]"));
                continue;
            }
            if !path.is_empty() {
                path.push('.');
            }
            path.push_str(token);
        }
        path
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// What is known of a kind that holds pods: its API group, where the pod's template is, and which
/// kind owns the pods.
struct Workload {
    group: &'static str,
    kind: &'static str,
    template: &'static str,
    owner: Option<&'static str>,
}

const fn workload(
    group: &'static str,
    kind: &'static str,
    template: &'static str,
    owner: &'static str,
) -> Workload {
    Workload {
        group,
        kind,
        template,
        owner: Some(owner),
    }
}

const TEMPLATE: &str = "/spec/template";

const WORKLOADS: [Workload; 9] = [
    Workload {
        group: "",
        kind: "Pod",
        template: "",
        owner: None,
    },
    workload(
        "",
        "ReplicationController",
        TEMPLATE,
        "ReplicationController",
    ),
    workload("", "PodTemplate", "/template", "PodTemplate"),
    workload("apps", "Deployment", TEMPLATE, "ReplicaSet"),
    workload("apps", "ReplicaSet", TEMPLATE, "ReplicaSet"),
    workload("apps", "StatefulSet", TEMPLATE, "StatefulSet"),
    workload("apps", "DaemonSet", TEMPLATE, "DaemonSet"),
    workload("batch", "Job", TEMPLATE, "Job"),
    workload("batch", "CronJob", "/spec/jobTemplate/spec/template", "Job"),
];

/// Finds the pods of an object; those of a `List` (and of a `PodList`, …) in its order.
pub(super) fn subjects(object: &Value, default_namespace: &str) -> Vec<Subject> {
    let mut found = Vec::new();
    search(object, "", None, &mut |pointer, workload, object| {
        found.push(subject(object, pointer, workload, default_namespace));
    });
    found
}

/// Calls `each` for every object of a document: the document's own, or each item of a list.
pub(super) fn objects<'v>(document: &'v Value, each: &mut dyn FnMut(&'v Value)) {
    match document.get("items") {
        Some(Value::Array(items)) if text(document, "/kind").ends_with("List") => {
            items.iter().for_each(|item| objects(item, each));
        }
        _ => each(document),
    }
}

/// Warns of annotations of ours that stand on a controller instead of its pods.
pub(super) fn misplaced(document: &Value, subject: &Subject) -> Option<String> {
    if subject.pointer == subject.object {
        return None;
    }
    let object = document.pointer(&subject.object)?;
    let annotations = object.pointer("/metadata/annotations")?.as_object()?;
    let own = annotations.keys().filter(|key| key.starts_with(PREFIX));
    let keys: Vec<&str> = own.map(String::as_str).collect();
    (!keys.is_empty()).then(|| {
        format!(
            "{} on the {} itself means nothing; it belongs to {}.metadata.annotations",
            keys.join(", "),
            subject.kind,
            subject.path()
        )
    })
}

fn search(
    object: &Value,
    pointer: &str,
    list: Option<(&str, &str)>,
    each: &mut dyn FnMut(&str, &'static Workload, &Value),
) {
    let own = (text(object, "/apiVersion"), text(object, "/kind"));
    // The items of a typed list need not repeat what they are.
    let (version, kind) = match list {
        Some(list) if own == ("", "") => list,
        _ => own,
    };
    if let (Some(Value::Array(items)), Some(item)) =
        (object.get("items"), kind.strip_suffix("List"))
    {
        for (index, value) in items.iter().enumerate() {
            search(
                value,
                &format!("{pointer}/items/{index}"),
                Some((version, item)),
                each,
            );
        }
        return;
    }
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let known = WORKLOADS
        .iter()
        .find(|known| known.group == group && known.kind == kind);
    if let Some(workload) = known
        && object
            .pointer(workload.template)
            .is_some_and(Value::is_object)
    {
        each(pointer, workload, object);
    }
}

fn subject(
    object: &Value,
    pointer: &str,
    workload: &'static Workload,
    default_namespace: &str,
) -> Subject {
    let name = match text(object, "/metadata/name") {
        "" => text(object, "/metadata/generateName"),
        name => name,
    };
    let namespace = match text(object, "/metadata/namespace") {
        "" => default_namespace,
        namespace => namespace,
    };
    Subject {
        kind: workload.kind.to_owned(),
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        object: pointer.to_owned(),
        pointer: format!("{pointer}{}", workload.template),
        owner: workload.owner,
    }
}

fn text<'v>(object: &'v Value, pointer: &str) -> &'v str {
    object
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn paths(object: &Value) -> Vec<String> {
        let found = subjects(object, "default");
        found
            .iter()
            .map(|subject| format!("{subject} {}", subject.path()))
            .collect()
    }

    #[test]
    fn finds_the_template_of_every_kind() {
        for known in &WORKLOADS {
            let version = if known.group.is_empty() {
                "v1"
            } else {
                &format!("{}/v1", known.group)
            };
            let mut pod = json!({});
            for token in known
                .template
                .split('/')
                .skip(1)
                .collect::<Vec<_>>()
                .into_iter()
                .rev()
            {
                pod = json!({ token: pod });
            }
            pod["apiVersion"] = version.into();
            pod["kind"] = known.kind.into();
            pod["metadata"] = json!({ "name": "x", "namespace": "devel" });
            assert_eq!(subjects(&pod, "default").len(), 1, "{}", known.kind);
        }
    }

    #[test]
    fn looks_into_lists() {
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "a" } });
        let job = json!({ "apiVersion": "batch/v1", "kind": "Job",
            "metadata": { "generateName": "b-", "namespace": "n" }, "spec": { "template": {} } });
        let list = json!({ "apiVersion": "v1", "kind": "List", "items": [{}, pod, job] });
        assert_eq!(
            paths(&list),
            ["Pod default/a items[1]", "Job n/b- items[2].spec.template"]
        );
        let bare = json!({ "metadata": { "name": "c" }, "spec": { "template": {} } });
        let typed = json!({ "apiVersion": "apps/v1", "kind": "DeploymentList", "items": [bare] });
        assert_eq!(
            paths(&typed),
            ["Deployment default/c items[0].spec.template"]
        );
    }

    #[test]
    fn leaves_what_only_looks_like_a_workload() {
        let foreign = json!({ "apiVersion": "example.com/v1", "kind": "Deployment",
            "spec": { "template": {} } });
        assert_eq!(paths(&foreign), [""; 0]);
        assert_eq!(paths(&Value::Null), [""; 0]);
    }
}
