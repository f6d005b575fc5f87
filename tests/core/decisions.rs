//! Which pods get the proxy, which are left alone and which are refused, in the order of the rules.

use mtls_injector::admit::{Unreadable, admit};
use mtls_injector::config::{Config, IstioKeys};
use mtls_injector::decision::{Decision, SkipReason};
use serde_json::{Value, json};

use crate::pods::{Defaults, Offline, applied, denial, outcome_with, pod_with};

fn skipped(pod: &Value) -> SkipReason {
    match outcome_with(&Config::default(), &Offline, pod).decision {
        Decision::Skip(reason) => reason,
        other => panic!("not skipped: {other}"),
    }
}

fn warnings(pod: &Value) -> Vec<String> {
    outcome_with(&Config::default(), &Defaults(vec![]), pod).warnings
}

fn asking() -> Value {
    pod_with(&[
        ("mtls-injector.io/egress", "a.example.com"),
        ("mtls-injector.io/secret", "certs"),
    ])
}

#[test]
fn leaves_alone_a_pod_that_asks_for_nothing() {
    assert_eq!(skipped(&pod_with(&[])), SkipReason::NothingAsked);
    assert_eq!(
        skipped(&json!({"spec": {"containers": []}})),
        SkipReason::NothingAsked
    );
    assert_eq!(
        skipped(&pod_with(&[("other/key", "x")])),
        SkipReason::NothingAsked
    );
    for empty in ["", " ", "[]"] {
        let pod = pod_with(&[("sidecar.istio.io/userVolume", empty)]);
        assert_eq!(skipped(&pod), SkipReason::NothingAsked, "{empty:?}");
    }
    assert_eq!(warnings(&pod_with(&[])), Vec::<String>::new());
}

#[test]
fn leaves_alone_a_windows_pod_and_says_so_to_one_that_asked() {
    let mut pod = asking();
    pod["spec"]["os"] = json!({"name": "windows"});
    assert_eq!(skipped(&pod), SkipReason::Windows);
    pod["spec"]["os"].take();
    pod["spec"]["nodeSelector"] = json!({"kubernetes.io/os": "windows"});
    assert_eq!(skipped(&pod), SkipReason::Windows);
    assert_eq!(
        warnings(&pod),
        [
            "mtls-injector did not add the proxy although the pod asks for it: the pod runs Windows, for which there is no proxy"
        ]
    );
}

#[test]
fn leaves_alone_the_mirror_of_a_static_pod() {
    let mut pod = asking();
    pod["metadata"]["annotations"]["kubernetes.io/config.mirror"] = "hash".into();
    assert_eq!(skipped(&pod), SkipReason::StaticPod);
}

#[test]
fn refuses_a_pod_on_the_host_network_that_asks_for_routes() {
    let mut pod = asking();
    pod["spec"]["hostNetwork"] = true.into();
    assert_eq!(
        denial(&Config::default(), &pod),
        [
            "spec.hostNetwork: shares the node's ports and names with other pods, so egress and inbound cannot work; leave the host network, or remove these annotations"
        ]
    );
    pod["metadata"]["annotations"]["mtls-injector.io/inject"] = "false".into();
    assert_eq!(skipped(&pod), SkipReason::HostNetwork);
}

#[test]
fn leaves_alone_a_pod_on_the_host_network_that_only_inherits_routes() {
    let mut pod = pod_with(&[]);
    pod["spec"]["hostNetwork"] = true.into();
    let namespace = Defaults(vec![("mtls-injector.io/egress", "a.example.com")]);
    let outcome = outcome_with(&Config::default(), &namespace, &pod);
    assert_eq!(outcome.decision, Decision::Skip(SkipReason::HostNetwork));
    assert_eq!(outcome.warnings, Vec::<String>::new());
}

#[test]
fn leaves_alone_system_namespaces_and_its_own() {
    let config = Config {
        system_namespaces: ["shop".to_owned()].into(),
        ..Config::default()
    };
    let outcome = outcome_with(&config, &Offline, &asking());
    assert_eq!(
        outcome.decision,
        Decision::Skip(SkipReason::SystemNamespace)
    );
    let config = Config {
        own_namespace: Some("shop".to_owned()),
        ..Config::default()
    };
    let outcome = outcome_with(&config, &Offline, &asking());
    assert_eq!(outcome.decision, Decision::Skip(SkipReason::OwnNamespace));
    assert_eq!(outcome.warnings.len(), 1);
}

#[test]
fn leaves_alone_a_pod_with_the_proxy_of_a_mesh() {
    for (list, name) in [
        ("containers", "istio-proxy"),
        ("initContainers", "linkerd-proxy"),
    ] {
        let mut pod = asking();
        pod["spec"][list] = json!([{"name": name}]);
        assert_eq!(skipped(&pod), SkipReason::ForeignMesh);
    }
}

