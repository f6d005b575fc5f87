//! The Secret that holds the certificates, as the API server has it. In: entries. Out: what is there
//! now. Which entries these are is decided elsewhere.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};

use crate::cluster::certificates::Keeping;
use crate::cluster::certificates::stored::{Entries, Stored};
use crate::cluster::client::Cluster;
use crate::cluster::failure::{ClusterError, ResourceName};
use crate::cluster::object::ObjectClient;

/// Reads, writes and watches one Secret.
pub(super) struct SecretClient {
    object: ObjectClient<Secret>,
    namespace: String,
}

impl SecretClient {
    pub(super) fn new(cluster: &Cluster, keeping: &Keeping) -> Self {
        let Keeping {
            namespace, secret, ..
        } = keeping;
        Self {
            object: ObjectClient::within(cluster, ResourceName::SECRETS, namespace, secret),
            namespace: namespace.clone(),
        }
    }

    pub(super) fn object(&self) -> &ObjectClient<Secret> {
        &self.object
    }

    /// Creates or updates the Secret. Entries that are not ours, labels and the type stay.
    pub(super) async fn write(
        &self,
        old: Option<&Secret>,
        entries: &Entries,
    ) -> Result<Secret, ClusterError> {
        let (api, params) = (self.object.api(), PostParams::default());
        let mut secret = old.cloned().unwrap_or_else(|| self.blank());
        fill(&mut secret, entries);
        if old.is_none() {
            return self
                .object
                .call("create", api.create(&params, &secret))
                .await;
        }
        let replacing = api.replace(self.object.name(), &params, &secret);
        self.object.call("update", replacing).await
    }

    fn blank(&self) -> Secret {
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        Secret {
            metadata: ObjectMeta {
                name: Some(self.object.name().to_owned()),
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
