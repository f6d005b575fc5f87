//! Writes the Secret that holds the certificates. In: what is there, and entries. Out: what is there
//! now. Which entries these are is decided elsewhere.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{ObjectMeta, PostParams};

use crate::cluster::certificates::stored::{Entries, Stored};
use crate::cluster::failure::ClusterError;
use crate::cluster::object::ObjectClient;

/// Creates or updates the Secret. Entries that are not ours, labels and the type stay.
pub(super) async fn write(
    client: &ObjectClient<Secret>,
    old: Option<&Secret>,
    entries: &Entries,
) -> Result<Secret, ClusterError> {
    let (api, params) = (client.api(), PostParams::default());
    let mut secret = old.cloned().unwrap_or_else(|| blank(client));
    fill(&mut secret, entries);
    if old.is_none() {
        return client.call("create", api.create(&params, &secret)).await;
    }
    let replacing = api.replace(client.name(), &params, &secret);
    client.call("update", replacing).await
}

fn blank(client: &ObjectClient<Secret>) -> Secret {
    let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    Secret {
        metadata: ObjectMeta {
            name: Some(client.name().to_owned()),
            namespace: client.namespace().map(str::to_owned),
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
