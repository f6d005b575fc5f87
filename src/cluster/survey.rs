//! Objects as they are in a cluster, for a person who asks about them. In: names. Out: raw JSON, so
//! that no field is lost, or `None` for what is not there. Only reads.

use http::Request;
use serde_json::Value;

use super::client::Cluster;
use super::failure::{Attempt, ClusterError, ResourceName};
use super::istio::{KINDS, VERSION};

const CONFIG_MAPS: ResourceName = ResourceName::core("configmaps");

/// How many pods are asked for at once.
const PAGE: usize = 500;

/// Looks at the objects of one cluster.
#[derive(Clone)]
pub struct Survey(Cluster);

impl Survey {
    /// Looks through this connection.
    #[must_use]
    pub const fn new(cluster: Cluster) -> Self {
        Self(cluster)
    }

    /// Looks at a Namespace.
    ///
    /// # Errors
    /// When the API server cannot be asked or refuses.
    pub async fn namespace(&self, name: &str) -> Result<Option<Value>, ClusterError> {
        let attempt = Attempt::new("get", ResourceName::NAMESPACES).on(name);
        self.get(&format!("/api/v1/namespaces/{name}"), attempt)
            .await
    }

    /// Looks at a Pod.
    ///
    /// # Errors
    /// When the API server cannot be asked or refuses.
    pub async fn pod(&self, namespace: &str, name: &str) -> Result<Option<Value>, ClusterError> {
        self.namespaced(ResourceName::PODS, namespace, name).await
    }

    /// Looks at a ConfigMap.
    ///
    /// # Errors
    /// When the API server cannot be asked or refuses.
    pub async fn config_map(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, ClusterError> {
        self.namespaced(CONFIG_MAPS, namespace, name).await
    }

    /// Looks at a Secret.
    ///
    /// # Errors
    /// When the API server cannot be asked or refuses.
    pub async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Value>, ClusterError> {
        self.namespaced(ResourceName::SECRETS, namespace, name)
            .await
    }

    /// Looks at a MutatingWebhookConfiguration.
    ///
    /// # Errors
    /// When the API server cannot be asked or refuses.
    pub async fn webhook(&self, name: &str) -> Result<Option<Value>, ClusterError> {
        let webhooks = ResourceName::WEBHOOKS;
        let path = format!("/apis/{}/v1/{}/{name}", webhooks.group, webhooks.plural);
        self.get(&path, Attempt::new("get", webhooks).on(name))
            .await
    }

    /// Looks at every Pod of a namespace, page by page.
    ///
    /// # Errors
    /// When the API server cannot be asked or refuses.
    pub async fn pods(&self, namespace: &str) -> Result<Vec<Value>, ClusterError> {
        let attempt = Attempt::new("list", ResourceName::PODS).within(namespace);
        let path = format!("/api/v1/namespaces/{namespace}/pods");
        self.list(&path, &attempt).await
    }

    /// Looks at every resource of Istio that the injector reads, kind by kind; none of a kind that
    /// is not installed.
    ///
    /// # Errors
    /// When the API server cannot be asked or refuses.
    pub async fn istio(&self) -> Result<Vec<Value>, ClusterError> {
        let mut all = Vec::new();
        for (kind, name) in KINDS {
            let path = format!("/apis/{}/{VERSION}/{}", name.group, name.plural);
            match self.list(&path, &Attempt::new("list", name)).await {
                Ok(objects) => {
                    all.extend(objects.into_iter().map(|object| typed(object, kind, name)))
                }
                Err(error) if error.is_missing() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(all)
    }

    /// Lists page by page.
    async fn list(&self, path: &str, attempt: &Attempt) -> Result<Vec<Value>, ClusterError> {
        let mut objects = Vec::new();
        let mut next = String::new();
        loop {
            let page = format!("{path}?limit={PAGE}{next}");
            let mut page = self.request(&page, attempt).await?;
            if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
                objects.extend(items);
            }
            match page.pointer("/metadata/continue").and_then(Value::as_str) {
                Some(token) if !token.is_empty() => next = format!("&continue={token}"),
                _ => return Ok(objects),
            }
        }
    }

    async fn namespaced(
        &self,
        resource: ResourceName,
        namespace: &str,
        name: &str,
    ) -> Result<Option<Value>, ClusterError> {
        let path = format!("/api/v1/namespaces/{namespace}/{}/{name}", resource.plural);
        let attempt = Attempt::new("get", resource).within(namespace).on(name);
        self.get(&path, attempt).await
    }

    async fn get(&self, path: &str, attempt: Attempt) -> Result<Option<Value>, ClusterError> {
        match self.request(path, &attempt).await {
            Err(error) if error.is_missing() => Ok(None),
            answer => answer.map(Some),
        }
    }

    async fn request(&self, path: &str, attempt: &Attempt) -> Result<Value, ClusterError> {
        let client = self.0.client();
        let request =
            Request::get(path)
                .body(Vec::new())
                .map_err(|error| ClusterError::Unreachable {
                    attempt: attempt.clone(),
                    source: error.into(),
                })?;
        self.0.call(attempt, client.request::<Value>(request)).await
    }
}

/// An API server may leave the type of a list's items to the list.
fn typed(mut object: Value, kind: &str, name: ResourceName) -> Value {
    if let Some(fields) = object.as_object_mut() {
        let version = || format!("{}/{VERSION}", name.group).into();
        fields.entry("kind").or_insert_with(|| kind.into());
        fields.entry("apiVersion").or_insert_with(version);
    }
    object
}
