//! An object that is no pod is denied, each wrong place named, and no patch is made that does not fit.

use mtls_injector::config::Config;
use serde_json::{Value, json};

use crate::pods::{EGRESS, SECRET, denial, pod_with};

fn asking() -> Value {
    pod_with(&[(EGRESS, "a.example.com"), (SECRET, "certs")])
}

fn said(change: impl FnOnce(&mut Value)) -> Vec<String> {
    let mut pod = asking();
    change(&mut pod);
    denial(&Config::default(), &pod)
}

#[test]
fn a_pod_without_a_spec_is_denied() {
    let without = said(|pod| drop(pod.as_object_mut().unwrap().remove("spec")));
    assert_eq!(without, ["spec: is missing"]);
    assert_eq!(said(|pod| pod["spec"] = Value::Null), ["spec: is missing"]);
    let list = said(|pod| pod["spec"] = json!([]));
    assert_eq!(list, ["spec: is not an object of fields"]);
}

#[test]
fn each_place_of_another_shape_is_named() {
    let said = said(|pod| {
        pod["spec"] = json!({
            "containers": {}, "initContainers": "none", "volumes": {"v": {}}, "hostAliases": 1,
            "securityContext": {"sysctls": {}},
        });
    });
    assert_eq!(
        said,
        [
            "spec.containers: is not a list",
            "spec.initContainers: is not a list",
            "spec.volumes: is not a list",
            "spec.hostAliases: is not a list",
            "spec.securityContext.sysctls: is not a list",
        ]
    );
}

#[test]
fn a_security_context_is_an_object() {
    let said = said(|pod| pod["spec"]["securityContext"] = json!([]));
    assert_eq!(said, ["spec.securityContext: is not an object of fields"]);
}
