//! Probes of the application under capture by the kernel: which are moved, what the proxy is told, and
//! how they come back.

use mtls_injector::admit::inject_pod;
use mtls_injector::config::{Config, NativeSidecars};
use mtls_injector::decision::{Decision, SkipReason};
use mtls_injector::patch;
use mtls_injector::review::Pod;
use mtls_injector::sidecar::Status;
use mtls_proxy::config::AppProbe;
use serde_json::{Value, json};

use crate::pods::{
    Defaults, INBOUND, Offline, REDIRECT, SECRET, applied, denial, outcome_with, pod_with,
    proxy_config,
};

/// A pod with redirection of port 8080 whose container has this as well.
fn pod(container: &Value, more: &[(&str, &str)]) -> Value {
    let mut annotations = vec![REDIRECT, (SECRET, "certs"), (INBOUND, "8443:8080")];
    annotations.extend(more);
    let mut pod = pod_with(&annotations);
    let own = pod["spec"]["containers"][0].as_object_mut().unwrap();
    own.extend(container.as_object().unwrap().clone());
    pod
}

/// The pod after its patch, and what the proxy has to ask.
fn moved(container: &Value) -> (Value, Vec<AppProbe>) {
    let before = pod(container, &[]);
    let after = applied(&Config::default(), &before);
    comes_back(&before, &after);
    let probes = proxy_config(&after).probes;
    (after["spec"]["containers"][0].clone(), probes)
}

/// A second run finds nothing to do, and the removal leaves the containers as they were written.
fn comes_back(before: &Value, after: &Value) {
    let again = inject_pod(&Config::default(), &Offline, "shop", after);
    assert_eq!(again.decision, Decision::Skip(SkipReason::AlreadyInjected));
    assert_eq!(again.patch.0, []);
    let status = &after["metadata"]["annotations"]["mtls-injector.io/status"];
    let status = Status::parse(status.as_str().unwrap()).unwrap();
    let mut bare = after.clone();
    json_patch::patch(&mut bare, &patch::removal(Pod::new(after), &status)).unwrap();
    for list in ["containers", "initContainers"] {
        let empty = json!([]);
        let written = before["spec"].get(list).unwrap_or(&empty);
        assert_eq!(bare["spec"][list].to_string(), written.to_string());
    }
}

fn warnings(container: &Value) -> Vec<String> {
    let pod = pod(container, &[]);
    outcome_with(&Config::default(), &Defaults(vec![]), &pod).warnings
}

#[test]
fn an_http_probe_keeps_its_headers_and_timings_and_what_nobody_knows() {
    let (container, probes) = moved(&json!({"livenessProbe": {
        "initialDelaySeconds": 3,
        "httpGet": {
            "path": "/healthz?full=1",
            "port": 8080,
            "scheme": "HTTP",
            "httpHeaders": [{"name": "x-probe", "value": "1"}],
            "fieldOfTomorrow": [1],
        },
        "timeoutSeconds": 7,
        "fieldOfTomorrow": {"deep": null},
    }}));
    assert_eq!(
        container["livenessProbe"].to_string(),
        json!({
            "initialDelaySeconds": 3,
            "httpGet": {
                "path": "/app-health/app/livez",
                "port": 15020,
                "scheme": "HTTP",
                "httpHeaders": [{"name": "x-probe", "value": "1"}],
                "fieldOfTomorrow": [1],
            },
            "timeoutSeconds": 7,
            "fieldOfTomorrow": {"deep": null},
        })
        .to_string()
    );
    assert_eq!(
        json!(probes),
        json!([{"path": "/app-health/app/livez", "kind": "http", "port": 8080,
                "target": "/healthz?full=1", "timeout": "7s"}])
    );
}

#[test]
fn each_kind_of_probe_is_moved() {
    let ports = json!([{"name": "web", "containerPort": 8080}]);
    let check = |probe: &Value, asked: &Value| {
        let (container, probes) =
            moved(&json!({"ports": ports, "readinessProbe": probe, "startupProbe": probe}));
        for (key, end) in [("readinessProbe", "readyz"), ("startupProbe", "startupz")] {
            let request = &container[key]["httpGet"];
            assert_eq!(request["path"], format!("/app-health/app/{end}"));
            assert_eq!(request["port"], 15020);
            assert_eq!(container[key].as_object().unwrap().len(), 1, "{container}");
        }
        let mut expected = asked.clone();
        expected["path"] = "/app-health/app/readyz".into();
        expected["timeout"] = "1s".into();
        assert_eq!(json!(probes[0]), expected);
        assert_eq!(probes.len(), 2);
    };
    check(
        &json!({"httpGet": {"port": "web"}}),
        &json!({"kind": "http", "port": 8080, "target": "/"}),
    );
    check(
        &json!({"httpGet": {"port": "8080", "path": "healthz", "scheme": "HTTPS"}}),
        &json!({"kind": "https", "port": 8080, "target": "/healthz"}),
    );
    check(
        &json!({"tcpSocket": {"port": "web"}}),
        &json!({"kind": "tcp", "port": 8080}),
    );
    check(
        &json!({"grpc": {"port": 8080, "service": "stock"}}),
        &json!({"kind": "grpc", "port": 8080, "service": "stock"}),
    );
    check(
        &json!({"grpc": {"port": 8080, "service": ""}}),
        &json!({"kind": "grpc", "port": 8080}),
    );
    // Where only the proxy speaks TLS, the application behind it is asked.
    check(
        &json!({"httpGet": {"port": 8443, "scheme": "HTTPS"}}),
        &json!({"kind": "http", "port": 8080, "target": "/"}),
    );
    check(
        &json!({"tcpSocket": {"port": 8443}}),
        &json!({"kind": "tcp", "port": 8080}),
    );
}

