//! A cluster with an injector and a namespace of pods.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mtls_injector::admit::{Namespaces, inject_pod};
use mtls_injector::config::Config;
use mtls_injector::istio::Resources;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::api_server::{ApiServer, Key};
use crate::program::{Said, check};

pub(crate) const HOME: &str = "mtls-injector-system";
const SETTINGS: &str = "proxyImage: registry.example.com/mtls-proxy:7\nnativeSidecars: on\n";

pub(crate) struct Shop {
    pub(crate) server: ApiServer,
    folder: TempDir,
}

impl Shop {
    /// Installs the injector, with a caBundle that fits, and a labelled namespace.
    pub(crate) async fn open() -> Self {
        let server = ApiServer::start().await;
        let shop = Self {
            server,
            folder: tempfile::tempdir().unwrap(),
        };
        let (bundle, certificate) = certificates();
        shop.install(&bundle);
        let secret = json!({ "apiVersion": "v1", "kind": "Secret",
            "metadata": { "name": "mtls-injector-tls", "namespace": HOME },
            "data": { "tls.crt": certificate } });
        shop.create("secrets", HOME, secret);
        let settings = json!({ "apiVersion": "v1", "kind": "ConfigMap",
            "metadata": { "name": "mtls-injector", "namespace": HOME },
            "data": { "config.yaml": SETTINGS } });
        shop.create("configmaps", HOME, settings);
        shop.namespace("shop", &json!({ "mtls-injection": "enabled" }));
        shop.namespace("elsewhere", &json!({}));
        for namespace in ["shop", "elsewhere"] {
            let secret = json!({ "apiVersion": "v1", "kind": "Secret",
                "metadata": { "name": "external-mtls", "namespace": namespace },
                "data": { "cert": "", "key": "", "cacert": "" } });
            shop.create("secrets", namespace, secret);
        }
        shop
    }

    fn install(&self, bundle: &str) {
        let text = include_str!("../../webhook-config/base/webhook.yaml");
        let mut webhook: Value = serde_saphyr::from_str(text).unwrap();
        for entry in webhook["webhooks"].as_array_mut().unwrap() {
            entry["clientConfig"]["caBundle"] = bundle.into();
        }
        self.create("mutatingwebhookconfigurations", "", webhook);
    }

    pub(crate) fn configuration() -> Key {
        Key::new("mutatingwebhookconfigurations", "", "mtls-injector")
    }

    fn namespace(&self, name: &str, labels: &Value) {
        let namespace = json!({ "apiVersion": "v1", "kind": "Namespace",
            "metadata": { "name": name, "labels": labels } });
        self.create("namespaces", "", namespace);
    }

    pub(crate) fn label(&self, namespace: &str, key: &str, value: &str) {
        let namespace = Key::new("namespaces", "", namespace);
        self.server.store.edit(&namespace, "kubectl", |object| {
            object["metadata"]["labels"][key] = value.into();
        });
    }

    pub(crate) fn create(&self, plural: &str, namespace: &str, object: Value) {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let key = Key::new(plural, namespace, &name);
        self.server.store.create(&key, object, "kubectl").unwrap();
    }

    pub(crate) fn add(&self, pod: Value) {
        let namespace = pod["metadata"]["namespace"].as_str().unwrap().to_owned();
        self.create("pods", &namespace, pod);
    }

    /// Runs `check` against this cluster.
    pub(crate) async fn check(&self, arguments: &[&str]) -> Said {
        let kubeconfig = self.folder.path().join("kubeconfig");
        let server = format!("http://{}", self.server.address);
        let text = json!({ "apiVersion": "v1", "kind": "Config", "current-context": "shop",
            "clusters": [{ "name": "shop", "cluster": { "server": server } }],
            "contexts": [{ "name": "shop", "context": { "cluster": "shop", "user": "shop" } }],
            "users": [{ "name": "shop", "user": {} }] });
        std::fs::write(&kubeconfig, text.to_string()).unwrap();
        let mut all = vec!["--kubeconfig", kubeconfig.to_str().unwrap(), "-o", "json"];
        all.extend(arguments);
        let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
        let run = move || check(&all.iter().map(String::as_str).collect::<Vec<_>>());
        tokio::task::spawn_blocking(run).await.unwrap()
    }
}

/// A CA and a certificate for the webhook's Service, each as base64 of PEM.
pub(crate) fn certificates() -> (String, String) {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let names = [format!("mtls-injector.{HOME}.svc")];
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(names)
        .unwrap()
        .signed_by(&key, &issuer)
        .unwrap();
    (STANDARD.encode(issuer.pem()), STANDARD.encode(leaf.pem()))
}

/// A pod that asks, without the proxy.
pub(crate) fn asking(namespace: &str, name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": name, "namespace": namespace, "annotations": {
            "mtls-injector.io/egress": "external.system.com",
            "mtls-injector.io/secret": "external-mtls",
        } },
        "spec": { "containers": [{ "name": "app", "image": "registry.example.com/app:1" }] },
    })
}

/// The same pod after the webhook.
pub(crate) fn injected(namespace: &str, name: &str) -> Value {
    through_the_webhook(&[], asking(namespace, name))
}

/// The same pod after the webhook of a cluster with these resources of Istio.
pub(crate) fn injected_beside(resources: &[Value], namespace: &str, name: &str) -> Value {
    through_the_webhook(resources, asking(namespace, name))
}

/// A pod after the webhook of a cluster with these resources of Istio.
pub(crate) fn through_the_webhook(resources: &[Value], mut pod: Value) -> Value {
    let config = Config::parse(SETTINGS).unwrap();
    let resources = Arc::new(Resources::read(resources, ""));
    let namespace = pod["metadata"]["namespace"].as_str().unwrap().to_owned();
    let outcome = inject_pod(&config, &NoDefaults(resources), &namespace, &pod);
    assert!(!outcome.patch.0.is_empty(), "{}", outcome.decision);
    json_patch::patch(&mut pod, &outcome.patch).unwrap();
    pod
}

struct NoDefaults(Arc<Resources>);

impl Namespaces for NoDefaults {
    fn resources(&self) -> Arc<Resources> {
        Arc::clone(&self.0)
    }

    fn annotations(&self, _namespace: &str) -> Option<Map<String, Value>> {
        Some(Map::new())
    }
}
