//! What the tests of the pure core share: pods, namespaces, and what became of them.

use mtls_injector::admit::{Namespaces, Outcome, inject_pod};
use mtls_injector::config::Config;
use mtls_injector::decision::Decision;
use mtls_proxy::config as proxy;
use serde_json::{Map, Value, json};

/// A cluster of which nothing is known.
pub(crate) struct Offline;

impl Namespaces for Offline {
    fn annotations(&self, _namespace: &str) -> Option<Map<String, Value>> {
        None
    }
}

/// A cluster in which every namespace bears these annotations.
pub(crate) struct Defaults(pub(crate) Vec<(&'static str, &'static str)>);

impl Namespaces for Defaults {
    fn annotations(&self, _namespace: &str) -> Option<Map<String, Value>> {
        let annotations = self.0.iter();
        Some(
            annotations
                .map(|(key, value)| ((*key).to_owned(), (*value).into()))
                .collect(),
        )
    }
}

/// A cluster in which every namespace bears these labels and no annotations.
pub(crate) struct Labelled(pub(crate) Vec<(&'static str, &'static str)>);

impl Namespaces for Labelled {
    fn annotations(&self, _namespace: &str) -> Option<Map<String, Value>> {
        Some(Map::new())
    }

    fn labels(&self, _namespace: &str) -> Option<Map<String, Value>> {
        let labels = self.0.iter();
        Some(
            labels
                .map(|(key, value)| ((*key).to_owned(), (*value).into()))
                .collect(),
        )
    }
}

/// A pod with one container and these annotations.
pub(crate) fn pod_with(annotations: &[(&str, &str)]) -> Value {
    let annotations: Map<String, Value> = annotations
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).into()))
        .collect();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "app", "annotations": annotations},
        "spec": {"containers": [{"name": "app", "image": "app:1"}]},
    })
}

/// What becomes of a pod in the namespace `shop`.
pub(crate) fn outcome_with(config: &Config, namespaces: &dyn Namespaces, pod: &Value) -> Outcome {
    inject_pod(config, namespaces, "shop", pod)
}

/// The lines of a denial.
pub(crate) fn denial(config: &Config, pod: &Value) -> Vec<String> {
    match outcome_with(config, &Offline, pod).decision {
        Decision::Deny(denial) => denial.mistakes().iter().map(ToString::to_string).collect(),
        other => panic!("not denied: {other:?}"),
    }
}

/// The pod after its patch; it must be injected.
pub(crate) fn applied(config: &Config, pod: &Value) -> Value {
    let outcome = outcome_with(config, &Offline, pod);
    assert_eq!(outcome.decision, Decision::Inject, "{}", outcome.decision);
    let mut patched = pod.clone();
    json_patch::patch(&mut patched, &outcome.patch).unwrap();
    patched
}

pub(crate) const REDIRECT: (&str, &str) = ("mtls-injector.io/capture", "redirect");
pub(crate) const EGRESS: &str = "mtls-injector.io/egress";
pub(crate) const INBOUND: &str = "mtls-injector.io/inbound";
pub(crate) const SECRET: &str = "mtls-injector.io/secret";

/// A pod with these annotations after its patch, by the default configuration.
pub(crate) fn injected(annotations: &[(&str, &str)]) -> Value {
    applied(&Config::default(), &pod_with(annotations))
}

/// The lines of the denial of a pod with these annotations.
pub(crate) fn denied(annotations: &[(&str, &str)]) -> Vec<String> {
    denial(&Config::default(), &pod_with(annotations))
}

/// The warnings about a pod with these annotations, in a namespace that has none.
pub(crate) fn warned(annotations: &[(&str, &str)]) -> Vec<String> {
    let pod = pod_with(annotations);
    outcome_with(&Config::default(), &Defaults(vec![]), &pod).warnings
}

/// The configuration that the proxy will read, as the proxy reads it.
pub(crate) fn proxy_config(pod: &Value) -> proxy::Config {
    let text = pod["metadata"]["annotations"]["mtls-injector.io/proxy-config"].as_str();
    let config = proxy::Config::parse(text.unwrap()).unwrap();
    assert_eq!(
        config.render(),
        text.unwrap(),
        "the rendering is not stable"
    );
    config
}

/// The proxy's container in a pod with a native sidecar.
pub(crate) fn container(pod: &Value) -> &Value {
    &pod["spec"]["initContainers"][0]
}