#[test]
fn leaves_alone_a_pod_that_refuses_by_annotation_or_label() {
    let mut pod = asking();
    pod["metadata"]["annotations"]["mtls-injector.io/inject"] = "false".into();
    assert_eq!(skipped(&pod), SkipReason::Refused);
    let mut pod = asking();
    pod["metadata"]["labels"] = json!({"mtls-injector.io/inject": "false"});
    assert_eq!(skipped(&pod), SkipReason::Refused);
    let mut pod = asking();
    pod["metadata"]["labels"] = json!({"sidecar.istio.io/inject": "no"});
    assert_eq!(skipped(&pod), SkipReason::Refused);
}

#[test]
fn our_own_inject_wins_over_istios_and_the_pods_over_the_namespaces() {
    let pod = pod_with(&[
        ("mtls-injector.io/inject", "true"),
        ("sidecar.istio.io/inject", "false"),
    ]);
    let namespace = Defaults(vec![("mtls-injector.io/inject", "false")]);
    let outcome = outcome_with(&Config::default(), &namespace, &pod);
    assert_eq!(outcome.decision, Decision::Inject);
    let outcome = outcome_with(&Config::default(), &namespace, &asking());
    assert_eq!(outcome.decision, Decision::Skip(SkipReason::Refused));
}

#[test]
fn an_annotation_and_a_label_that_disagree_are_denied() {
    let mut pod = asking();
    pod["metadata"]["annotations"]["mtls-injector.io/inject"] = "true".into();
    pod["metadata"]["labels"] = json!({"mtls-injector.io/inject": "false"});
    assert_eq!(
        denial(&Config::default(), &pod),
        [
            r#"label mtls-injector.io/inject: "false" contradicts the annotation of this name; write one of them"#
        ]
    );
}

#[test]
fn istios_keys_mean_nothing_where_they_are_switched_off() {
    let pod = pod_with(&[
        ("sidecar.istio.io/inject", "true"),
        ("sidecar.istio.io/userVolume", "junk"),
        ("sidecar.istio.io/unheardOf", "x"),
    ]);
    let config = Config {
        istio_keys: IstioKeys::Ignore,
        ..Config::default()
    };
    let outcome = outcome_with(&config, &Offline, &pod);
    assert_eq!(outcome.decision, Decision::Skip(SkipReason::NothingAsked));
}

#[test]
fn an_unknown_key_of_ours_is_denied_even_where_nothing_else_is_asked() {
    let pod = pod_with(&[("mtls-injector.io/egres", "a.example.com")]);
    assert_eq!(
        denial(&Config::default(), &pod),
        [
            r#"mtls-injector.io/egres: "a.example.com" is not a known key; did you mean mtls-injector.io/egress?"#
        ]
    );
}

#[test]
fn every_mistake_of_a_pod_is_in_one_denial() {
    let mut pod = pod_with(&[
        ("mtls-injector.io/Egress", "x"),
        (
            "mtls-injector.io/egress",
            "[{port: 80a}, {host: a.example.com, tls: {mode: MTLS}}]",
        ),
        ("mtls-injector.io/userVolume", "{"),
        ("mtls-injector.io/proxyCPU", "much"),
        ("mtls-injector.io/capture", "magic"),
    ]);
    pod["spec"]["containers"][0]["name"] = "mtls-proxy".into();
    assert_eq!(
        denial(&Config::default(), &pod),
        [
            r#"mtls-injector.io/Egress: "x" is not a known key; did you mean mtls-injector.io/egress?"#,
            "mtls-injector.io/egress[0].host: is required",
            r#"mtls-injector.io/egress[0].port: "80a" is not a port (1-65535)"#,
            r#"mtls-injector.io/egress[1].tls.mode: "MTLS" is not one of MUTUAL, SIMPLE, DISABLE"#,
            "mtls-injector.io/userVolume: is not JSON: EOF while parsing an object at line 1 column 1",
            r#"mtls-injector.io/capture: "magic" is not one of hosts, redirect, none"#,
            r#"mtls-injector.io/proxyCPU: "much" is not a quantity such as 100m, 0.5, 64Mi or 1Gi"#,
            r#"spec.containers: "mtls-proxy" is the proxy's own name; give the pod's container another"#,
        ]
    );
}

#[test]
fn a_status_without_its_container_counts_as_not_injected() {
    let mut pod = applied(&Config::default(), &asking());
    pod["spec"]["initContainers"] = json!([]);
    let outcome = outcome_with(&Config::default(), &Offline, &pod);
    assert_eq!(outcome.decision, Decision::Inject);
    assert_eq!(
        outcome.warnings.get(..2).unwrap(),
        [
            "mtls-injector.io/status is written by mtls-injector; its value was replaced",
            "mtls-injector.io/proxy-config is written by mtls-injector; its value was replaced",
        ]
    );
}

#[test]
fn a_sidecar_that_is_no_longer_current_is_replaced() {
    let old = Config {
        proxy_image: "old:1".to_owned(),
        ..Config::default()
    };
    let mut pod = asking();
    pod["spec"]["initContainers"] = json!([{"name": "first"}]);
    pod["spec"]["volumes"] = json!([{"name": "mine", "emptyDir": {}}]);
    let stale = applied(&old, &pod);
    let renewed = applied(&Config::default(), &stale);
    assert_eq!(renewed, applied(&Config::default(), &pod));
}

