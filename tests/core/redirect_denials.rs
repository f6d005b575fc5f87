//! What stands against capture by the kernel, with the exact text of each denial.

use mtls_injector::config::{Config, NativeSidecars};
use mtls_injector::decision::Decision;
use serde_json::{Value, json};

use crate::pods::{
    Defaults, EGRESS, INBOUND, Labelled, REDIRECT, SECRET, denial, denied, outcome_with, pod_with,
};

fn asking() -> Value {
    pod_with(&[REDIRECT, (SECRET, "certs"), (EGRESS, "a.example.com")])
}

#[test]
fn a_container_that_runs_as_the_proxy_is_denied_by_name() {
    let mut pod = asking();
    pod["spec"]["initContainers"] =
        json!([{"name": "first", "securityContext": {"runAsUser": 15100}}]);
    pod["spec"]["containers"] = json!([
        {"name": "app"},
        {"name": "other", "securityContext": {"runAsUser": 1}},
        {"name": "twin", "securityContext": {"runAsUser": 15100}},
    ]);
    pod["spec"]["ephemeralContainers"] =
        json!([{"name": "debug", "securityContext": {"runAsUser": 15100}}]);
    const WHY: &str = r#""15100" is the proxy's own user, whose connections are never redirected"#;
    let of = |path: &str, name: &str| {
        format!(
            "spec.{path}.securityContext.runAsUser: {WHY}; run container {name:?} as another, or use capture hosts"
        )
    };
    assert_eq!(
        denial(&Config::default(), &pod),
        [
            of("initContainers[0]", "first"),
            of("containers[2]", "twin"),
            of("ephemeralContainers[0]", "debug"),
        ]
    );
    let mut pod = asking();
    pod["spec"]["securityContext"] = json!({"runAsUser": 15100});
    pod["spec"]["containers"] = json!([
        {"name": "app"},
        {"name": "other", "securityContext": {"runAsUser": 1}},
        {"name": "third", "securityContext": {}},
    ]);
    assert_eq!(
        denial(&Config::default(), &pod),
        [format!(
            "spec.securityContext.runAsUser: {WHY}; run \"app\", \"third\" as another, or use capture hosts"
        )]
    );
    pod["spec"]["containers"] = json!([{"name": "other", "securityContext": {"runAsUser": 1}}]);
    let outcome = outcome_with(&Config::default(), &Defaults(vec![]), &pod);
    assert_eq!(outcome.decision, Decision::Inject, "nobody inherits it");
}

#[test]
fn without_a_user_of_its_own_the_proxy_cannot_be_told_apart() {
    let config = Config {
        proxy_user: None,
        ..Config::default()
    };
    assert_eq!(
        denial(&config, &asking()),
        [
            r#"mtls-injector.io/capture: "redirect" cannot work while the injector's configuration says proxyUser none: the kernel tells the proxy by its user; set proxyUser, or use capture hosts"#
        ]
    );
}

#[test]
fn an_image_that_cannot_be_told_is_denied() {
    let config = Config {
        proxy_image: "host/proxy@sha256:00e1".to_owned(),
        ..Config::default()
    };
    assert_eq!(
        denial(&config, &asking()),
        [
            "the injector's configuration: initImage: is needed for capture redirect, and cannot be told from a proxyImage with a digest; set it to the image that is packed beside that one"
        ]
    );
}

#[test]
fn a_namespace_that_forbids_the_capability_is_named_with_its_level() {
    const ENFORCE: &str = "pod-security.kubernetes.io/enforce";
    let outcome = |labels: &[(&'static str, &'static str)], pod: &Value| {
        outcome_with(&Config::default(), &Labelled(labels.to_vec()), pod)
    };
    for level in ["baseline", "restricted", "unheard-of"] {
        let refused = outcome(
            &[(ENFORCE, level), ("pod-security.kubernetes.io/warn", level)],
            &asking(),
        );
        assert_eq!(
            refused.decision.to_string(),
            format!(
                "mtls-injector refuses this pod: mtls-injector.io/capture: \"redirect\" needs the capability NET_ADMIN, which namespace \"shop\" forbids by its label {ENFORCE}={level}; use capture hosts, or label the namespace privileged"
            )
        );
    }
    for labels in [
        &[][..],
        &[(ENFORCE, "privileged")],
        &[("other", "baseline")],
    ] {
        let taken = outcome(labels, &asking());
        assert_eq!(
            (taken.decision, taken.warnings),
            (Decision::Inject, Vec::new())
        );
    }
    for mode in ["warn", "audit"] {
        let label: &'static str = match mode {
            "warn" => "pod-security.kubernetes.io/warn",
            _ => "pod-security.kubernetes.io/audit",
        };
        let warned = outcome(&[(ENFORCE, "privileged"), (label, "restricted")], &asking());
        assert_eq!(warned.decision, Decision::Inject);
        assert_eq!(
            warned.warnings,
            [format!(
                "capture redirect needs NET_ADMIN, which {label}=restricted of namespace \"shop\" objects to; capture hosts needs no privilege"
            )]
        );
    }
    let hosts = pod_with(&[(SECRET, "certs"), (EGRESS, "a.example.com")]);
    let taken = outcome(&[(ENFORCE, "restricted")], &hosts);
    assert_eq!(taken.decision, Decision::Inject);
}

