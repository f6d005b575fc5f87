//! What the flags of `install` change in the manifests: one function per flag. In: a parsed object.
//! Out: the same object, changed where the setting concerns it. Knows nothing of flags.

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value, json};

/// The namespace that the manifests are written with. No other name in them contains it, so it can
/// be replaced wherever it stands.
pub(super) const NAMESPACE: &str = "mtls-injector-system";

/// The name of a namespace: a DNS label of RFC 1123.
#[derive(Clone, Debug)]
pub(super) struct NamespaceName(String);

impl FromStr for NamespaceName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let fits = text.bytes().all(|byte| inner(byte) || byte == b'-')
            && text.bytes().next().is_some_and(inner)
            && text.bytes().last().is_some_and(inner)
            && text.len() <= 63;
        if !fits {
            return Err(
                "a namespace is named by 1 to 63 of a-z, 0-9 and -, and neither begins \
                        nor ends with -"
                    .to_owned(),
            );
        }
        if text == "default" || text.starts_with("kube-") {
            return Err(
                "the injector needs a namespace of its own, as the webhook never \
                        concerns the pods in it"
                    .to_owned(),
            );
        }
        Ok(Self(text.to_owned()))
    }
}

/// The reference of a container image, with registry, tag or digest as the user wrote them.
#[derive(Clone, Debug)]
pub(super) struct ImageReference(String);

impl FromStr for ImageReference {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || "-._:/@".contains(c);
        if text.is_empty() || !text.chars().all(allowed) || text.starts_with('-') {
            return Err("an image is named like registry.example.com/team/name:tag".to_owned());
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for ImageReference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.0)
    }
}

/// Whether the API server acts on this object in each admission.
pub(super) fn is_admission(object: &Value) -> bool {
    object.get("apiVersion").and_then(Value::as_str) == Some("admissionregistration.k8s.io/v1")
}

/// Sets the image of the injector's container.
pub(super) fn image(object: &mut Value, image: &ImageReference) {
    replace(
        object,
        "Deployment",
        "/spec/template/spec/containers/0/image",
        || json!(image.0),
    );
}

/// Sets how many replicas the Deployment asks for.
pub(super) fn replicas(object: &mut Value, replicas: u16) {
    replace(object, "Deployment", "/spec/replicas", || json!(replicas));
}

/// Sets an image that pods get in the injector's configuration file, which is YAML inside a ConfigMap.
pub(super) fn configured_image(object: &mut Value, field: &str, image: &ImageReference) {
    let Some(Value::String(text)) = part(object, "ConfigMap", "/data/config.yaml") else {
        return;
    };
    let mut settings: Map<String, Value> =
        serde_saphyr::from_str(text).expect("the embedded configuration file is a map");
    settings.insert(field.to_owned(), json!(image.0));
    *text = serde_saphyr::to_string(&settings).expect("a parsed value can be written");
}

/// Sets what happens to a pod while the webhook does not answer.
pub(super) fn failure_policy(object: &mut Value, policy: &str) {
    if let Some(Value::Array(entries)) = part(object, "MutatingWebhookConfiguration", "/webhooks") {
        for entry in entries.iter_mut().filter_map(Value::as_object_mut) {
            entry.insert("failurePolicy".to_owned(), json!(policy));
        }
    }
}

/// Moves an object to another namespace: its own, and wherever it names that of the injector.
pub(super) fn namespace(object: &mut Value, name: &NamespaceName) {
    match object {
        Value::String(text) => *text = text.replace(NAMESPACE, &name.0),
        Value::Array(items) => items.iter_mut().for_each(|item| namespace(item, name)),
        Value::Object(fields) => fields.values_mut().for_each(|field| namespace(field, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn replace(object: &mut Value, kind: &str, pointer: &str, value: impl FnOnce() -> Value) {
    if let Some(place) = part(object, kind, pointer) {
        *place = value();
    }
}

fn part<'o>(object: &'o mut Value, kind: &str, pointer: &str) -> Option<&'o mut Value> {
    if object.get("kind").and_then(Value::as_str) != Some(kind) {
        return None;
    }
    object.pointer_mut(pointer)
}