#[test]
fn a_pod_that_was_injected_and_asks_no_more_is_left_alone() {
    let mut pod = applied(&Config::default(), &asking());
    let annotations = pod["metadata"]["annotations"].as_object_mut().unwrap();
    annotations.retain(|key, _| key.ends_with("status") || key.ends_with("proxy-config"));
    assert_eq!(skipped(&pod), SkipReason::AlreadyInjected);
}

fn review() -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u-1",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "shop",
            "operation": "CREATE",
            "object": asking(),
        },
    })
}

fn answer(review: &Value) -> Result<Value, Unreadable> {
    let bytes = serde_json::to_vec(review).unwrap();
    let admission = admit(&Config::default(), &Offline, &bytes)?;
    Ok(serde_json::from_slice(&admission.reply).unwrap())
}

#[test]
fn other_kinds_operations_and_subresources_are_allowed_untouched() {
    for (pointer, value, reason) in [
        ("/request/kind/kind", "Deployment", "other_kind"),
        ("/request/kind/group", "pods.example.com", "other_kind"),
        ("/request/resource/resource", "podtemplates", "other_kind"),
        ("/request/operation", "UPDATE", "other_operation"),
        ("/request/operation", "DELETE", "other_operation"),
    ] {
        let mut review = review();
        *review.pointer_mut(pointer).unwrap() = value.into();
        let response = answer(&review).unwrap()["response"].take();
        let audit = json!({"decision": "skip", "reason": reason});
        let expected = json!({"uid": "u-1", "allowed": true, "auditAnnotations": audit});
        assert_eq!(response, expected, "{pointer} {value}");
    }
    let mut review = review();
    review["request"]["subResource"] = "ephemeralcontainers".into();
    let response = answer(&review).unwrap();
    assert_eq!(
        response["response"]["auditAnnotations"]["reason"],
        "other_kind"
    );
}

#[test]
fn what_is_no_review_cannot_be_answered() {
    let text = |review: &Value| answer(review).unwrap_err().to_string();
    let mut other = review();
    other["apiVersion"] = "admission.k8s.io/v1beta1".into();
    assert_eq!(
        text(&other),
        r#"the body is not an AdmissionReview: apiVersion is "admission.k8s.io/v1beta1", not "admission.k8s.io/v1""#
    );
    let mut other = review();
    other["kind"].take();
    assert_eq!(
        text(&other),
        r#"the body is not an AdmissionReview: kind is null, not "AdmissionReview""#
    );
    let mut other = review();
    other["request"].take();
    assert_eq!(
        text(&other),
        "the body is not an AdmissionReview: request is missing"
    );
    let mut other = review();
    other["request"]["uid"] = 7.into();
    assert_eq!(
        text(&other),
        "the body is not an AdmissionReview: request.uid is missing"
    );
    assert_eq!(
        admit(&Config::default(), &Offline, b"{\"kind\":")
            .unwrap_err()
            .to_string(),
        "the body is not an AdmissionReview: EOF while parsing a value at line 1 column 8"
    );
}

#[test]
fn a_readable_uid_is_echoed_even_when_there_is_no_pod() {
    let mut review = review();
    review["request"]["object"].take();
    let response = answer(&review).unwrap()["response"].take();
    assert_eq!(response["uid"], "u-1");
    assert_eq!(response["allowed"], false);
    assert_eq!(
        response["status"],
        json!({"code": 400, "reason": "BadRequest", "message": "mtls-injector refuses this pod: request.object: is not a pod"})
    );
}

#[test]
fn a_denial_says_code_reason_and_every_mistake() {
    let mut review = review();
    let annotations = &mut review["request"]["object"]["metadata"]["annotations"];
    *annotations = json!({"mtls-injector.io/egress": "a_b!", "mtls-injector.io/logLevel": "loud"});
    let response = answer(&review).unwrap()["response"].take();
    assert_eq!(
        response,
        json!({
            "uid": "u-1",
            "allowed": false,
            "status": {
                "code": 400,
                "reason": "BadRequest",
                "message": "mtls-injector refuses this pod for 2 mistakes:\n\
                    mtls-injector.io/egress: \"a_b!\" is not a host name, an address or a wildcard such as *.example.com\n\
                    mtls-injector.io/logLevel: \"loud\" is not one of trace, debug, info, warning, error, off",
            },
            "auditAnnotations": {"decision": "deny", "reason": "mistakes"},
        })
    );
}

#[test]
fn warnings_are_short_and_printable() {
    let long = "x".repeat(400);
    let mut review = review();
    let annotations = &mut review["request"]["object"]["metadata"]["annotations"];
    annotations[format!("sidecar.istio.io/{long}")] = "x".into();
    let response = answer(&review).unwrap()["response"].take();
    for warning in response["warnings"].as_array().unwrap() {
        let warning = warning.as_str().unwrap();
        assert!(
            warning.len() <= 256 && !warning.contains(char::is_control),
            "{warning}"
        );
    }
}
