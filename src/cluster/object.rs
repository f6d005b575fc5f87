//! One object of the cluster that is watched and called about. In: its name. Out: its states, of which
//! none goes back to before an answer that we already have.

use std::fmt::Debug;
use std::pin::Pin;

use futures::{Stream, StreamExt};
use k8s_openapi::{ClusterResourceScope, NamespaceResourceScope};
use kube::runtime::watcher;
use kube::runtime::watcher::Event;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tracing::warn;

use crate::cluster::client::Cluster;
use crate::cluster::failure::{Attempt, ClusterError, ResourceName};
use crate::telemetry::in_full;

/// What a watch of an object knows: the object, or that there is none.
pub(crate) type Sightings<K> =
    Pin<Box<dyn Stream<Item = Result<Option<K>, ClusterError>> + Send + 'static>>;

/// Reads and watches one object, and names it where a call about it fails.
pub(crate) struct ObjectClient<K> {
    cluster: Cluster,
    api: Api<K>,
    resource: ResourceName,
    namespace: Option<String>,
    name: String,
}

impl<K> ObjectClient<K>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    /// Names an object that is in no namespace.
    pub(crate) fn cluster_wide(cluster: &Cluster, resource: ResourceName, name: &str) -> Self
    where
        K: Resource<Scope = ClusterResourceScope>,
    {
        Self {
            cluster: cluster.clone(),
            api: Api::all(cluster.client()),
            resource,
            namespace: None,
            name: name.to_owned(),
        }
    }

    /// Names an object of a namespace.
    pub(crate) fn within(
        cluster: &Cluster,
        resource: ResourceName,
        namespace: &str,
        name: &str,
    ) -> Self
    where
        K: Resource<Scope = NamespaceResourceScope>,
    {
        Self {
            cluster: cluster.clone(),
            api: Api::namespaced(cluster.client(), namespace),
            resource,
            namespace: Some(namespace.to_owned()),
            name: name.to_owned(),
        }
    }

    pub(crate) fn namespace(&self) -> Option<&str> {
        self.namespace.as_deref()
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn api(&self) -> &Api<K> {
        &self.api
    }

    /// Runs one call about the object, as `verb` of RBAC names it.
    pub(crate) async fn call<T>(
        &self,
        verb: &'static str,
        call: impl Future<Output = kube::Result<T>> + Send,
    ) -> Result<T, ClusterError> {
        self.cluster.call(&self.attempt(verb), call).await
    }

    /// Asks for the object; `None` says that there is none.
    pub(crate) async fn get(&self) -> Result<Option<K>, ClusterError> {
        self.call("get", self.api.get_opt(&self.name)).await
    }

    /// Watches the object. The first item, and every one after a lost watch, tells whether it is
    /// there.
    pub(crate) fn watch(&self) -> Sightings<K> {
        let attempt = self.attempt("watch");
        let only = watcher::Config::default().fields(&format!("metadata.name={}", self.name));
        let mut listed = None;
        self.cluster
            .watch(self.api.clone(), only)
            .filter_map(move |event| {
                let sighting = match event {
                    Err(error) => Some(Err(ClusterError::of_watch(&attempt, error))),
                    Ok(Event::Apply(object)) => Some(Ok(Some(object))),
                    Ok(Event::Delete(_)) => Some(Ok(None)),
                    Ok(Event::Init) => {
                        listed = None;
                        None
                    }
                    Ok(Event::InitApply(object)) => {
                        listed = Some(object);
                        None
                    }
                    Ok(Event::InitDone) => Some(Ok(listed.take())),
                };
                std::future::ready(sighting)
            })
            .boxed()
    }

    /// A watch may tell of a state that our own calls have left behind. Going back to it would
    /// undo what we have shown since, so what is not the state we hold is asked for.
    pub(crate) async fn newest(&self, held: Option<Option<K>>, sighted: Option<K>) -> Option<K> {
        let Some(held) = held else { return sighted };
        if version(held.as_ref()) == version(sighted.as_ref()) {
            return sighted;
        }
        self.get().await.unwrap_or_else(|error| {
            warn!(
                error = in_full(&error),
                "object not read, the watch is believed"
            );
            sighted
        })
    }

    fn attempt(&self, verb: &'static str) -> Attempt {
        let attempt = Attempt::new(verb, self.resource).on(&self.name);
        match &self.namespace {
            Some(namespace) => attempt.within(namespace),
            None => attempt,
        }
    }
}

/// Returns the state of an object as its resourceVersion, which is told apart but never ordered.
fn version<K: Resource>(object: Option<&K>) -> Option<&str> {
    object?.meta().resource_version.as_deref()
}