#[test]
fn a_probe_of_a_port_that_is_not_redirected_stays() {
    let written = json!({
        "ports": [{"name": "web", "containerPort": 9090}],
        "livenessProbe": {"exec": {"command": ["true"]}},
        "readinessProbe": {"httpGet": {"port": "web"}},
        "startupProbe": {"tcpSocket": {"port": "unheard-of"}},
        "lifecycle": {"preStop": {"sleep": {"seconds": 1}}},
    });
    let (container, probes) = moved(&written);
    for (key, value) in written.as_object().unwrap() {
        assert_eq!(container[key], *value);
    }
    assert_eq!(probes, []);
    let probe = json!({"readinessProbe": {"tcpSocket": {"port": 9090}}});
    for (list, moves) in [
        (("mtls-injector.io/includeInboundPorts", "9090"), 1),
        (("mtls-injector.io/includeInboundPorts", "*"), 1),
        (("mtls-injector.io/excludeOutboundPorts", "9090"), 0),
    ] {
        let after = applied(&Config::default(), &pod(&probe, &[list]));
        assert_eq!(proxy_config(&after).probes.len(), moves, "{list:?}");
    }
    let excluded = ("mtls-injector.io/excludeInboundPorts", "8080");
    let probe = json!({"readinessProbe": {"tcpSocket": {"port": 8080}}});
    let after = applied(&Config::default(), &pod(&probe, &[excluded]));
    assert_eq!(proxy_config(&after).probes, []);
}

#[test]
fn the_mode_of_a_port_makes_no_difference() {
    let probe = json!({"readinessProbe": {"tcpSocket": {"port": 8080}}});
    for mode in [
        "STRICT",
        "PERMISSIVE",
        "SIMPLE",
        "OPTIONAL_MUTUAL",
        "DISABLE",
    ] {
        let inbound = format!("[{{port: 8443, targetPort: 8080, mode: {mode}}}]");
        let after = applied(&Config::default(), &pod(&probe, &[(INBOUND, &inbound)]));
        assert_eq!(proxy_config(&after).probes.len(), 1, "{mode}");
    }
    let hosts = pod(&probe, &[("mtls-injector.io/capture", "hosts")]);
    let after = applied(&Config::default(), &hosts);
    assert_eq!(
        after["spec"]["containers"][0]["readinessProbe"],
        probe["readinessProbe"]
    );
}

#[test]
fn a_host_in_a_probe_is_left_alone_with_a_warning() {
    for probe in [
        json!({"httpGet": {"host": "127.0.0.1", "port": 8080}}),
        json!({"tcpSocket": {"host": "127.0.0.1", "port": 8080}}),
    ] {
        let field = probe.as_object().unwrap().keys().next().unwrap().clone();
        let container = json!({"livenessProbe": probe});
        assert_eq!(
            warnings(&container),
            [format!(
                "container \"app\": livenessProbe.{field}.host is \"127.0.0.1\", so it is not asked through the proxy; leave it out, and kubelet asks the pod itself"
            )]
        );
        let (after, probes) = moved(&container);
        assert_eq!(after["livenessProbe"], container["livenessProbe"]);
        assert_eq!(probes, []);
    }
    let spaces = json!({"livenessProbe": {"httpGet": {"path": "/a b", "port": 8080}}});
    assert_eq!(
        warnings(&spaces),
        [
            "container \"app\": livenessProbe.httpGet has a path that cannot be passed on, so kubelet asks port 8080 itself, where it shows no certificate"
        ]
    );
}

#[test]
fn what_keeps_running_of_the_init_containers_has_its_probes_moved() {
    let mut before = pod(&json!({}), &[]);
    let probe = json!({"httpGet": {"port": 8080}});
    before["spec"]["initContainers"] = json!([
        {"name": "once"},
        {"name": "log", "restartPolicy": "Always", "startupProbe": probe},
    ]);
    let after = applied(&Config::default(), &before);
    comes_back(&before, &after);
    let moved = &after["spec"]["initContainers"][3];
    assert_eq!(moved["name"], "log");
    assert_eq!(
        moved["startupProbe"]["httpGet"]["path"],
        "/app-health/log/startupz"
    );
}

