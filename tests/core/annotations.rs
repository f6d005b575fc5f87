//! Each annotation with a right value, and with every sort of wrong one: what becomes of the pod is a
//! golden file for each key.

use std::fmt::Write as _;

use mtls_injector::annotations::Key;
use mtls_injector::config::Config;
use mtls_injector::decision::Decision;

use crate::goldens::Goldens;
use crate::pods::{Defaults, outcome_with, pod_with};

#[test]
fn each_annotation_has_its_golden_outcomes() {
    let mut goldens = Goldens::below("annotations");
    let own = Key::ALL.iter().map(|key| (key.name(), valid(*key)));
    let istio = Key::ALL
        .iter()
        .filter_map(|key| Some((key.istio()?, valid(*key))));
    let config = (
        "proxy.istio.io/config",
        "holdApplicationUntilProxyStarts: true",
    );
    let unknown = ("mtls-injector.io/unheard-of", "x");
    for (key, valid) in own.chain(istio).chain([config, unknown]) {
        let mut text = String::new();
        for (case, value) in cases(valid) {
            writeln!(text, "== {case}: {}", shown(&value)).unwrap();
            text.push_str(&outcome(key, &value));
        }
        goldens.add(&format!("{}.txt", key.replace('/', "_")), text);
    }
    goldens.check();
}

fn valid(key: Key) -> &'static str {
    match key {
        Key::Inject | Key::NativeSidecar => "true",
        Key::Secret => "certs:/certs",
        Key::Egress => "- host: a.example.com\n  port: 8080\n  timeouts: {connect: 1s}",
        Key::Inbound => "8443:8080",
        Key::UserVolume => r#"{"v":{"configMap":{"name":"c"}}}"#,
        Key::UserVolumeMount => r#"[{"name":"data","mountPath":"/data","readonly":true}]"#,
        Key::Capture => "none",
        Key::IncludeInboundPorts | Key::IncludeOutboundPorts => "9090, 9091",
        Key::ExcludeInboundPorts | Key::ExcludeOutboundPorts => "2222",
        Key::IncludeOutboundIpRanges | Key::ExcludeOutboundIpRanges => "10.0.0.0/8,fd00::1",
        Key::ProxyImage => "registry.example.com/proxy@sha256:0123",
        Key::ProxyCpu | Key::ProxyCpuLimit => "100m",
        Key::ProxyMemory | Key::ProxyMemoryLimit => "32Mi",
        Key::LogLevel => "debug",
        Key::TerminationDrainDuration => "10s",
        Key::Status => r#"{"version":"0.0.1","configHash":""}"#,
        Key::ProxyConfig => "{}",
    }
}

fn cases(valid: &str) -> Vec<(&'static str, String)> {
    let texts = [
        ("valid", valid),
        ("empty", ""),
        ("junk", "!?{[&*"),
        ("quotes", "\"it's\""),
        ("newline", "a\nb: c\r\nd"),
        ("unicode", "żółw.例え\u{202e}"),
        ("tilde", "~"),
        ("slash", "/"),
    ];
    let mut cases: Vec<_> = texts.map(|(case, text)| (case, text.to_owned())).into();
    cases.push(("huge", "[".repeat(200 * 1024)));
    cases.push(("deep", "{\"a\":".repeat(10_000)));
    cases
}

fn outcome(key: &str, value: &str) -> String {
    let mut annotations = vec![("mtls-injector.io/inject", "true")];
    if key != "mtls-injector.io/secret" {
        annotations.push(("mtls-injector.io/secret", "certs"));
    }
    annotations
        .retain(|(other, _)| !(*other == "mtls-injector.io/inject" && key.ends_with("/inject")));
    if key.ends_with("Ports") || key.ends_with("IPRanges") {
        annotations.push(("mtls-injector.io/capture", "redirect"));
    }
    annotations.push((key, value));
    let mut pod = pod_with(&annotations);
    pod["spec"]["volumes"] = serde_json::json!([{"name": "data", "emptyDir": {}}]);
    let outcome = outcome_with(&Config::default(), &Defaults(vec![]), &pod);
    let mut text = match outcome.decision {
        Decision::Deny(denial) => denial.mistakes().to_string(),
        other => other.to_string(),
    };
    for warning in &outcome.warnings {
        write!(text, "\nwarning: {warning}").unwrap();
    }
    for operation in &outcome.patch.0 {
        let operation = serde_json::to_value(operation).unwrap();
        let path = operation["path"].as_str().unwrap();
        // The hash in the status follows from everything else.
        let value = match operation["value"].as_str() {
            Some(text) if !path.ends_with("status") => text.to_owned(),
            _ if path.contains("ontainers") => brief(&operation["value"]),
            _ => String::new(),
        };
        write!(text, "\n{path} {value}").unwrap();
    }
    text + "\n\n"
}

/// The parts of a container that annotations change.
fn brief(container: &serde_json::Value) -> String {
    let container = container.get(0).unwrap_or(container);
    let part = |key: &str| container[key].to_string();
    format!(
        "{} {} {}",
        part("image"),
        part("resources"),
        part("volumeMounts")
    )
}

fn shown(value: &str) -> String {
    let start: String = value.chars().take(60).collect();
    match value.len() - start.len() {
        0 => format!("{start:?}"),
        more => format!("{start:?} and {more} more bytes"),
    }
}
