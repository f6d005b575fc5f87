//! What the core may ask about the cluster, answered from caches and, where they cannot know yet, by
//! one short call. In: names. Out: annotations, Istio's resources, the keys of Secrets.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value};
use tokio::runtime::Handle;
use tokio::time::timeout;
use tracing::info;

use crate::admit::Namespaces;
use crate::cluster::istio::IstioCache;
use crate::cluster::namespaces::Namespaces as Cache;
use crate::cluster::secrets::{SecretKeys, Secrets};
use crate::istio::Resources;
use crate::telemetry::in_full;

/// A namespace that is younger than its pod's review by less than this may be asked for.
const NAMESPACE_PATIENCE: Duration = Duration::from_secs(1);

/// The annotations of namespaces and Istio's resources, for the core.
pub(super) struct ClusterNamespaces {
    pub(super) cache: Cache,
    pub(super) istio: IstioCache,
    /// Absent unless Secrets are to be looked at.
    pub(super) secrets: Option<Secrets>,
    pub(super) runtime: Handle,
}

impl Namespaces for ClusterNamespaces {
    fn annotations(&self, namespace: &str) -> Option<Map<String, Value>> {
        let known = self.cache.annotations(namespace);
        known.or_else(|| self.ask(namespace)).map(as_json)
    }

    fn resources(&self) -> Arc<Resources> {
        self.istio.resources()
    }

    fn secret_keys(&self, namespace: &str, names: &[&str]) -> BTreeMap<String, SecretKeys> {
        let Some(secrets) = &self.secrets else {
            return BTreeMap::new();
        };
        self.runtime.block_on(secrets.all_keys(namespace, names))
    }
}

impl ClusterNamespaces {
    /// Asks for a namespace that was made a moment ago. Reviews are decided on threads that may
    /// wait.
    fn ask(&self, namespace: &str) -> Option<BTreeMap<String, String>> {
        let look_up = timeout(NAMESPACE_PATIENCE, self.cache.look_up(namespace));
        match self.runtime.block_on(look_up) {
            Ok(Ok(meta)) => Some(meta.annotations),
            Ok(Err(error)) => {
                info!(error = in_full(&error), "namespace not read");
                None
            }
            Err(_elapsed) => None,
        }
    }
}

/// The annotations of namespaces and Istio's resources as far as the caches hold them.
pub(super) struct Cached {
    pub(super) cache: Cache,
    pub(super) istio: IstioCache,
}

impl Namespaces for Cached {
    fn annotations(&self, namespace: &str) -> Option<Map<String, Value>> {
        self.cache.annotations(namespace).map(as_json)
    }

    fn resources(&self) -> Arc<Resources> {
        self.istio.resources()
    }
}

fn as_json(annotations: BTreeMap<String, String>) -> Map<String, Value> {
    annotations
        .into_iter()
        .map(|(key, value)| (key, Value::String(value)))
        .collect()
}
