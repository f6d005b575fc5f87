//! What is said about Secrets that are missing or lack a key, where the cluster can tell.

use std::collections::BTreeMap;

use mtls_injector::admit::{Namespaces, admit};
use mtls_injector::cluster::secrets::SecretKeys;
use mtls_injector::config::Config;
use serde_json::{Map, Value, json};

use crate::pods::{EGRESS, INBOUND, SECRET, pod_with};

/// A cluster with these Secrets in every namespace.
struct Cluster(&'static [(&'static str, &'static [&'static str])]);

impl Namespaces for Cluster {
    fn annotations(&self, _namespace: &str) -> Option<Map<String, Value>> {
        Some(Map::new())
    }

    fn secret_keys(&self, namespace: &str, names: &[&str]) -> BTreeMap<String, SecretKeys> {
        assert_eq!(namespace, "shop");
        let keys = |name: &str| match self.0.iter().find(|(known, _)| *known == name) {
            _ if name == "hidden" => SecretKeys::Unknown,
            Some((_, keys)) => {
                SecretKeys::Present(keys.iter().map(|key| (*key).to_owned()).collect())
            }
            None => SecretKeys::Missing,
        };
        names
            .iter()
            .map(|name| ((*name).to_owned(), keys(name)))
            .collect()
    }
}

const CLUSTER: Cluster = Cluster(&[
    ("article", &["cacert", "cert", "key"]),
    ("tls", &["tls.crt", "tls.key"]),
    ("mixed", &["cert", "tls.key"]),
    ("empty", &[]),
    ("store", &["client.p12"]),
]);

/// What is said about the Secrets of a pod with these annotations and volumes.
fn said(annotations: &[(&str, &str)], volumes: Value) -> Vec<String> {
    let mut pod = pod_with(annotations);
    pod["spec"]["volumes"] = volumes;
    let review = json!({
        "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
        "request": {
            "uid": "1", "operation": "CREATE", "namespace": "shop", "object": pod,
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
        },
    });
    let admission = admit(&Config::default(), &CLUSTER, review.to_string().as_bytes()).unwrap();
    assert_eq!(admission.decision.label(), "inject", "{admission:?}");
    let warnings = admission.warnings.into_iter();
    warnings
        .filter(|warning| warning.starts_with("Secret "))
        .collect()
}

fn about(secret: &str) -> Vec<String> {
    said(
        &[(EGRESS, "a.example.com"), (SECRET, secret)],
        Value::Array(vec![]),
    )
}

const NO_PAIR: &str = "lacks what the proxy needs: cert and key, or tls.crt and tls.key";

#[test]
fn a_secret_of_the_pod_must_be_there_with_a_certificate_and_its_key() {
    assert_eq!(about("article"), [""; 0]);
    assert_eq!(about("tls"), [""; 0]);
    assert_eq!(about("hidden"), [""; 0]);
    assert_eq!(about("mixed"), [format!("Secret \"mixed\" {NO_PAIR}")]);
    assert_eq!(
        about("empty:/certs"),
        [format!("Secret \"empty\" {NO_PAIR}")]
    );
    assert_eq!(
        about("nowhere"),
        [
            "Secret \"nowhere\" does not exist in namespace \"shop\": the pod's containers wait until it does"
        ]
    );
}

#[test]
fn a_route_asks_its_own_secret() {
    let routes = "[{host: a.example.com, secret: mixed}, {host: b.example.com, secret: article}]";
    assert_eq!(
        said(&[(EGRESS, routes)], json!([])),
        [format!("Secret \"mixed\" {NO_PAIR}")]
    );
    let simple = "[{host: a.example.com, secret: empty, tls: {mode: SIMPLE}}]";
    assert_eq!(said(&[(EGRESS, simple)], json!([])), [""; 0]);
}

#[test]
fn whoever_verifies_clients_needs_a_ca() {
    let inbound = |mode: &str| {
        let port = format!("[{{port: 8443, targetPort: 8080, mode: {mode}}}]");
        said(&[(INBOUND, &port), (SECRET, "tls")], json!([]))
    };
    for mode in ["STRICT", "PERMISSIVE", "OPTIONAL_MUTUAL"] {
        assert_eq!(
            inbound(mode),
            ["Secret \"tls\" lacks what the proxy needs: cacert, or ca.crt"],
            "{mode}"
        );
    }
    assert_eq!(inbound("SIMPLE"), [""; 0]);
    assert_eq!(inbound("DISABLE"), [""; 0]);
}

#[test]
fn files_of_a_volume_are_asked_for_by_the_keys_that_they_come_from() {
    let mounts =
        |at: &str, more: &str| format!("[{{\"name\":\"v\",\"mountPath\":\"{at}\"{more}}}]");
    let check = |volume: Value, mount: &str, tls: &str| {
        let route = format!("[{{host: a.example.com, tls: {tls}}}]");
        let annotations = [
            (EGRESS, &*route),
            ("mtls-injector.io/userVolumeMount", mount),
        ];
        said(&annotations, json!([volume]))
    };
    let files = "{clientCertificate: /c/cert, privateKey: /c/pem, caCertificates: /c/cacert}";
    let article = json!({"name": "v", "secret": {"secretName": "article"}});
    let lacks_pem = ["Secret \"article\" lacks what the proxy needs: pem"];
    assert_eq!(check(article.clone(), &mounts("/c", ""), files), lacks_pem);
    let renamed = json!({"name": "v", "secret": {"secretName": "article", "items": [
        {"key": "cert", "path": "cert"}, {"key": "key", "path": "pem"}, {"key": "ca", "path": "cacert"}]}});
    assert_eq!(
        check(renamed, &mounts("/c", ""), files),
        ["Secret \"article\" lacks what the proxy needs: ca"]
    );
    let store = json!({"name": "v", "secret": {"secretName": "store"}});
    let one_file = mounts("/c/me.p12", ",\"subPath\":\"client.p12\"");
    let key_store = "{keyStore: {file: /c/me.p12}}";
    assert_eq!(check(store, &one_file, key_store), [""; 0]);
    let optional = json!({"name": "v", "secret": {"secretName": "nowhere", "optional": true}});
    assert_eq!(check(optional, &mounts("/c", ""), files), [""; 0]);
    let default_place = check(article, &mounts("/etc/mtlsfiles", ""), "{}");
    assert_eq!(default_place, [""; 0]);
}
