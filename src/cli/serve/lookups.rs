//! What the core may ask about the cluster, answered from caches and, where they cannot know yet, by
//! one short call. In: names. Out: annotations and labels, Istio's resources, the keys of Secrets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::task::block_in_place;
use tokio::time::timeout;
use tracing::info;

use crate::admit::Namespaces;
use crate::cluster::istio::IstioCache;
use crate::cluster::namespaces::{NamespaceMeta, Namespaces as Cache};
use crate::cluster::secrets::{SecretKeys, Secrets};
use crate::istio::Resources;
use crate::telemetry::in_full;

/// A namespace that is younger than its pod's review by less than this may be asked for.
const NAMESPACE_PATIENCE: Duration = Duration::from_secs(1);

/// What the caches hold and the API server says, for reviews.
pub(super) struct ClusterNamespaces {
    pub(super) cache: Cache,
    pub(super) istio: IstioCache,
    /// Absent unless Secrets are to be looked at.
    pub(super) secrets: Option<Secrets>,
    pub(super) runtime: Handle,
}

impl Namespaces for ClusterNamespaces {
    fn answers_at_once(&self, namespace: &str) -> bool {
        self.secrets.is_none() && self.cache.holds(namespace)
    }

    fn annotations(&self, namespace: &str) -> Option<Map<String, Value>> {
        Some(as_json(self.look_up(namespace)?.annotations))
    }

    fn labels(&self, namespace: &str) -> Option<Map<String, Value>> {
        Some(as_json(self.look_up(namespace)?.labels))
    }

    fn resources(&self) -> Arc<Resources> {
        self.istio.resources()
    }

    fn secret_keys(&self, namespace: &str, names: &[&str]) -> BTreeMap<String, SecretKeys> {
        let Some(secrets) = &self.secrets else {
            return BTreeMap::new();
        };
        self.wait_for(secrets.all_keys(namespace, names))
    }
}

impl ClusterNamespaces {
    fn look_up(&self, namespace: &str) -> Option<NamespaceMeta> {
        self.cache.get(namespace).or_else(|| self.ask(namespace))
    }

    /// Asks for a namespace that was made a moment ago.
    fn ask(&self, namespace: &str) -> Option<NamespaceMeta> {
        let look_up = timeout(NAMESPACE_PATIENCE, self.cache.look_up(namespace));
        match self.wait_for(look_up) {
            Ok(Ok(meta)) => Some(meta),
            Ok(Err(error)) => {
                info!(error = in_full(&error), "namespace not read");
                None
            }
            Err(_elapsed) => None,
        }
    }

    /// Waits on this thread. That may be one of the runtime's own, when the cache forgot between the
    /// question whether it knows and the question itself; so another takes over what it served.
    fn wait_for<T>(&self, answer: impl Future<Output = T>) -> T {
        block_in_place(|| self.runtime.block_on(answer))
    }
}

/// What the caches hold, for pods that run already.
pub(super) struct Cached {
    pub(super) cache: Cache,
    pub(super) istio: IstioCache,
}

impl Namespaces for Cached {
    fn annotations(&self, namespace: &str) -> Option<Map<String, Value>> {
        self.cache.annotations(namespace).map(as_json)
    }

    fn labels(&self, namespace: &str) -> Option<Map<String, Value>> {
        Some(as_json(self.cache.get(namespace)?.labels))
    }

    fn resources(&self) -> Arc<Resources> {
        self.istio.resources()
    }
}

fn as_json(map: BTreeMap<String, String>) -> Map<String, Value> {
    map.into_iter()
        .map(|(key, value)| (key, Value::String(value)))
        .collect()
}
