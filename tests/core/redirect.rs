//! Capture by the kernel: what the proxy is told, the container that loads the rules and its place.

use std::slice;

use mtls_injector::config::{Capture, Config, NativeSidecars};
use mtls_proxy::config as proxy;
use serde_json::{Value, json};

use crate::pods::{
    Defaults, EGRESS, INBOUND, REDIRECT, SECRET, applied, injected, outcome_with, pod_with,
    proxy_config,
};

/// A pod that asks for redirection, and for a way out and a way in.
fn asking(more: &[(&str, &str)]) -> Value {
    let mut annotations = vec![
        REDIRECT,
        (SECRET, "certs"),
        (EGRESS, "a.example.com"),
        (INBOUND, "8443:8080"),
    ];
    annotations.extend(more);
    pod_with(&annotations)
}

fn redirected(more: &[(&str, &str)]) -> proxy::TrafficRedirect {
    let pod = applied(&Config::default(), &asking(more));
    proxy_config(&pod).redirect.unwrap()
}

fn warnings(pod: &Value) -> Vec<String> {
    outcome_with(&Config::default(), &Defaults(vec![]), pod).warnings
}

fn names(pod: &Value, list: &str) -> Vec<String> {
    let containers = pod["spec"][list].as_array().into_iter().flatten();
    let names = containers.map(|container| container["name"].as_str().unwrap());
    names.map(str::to_owned).collect()
}

fn classic() -> Config {
    Config {
        native_sidecars: NativeSidecars::Off,
        ..Config::default()
    }
}

#[test]
fn the_kernel_takes_the_place_of_aliases_listeners_and_the_sysctl() {
    let mut pod = asking(&[]);
    let own = json!([{"ip": "10.0.0.1", "hostnames": ["a.example.com"]}]);
    pod["spec"]["hostAliases"] = own.clone();
    // The application's own port, which a listener of the proxy would need.
    pod["spec"]["containers"][0]["ports"] = json!([{"containerPort": 8443}, {"containerPort": 80}]);
    let pod = applied(&Config::default(), &pod);
    let config = proxy_config(&pod);
    let uid = proxy::Uid::new(15100).unwrap();
    assert_eq!(config.redirect, Some(proxy::TrafficRedirect::new(uid)));
    assert!(config.egress[0].listen.is_empty());
    assert_eq!(pod["spec"]["hostAliases"], own);
    assert_eq!(pod["spec"].get("securityContext"), None);
}

#[test]
fn an_application_keeps_its_port_behind_the_proxy() {
    let pod = injected(&[REDIRECT, (SECRET, "certs"), (INBOUND, "8080:8080")]);
    let entry = &proxy_config(&pod).inbound[0];
    assert_eq!(
        (entry.port, entry.target_port),
        (entry.target_port, entry.port)
    );
}

#[test]
fn wildcards_and_addresses_are_hosts() {
    let routes = r#"[{host: "*.example.com"}, {host: 10.1.2.3, port: 5432, protocol: tcp},
                     {host: a_b.example.com}, {host: db.example.com, port: 5432, protocol: tcp}]"#;
    let pod = injected(&[REDIRECT, (SECRET, "certs"), (EGRESS, routes)]);
    assert_eq!(proxy_config(&pod).egress.len(), 4);
    assert_eq!(pod["spec"].get("hostAliases"), None);
}

#[test]
fn the_configuration_can_make_redirection_the_default() {
    let config = Config {
        capture: Capture::Redirect,
        ..Config::default()
    };
    let pod = pod_with(&[(SECRET, "certs"), (EGRESS, "a.example.com")]);
    let patched = applied(&config, &pod);
    assert_eq!(
        names(&patched, "initContainers"),
        ["mtls-init", "mtls-proxy"]
    );
    let hosts = pod_with(&[
        (SECRET, "certs"),
        (EGRESS, "a.example.com"),
        ("mtls-injector.io/capture", "hosts"),
    ]);
    let patched = applied(&config, &hosts);
    assert_eq!(names(&patched, "initContainers"), ["mtls-proxy"]);
}

/// What the proxy is told of the ways in and out, by Istio's keys.
fn traffic(pairs: &[(&str, &str)]) -> (Value, Value) {
    let keys: Vec<_> = pairs
        .iter()
        .map(|(key, value)| (format!("traffic.sidecar.istio.io/{key}"), *value))
        .collect();
    let pairs: Vec<_> = keys
        .iter()
        .map(|(key, value)| (key.as_str(), *value))
        .collect();
    let redirect = redirected(&pairs);
    (json!(redirect.inbound), json!(redirect.outbound))
}

