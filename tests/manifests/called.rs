//! Which pods the API server sends to which entry of the webhook, over the recorded reviews.

#[path = "called/api_server.rs"]
mod api_server;

use std::fs;

use serde_json::{Map, Value, json};

use crate::built::{install, of_kind, root};
use api_server::{called, policy_allows};

const OPT_IN: &[&str] = &[];
const CLUSTER_WIDE: &[&str] = &["--mode=cluster-wide"];
const ISTIO: &[&str] = &["--istio-labels"];
const BOTH: &[&str] = &["--mode=cluster-wide", "--istio-labels"];

const OURS: &str = "mtls-injector.io/inject";
const ISTIOS: &str = "sidecar.istio.io/inject";

/// A recorded review, with other labels and annotations where a case says so.
fn recorded(name: &str) -> Value {
    let path = root().join("tests/fixtures/admission-reviews").join(name);
    let review: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    review["request"].clone()
}

/// A namespace with the label that the API server itself gives to each.
fn namespace(name: &str, mut labels: Value) -> Value {
    labels["kubernetes.io/metadata.name"] = json!(name);
    json!({"metadata": {"name": name, "labels": labels}})
}

fn request(labels: Value, annotations: Value) -> Value {
    let mut request = recorded("pod-bare-name.json");
    let metadata = &mut request["object"]["metadata"];
    metadata["labels"] = labels;
    metadata["annotations"] = annotations;
    // The API server leaves empty maps away.
    let fields = metadata.as_object_mut().unwrap();
    fields.retain(|_, value| value.as_object().is_none_or(|map| !map.is_empty()));
    request
}

fn entries(flags: &[&str], namespace: &Value, request: &Value) -> Vec<String> {
    let webhook = of_kind("MutatingWebhookConfiguration", &install(flags));
    called(&webhook, namespace, request)
}

/// In a namespace with these labels, a pod with this metadata is sent to exactly these entries.
fn check(flags: &[&str], labels: Value, pod: (Value, Value), expected: &[&str]) {
    let (pod_labels, annotations) = pod;
    let case = format!("{flags:?} {labels} {pod_labels} {annotations}");
    let request = request(pod_labels, annotations);
    assert_eq!(
        entries(flags, &namespace("shop", labels), &request),
        expected,
        "{case}"
    );
}

const NAMESPACE: &[&str] = &["namespace.mtls-injector.io"];
const OBJECT: &[&str] = &["object.mtls-injector.io"];
const ISTIO_NAMESPACE: &[&str] = &["istio-namespace.mtls-injector.io"];
const ISTIO_OBJECT: &[&str] = &["istio-object.mtls-injector.io"];
const NONE: &[&str] = &[];

#[test]
fn a_labelled_namespace_sends_every_pod_that_does_not_refuse() {
    for flags in [OPT_IN, CLUSTER_WIDE, ISTIO, BOTH] {
        let enabled = || json!({"mtls-injection": "enabled"});
        let says = |labels, annotations, expected| {
            check(flags, enabled(), (labels, annotations), expected);
        };
        says(json!({}), json!({}), NAMESPACE);
        says(json!({"app": "shop"}), json!({"team": "shop"}), NAMESPACE);
        says(json!({OURS: "true"}), json!({}), NAMESPACE);
        says(json!({}), json!({OURS: "true"}), NAMESPACE);
        says(json!({OURS: "false"}), json!({}), NONE);
        says(json!({}), json!({OURS: "false"}), NONE);
        says(
            json!({OURS: "false"}),
            json!({"mtls-injector.io/egress": "a"}),
            NONE,
        );
    }
}

#[test]
fn elsewhere_a_label_of_the_pod_asks() {
    for flags in [OPT_IN, CLUSTER_WIDE, ISTIO, BOTH] {
        for labels in [json!({}), json!({"mtls-injection": "other"})] {
            let says = |pod, expected| check(flags, labels.clone(), pod, expected);
            says((json!({OURS: "true"}), json!({})), OBJECT);
            says((json!({OURS: "false"}), json!({})), NONE);
            says((json!({OURS: "true"}), json!({OURS: "false"})), NONE);
            says((json!({}), json!({})), NONE);
            says((json!({"app": "shop"}), json!({"team": "shop"})), NONE);
        }
        let disabled = json!({"mtls-injection": "disabled"});
        check(
            flags,
            disabled,
            (json!({OURS: "true"}), json!({OURS: "true"})),
            NONE,
        );
    }
}

