//! Whether an object has the shape of a pod, as far as a patch has to rely on it. The API server sends
//! no other; a manifest that somebody wrote may be anything. In: the object. Out: what is wrong.

use mtls_proxy::config::Mistakes;
use serde_json::Value;

use crate::review::Pod;

/// What a patch adds to. `null` counts as absent, as the API server reads it.
const OBJECTS: [&[&str]; 3] = [
    &["metadata"],
    &["metadata", "annotations"],
    &["spec", "securityContext"],
];
const LISTS: [&[&str]; 5] = [
    &["spec", "containers"],
    &["spec", "initContainers"],
    &["spec", "volumes"],
    &["spec", "hostAliases"],
    &["spec", "securityContext", "sysctls"],
];

/// Adds what is wrong with the shape of a pod.
pub(super) fn check(pod: Pod<'_>, mistakes: &mut Mistakes) {
    match pod.at(&["spec"]) {
        None => mistakes.add("spec", None, "is missing"),
        Some(spec) if !spec.is_object() => {
            mistakes.add("spec", None, "is not an object of fields");
        }
        Some(_) => {}
    }
    let mut each = |paths: &[&[&str]], fits: fn(&Value) -> bool, reason: &str| {
        let wrong = paths
            .iter()
            .filter(|path| pod.at(path).is_some_and(|value| !fits(value)));
        for path in wrong {
            mistakes.add(&path.join("."), None, reason);
        }
    };
    each(&OBJECTS, Value::is_object, "is not an object of fields");
    each(&LISTS, Value::is_array, "is not a list");
}
