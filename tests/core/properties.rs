//! What holds for every pod and every byte.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mtls_injector::admit::{admit, inject_pod};
use mtls_injector::config::{Config, NativeSidecars};
use mtls_injector::decision::{Decision, SkipReason};
use mtls_injector::patch;
use mtls_injector::review::Pod;
use mtls_injector::sidecar::Status;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::pods::Offline;
use crate::reviews::{recorded, with_egress};

fn config(native: bool) -> Config {
    let native_sidecars = if native {
        NativeSidecars::On
    } else {
        NativeSidecars::Off
    };
    Config {
        native_sidecars,
        ..Config::default()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn any_bytes_are_answered_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..512)) {
        let _answer = admit(&Config::default(), &Offline, &bytes);
    }

    #[test]
    fn a_damaged_review_is_answered_or_refused(
        which in 0..15_usize,
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let review = with_egress(recorded().swap_remove(which).1);
        let mut bytes = serde_json::to_vec(&review).unwrap();
        for (at, byte) in edits {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(at) = cut {
            bytes.truncate(at.index(bytes.len()));
        }
        let _answer = admit(&Config::default(), &Offline, &bytes);
    }

    #[test]
    fn a_review_with_any_value_anywhere_in_its_pod_is_answered(
        which in 0..15_usize,
        at in any::<prop::sample::Index>(),
        value in json_value(),
    ) {
        let mut review = with_egress(recorded().swap_remove(which).1);
        let object = &mut review["request"]["object"];
        let pointers = pointers(object, "");
        *object.pointer_mut(&pointers[at.index(pointers.len())]).unwrap() = value;
        let bytes = serde_json::to_vec(&review).unwrap();
        let admission = admit(&Config::default(), &Offline, &bytes).unwrap();
        let reply: Value = serde_json::from_slice(&admission.reply).unwrap();
        prop_assert_eq!(&reply["response"]["uid"], &review["request"]["uid"]);
        let patch = reply["response"]["patch"].as_str().unwrap_or_default();
        let patch = STANDARD.decode(patch).unwrap();
        if !patch.is_empty() {
            let patch: json_patch::Patch = serde_json::from_slice(&patch).unwrap();
            let fits = json_patch::patch(&mut review["request"]["object"], &patch);
            prop_assert!(fits.is_ok(), "{:?}", fits);
        }
    }

    #[test]
    fn any_annotation_is_taken_or_denied_with_one_line_for_each_mistake(
        key in prop::sample::select(KEYS),
        value in any_text(),
    ) {
        let pod = json!({
            "metadata": {"annotations": {key: value, "mtls-injector.io/inject": "true"}},
            "spec": {"containers": [{"name": "app"}]},
        });
        let outcome = inject_pod(&Config::default(), &Offline, "shop", &pod);
        if let Decision::Deny(denial) = outcome.decision {
            let lines = denial.mistakes().iter().count();
            let text = denial.mistakes().to_string();
            prop_assert_eq!(text.lines().count(), lines, "a mistake breaks its line: {}", text);
        }
    }

    #[test]
    fn the_users_part_stays_byte_equal_and_a_second_run_finds_nothing_to_do(
        pod in pod(),
        native in any::<bool>(),
    ) {
        let config = config(native);
        let outcome = inject_pod(&config, &Offline, "shop", &pod);
        prop_assert_eq!(&outcome.decision, &Decision::Inject, "{}", outcome.decision);
        let mut patched = pod.clone();
        json_patch::patch(&mut patched, &outcome.patch).unwrap();
        for list in ["containers", "initContainers", "volumes", "hostAliases"] {
            let (before, after) = (texts(&pod, list), texts(&patched, list));
            let kept: Vec<_> = after.into_iter().filter(|item| before.contains(item)).collect();
            prop_assert_eq!(before, kept, "{}", list);
        }
        nothing_is_left_to_do(&config, &patched)?;
    }

    #[test]
    fn redirection_changes_how_probes_ask_and_the_removal_restores_every_byte(
        pod in probed_pod(),
        native in any::<bool>(),
    ) {
        let config = config(native);
        let outcome = inject_pod(&config, &Offline, "shop", &pod);
        prop_assert_eq!(&outcome.decision, &Decision::Inject, "{}", outcome.decision);
        let mut patched = pod.clone();
        json_patch::patch(&mut patched, &outcome.patch).unwrap();
        nothing_is_left_to_do(&config, &patched)?;
        let theirs = |text: &String| !text.contains(r#""name":"mtls-proxy""#);
        let unprobed = |pod: &Value| -> Vec<String> {
            let mut pod = pod.clone();
            for container in pod["spec"]["containers"].as_array_mut().unwrap() {
                container.as_object_mut().unwrap().retain(|key, _| !key.ends_with("Probe"));
            }
            texts(&pod, "containers").into_iter().filter(theirs).collect()
        };
        prop_assert_eq!(unprobed(&pod), unprobed(&patched));
        let status = patched["metadata"]["annotations"]["mtls-injector.io/status"].as_str();
        let status = Status::parse(status.unwrap()).unwrap();
        let removal = patch::removal(Pod::new(&patched), &status);
        json_patch::patch(&mut patched, &removal).unwrap();
        for list in ["containers", "initContainers", "volumes", "hostAliases"] {
            prop_assert_eq!(texts(&pod, list), texts(&patched, list), "{}", list);
        }
    }
}

/// The items of a list, byte for byte.
fn texts(pod: &Value, list: &str) -> Vec<String> {
    let items = pod["spec"][list].as_array().cloned().unwrap_or_default();
    items.iter().map(ToString::to_string).collect()
}

fn nothing_is_left_to_do(config: &Config, patched: &Value) -> Result<(), TestCaseError> {
    let again = inject_pod(config, &Offline, "shop", patched);
    prop_assert_eq!(again.decision, Decision::Skip(SkipReason::AlreadyInjected));
    prop_assert!(again.patch.0.is_empty());
    Ok(())
}

const KEYS: &[&str] = &[
    "mtls-injector.io/inject",
    "mtls-injector.io/secret",
    "mtls-injector.io/egress",
    "mtls-injector.io/inbound",
    "mtls-injector.io/userVolume",
    "mtls-injector.io/userVolumeMount",
    "mtls-injector.io/capture",
    "mtls-injector.io/includeInboundPorts",
    "mtls-injector.io/excludeOutboundIPRanges",
    "traffic.sidecar.istio.io/includeOutboundPorts",
    "mtls-injector.io/proxyImage",
    "mtls-injector.io/proxyCPU",
    "mtls-injector.io/proxyMemoryLimit",
    "mtls-injector.io/logLevel",
    "mtls-injector.io/nativeSidecar",
    "mtls-injector.io/terminationDrainDuration",
    "mtls-injector.io/status",
    "mtls-injector.io/unheard-of",
    "sidecar.istio.io/userVolume",
    "proxy.istio.io/config",
];

/// Text that looks like something, and text that looks like nothing.
fn any_text() -> impl Strategy<Value = String> {
    let shaped = json_value().prop_map(|value| value.to_string());
    let fragments = prop::sample::select(
        &[
            "[", "{", "- host: ", "a.b", ":", ",", "80", "\n", "\"", "~", "/", "\0", "é", "*", " ",
        ][..],
    );
    let mixed = prop::collection::vec(fragments, 0..16).prop_map(|parts| parts.concat());
    prop_oneof![any::<String>(), shaped, mixed]
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    let name = prop::sample::select(
        &[
            "name",
            "host",
            "port",
            "tls",
            "secret",
            "secretName",
            "mountPath",
            "items",
            "x",
            "a\nb",
        ][..],
    );
    leaf.prop_recursive(4, 32, 5, move |inner| {
        let object = prop::collection::vec((name.clone(), inner.clone()), 0..5);
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(Value::from),
            object.prop_map(|entries| {
                let named = entries
                    .into_iter()
                    .map(|(name, value)| (name.to_owned(), value));
                named.collect()
            }),
        ]
    })
}

