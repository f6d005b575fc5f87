//! What an injected pod looks like, wish by wish.

use mtls_injector::config::Config;
use mtls_proxy::config as proxy;
use serde_json::{Value, json};

use crate::pods::{
    Defaults, EGRESS, INBOUND, SECRET, applied, container, denied, injected, outcome_with,
    pod_with, proxy_config, warned,
};

#[test]
fn one_line_gives_a_pod_mutual_tls() {
    let pod = injected(&[(SECRET, "certs"), (EGRESS, "external.system.com")]);
    let route = &proxy_config(&pod).egress[0];
    assert_eq!(route.tls.mode, proxy::UpstreamMode::Mutual);
    assert_eq!(
        route.tls.credential_directory.as_deref(),
        Some("/etc/mtlsfiles".as_ref())
    );
    assert_eq!(
        route.listen,
        ["127.77.0.1".parse::<std::net::IpAddr>().unwrap()]
    );
    assert_eq!(
        pod["spec"]["hostAliases"],
        json!([{"ip": "127.77.0.1", "hostnames": ["external.system.com"]}])
    );
    assert_eq!(
        pod["spec"]["securityContext"],
        json!({"sysctls": [{"name": "net.ipv4.ip_unprivileged_port_start", "value": "0"}]})
    );
    assert_eq!(
        container(&pod)["volumeMounts"],
        json!([
            {"name": "mtls-proxy-config", "mountPath": "/etc/mtls-proxy", "readOnly": true},
            {"name": "mtls-secret-certs", "mountPath": "/etc/mtlsfiles", "readOnly": true},
        ])
    );
    assert_eq!(
        warned(&[(SECRET, "certs"), (EGRESS, "external.system.com")]),
        [""; 0]
    );
}

#[test]
fn a_route_shows_its_own_credentials_before_its_secrets_before_the_pods() {
    let routes = r#"[
        {"host": "own.example.com", "secret": "s1",
         "tls": {"clientCertificate": "/m/c", "privateKey": "/m/k"}},
        {"host": "secret.example.com", "secret": "s.2"},
        {"host": "pod.example.com", "tls": {"caCertificates": "/m/ca"}},
        {"host": "simple.example.com", "tls": {"mode": "SIMPLE"}},
        {"host": "plain.example.com", "tls": {"mode": "DISABLE"}}
    ]"#;
    let pod = injected(&[(SECRET, "certs:/c"), (EGRESS, routes)]);
    let config = proxy_config(&pod);
    let directory = |index: usize| {
        let directory = config.egress[index].tls.credential_directory.as_ref();
        directory.map(|path| path.to_str().unwrap().to_owned())
    };
    assert_eq!(directory(0), None);
    assert_eq!(
        directory(1).as_deref(),
        Some("/etc/mtls-injector/secrets/s.2")
    );
    assert_eq!(directory(2).as_deref(), Some("/c"));
    assert_eq!(directory(3), None, "SIMPLE verifies by the public roots");
    assert_eq!(directory(4), None);
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    let secrets: Vec<_> = volumes
        .iter()
        .filter_map(|volume| volume.pointer("/secret/secretName")?.as_str())
        .collect();
    assert_eq!(secrets, ["certs", "s1", "s.2"]);
}