#[test]
fn an_annotation_asks_only_cluster_wide() {
    let egress = || {
        (
            json!({}),
            json!({"mtls-injector.io/egress": "external.system.com"}),
        )
    };
    let inject = || (json!({}), json!({OURS: "true"}));
    let volume = || (json!({}), json!({"sidecar.istio.io/userVolume": "[]"}));
    let mount = || (json!({}), json!({"sidecar.istio.io/userVolumeMount": "[]"}));
    let istio = || (json!({}), json!({ISTIOS: "true"}));
    for pod in [egress, inject, volume, mount, istio] {
        check(OPT_IN, json!({}), pod(), NONE);
        check(CLUSTER_WIDE, json!({}), pod(), OBJECT);
        check(BOTH, json!({}), pod(), OBJECT);
    }
    let refused = json!({ISTIOS: "false", "sidecar.istio.io/userVolume": "[]"});
    check(CLUSTER_WIDE, json!({}), (json!({}), refused), NONE);
    // Our own key wins over Istio's.
    let own = json!({ISTIOS: "false", "mtls-injector.io/egress": "a"});
    check(CLUSTER_WIDE, json!({}), (json!({}), own), OBJECT);
    let refused = json!({OURS: "false", "mtls-injector.io/egress": "a"});
    check(CLUSTER_WIDE, json!({}), (json!({}), refused), NONE);
}

#[test]
fn the_labels_of_istio_ask_only_with_their_overlay() {
    let enabled = || json!({"istio-injection": "enabled"});
    let asks = || (json!({ISTIOS: "true"}), json!({}));
    check(OPT_IN, enabled(), (json!({}), json!({})), NONE);
    check(OPT_IN, json!({}), asks(), NONE);
    for flags in [ISTIO, BOTH] {
        check(flags, enabled(), (json!({}), json!({})), ISTIO_NAMESPACE);
        check(
            flags,
            enabled(),
            (json!({OURS: "true"}), json!({})),
            ISTIO_NAMESPACE,
        );
        check(
            flags,
            enabled(),
            (json!({ISTIOS: "false"}), json!({})),
            NONE,
        );
        check(
            flags,
            enabled(),
            (json!({}), json!({ISTIOS: "false"})),
            NONE,
        );
        check(flags, enabled(), (json!({OURS: "false"}), json!({})), NONE);
        check(flags, enabled(), (json!({}), json!({OURS: "false"})), NONE);
        // Our own word wins over Istio's.
        let both = (json!({ISTIOS: "false", OURS: "true"}), json!({}));
        check(flags, enabled(), both, ISTIO_NAMESPACE);
        check(flags, json!({}), asks(), ISTIO_OBJECT);
        check(flags, json!({"istio-injection": "disabled"}), asks(), NONE);
        check(flags, json!({"mtls-injection": "disabled"}), asks(), NONE);
        let ours = json!({"mtls-injection": "enabled", "istio-injection": "enabled"});
        check(flags, ours, asks(), NAMESPACE);
    }
}

#[test]
fn a_pod_that_istio_injected_asks_only_in_our_own_words() {
    for list in ["containers", "initContainers"] {
        let mut request = request(json!({ISTIOS: "true"}), json!({ISTIOS: "true"}));
        request["object"]["spec"][list] = json!([{"name": "istio-proxy"}]);
        let elsewhere = namespace("shop", json!({}));
        let istio = namespace("shop", json!({"istio-injection": "enabled"}));
        for flags in [OPT_IN, CLUSTER_WIDE, ISTIO, BOTH] {
            assert_eq!(
                entries(flags, &elsewhere, &request),
                NONE,
                "{list} {flags:?}"
            );
            assert_eq!(entries(flags, &istio, &request), NONE, "{list} {flags:?}");
        }
        request["object"]["metadata"]["annotations"][OURS] = json!("true");
        assert_eq!(
            entries(CLUSTER_WIDE, &elsewhere, &request),
            OBJECT,
            "{list}"
        );
    }
}

