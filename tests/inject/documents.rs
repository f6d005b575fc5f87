//! What becomes of documents: those that ask get the proxy, the others keep every byte.

use std::collections::BTreeSet;
use std::fs;

use serde_json::Value;

use crate::command::{fixtures, inject, injected, manifests};
use crate::goldens::Goldens;

fn fixture(name: &str) -> String {
    fs::read_to_string(fixtures().join("inject").join(name)).unwrap()
}

fn parsed(text: &str) -> Vec<Value> {
    if text.starts_with('{') {
        let values = serde_json::Deserializer::from_str(text).into_iter();
        return values.collect::<Result<_, _>>().unwrap();
    }
    serde_saphyr::from_multiple(text).unwrap()
}

/// Makes the pods of a manifest ask for the proxy; other objects stay away.
fn asking(text: &str) -> Option<(String, String)> {
    let mut object = parsed(text)
        .into_iter()
        .find(|object| object["kind"] != "Service")?;
    let kind = object["kind"].as_str()?.to_owned();
    let template = match kind.as_str() {
        "Pod" => &mut object,
        "CronJob" => &mut object["spec"]["jobTemplate"]["spec"]["template"],
        "Deployment" | "StatefulSet" | "DaemonSet" | "Job" => &mut object["spec"]["template"],
        _ => return None,
    };
    let annotations = &mut template["metadata"]["annotations"];
    annotations["mtls-injector.io/egress"] = "external.example.com".into();
    if annotations
        .get("sidecar.istio.io/userVolumeMount")
        .is_none()
    {
        annotations["mtls-injector.io/secret"] = "external-mtls".into();
    }
    Some((kind, serde_saphyr::to_string(&object).unwrap()))
}

#[test]
fn manifests_that_do_not_ask_keep_every_byte() {
    let mut kept = 0;
    for (name, text) in manifests("objects") {
        if !text.contains("sidecar.istio.io/") {
            assert_eq!(injected(&text), text, "{name}");
            kept += 1;
        }
    }
    assert!(kept >= 5, "only {kept} manifests do not ask");
}

#[test]
fn every_kind_that_asks_gets_the_proxy_once() {
    let mut kinds = BTreeSet::new();
    for (name, text) in manifests("objects") {
        let Some((kind, text)) = asking(&text).filter(|_| name != "pod-host-network.yaml") else {
            continue;
        };
        let once = injected(&text);
        assert_eq!(
            once.matches("name: mtls-proxy\n").count(),
            1,
            "{name}: {once}"
        );
        assert_eq!(injected(&once), once, "{name} changes again");
        kinds.insert(kind);
    }
    let all = [
        "CronJob",
        "DaemonSet",
        "Deployment",
        "Job",
        "Pod",
        "StatefulSet",
    ];
    assert_eq!(kinds.iter().map(String::as_str).collect::<Vec<_>>(), all);
}

#[test]
fn every_fixture_is_injected_once_and_for_all() {
    for (name, text) in manifests("inject") {
        if name == "wrong.yaml" {
            continue;
        }
        let once = injected(&text);
        assert_ne!(once, text, "{name} asks for nothing");
        assert_eq!(injected(&once), once, "{name} changes again");
        assert_eq!(parsed(&once).len(), parsed(&text).len(), "{name}");
    }
}

#[test]
fn every_fixture_has_its_golden_result() {
    let mut goldens = Goldens::below("inject");
    for (name, _) in manifests("inject") {
        let said = inject(&["-f", &format!("inject/{name}")], "");
        goldens.add(&name, said.stdout);
        if !said.stderr.is_empty() {
            goldens.add(&format!("{name}.stderr"), said.stderr);
        }
    }
    goldens.check();
}

