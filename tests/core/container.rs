//! The proxy's container: resources, image, place and end.

use mtls_injector::config::{ClusterVersion, Config, NativeSidecars, Resources};
use serde_json::json;

use crate::pods::{
    EGRESS, SECRET, applied, container, denied, injected, pod_with, proxy_config, warned,
};

#[test]
fn each_resource_wish_replaces_its_own_field_only() {
    let resources = |wishes: &[(&str, &str)]| {
        let keys: Vec<_> = wishes
            .iter()
            .map(|(key, value)| (format!("mtls-injector.io/{key}"), *value))
            .collect();
        let mut annotations: Vec<_> = keys
            .iter()
            .map(|(key, value)| (key.as_str(), *value))
            .collect();
        annotations.push(("mtls-injector.io/inject", "true"));
        container(&injected(&annotations))["resources"].clone()
    };
    assert_eq!(
        resources(&[]),
        json!({"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}})
    );
    assert_eq!(
        resources(&[("proxyCPU", "20m")]),
        json!({"requests": {"cpu": "20m", "memory": "16Mi"}, "limits": {"memory": "64Mi"}})
    );
    assert_eq!(
        resources(&[("proxyCPULimit", "5m"), ("proxyMemoryLimit", "1Gi")]),
        json!({"requests": {"cpu": "5m", "memory": "16Mi"}, "limits": {"cpu": "5m", "memory": "1Gi"}})
    );
    assert_eq!(
        resources(&[("proxyMemory", "128Mi")]),
        json!({"requests": {"cpu": "10m", "memory": "128Mi"}, "limits": {"memory": "128Mi"}})
    );
}

#[test]
fn a_default_limit_gives_way_to_a_request_and_a_wished_one_contradicts_it() {
    assert_eq!(
        warned(&[
            ("mtls-injector.io/proxyMemory", "128Mi"),
            (EGRESS, "a.example.com"),
            (SECRET, "certs")
        ]),
        [
            "mtls-injector.io/proxyMemory: 128Mi is not below the default memory limit, which is raised to it"
        ]
    );
    assert_eq!(
        denied(&[
            ("sidecar.istio.io/proxyCPU", "2"),
            ("mtls-injector.io/proxyCPULimit", "1500m"),
            ("mtls-injector.io/inject", "true")
        ]),
        [
            r#"sidecar.istio.io/proxyCPU: "2" is above the limit 1500m of mtls-injector.io/proxyCPULimit"#
        ]
    );
}

#[test]
fn the_container_is_as_the_configuration_and_the_pod_want_it() {
    let config = Config {
        proxy_image: "mirror.example.com/proxy:2".to_owned(),
        proxy_user: None,
        resources: Resources {
            memory_limit: None,
            ..Resources::default()
        },
        ..Config::default()
    };
    let pod = applied(&config, &pod_with(&[("mtls-injector.io/inject", "true")]));
    assert_eq!(container(&pod)["image"], "mirror.example.com/proxy:2");
    assert_eq!(container(&pod)["securityContext"].get("runAsUser"), None);
    assert_eq!(container(&pod)["securityContext"]["runAsNonRoot"], true);
    assert_eq!(container(&pod)["resources"].get("limits"), None);
    let pod = pod_with(&[
        ("sidecar.istio.io/proxyImage", "other:3"),
        ("sidecar.istio.io/inject", "true"),
    ]);
    assert_eq!(container(&applied(&config, &pod))["image"], "other:3");
}

#[test]
fn native_or_classic_follows_the_pod_then_the_configuration_then_the_cluster() {
    let place = |sidecars: NativeSidecars, wish: Option<&str>| {
        let config = Config {
            native_sidecars: sidecars,
            ..Config::default()
        };
        let mut annotations = vec![("mtls-injector.io/inject", "true")];
        annotations.extend(wish.map(|wish| ("mtls-injector.io/nativeSidecar", wish)));
        let mut pod = pod_with(&annotations);
        pod["spec"]["initContainers"] = json!([{"name": "init"}]);
        let pod = applied(&config, &pod);
        let names = |list: &str| -> Vec<String> {
            let containers = pod["spec"][list].as_array().unwrap().iter();
            containers
                .map(|container| container["name"].as_str().unwrap().to_owned())
                .collect()
        };
        (names("initContainers"), names("containers"))
    };
    let own = |names: &[&str]| {
        names
            .iter()
            .map(|name| (*name).to_owned())
            .collect::<Vec<_>>()
    };
    let native = (own(&["mtls-proxy", "init"]), own(&["app"]));
    let classic = (own(&["init"]), own(&["app", "mtls-proxy"]));
    let old = NativeSidecars::Auto(Some(ClusterVersion {
        major: 1,
        minor: 28,
    }));
    assert_eq!(place(NativeSidecars::On, None), native);
    assert_eq!(place(NativeSidecars::Off, None), classic);
    assert_eq!(place(old, None), classic);
    assert_eq!(place(NativeSidecars::Auto(None), None), native);
    assert_eq!(place(NativeSidecars::On, Some("false")), classic);
    assert_eq!(place(old, Some("true")), native);
}

#[test]
fn the_drain_ends_before_the_pods_grace_period() {
    let drain = |grace: Option<u64>, annotations: &[(&str, &str)]| {
        let mut all = vec![("mtls-injector.io/inject", "true")];
        all.extend(annotations);
        let mut pod = pod_with(&all);
        if let Some(grace) = grace {
            pod["spec"]["terminationGracePeriodSeconds"] = grace.into();
        }
        proxy_config(&applied(&Config::default(), &pod))
            .termination_drain_duration
            .to_string()
    };
    assert_eq!(drain(None, &[]), "25s");
    assert_eq!(drain(Some(60), &[]), "55s");
    assert_eq!(drain(Some(3), &[]), "0s");
    let own = ("mtls-injector.io/terminationDrainDuration", "7s");
    let istio = ("proxy.istio.io/config", "terminationDrainDuration: 8s");
    assert_eq!(drain(None, &[istio]), "8s");
    assert_eq!(drain(None, &[own, istio]), "7s");
}

#[test]
fn a_classic_proxy_can_hold_the_application_until_it_is_ready() {
    let config = Config {
        native_sidecars: NativeSidecars::Off,
        ..Config::default()
    };
    let hold = (
        "proxy.istio.io/config",
        "{holdApplicationUntilProxyStarts: true}",
    );
    let pod = pod_with(&[("mtls-injector.io/inject", "true"), hold]);
    let patched = applied(&config, &pod);
    let containers = patched["spec"]["containers"].as_array().unwrap();
    assert_eq!(containers[0]["name"], "mtls-proxy");
    assert_eq!(containers[1]["name"], "app");
    assert_eq!(
        containers[0]["lifecycle"],
        json!({"postStart": {"exec": {"command": ["/usr/local/bin/mtls-proxy", "wait"]}}})
    );
    let native = applied(&Config::default(), &pod);
    assert_eq!(
        container(&native).get("lifecycle"),
        None,
        "startup probes hold it"
    );
}