#[test]
fn a_hook_is_moved_where_the_proxy_outlives_the_application() {
    let hook = json!({"lifecycle": {"preStop": {"httpGet": {"path": "/drain", "port": 8080}}}});
    let (container, probes) = moved(&hook);
    assert_eq!(
        container["lifecycle"],
        json!({"preStop": {"httpGet": {"path": "/app-health/app/prestop", "port": 15020}}})
    );
    assert_eq!(
        json!(probes),
        json!([{"path": "/app-health/app/prestop", "kind": "http", "port": 8080,
                "target": "/drain", "timeout": "30s"}])
    );
    let classic = Config {
        native_sidecars: NativeSidecars::Off,
        ..Config::default()
    };
    let outcome = outcome_with(&classic, &Defaults(vec![]), &pod(&hook, &[]));
    assert_eq!(
        outcome.warnings,
        [
            "container \"app\": preStop.httpGet calls port 8080, where kubelet has no certificate to show; use a native proxy, or exec"
        ]
    );
    let after = applied(&classic, &pod(&hook, &[]));
    assert_eq!(
        after["spec"]["containers"][0]["lifecycle"],
        hook["lifecycle"]
    );
}

#[test]
fn a_post_start_hook_that_would_never_succeed_is_denied() {
    let hook = json!({"lifecycle": {"postStart": {"httpGet": {"port": 8080}}}});
    assert_eq!(
        denial(&Config::default(), &pod(&hook, &[])),
        [
            "spec.containers[0].lifecycle.postStart.httpGet: calls port 8080, where kubelet has no certificate to show, so container \"app\" would never start; use exec"
        ]
    );
    let permissive = "[{port: 8443, targetPort: 8080, mode: PERMISSIVE}]";
    let after = applied(&Config::default(), &pod(&hook, &[(INBOUND, permissive)]));
    assert_eq!(
        after["spec"]["containers"][0]["lifecycle"],
        hook["lifecycle"]
    );
}

#[test]
fn of_several_entries_that_of_the_port_itself_decides_and_then_the_strictest() {
    let probe = json!({"readinessProbe": {"tcpSocket": {"port": 8080}}});
    let behind = (INBOUND, "8443:8080,8080:9090");
    let after = applied(&Config::default(), &pod(&probe, &[behind]));
    assert_eq!(proxy_config(&after).probes[0].port.get(), 9090);
    let hook = json!({"lifecycle": {"postStart": {"httpGet": {"port": 8080}}}});
    let lax = "[{port: 9443, targetPort: 8080, mode: DISABLE}, {port: 8443, targetPort: 8080}]";
    assert_eq!(
        denial(&Config::default(), &pod(&hook, &[(INBOUND, lax)])).len(),
        1
    );
    let own = "[{port: 8443, targetPort: 8080}, {port: 8080, targetPort: 8080, mode: DISABLE}]";
    applied(&Config::default(), &pod(&hook, &[(INBOUND, own)]));
}

#[test]
fn an_upgrade_moves_what_the_user_wrote_and_not_what_was_moved() {
    let probe = json!({"livenessProbe": {"tcpSocket": {"port": 8080}, "periodSeconds": 9}});
    let before = pod(&probe, &[]);
    let old = Config {
        init_image: Some("old:1".to_owned()),
        ..Config::default()
    };
    let mut stale = applied(&old, &before);
    // As the API server fills in.
    stale["spec"]["containers"][0]["livenessProbe"]["httpGet"]["scheme"] = "HTTP".into();
    assert_eq!(
        applied(&Config::default(), &stale),
        applied(&Config::default(), &before)
    );
    let text = ("mtls-injector.io/capture", "hosts");
    let mut hosts = stale.clone();
    hosts["metadata"]["annotations"][text.0] = text.1.into();
    let after = applied(&Config::default(), &hosts);
    assert_eq!(
        after["spec"]["containers"][0]["livenessProbe"],
        probe["livenessProbe"]
    );
    assert_eq!(after["spec"]["initContainers"].as_array().unwrap().len(), 1);
}

#[test]
fn a_probe_that_was_changed_since_stays_as_it_is() {
    let probe = json!({"livenessProbe": {"tcpSocket": {"port": 8080}}});
    let mut stale = applied(&Config::default(), &pod(&probe, &[]));
    let changed = json!({"httpGet": {"port": 9090, "path": "/new"}});
    stale["spec"]["containers"][0]["livenessProbe"] = changed.clone();
    let after = applied(&Config::default(), &stale);
    assert_eq!(after["spec"]["containers"][0]["livenessProbe"], changed);
}