/// A pod that asks for mutual TLS, with whatever else a pod may have.
fn pod() -> impl Strategy<Value = Value> {
    let container = (0..1000_u32, json_value())
        .prop_map(|(n, extra)| json!({"name": format!("c{n}"), "image": "i", "extra": extra}));
    let containers = prop::collection::vec(container, 0..4).boxed();
    let volumes = prop::option::of(prop::collection::vec(
        (0..1000_u32).prop_map(|n| json!({"name": format!("v{n}"), "emptyDir": {}})),
        0..4,
    ));
    let aliases = prop::option::of(Just(json!([{"ip": "10.0.0.1", "hostnames": ["other"]}])));
    let init = prop::option::of(containers.clone());
    (containers, init, volumes, aliases, ".{0,20}").prop_map(
        |(containers, init, volumes, aliases, text)| {
            json!({
                "metadata": {"annotations": {
                    "mtls-injector.io/egress": "a.example.com,b.example.com",
                    "mtls-injector.io/inbound": "8443:8080",
                    "mtls-injector.io/secret": "certs",
                    "other/key~": text,
                }},
                "spec": {
                    "containers": containers,
                    "initContainers": init,
                    "volumes": volumes,
                    "hostAliases": aliases,
                },
            })
        },
    )
}

/// A pod that asks for capture by the kernel, whose containers are probed in every way.
fn probed_pod() -> impl Strategy<Value = Value> {
    let port = || prop::sample::select(&[8080, 8443, 9090, 9999][..]);
    let handler = prop_oneof![
        (port(), "[/a-z ?]{0,6}")
            .prop_map(|(port, path)| ("httpGet", json!({"path": path, "port": port}))),
        (port(), json_value())
            .prop_map(|(port, x)| ("httpGet", json!({"scheme": "HTTPS", "x": x, "port": port}))),
        Just(("httpGet", json!({"port": "web", "httpHeaders": []}))),
        port().prop_map(|port| ("tcpSocket", json!({"port": port}))),
        port().prop_map(|port| ("grpc", json!({"service": "s", "port": port}))),
        Just(("exec", json!({"command": []}))),
    ];
    let probe =
        (handler, json_value(), any::<bool>()).prop_map(|((field, handler), extra, first)| {
            let entries = [
                (field, handler),
                ("periodSeconds", 9.into()),
                ("extra", extra),
            ];
            let named = entries.map(|(key, value)| (key.to_owned(), value));
            let mut fields: Vec<_> = named.into();
            if !first {
                fields.rotate_left(1);
            }
            Value::Object(fields.into_iter().collect())
        });
    let keys = prop::sample::select(&["livenessProbe", "readinessProbe", "startupProbe"][..]);
    let probes = prop::collection::vec((keys, probe), 0..4);
    let containers = prop::collection::vec((probes, json_value()), 1..4).prop_map(|all| {
        let numbered = all.into_iter().enumerate();
        let containers = numbered.map(|(index, (probes, extra))| {
            let mut container = json!({"name": format!("c{index}"), "extra": extra});
            container["ports"] = json!([{"name": "web", "containerPort": 8080}]);
            for (key, probe) in probes {
                container[key] = probe;
            }
            container
        });
        containers.collect::<Vec<_>>()
    });
    (containers, any::<bool>()).prop_map(|(containers, all)| {
        json!({
            "metadata": {"annotations": {
                "mtls-injector.io/capture": "redirect",
                "mtls-injector.io/inbound": "8443:8080",
                "mtls-injector.io/secret": "certs",
                "mtls-injector.io/includeInboundPorts": if all { "*" } else { "9090" },
            }},
            "spec": {"containers": containers, "initContainers": [{"name": "first"}]},
        })
    })
}

/// Every place in a value.
fn pointers(value: &Value, at: &str) -> Vec<String> {
    let mut all = vec![at.to_owned()];
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let key = key.replace('~', "~0").replace('/', "~1");
                all.extend(pointers(value, &format!("{at}/{key}")));
            }
        }
        Value::Array(items) => {
            for (index, value) in items.iter().enumerate() {
                all.extend(pointers(value, &format!("{at}/{index}")));
            }
        }
        _ => {}
    }
    all
}