#[test]
fn a_default_that_a_namespace_forbids_is_named_where_it_is_set() {
    let config = Config::parse("capture: redirect").unwrap();
    let labels = Labelled(vec![("pod-security.kubernetes.io/enforce", "baseline")]);
    let pod = pod_with(&[(SECRET, "certs"), (EGRESS, "a.example.com")]);
    let said = outcome_with(&config, &labels, &pod).decision.to_string();
    let start =
        "mtls-injector refuses this pod: the injector's configuration: capture: \"redirect\" needs";
    assert!(said.starts_with(start), "{said}");
}

#[test]
fn a_host_that_is_never_redirected_is_denied() {
    let check = |route: &str, reason: &str| {
        let mut pod = pod_with(&[REDIRECT, (SECRET, "certs"), (EGRESS, route)]);
        pod["spec"]["hostAliases"] = json!([
            {"ip": "10.0.0.1", "hostnames": ["aliased.example.com"]},
            {"ip": "127.0.0.1", "hostnames": ["within.example.com"]},
        ]);
        let lines = denial(&Config::default(), &pod);
        assert_eq!(
            lines,
            [format!("mtls-injector.io/egress[0].host: {reason}")]
        );
    };
    check(
        "[{host: localhost}]",
        r#""localhost" is the pod itself; name the external host"#,
    );
    check(
        "[{host: 127.0.0.9}]",
        r#""127.0.0.9" is the pod itself; name the external host"#,
    );
    check(
        "[{host: \"::1\"}]",
        r#""::1" is the pod itself; name the external host"#,
    );
    check(
        "[{host: within.example.com}]",
        r#""within.example.com" is led to the pod itself by the pod's own hostAliases; remove it there"#,
    );
    check(
        "[{host: aliased.example.com, port: 5432, protocol: tcp}]",
        r#""aliased.example.com" is named by the pod's own hostAliases, so the proxy cannot know its connections by where DNS leads; remove it there, or give the address as the host"#,
    );
}

#[test]
fn the_proxys_own_ports_and_names_are_not_the_applications() {
    assert_eq!(
        denied(&[REDIRECT, (SECRET, "certs"), (INBOUND, "15006:8080")]),
        [r#"mtls-injector.io/inbound[0].port: "15006" is a port that the proxy needs for itself"#]
    );
    let mut pod = asking();
    pod["spec"]["initContainers"] = json!([{"name": "mtls-init"}]);
    assert_eq!(
        denial(&Config::default(), &pod),
        [
            r#"spec.containers: "mtls-init" is the proxy's own name; give the pod's container another"#
        ]
    );
    let mut hosts = pod_with(&[(SECRET, "certs"), (EGRESS, "a.example.com")]);
    hosts["spec"]["initContainers"] = json!([{"name": "mtls-init"}]);
    let outcome = outcome_with(&Config::default(), &Defaults(vec![]), &hosts);
    assert_eq!(
        outcome.decision,
        Decision::Inject,
        "without redirection it is free"
    );
}

#[test]
fn a_listener_that_is_asked_for_has_to_be_free_all_the_same() {
    let route = "[{host: a.example.com, port: 8080, listen: [127.0.0.1]}, {host: b.example.com, port: 8080}]";
    let mut pod = pod_with(&[REDIRECT, (SECRET, "certs"), (EGRESS, route)]);
    pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 8080}]);
    assert_eq!(
        denial(&Config::default(), &pod),
        [
            r#"mtls-injector.io/egress[0].port: "8080" is a port that container "app" declares as its own; choose another"#
        ]
    );
}

#[test]
fn what_keeps_running_does_not_start_before_a_classic_proxy() {
    let config = Config {
        native_sidecars: NativeSidecars::Off,
        ..Config::default()
    };
    let mut pod = asking();
    pod["spec"]["initContainers"] =
        json!([{"name": "first"}, {"name": "log", "restartPolicy": "Always"}]);
    assert_eq!(
        denial(&config, &pod),
        [
            r#"spec.initContainers[1]: "log" keeps running, but starts before a classic proxy and so unprotected; use a native one (mtls-injector.io/nativeSidecar: "true", Kubernetes 1.29), or capture hosts"#
        ]
    );
}

#[test]
fn a_list_that_is_wrong_says_what_would_be_right() {
    for (key, value, reason) in [
        (
            "mtls-injector.io/includeInboundPorts",
            "http",
            "is not a comma-separated list of ports (1-65535), such as 8080,9090, or * for all",
        ),
        (
            "traffic.sidecar.istio.io/excludeInboundPorts",
            "80,65536",
            r#"is not a comma-separated list of ports (1-65535), such as 8080,9090: "65536" is wrong in it"#,
        ),
        (
            "traffic.sidecar.istio.io/excludeOutboundIPRanges",
            "*",
            "is not a comma-separated list of ranges of addresses, such as 10.0.0.0/8,fd00::/8",
        ),
    ] {
        assert_eq!(
            denied(&[
                REDIRECT,
                (SECRET, "certs"),
                (EGRESS, "a.example.com"),
                (key, value)
            ]),
            [format!("{key}: {value:?} {reason}")]
        );
    }
}
