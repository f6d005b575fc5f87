//! The Secret that holds the certificates, as the API server has it. In: entries. Out: what is there
//! now. Which entries these are is decided elsewhere.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{ObjectMeta, PostParams};
use tracing::warn;

use crate::cluster::certificates::Keeping;
use crate::cluster::certificates::stored::{Entries, Stored};
use crate::cluster::client::{Cluster, Sightings};
use crate::cluster::failure::{Attempt, ClusterError, ResourceName};
use crate::telemetry::in_full;

/// Reads, writes and watches one Secret.
pub(super) struct SecretClient {
    cluster: Cluster,
    namespace: String,
    name: String,
}

impl SecretClient {
    pub(super) fn new(cluster: &Cluster, keeping: &Keeping) -> Self {
        Self {
            cluster: cluster.clone(),
            namespace: keeping.namespace.clone(),
            name: keeping.secret.clone(),
        }
    }

    /// Follows the Secret; `None` says that there is none.
    pub(super) fn watch(&self) -> Sightings<Secret> {
        let attempt = self.attempt("watch");
        self.cluster.watch_one(self.api(), &self.name, attempt)
    }

    pub(super) async fn get(&self) -> Result<Option<Secret>, ClusterError> {
        let (attempt, api) = (self.attempt("get"), self.api());
        self.cluster.call(&attempt, api.get_opt(&self.name)).await
    }

    /// A watch may tell of a state that our own calls have left behind. Going back to it would show an
    /// old leaf again and trust old CAs only, so what is not the state we hold is asked for.
    pub(super) async fn newest(
        &self,
        held: Option<Option<Secret>>,
        sighted: Option<Secret>,
    ) -> Option<Secret> {
        let Some(held) = held else { return sighted };
        if version(held.as_ref()) == version(sighted.as_ref()) {
            return sighted;
        }
        self.get().await.unwrap_or_else(|error| {
            warn!(
                error = in_full(&error),
                "certificates not read, the watch is believed"
            );
            sighted
        })
    }

    /// Creates or updates the Secret. Entries that are not ours, labels and the type stay.
    pub(super) async fn write(
        &self,
        old: Option<&Secret>,
        entries: &Entries,
    ) -> Result<Secret, ClusterError> {
        let api = self.api();
        let params = PostParams::default();
        let Some(old) = old else {
            let mut secret = self.blank();
            fill(&mut secret, entries);
            return self
                .cluster
                .call(&self.attempt("create"), api.create(&params, &secret))
                .await;
        };
        let mut secret = old.clone();
        fill(&mut secret, entries);
        self.cluster
            .call(
                &self.attempt("update"),
                api.replace(&self.name, &params, &secret),
            )
            .await
    }

    fn blank(&self) -> Secret {
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        Secret {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                namespace: Some(self.namespace.clone()),
                labels: Some(
                    [
                        label("app.kubernetes.io/name", "mtls-injector"),
                        label("app.kubernetes.io/managed-by", "mtls-injector"),
                    ]
                    .into(),
                ),
                ..ObjectMeta::default()
            },
            type_: Some("kubernetes.io/tls".to_owned()),
            ..Secret::default()
        }
    }

    fn api(&self) -> Api<Secret> {
        Api::namespaced(self.cluster.client(), &self.namespace)
    }

    fn attempt(&self, verb: &'static str) -> Attempt {
        Attempt::new(verb, ResourceName::SECRETS)
            .within(&self.namespace)
            .on(&self.name)
    }
}

/// Returns the state of a Secret as its resourceVersion, which is told apart but never ordered.
fn version(secret: Option<&Secret>) -> Option<&str> {
    secret?.metadata.resource_version.as_deref()
}

fn fill(secret: &mut Secret, entries: &Entries) {
    let data = secret.data.get_or_insert_default();
    for key in Stored::keys() {
        data.remove(key);
    }
    data.extend(
        entries
            .iter()
            .map(|(key, value)| (key.clone(), ByteString(value.clone()))),
    );
}
