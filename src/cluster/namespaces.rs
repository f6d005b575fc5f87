//! The Namespaces of the cluster, kept in memory by a watch. In: nothing but the connection. Out:
//! the annotations and labels of a namespace, without a call for those that are known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use k8s_openapi::api::core::v1::Namespace;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::runtime::watcher::Event;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Resource, ResourceExt};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::cluster::client::Cluster;
use crate::cluster::failure::{Attempt, ClusterError, ResourceName};
use crate::telemetry::in_full;

/// What the cluster says about one namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NamespaceMeta {
    /// The annotations, as they are.
    pub annotations: BTreeMap<String, String>,
    /// The labels, as they are.
    pub labels: BTreeMap<String, String>,
}

impl NamespaceMeta {
    fn of(object: &Namespace) -> Self {
        let meta = object.meta();
        Self {
            annotations: meta.annotations.clone().unwrap_or_default(),
            labels: meta.labels.clone().unwrap_or_default(),
        }
    }
}

/// The watched cache. It is empty until [`NamespaceWatch::run`] has read the first listing.
#[derive(Clone)]
pub struct Namespaces {
    cluster: Cluster,
    known: Store<Namespace>,
}

/// The half that fills the cache.
pub struct NamespaceWatch {
    cluster: Cluster,
    writer: reflector::store::Writer<Namespace>,
    teller: Option<Teller>,
}

impl Namespaces {
    /// Makes an empty cache and the task that fills it.
    #[must_use]
    pub fn new(cluster: &Cluster) -> (Self, NamespaceWatch) {
        let (known, writer) = reflector::store();
        let cache = Self {
            cluster: cluster.clone(),
            known,
        };
        (
            cache,
            NamespaceWatch {
                cluster: cluster.clone(),
                writer,
                teller: None,
            },
        )
    }

    /// Returns what the cache holds; `None` before the first listing and for a namespace that is
    /// not there (yet).
    #[must_use]
    pub fn get(&self, name: &str) -> Option<NamespaceMeta> {
        self.known
            .get(&ObjectRef::new(name))
            .map(|object| NamespaceMeta::of(&object))
    }

    /// Returns whether [`Self::get`] has an answer.
    #[must_use]
    pub fn holds(&self, name: &str) -> bool {
        self.known.get(&ObjectRef::new(name)).is_some()
    }

    /// Returns the annotations that the cache holds for a namespace.
    #[must_use]
    pub fn annotations(&self, name: &str) -> Option<BTreeMap<String, String>> {
        self.get(name).map(|meta| meta.annotations)
    }

    /// Returns what the cache holds, else asks the API server: a namespace made a moment ago may
    /// not have reached the cache.
    ///
    /// # Errors
    /// When the namespace is not known and cannot be read.
    pub async fn look_up(&self, name: &str) -> Result<NamespaceMeta, ClusterError> {
        if let Some(known) = self.get(name) {
            return Ok(known);
        }
        let api: Api<Namespace> = Api::all(self.cluster.client());
        let attempt = Attempt::new("get", ResourceName::NAMESPACES).on(name);
        let object = self.cluster.call(&attempt, api.get(name)).await?;
        Ok(NamespaceMeta::of(&object))
    }

    /// Waits until the first listing has been read.
    pub async fn ready(&self) {
        // The only error says that the watch has ended, and then nothing more will come.
        let _ = self.known.wait_until_ready().await;
    }
}

/// The namespaces whose annotations changed and which nobody has looked at since. A namespace that
/// changes often is in it once.
#[derive(Clone, Default)]
pub struct Changed {
    names: Arc<Mutex<BTreeSet<String>>>,
    added: Arc<Notify>,
}

impl Changed {
    /// Waits for a namespace, and takes it out.
    pub async fn next(&self) -> String {
        loop {
            let added = self.added.notified();
            if let Some(name) = self.names().pop_first() {
                return name;
            }
            added.await;
        }
    }

    pub(crate) fn add(&self, name: &str) {
        self.names().insert(name.to_owned());
        self.added.notify_one();
    }

    fn names(&self) -> MutexGuard<'_, BTreeSet<String>> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NamespaceWatch {
    /// Has changes of annotations told from now on; the first listing is a change of each.
    #[must_use]
    pub fn changed(&mut self) -> Changed {
        self.teller.get_or_insert_default().changed.clone()
    }

    /// Fills the cache until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let Self {
            cluster,
            writer,
            mut teller,
        } = self;
        let attempt = Attempt::new("watch", ResourceName::NAMESPACES);
        let api: Api<Namespace> = Api::all(cluster.client());
        let changes = cluster
            .watch(api, watcher::Config::default())
            .modify(forget_the_rest);
        let mut changes = std::pin::pin!(reflector(writer, changes));
        while let Some(Some(change)) = stop.run_until_cancelled(changes.next()).await {
            match change {
                Ok(event) => {
                    if let Some(teller) = &mut teller {
                        teller.hear(&event);
                    }
                    if matches!(event, Event::InitDone) {
                        info!("namespaces listed");
                    }
                }
                Err(error) => {
                    let error = ClusterError::of_watch(&attempt, error);
                    warn!(error = in_full(&error), "namespace watch failed");
                }
            }
        }
    }
}

/// Tells which namespaces changed, once the cache holds what they changed to.
#[derive(Default)]
struct Teller {
    changed: Changed,
    /// The annotations that were last told of.
    told: BTreeMap<String, BTreeMap<String, String>>,
    /// A listing shows in the cache when it is complete.
    listed: Vec<String>,
}

impl Teller {
    fn hear(&mut self, event: &Event<Namespace>) {
        match event {
            Event::Init => self.listed.clear(),
            Event::InitApply(object) if self.is_new(object) => self.listed.push(object.name_any()),
            Event::InitDone => self
                .listed
                .drain(..)
                .for_each(|name| self.changed.add(&name)),
            Event::Apply(object) if self.is_new(object) => self.changed.add(&object.name_any()),
            Event::Delete(object) => drop(self.told.remove(&object.name_any())),
            Event::InitApply(_) | Event::Apply(_) => {}
        }
    }

    fn is_new(&mut self, object: &Namespace) -> bool {
        let annotations = object.annotations().clone();
        let before = self.told.insert(object.name_any(), annotations);
        before.as_ref() != Some(object.annotations())
    }
}

/// Keeps the cache small: managed fields are often larger than everything else.
fn forget_the_rest(object: &mut Namespace) {
    object.meta_mut().managed_fields = None;
}
