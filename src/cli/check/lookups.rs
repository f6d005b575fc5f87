//! What the core may ask when a cluster is looked at: as much as the injector there knows, so that
//! both come to one answer. In: a survey. Out: what the namespace says, Istio's resources, and
//! what is wrong with Secrets, each of which is looked at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value};
use tokio::sync::Mutex;

use crate::admit::Namespaces;
use crate::cluster::failure::ClusterError;
use crate::cluster::secrets::SecretKeys;
use crate::cluster::survey::Survey;
use crate::istio::Resources;
use crate::sidecar::{SecretNeed, flaws};

/// What is the same for all pods.
pub(super) struct Lookups {
    survey: Survey,
    resources: Arc<Resources>,
    secrets: Mutex<BTreeMap<(String, String), SecretKeys>>,
}

impl Lookups {
    /// Reads Istio's resources; what keeps from it becomes a note.
    pub(super) async fn open(survey: Survey, notes: &mut Vec<String>) -> Self {
        let objects = survey.istio().await.unwrap_or_else(|error| {
            notes.push(format!("Istio's resources are not counted in: {error}"));
            Vec::new()
        });
        Self {
            survey,
            // Objects of a cluster always name their namespace.
            resources: Arc::new(Resources::read(&objects, "")),
            secrets: Mutex::default(),
        }
    }

    /// Returns what the core may ask about pods of a namespace.
    pub(super) fn within<'n>(&'n self, namespace: &'n Value) -> Within<'n> {
        Within {
            namespace,
            resources: &self.resources,
        }
    }

    /// Says what is wrong with the Secrets that a proxy needs, and why it cannot be told.
    pub(super) async fn secret_flaws(
        &self,
        namespace: &str,
        needs: &[SecretNeed],
    ) -> (Vec<String>, Option<String>) {
        let mut known = BTreeMap::new();
        for need in needs {
            match self.keys(namespace, &need.secret).await {
                Ok(keys) => drop(known.insert(need.secret.clone(), keys)),
                Err(error) => {
                    let note = format!("the Secrets that it needs are not looked at: {error}");
                    return (Vec::new(), Some(note));
                }
            }
        }
        (flaws(needs, namespace, &known), None)
    }

    async fn keys(&self, namespace: &str, name: &str) -> Result<SecretKeys, ClusterError> {
        let mut secrets = self.secrets.lock().await;
        let key = (namespace.to_owned(), name.to_owned());
        if let Some(known) = secrets.get(&key) {
            return Ok(known.clone());
        }
        let keys = match self.survey.secret(namespace, name).await? {
            None => SecretKeys::Missing,
            Some(secret) => {
                let data = secret.get("data").and_then(Value::as_object);
                SecretKeys::Present(data.into_iter().flat_map(Map::keys).cloned().collect())
            }
        };
        secrets.insert(key, keys.clone());
        Ok(keys)
    }
}

/// What is known where one namespace is looked at.
pub(super) struct Within<'n> {
    namespace: &'n Value,
    resources: &'n Arc<Resources>,
}

impl Namespaces for Within<'_> {
    fn annotations(&self, _namespace: &str) -> Option<Map<String, Value>> {
        Some(self.map("/metadata/annotations"))
    }

    fn labels(&self, _namespace: &str) -> Option<Map<String, Value>> {
        Some(self.map("/metadata/labels"))
    }

    fn resources(&self) -> Arc<Resources> {
        Arc::clone(self.resources)
    }
}

impl Within<'_> {
    fn map(&self, pointer: &str) -> Map<String, Value> {
        let map = self.namespace.pointer(pointer).and_then(Value::as_object);
        map.cloned().unwrap_or_default()
    }
}