#[test]
fn lists_of_the_ways_in_mean_what_istios_mean() {
    let check = |pairs: &[(&str, &str)], expected: Value| {
        assert_eq!(traffic(pairs), (expected, json!({})), "{pairs:?}");
    };
    check(&[], json!({}));
    check(&[("includeInboundPorts", "*")], json!({"allPorts": true}));
    check(&[("includeInboundPorts", "")], json!({}));
    check(
        &[
            ("includeInboundPorts", "9090, 9091,9090"),
            ("excludeInboundPorts", "22"),
        ],
        json!({"includePorts": [9090, 9091], "excludePorts": [22]}),
    );
}

#[test]
fn lists_of_the_ways_out_mean_what_istios_mean() {
    let check = |pairs: &[(&str, &str)], expected: Value| {
        assert_eq!(traffic(pairs), (json!({}), expected), "{pairs:?}");
    };
    let (ports, ranges) = ("includeOutboundPorts", "includeOutboundIPRanges");
    check(&[(ranges, "*")], json!({}));
    check(&[(ranges, "")], json!({"includeIPRanges": []}));
    check(
        &[
            ("excludeOutboundPorts", "22"),
            ("excludeOutboundIPRanges", "10.1.2.3/8,fd00::1"),
        ],
        json!({"excludePorts": [22], "excludeIPRanges": ["10.0.0.0/8", "fd00::1/128"]}),
    );
    check(
        &[(ranges, "10.0.0.0/8"), (ports, "80")],
        json!({"includePorts": [80], "includeIPRanges": ["10.0.0.0/8"]}),
    );
    // To every port whatever the address is everything.
    check(&[(ranges, "10.0.0.0/8"), (ports, "*")], json!({}));
}

#[test]
fn our_own_lists_win_over_istios_and_over_the_namespaces() {
    let key = |family: &'static str| match family {
        "own" => "mtls-injector.io/excludeOutboundPorts",
        _ => "traffic.sidecar.istio.io/excludeOutboundPorts",
    };
    let excluded = |pairs: &[(&'static str, &'static str)]| {
        let pairs: Vec<_> = pairs
            .iter()
            .map(|(family, port)| (key(family), *port))
            .collect();
        let namespace = Defaults(vec![(key("own"), "1"), REDIRECT]);
        let mut pod = pod_with(&[(SECRET, "certs"), (EGRESS, "a.example.com")]);
        for (key, value) in pairs {
            pod["metadata"]["annotations"][key] = value.into();
        }
        let outcome = outcome_with(&Config::default(), &namespace, &pod);
        json_patch::patch(&mut pod, &outcome.patch).unwrap();
        let outbound = proxy_config(&pod).redirect.unwrap().outbound;
        outbound.exclude_ports[0].get()
    };
    assert_eq!(excluded(&[]), 1);
    assert_eq!(excluded(&[("istio", "2")]), 2);
    assert_eq!(excluded(&[("istio", "2"), ("own", "3")]), 3);
}

#[test]
fn the_container_that_loads_the_rules_may_do_that_and_nothing_else() {
    let pod = applied(&Config::default(), &asking(&[]));
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        pod["spec"]["initContainers"][0],
        json!({
            "name": "mtls-init",
            "image": format!("ghcr.io/mtls-injector/mtls-proxy-init:{version}"),
            "args": ["redirect", "--apply", "--config=/etc/mtls-proxy/config.yaml"],
            "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}},
            "securityContext": {
                "runAsUser": 0,
                "runAsGroup": 0,
                "runAsNonRoot": false,
                "privileged": false,
                "allowPrivilegeEscalation": false,
                "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]},
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "volumeMounts": [
                {"name": "mtls-proxy-config", "mountPath": "/etc/mtls-proxy", "readOnly": true}
            ],
        })
    );
    let proxy = &pod["spec"]["initContainers"][1];
    assert_eq!(proxy["securityContext"]["runAsUser"], 15100);
    assert_eq!(
        proxy["securityContext"]["capabilities"],
        json!({"drop": ["ALL"]})
    );
}

#[test]
fn nothing_of_the_application_starts_between_the_rules_and_a_native_proxy() {
    let mut pod = asking(&[]);
    pod["spec"]["initContainers"] =
        json!([{"name": "first"}, {"name": "log", "restartPolicy": "Always"}]);
    assert_eq!(warnings(&pod), [""; 0]);
    let pod = applied(&Config::default(), &pod);
    let expected = ["mtls-init", "mtls-proxy", "first", "log"];
    assert_eq!(names(&pod, "initContainers"), expected);
    assert_eq!(names(&pod, "containers"), ["app"]);
}

