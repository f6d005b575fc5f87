//! New defaults of a namespace reach its running pods.

use std::sync::Arc;

use http::StatusCode;
use mtls_injector::admit::{Namespaces, inject_pod};
use mtls_injector::config::Config;
use serde_json::{Map, Value, json};

use crate::api_server::{ApiServer, Key, Store};
use crate::program::{Program, namespace};
use crate::replica::*;

const BEFORE: &str = r#"[{"host": "external.system.com", "timeouts": {"connect": "5s"}}]"#;
const AFTER: &str = r#"[{"host": "external.system.com", "timeouts": {"connect": "9s"}}]"#;
const STATUS: &str = "mtls-injector.io/status";
const PROXY_CONFIG: &str = "mtls-injector.io/proxy-config";

struct Defaults(Value);

impl Namespaces for Defaults {
    fn annotations(&self, _namespace: &str) -> Option<Map<String, Value>> {
        self.0.as_object().cloned()
    }
}

fn defaults(egress: &str) -> Value {
    json!({"mtls-injector.io/egress": egress, "mtls-injector.io/secret": "mtls-data"})
}

fn pod(name: &str) -> Key {
    Key::new("pods", "shop", name)
}

/// Has a pod run that was injected while the defaults were `BEFORE`.
fn run(store: &Store, name: &str, change: impl FnOnce(&mut Value)) {
    let mut object = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop",
                     "annotations": {"mtls-injector.io/inject": "true"}},
        "spec": {"containers": [{"name": "app", "image": "app"}]},
    });
    // The stand-in claims to be 1.33, which has native sidecars, as has a cluster of no version.
    let outcome = inject_pod(
        &Config::default(),
        &Defaults(defaults(BEFORE)),
        "shop",
        &object,
    );
    json_patch::patch(&mut object, &outcome.patch).unwrap();
    change(&mut object);
    store.create(&pod(name), object, "kubectl").unwrap();
}

fn annotation(store: &Store, name: &str, key: &str) -> String {
    let object = store.get(&pod(name)).unwrap();
    object["metadata"]["annotations"][key]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn change_defaults(server: &ApiServer) {
    let key = Key::new("namespaces", "", "shop");
    server.store.edit(&key, "kubectl", |object| {
        object["metadata"]["annotations"] = defaults(AFTER);
    });
}

#[tokio::test]
async fn running_pods_follow_and_those_of_another_version_do_not() {
    let server = installed().await;
    namespace(&server.store, &defaults(BEFORE));
    run(&server.store, "current", |_| ());
    run(&server.store, "older", |object| {
        let status = &mut object["metadata"]["annotations"][STATUS];
        *status = status.as_str().unwrap().replace("0.1.0", "0.0.1").into();
    });
    // Listed after the others, so that it is seen last.
    run(&server.store, "zealous", |_| ());
    let [spec, older] = ["current", "older"].map(|name| server.store.get(&pod(name)).unwrap());
    let program = Program::start_with(&server, &["--update-running-pods"]);
    program.admin_says("/readyz", StatusCode::OK).await;

    change_defaults(&server);
    for name in ["current", "zealous"] {
        server
            .until("the new defaults", |store| {
                annotation(store, name, PROXY_CONFIG)
                    .contains("9s")
                    .then_some(())
            })
            .await;
    }
    let object = server.store.get(&pod("current")).unwrap();
    assert_eq!(object["spec"], spec["spec"], "only annotations change");
    assert_eq!(server.store.get(&pod("older")).unwrap(), older);
    assert_eq!(server.store.count("patch", "pods", 200), 2);
}

#[tokio::test]
async fn two_replicas_patch_each_pod_once() {
    let server = installed().await;
    namespace(&server.store, &defaults(BEFORE));
    run(&server.store, "app", |_| ());
    server.store.let_meet("patch", "pods", 2);
    let programs = [1, 2].map(|_| Program::start_with(&server, &["--update-running-pods"]));
    for program in &programs {
        program.admin_says("/readyz", StatusCode::OK).await;
    }
    change_defaults(&server);
    server
        .until("both attempts", |store| {
            let count = |code| store.count("patch", "pods", code);
            (count(200) == 1 && count(409) == 1).then_some(())
        })
        .await;
    assert!(annotation(&server.store, "app", PROXY_CONFIG).contains("9s"));
}

#[tokio::test]
async fn nothing_is_patched_unless_asked_for() {
    let server = installed().await;
    namespace(&server.store, &defaults(BEFORE));
    run(&server.store, "app", |_| ());
    let program = Program::start(&server);
    program.admin_says("/readyz", StatusCode::OK).await;
    change_defaults(&server);
    let store = Arc::clone(&server.store);
    // A look-up of the namespace's new defaults shows that the change has been heard of.
    let heard = json!({"mtls-injector.io/inject": "true"});
    loop {
        let answer =
            crate::program::mutate(&program, &store, &crate::program::review(&heard, false)).await;
        if crate::program::patch(&answer).contains("9s") {
            break;
        }
    }
    assert_eq!(
        store
            .requests()
            .iter()
            .filter(|request| request.1 == "pods")
            .count(),
        0
    );
}
