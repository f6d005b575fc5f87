//! Objects as they are in a cluster, for a person who asks about them. In: names. Out: raw JSON, so
//! that no field is lost, or `None` for what is not there. Only reads.

use http::Request;
use serde_json::Value;

use super::client::Cluster;
use super::failure::{Attempt, ClusterError, ResourceName};

const NAMESPACES: ResourceName = ResourceName {
    plural: "namespaces",
    group: "",
};
const PODS: ResourceName = ResourceName {
    plural: "pods",
    group: "",
};
const CONFIG_MAPS: ResourceName = ResourceName {
    plural: "configmaps",
    group: "",
};
const SECRETS: ResourceName = ResourceName {
    plural: "secrets",
    group: "",
};
const WEBHOOKS: ResourceName = ResourceName {
    plural: "mutatingwebhookconfigurations",
    group: "admissionregistration.k8s.io",
};

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
        let attempt = Attempt::new("get", NAMESPACES).on(name);
        self.get(&format!("/api/v1/namespaces/{name}"), attempt)
            .await
    }

    /// Looks at a Pod.
    ///
    /// # Errors
    /// When the API server cannot be asked or refuses.
    pub async fn pod(&self, namespace: &str, name: &str) -> Result<Option<Value>, ClusterError> {
        self.namespaced(PODS, namespace, name).await
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
        self.namespaced(SECRETS, namespace, name).await
    }

    /// Looks at a MutatingWebhookConfiguration.
    ///
    /// # Errors
    /// When the API server cannot be asked or refuses.
    pub async fn webhook(&self, name: &str) -> Result<Option<Value>, ClusterError> {
        let path = format!("/apis/{}/v1/{}/{name}", WEBHOOKS.group, WEBHOOKS.plural);
        self.get(&path, Attempt::new("get", WEBHOOKS).on(name))
            .await
    }

    /// Looks at every Pod of a namespace, page by page.
    ///
    /// # Errors
    /// When the API server cannot be asked or refuses.
    pub async fn pods(&self, namespace: &str) -> Result<Vec<Value>, ClusterError> {
        let attempt = Attempt::new("list", PODS).within(namespace);
        let mut pods = Vec::new();
        let mut next = String::new();
        loop {
            let path = format!("/api/v1/namespaces/{namespace}/pods?limit={PAGE}{next}");
            let mut page = self.request(&path, &attempt).await?;
            if let Some(Value::Array(items)) = page.get_mut("items").map(Value::take) {
                pods.extend(items);
            }
            match page.pointer("/metadata/continue").and_then(Value::as_str) {
                Some(token) if !token.is_empty() => next = format!("&continue={token}"),
                _ => return Ok(pods),
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