#[test]
fn beside_a_classic_proxy_the_rules_are_loaded_last() {
    let mut pod = asking(&[]);
    pod["spec"]["initContainers"] = json!([{"name": "first"}, {"name": "second"}]);
    let outcome = outcome_with(&classic(), &Defaults(vec![]), &pod);
    assert_eq!(
        outcome.warnings,
        [
            "init containers first, second run before a classic proxy, so their connections are not captured; use a native one (mtls-injector.io/nativeSidecar: \"true\", Kubernetes 1.29)"
        ]
    );
    let patched = applied(&classic(), &pod);
    assert_eq!(
        names(&patched, "initContainers"),
        ["first", "second", "mtls-init"]
    );
    assert_eq!(names(&patched, "containers"), ["app", "mtls-proxy"]);
    let holding = (
        "proxy.istio.io/config",
        "holdApplicationUntilProxyStarts: true",
    );
    let patched = applied(&classic(), &asking(slice::from_ref(&holding)));
    assert_eq!(names(&patched, "initContainers"), ["mtls-init"]);
    assert_eq!(names(&patched, "containers"), ["mtls-proxy", "app"]);
}

#[test]
fn the_status_names_the_init_container_and_what_the_kernel_was_told() {
    let status = |config: &Config, more: &[(&str, &str)]| -> Value {
        let pod = applied(config, &asking(more));
        let status = pod["metadata"]["annotations"]["mtls-injector.io/status"].as_str();
        serde_json::from_str(status.unwrap()).unwrap()
    };
    let native = status(&Config::default(), &[]);
    assert_eq!(native["initContainers"], json!(["mtls-init", "mtls-proxy"]));
    let other = status(&classic(), &[]);
    assert_eq!(other["initContainers"], json!(["mtls-init"]));
    assert_eq!(other["containers"], json!(["mtls-proxy"]));
    assert_eq!(native["kernelRules"], other["kernelRules"]);
    let mode = (
        INBOUND,
        "[{port: 8443, targetPort: 8080, mode: PERMISSIVE}]",
    );
    let permissive = status(&Config::default(), &[mode]);
    assert_eq!(native["kernelRules"], permissive["kernelRules"]);
    for more in [
        (INBOUND, "8443:8081"),
        ("mtls-injector.io/excludeOutboundPorts", "1"),
    ] {
        let other = status(&Config::default(), &[more]);
        assert_ne!(native["kernelRules"], other["kernelRules"], "{more:?}");
    }
    let hosts = status(&Config::default(), &[("mtls-injector.io/capture", "hosts")]);
    assert_eq!(hosts.get("kernelRules"), None);
}

#[test]
fn no_way_around_the_proxy_is_left_unless_a_list_leaves_it() {
    assert_eq!(warnings(&asking(&[])), [""; 0]);
    let check = |more: &[(&str, &str)], expected: &str| {
        assert_eq!(warnings(&asking(more)), [expected], "{more:?}");
    };
    check(
        &[("mtls-injector.io/excludeInboundPorts", "22,8080")],
        "mtls-injector.io/excludeInboundPorts: the application's own port 8080 stays reachable in plaintext from other pods",
    );
    check(
        &[("traffic.sidecar.istio.io/includeInboundPorts", "")],
        "traffic.sidecar.istio.io/includeInboundPorts: the ports of mtls-injector.io/inbound are redirected all the same; excludeInboundPorts takes one out",
    );
    let around = |list: &str| {
        format!(
            "mtls-injector.io/egress[0]: connections to a.example.com:80 are kept from the proxy by mtls-injector.io/{list}, and leave the pod in plaintext"
        )
    };
    for (list, value) in [
        ("excludeOutboundPorts", "80"),
        ("includeOutboundIPRanges", ""),
    ] {
        check(
            &[(&format!("mtls-injector.io/{list}"), value)],
            &around(list),
        );
    }
    let included = [
        ("mtls-injector.io/includeOutboundIPRanges", ""),
        ("mtls-injector.io/includeOutboundPorts", "80"),
    ];
    assert_eq!(warnings(&asking(&included)), [""; 0]);
    let address = (EGRESS, "[{host: 10.1.2.3, port: 80}]");
    for (list, value) in [
        ("excludeOutboundIPRanges", "10.0.0.0/8"),
        ("includeOutboundIPRanges", "192.0.2.0/24"),
    ] {
        let key = format!("mtls-injector.io/{list}");
        let expected = around(list).replace("a.example.com", "10.1.2.3");
        check(&[address, (&key, value)], &expected);
    }
}

#[test]
fn the_lists_mean_nothing_without_redirection() {
    let lists = [
        ("mtls-injector.io/excludeInboundPorts", "22"),
        ("traffic.sidecar.istio.io/includeOutboundIPRanges", "*"),
    ];
    for capture in ["hosts", "none"] {
        let mut more = vec![("mtls-injector.io/capture", capture), (INBOUND, "")];
        more.extend(lists);
        let expected = lists.map(|(key, _)| {
            format!("{key} has no effect with capture {capture}; it belongs to capture redirect")
        });
        assert_eq!(warnings(&asking(&more)), expected);
    }
}
