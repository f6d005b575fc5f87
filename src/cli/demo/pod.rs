//! The sample pod: the recorded review with one `egress` line, and what the patch makes of it.

use std::net::SocketAddr;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use mtls_proxy::config::Config;
use serde_json::{Value, json};
use similar::TextDiff;

use super::HOST;

/// Recorded from a real API server; see `tests/fixtures/admission-reviews/README.md`.
const RECORDED: &str =
    include_str!("../../../tests/fixtures/admission-reviews/deployment-article.json");

/// Returns the recorded review of the sample Deployment's pod with the one line that is ours.
pub(super) fn sample_review(external: SocketAddr) -> anyhow::Result<Value> {
    let mut review: Value = serde_json::from_str(RECORDED)?;
    // No resolver knows the name here, so the route says where to dial; the name is still verified.
    let route = json!([{
        "host": HOST,
        "address": external.ip().to_string(),
        "targetPort": external.port(),
    }]);
    let annotations = review.pointer_mut("/request/object/metadata/annotations");
    let annotations = annotations
        .and_then(Value::as_object_mut)
        .context("the recorded pod")?;
    annotations.insert(
        "mtls-injector.io/egress".to_owned(),
        route.to_string().into(),
    );
    Ok(review)
}

/// Returns the annotation that was added, as one would write it.
pub(super) fn asked(review: &Value) -> String {
    let pointer = "/request/object/metadata/annotations/mtls-injector.io~1egress";
    let egress = review
        .pointer(pointer)
        .and_then(Value::as_str)
        .unwrap_or_default();
    format!(
        "its annotations are those of an Istio tutorial, and mtls-injector.io/egress: '{egress}'"
    )
}

/// The pod after the patch.
pub(super) struct InjectedPod {
    before: Value,
    after: Value,
}

impl InjectedPod {
    /// Applies the patch of an answer, as the API server does.
    pub(super) fn from_reply(review: &Value, reply: &Value) -> anyhow::Result<Self> {
        let response = reply
            .get("response")
            .context("the answer has no response")?;
        ensure!(
            response.get("uid") == review.pointer("/request/uid"),
            "another request's answer"
        );
        ensure!(
            response.get("allowed") == Some(&Value::Bool(true)),
            "denied: {response}"
        );
        let patch = response
            .get("patch")
            .and_then(Value::as_str)
            .context("no patch")?;
        let patch: json_patch::Patch = serde_json::from_slice(&STANDARD.decode(patch)?)?;
        let before = review.pointer("/request/object").context("no pod")?.clone();
        let mut after = before.clone();
        json_patch::patch(&mut after, &patch)?;
        Ok(Self { before, after })
    }

    /// Returns the lines that changed, with some around them.
    pub(super) fn diff(&self) -> String {
        let (before, after) = (readable(&self.before), readable(&self.after));
        TextDiff::from_lines(&before, &after)
            .unified_diff()
            .context_radius(2)
            .to_string()
    }

    /// Returns the configuration that reaches the proxy.
    pub(super) fn proxy_config(&self) -> anyhow::Result<Config> {
        let pointer = "/metadata/annotations/mtls-injector.io~1proxy-config";
        let text = self
            .after
            .pointer(pointer)
            .and_then(Value::as_str)
            .context("no proxy-config")?;
        Ok(Config::parse(text)?)
    }

    /// Resolves a name as the pod's /etc/hosts would.
    pub(super) fn resolve(&self, host: &str) -> Option<&str> {
        let aliases = self.after.pointer("/spec/hostAliases")?.as_array()?;
        let names = |alias: &&Value| {
            let names = alias.get("hostnames").and_then(Value::as_array);
            names.is_some_and(|names| names.iter().any(|name| name == host))
        };
        aliases.iter().find(names)?.get("ip")?.as_str()
    }

    /// Returns where the sidecar mounts the files of the Secret.
    pub(super) fn secret_path(&self) -> anyhow::Result<&str> {
        let lists = ["/spec/initContainers", "/spec/containers"];
        let containers = lists
            .iter()
            .filter_map(|list| self.after.pointer(list)?.as_array());
        let sidecar = containers
            .flatten()
            .find(|container| {
                container
                    .get("name")
                    .is_some_and(|name| name == "mtls-proxy")
            })
            .context("the pod has no mtls-proxy")?;
        let mounts = sidecar.get("volumeMounts").and_then(Value::as_array);
        let mount = mounts.into_iter().flatten().find(|mount| {
            mount
                .get("name")
                .is_some_and(|name| name == "external-system-mtls-data")
        });
        mount
            .and_then(|m| m.get("mountPath")?.as_str())
            .context("the Secret is not mounted")
    }
}

/// The pod as YAML, without what only the API server reads.
fn readable(pod: &Value) -> String {
    let mut pod = pod.clone();
    if let Some(metadata) = pod.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    serde_saphyr::to_string(&pod).unwrap_or_else(|_| pod.to_string())
}