#[test]
fn system_namespaces_and_our_own_never_call() {
    let asks = request(json!({OURS: "true"}), json!({OURS: "true", ISTIOS: "true"}));
    let names = [
        "kube-system",
        "kube-public",
        "kube-node-lease",
        "mtls-injector-system",
    ];
    for flags in [OPT_IN, CLUSTER_WIDE, ISTIO, BOTH] {
        for name in names {
            for labels in [
                json!({}),
                json!({"mtls-injection": "enabled"}),
                json!({"istio-injection": "enabled"}),
            ] {
                let namespace = namespace(name, labels);
                assert_eq!(entries(flags, &namespace, &asks), NONE, "{flags:?} {name}");
            }
        }
        let objects = install(flags);
        let own = of_kind("Namespace", &objects);
        assert_eq!(own["metadata"]["labels"]["mtls-injection"], "disabled");
    }
}

/// Creations ask where their metadata does; an update and the subresource of `kubectl debug` never
/// reach the webhook.
#[test]
fn of_the_recorded_reviews_these_are_sent() {
    let folder = root().join("tests/fixtures/admission-reviews");
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.ends_with(".json"))
        .collect();
    names.sort();
    let sent = |flags, labels: Value| -> Map<String, Value> {
        let devel = namespace("devel", labels);
        let by_name = names
            .iter()
            .map(|name| (name, entries(flags, &devel, &recorded(name))));
        by_name
            .filter(|(_, entries)| !entries.is_empty())
            .map(|(n, e)| (n.clone(), json!(e)))
            .collect()
    };
    let silent = ["cronjob.json", "pod-bare-name.json"];
    let never = ["pod-ephemeral-kubectl-debug.json", "pod-update.json"];
    let all_but = |left_out: &[&str], entry: &str| -> Map<String, Value> {
        let kept = names
            .iter()
            .filter(|name| !left_out.contains(&name.as_str()));
        kept.map(|name| (name.clone(), json!([entry]))).collect()
    };
    let enabled = || json!({"mtls-injection": "enabled"});
    assert_eq!(names.len(), 15);
    assert_eq!(sent(OPT_IN, json!({})), Map::new());
    assert_eq!(
        sent(OPT_IN, enabled()),
        all_but(&never, "namespace.mtls-injector.io")
    );
    let asked = all_but(&[silent, never].concat(), "object.mtls-injector.io");
    assert_eq!(sent(CLUSTER_WIDE, json!({})), asked);
    assert_eq!(
        sent(CLUSTER_WIDE, enabled()),
        all_but(&never, "namespace.mtls-injector.io")
    );
    let istio = json!({"istio-injection": "enabled"});
    assert_eq!(
        sent(ISTIO, istio),
        all_but(&never, "istio-namespace.mtls-injector.io")
    );
}

#[test]
fn the_policy_refuses_a_pod_that_asked_and_has_no_proxy() {
    let policy = of_kind(
        "ValidatingAdmissionPolicy",
        &install(&["--validating-policy"]),
    );
    let shop = namespace("shop", json!({}));
    let check = |labels: Value, annotations: Value, allowed: bool| {
        let case = format!("{labels} {annotations}");
        let bare = request(labels, annotations);
        assert_eq!(
            policy_allows(&policy, &shop, &bare),
            Some(allowed),
            "{case}"
        );
        for list in ["containers", "initContainers"] {
            let injected = with_container(bare.clone(), list, "mtls-proxy");
            assert_eq!(
                policy_allows(&policy, &shop, &injected),
                Some(true),
                "{case}"
            );
        }
    };
    check(json!({}), json!({}), true);
    check(json!({"app": "a"}), json!({"team": "a"}), true);
    check(json!({OURS: "true"}), json!({}), false);
    for key in ["inject", "egress", "inbound", "secret"] {
        check(
            json!({}),
            json!({format!("mtls-injector.io/{key}"): "true"}),
            false,
        );
    }
    let egress = "mtls-injector.io/egress";
    check(json!({OURS: "false"}), json!({egress: "a"}), true);
    check(json!({}), json!({OURS: "false", egress: "a"}), true);
    let system = namespace("kube-system", json!({}));
    let asks = request(json!({OURS: "true"}), json!({}));
    assert_eq!(policy_allows(&policy, &system, &asks), None);
}

fn with_container(mut request: Value, list: &str, name: &str) -> Value {
    let containers = &mut request["object"]["spec"][list];
    let mut all = containers.as_array().cloned().unwrap_or_default();
    all.push(json!({"name": name}));
    *containers = json!(all);
    request
}