#[test]
fn a_mount_over_the_default_place_is_as_good_as_a_secret() {
    let volume = (
        "mtls-injector.io/userVolume",
        r#"{"v":{"secret":{"secretName":"s"}}}"#,
    );
    let mount = |path: &str| format!(r#"{{"v":{{"mountPath":"{path}"}}}}"#);
    let at = mount("/etc/mtlsfiles/");
    let annotations = [
        (EGRESS, "a.example.com"),
        volume,
        ("mtls-injector.io/userVolumeMount", &at),
    ];
    let config = proxy_config(&injected(&annotations));
    let directory = config.egress[0].tls.credential_directory.clone();
    assert_eq!(directory, Some("/etc/mtlsfiles".into()));
    let elsewhere = mount("/etc/mtlsfiles-old");
    let annotations = [
        (EGRESS, "a.example.com"),
        volume,
        ("mtls-injector.io/userVolumeMount", &elsewhere),
    ];
    assert_eq!(
        denied(&annotations),
        [
            "mtls-injector.io/egress[0]: has no certificate to show: set the annotation mtls-injector.io/secret to the name of a Secret, mount one at /etc/mtlsfiles, name the files under tls, or do without by tls: {mode: SIMPLE}"
        ]
    );
}

#[test]
fn an_inbound_port_without_a_certificate_is_denied_unless_it_speaks_plaintext() {
    assert_eq!(
        denied(&[(INBOUND, "8443:8080")]),
        [
            "mtls-injector.io/inbound[0]: has no certificate to show: set the annotation mtls-injector.io/secret to the name of a Secret, mount one at /etc/mtlsfiles, name the files under tls, or do without by mode: DISABLE"
        ]
    );
    injected(&[(INBOUND, "[{port: 8443, targetPort: 8080, mode: DISABLE}]")]);
    let pod = injected(&[(INBOUND, "8443:8080"), (SECRET, "certs")]);
    let directory = proxy_config(&pod).inbound[0]
        .tls
        .credential_directory
        .clone();
    assert_eq!(directory, Some("/etc/mtlsfiles".into()));
    assert_eq!(
        pod["spec"].get("securityContext"),
        None,
        "no low port, no sysctl"
    );
}

#[test]
fn the_namespace_gives_defaults_that_the_pod_replaces() {
    let namespace = Defaults(vec![
        (EGRESS, "default.example.com"),
        (SECRET, "default-certs"),
        ("mtls-injector.io/proxyCPU", "30m"),
        ("unrelated/key", "x"),
    ]);
    let patched = |annotations: &[(&str, &str)]| {
        let mut pod = pod_with(annotations);
        let outcome = outcome_with(&Config::default(), &namespace, &pod);
        assert_eq!(outcome.decision.label(), "inject", "{}", outcome.decision);
        json_patch::patch(&mut pod, &outcome.patch).unwrap();
        pod
    };
    let pod = patched(&[]);
    assert_eq!(
        proxy_config(&pod).egress[0].host.to_string(),
        "default.example.com"
    );
    assert_eq!(container(&pod)["resources"]["requests"]["cpu"], "30m");
    let pod = patched(&[
        (EGRESS, "own.example.com"),
        ("sidecar.istio.io/proxyCPU", "40m"),
    ]);
    assert_eq!(
        proxy_config(&pod).egress[0].host.to_string(),
        "own.example.com"
    );
    assert_eq!(proxy_config(&pod).egress.len(), 1);
    assert_eq!(container(&pod)["resources"]["requests"]["cpu"], "40m");
    let pod = patched(&[(EGRESS, ""), ("mtls-injector.io/inject", "true")]);
    assert_eq!(proxy_config(&pod).egress, []);
}

#[test]
fn a_mistake_of_the_namespace_names_the_namespace() {
    let namespace = Defaults(vec![
        (EGRESS, "[{host: a.example.com, port: 0}]"),
        ("mtls-injector.io/sceret", "x"),
    ]);
    let outcome = outcome_with(
        &Config::default(),
        &namespace,
        &pod_with(&[(SECRET, "certs")]),
    );
    assert_eq!(
        outcome.decision.to_string(),
        "mtls-injector refuses this pod for 2 mistakes:\n\
         namespace shop: mtls-injector.io/sceret: \"x\" is not a known key; did you mean mtls-injector.io/secret?\n\
         namespace shop: mtls-injector.io/egress[0].port: \"0\" is not a port (1-65535)"
    );
}

#[test]
fn parents_that_are_missing_are_created() {
    for metadata in [json!({}), json!({"annotations": null}), Value::Null] {
        let pod = json!({"metadata": metadata, "spec": {"containers": [], "volumes": null}});
        let namespace = Defaults(vec![(EGRESS, "a.example.com"), (SECRET, "certs")]);
        let outcome = outcome_with(&Config::default(), &namespace, &pod);
        let mut patched = pod.clone();
        json_patch::patch(&mut patched, &outcome.patch).unwrap();
        assert_eq!(container(&patched)["name"], "mtls-proxy", "{metadata}");
        assert!(patched["metadata"]["annotations"]["mtls-injector.io/status"].is_string());
    }
}

#[test]
fn the_floor_of_the_configuration_raises_every_route() {
    let config = Config {
        min_protocol_version: proxy::MinProtocolVersion::TlsV1_3,
        ..Config::default()
    };
    let pod = pod_with(&[
        (SECRET, "certs"),
        (EGRESS, "a.example.com"),
        (INBOUND, "8443:8080"),
    ]);
    let config = proxy_config(&applied(&config, &pod));
    assert_eq!(
        config.egress[0].tls.min_protocol_version,
        proxy::MinProtocolVersion::TlsV1_3
    );
    assert_eq!(
        config.inbound[0].tls.min_protocol_version,
        proxy::MinProtocolVersion::TlsV1_3
    );
}

#[test]
fn a_secret_is_not_mounted_over_the_proxys_own_files() {
    for path in ["/etc/mtls-proxy", "/etc/mtls-proxy/x", "/etc"] {
        let secret = format!("certs:{path}");
        let lines = denied(&[(SECRET, &secret), (EGRESS, "a.example.com")]);
        let start = format!("mtls-injector.io/secret: {path:?} meets /etc/mtls-proxy, ");
        assert!(lines[0].starts_with(&start), "{lines:?}");
    }
}

#[test]
fn annotations_that_would_grow_beyond_what_kubernetes_allows_are_denied() {
    let hosts: Vec<_> = (0..1000).map(|n| format!("host-{n}.example.com")).collect();
    let lines = denied(&[(SECRET, "certs"), (EGRESS, &hosts.join(","))]);
    assert_eq!(lines.len(), 1);
    assert!(
        lines[0].starts_with("metadata.annotations: would have 3"),
        "{lines:?}"
    );
    let end = " bytes with the proxy's configuration, of the 262144 that Kubernetes allows";
    assert!(lines[0].ends_with(end), "{lines:?}");
}