#[test]
fn the_documents_between_those_that_ask_keep_every_byte() {
    let text = fixture("stack.yaml");
    let once = injected(&text);
    let untouched = [
        "# A whole application. Documents that nobody asks to change keep every byte.\n",
        "metadata: {name: web, namespace: shop}   # written in one line\n",
        "--- # the one that asks\n# Sales come in here.\napiVersion: apps/v1\n",
        "---\n# Nothing at all.\n---\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: \"0777\"\n",
        "  yes: 'no'\n  mode: 0o17\n  text: |+\n    ---\n    trailing lines\n\n\n---\n",
    ];
    let mut rest = once.as_str();
    for part in untouched {
        assert!(text.contains(part), "{part}");
        let (_, after) = rest
            .split_once(part)
            .unwrap_or_else(|| panic!("{part} is not in {rest}"));
        rest = after;
    }
}

#[test]
fn a_namespace_of_the_input_gives_its_defaults() {
    let once = injected(&fixture("stack.yaml"));
    let deployment = &parsed(&once)[2];
    let volumes = deployment["spec"]["template"]["spec"]["volumes"].to_string();
    assert!(
        volumes.contains("\"secretName\":\"shop-mtls\""),
        "{volumes}"
    );
    let said = inject(&["-f", "-"], &fixture("stack.yaml"));
    assert!(!said.stderr.contains("not known here"), "{}", said.stderr);
}

#[test]
fn what_the_author_wrote_reads_back_the_same() {
    for name in ["scalars.yaml", "anchors.yaml", "list.json", "stack.yaml"] {
        let text = fixture(name);
        let once = injected(&text);
        for (before, after) in parsed(&text).iter().zip(&parsed(&once)) {
            is_kept(before, after, name);
        }
    }
}

/// Everything of `before` is in `after`; lists may only have grown at their end.
fn is_kept(before: &Value, after: &Value, path: &str) {
    match (before, after) {
        (Value::Object(before), Value::Object(after)) => {
            let keys: Vec<_> = after
                .keys()
                .filter(|key| before.contains_key(*key))
                .collect();
            assert_eq!(keys, before.keys().collect::<Vec<_>>(), "order of {path}");
            for (key, value) in before {
                is_kept(value, &after[key], &format!("{path}.{key}"));
            }
        }
        (Value::Array(before), Value::Array(after)) => {
            assert!(after.len() >= before.len(), "{path}");
            for (index, (before, after)) in before.iter().zip(after).enumerate() {
                is_kept(before, after, &format!("{path}[{index}]"));
            }
        }
        // kubectl reads 0400 as an octal number (YAML 1.1), which is written as 256.
        (Value::Number(_), Value::Number(_)) if path.ends_with("defaultMode") => {
            assert_eq!(after, 256, "{path}");
        }
        _ => assert_eq!(before, after, "{path}"),
    }
}

#[test]
fn json_stays_json() {
    let once = injected(&fixture("list.json"));
    let mut values = serde_json::Deserializer::from_str(&once).into_iter::<Value>();
    let list = values.next().unwrap().unwrap();
    let job = &list["items"][1]["spec"]["template"]["spec"];
    assert_eq!(job["containers"][0]["name"], "migrate");
    assert!(job.to_string().contains("mtls-proxy"), "{job}");
    assert!(once.contains("\n    \"items\": [\n        {\n"), "{once}");
    assert!(once.ends_with("\"data\": {\"a\":   \"b\"}}\n"), "{once}");
}

#[test]
fn every_mistake_is_named_with_its_place_and_nothing_is_written() {
    let said = inject(&["-f", "inject/wrong.yaml"], "");
    assert_eq!(said.code, 1);
    assert_eq!(said.stdout, "");
    let expected = [
        "error: inject/wrong.yaml: document 1: Pod default/misspelt: mtls-injector.io/egres: ",
        "error: inject/wrong.yaml: document 1: Pod default/misspelt: mtls-injector.io/inbound: ",
        "error: inject/wrong.yaml: document 2: is not YAML: ",
        "error: inject/wrong.yaml: document 4: is not a Kubernetes object",
        "error: inject/wrong.yaml: document 5: CronJob shop/report (spec.jobTemplate.spec.template): \
         mtls-injector.io/egress[0]: ",
        "error: inject/wrong.yaml: document 6: Pod default/bare: spec: is missing",
    ];
    let errors: Vec<_> = said
        .stderr
        .lines()
        .filter(|line| line.starts_with("error"))
        .collect();
    assert_eq!(errors.len(), expected.len(), "{}", said.stderr);
    for (error, expected) in errors.iter().zip(expected) {
        assert!(error.starts_with(expected), "{error}\n{expected}");
    }
    assert!(errors[2].contains("line 13"), "{}", errors[2]);
    let warning = "warning: inject/wrong.yaml: document 3: Deployment shop/misplaced (spec.template): \
                   mtls-injector.io/egress on the Deployment itself means nothing; it belongs to \
                   spec.template.metadata.annotations";
    assert!(
        said.stderr.lines().any(|line| line == warning),
        "{}",
        said.stderr
    );
}

/// A pod that asks for capture by the kernel, and what stands beside it.
fn redirecting(beside: &str, annotations: &str) -> String {
    format!(
        "{beside}---\napiVersion: v1\nkind: Pod\nmetadata:\n  name: app\n  namespace: shop\n  annotations:\n    \
         mtls-injector.io/capture: redirect\n    mtls-injector.io/secret: certs\n    {annotations}\nspec:\n  \
         containers:\n  - name: app\n    image: app:1\n    ports: [{{containerPort: 8080}}]\n"
    )
}

#[test]
fn a_namespace_among_the_manifests_says_whether_the_kernel_may_redirect() {
    let namespace = |level: &str| {
        format!(
            "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  labels: {{pod-security.kubernetes.io/enforce: {level}}}\n"
        )
    };
    let egress = "mtls-injector.io/egress: external.system.com";
    let said = inject(&["-f", "-"], &redirecting(&namespace("baseline"), egress));
    assert_eq!((said.code, said.stdout.as_str()), (1, ""));
    let expected = "error: stdin: document 2: Pod shop/app: mtls-injector.io/capture: \"redirect\" needs the capability NET_ADMIN, which namespace \"shop\" forbids by its label pod-security.kubernetes.io/enforce=baseline; use capture hosts, or label the namespace privileged\n";
    assert_eq!(said.stderr, expected);
    let text = injected(&redirecting(&namespace("privileged"), egress));
    let pod = parsed(&text).pop().unwrap();
    assert_eq!(pod["spec"]["initContainers"][0]["name"], "mtls-init");
    assert_eq!(injected(&text), text, "a second run changes nothing");
}

#[test]
fn a_policy_of_istio_decides_over_redirected_ports() {
    let strict = "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\nmetadata: {name: default, namespace: shop}\nspec: {mtls: {mode: STRICT}}\n---\n\
                  apiVersion: v1\nkind: Namespace\nmetadata: {name: shop}\n";
    let inbound = "mtls-injector.io/inbound: '[{port: 8080, targetPort: 8080, mode: PERMISSIVE}]'";
    let pod = parsed(&injected(&redirecting(strict, inbound)))
        .pop()
        .unwrap();
    let config = &pod["metadata"]["annotations"]["mtls-injector.io/proxy-config"];
    let config = mtls_proxy::config::Config::parse(config.as_str().unwrap()).unwrap();
    assert_eq!(
        config.inbound[0].mode,
        mtls_proxy::config::InboundMode::Strict
    );
    assert!(config.redirect.is_some());
    // Redirected or not, a port without an entry asks nobody for a certificate.
    let all = "traffic.sidecar.istio.io/includeInboundPorts: '*'";
    let said = inject(&["-f", "-"], &redirecting(strict, all));
    let expected = "asks for STRICT, but port 8080 of the application is reached without the proxy";
    assert!(said.stderr.contains(expected), "{}", said.stderr);
}
