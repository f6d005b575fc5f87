//! Istio's resources in the cluster, kept in memory by watches. In: nothing but the connection. Out:
//! all resources, read anew after each change. Where a kind is not installed there is nothing to
//! watch; it is looked for again, so it counts as soon as it is there.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use futures::{FutureExt, StreamExt, future};
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::watcher;
use kube::{Api, ResourceExt};
use serde_json::Value;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::cluster::client::Cluster;
use crate::cluster::failure::{Attempt, ClusterError, ResourceName};
use crate::istio::Resources;
use crate::telemetry::in_full;

/// What is watched, in the version that every release of Istio serves.
pub(super) const KINDS: [(&str, ResourceName); 7] = [
    ("ServiceEntry", networking("serviceentries")),
    ("DestinationRule", networking("destinationrules")),
    ("VirtualService", networking("virtualservices")),
    ("Sidecar", networking("sidecars")),
    ("PeerAuthentication", security("peerauthentications")),
    ("AuthorizationPolicy", security("authorizationpolicies")),
    ("RequestAuthentication", security("requestauthentications")),
];

pub(super) const VERSION: &str = "v1beta1";

const fn networking(plural: &'static str) -> ResourceName {
    ResourceName {
        plural,
        group: "networking.istio.io",
    }
}

const fn security(plural: &'static str) -> ResourceName {
    ResourceName {
        plural,
        group: "security.istio.io",
    }
}

/// The objects of one kind, by namespace and name.
type Objects = BTreeMap<(String, String), Value>;

/// The resources as they were last seen.
#[derive(Clone)]
pub struct IstioCache {
    resources: Arc<ArcSwap<Resources>>,
    listed: watch::Receiver<usize>,
}

/// The half that fills the cache.
pub struct IstioWatch {
    cluster: Cluster,
    shelf: Shelf,
}

/// What all watches fill together.
struct Shelf {
    kinds: Mutex<Vec<Objects>>,
    resources: Arc<ArcSwap<Resources>>,
    /// How many kinds have been listed, or found missing.
    listed: watch::Sender<usize>,
}

impl IstioCache {
    /// Makes an empty cache and the task that fills it.
    #[must_use]
    pub fn new(cluster: &Cluster) -> (Self, IstioWatch) {
        let resources = Arc::<ArcSwap<Resources>>::default();
        let (sender, listed) = watch::channel(0);
        let shelf = Shelf {
            kinds: Mutex::new(vec![Objects::new(); KINDS.len()]),
            resources: Arc::clone(&resources),
            listed: sender,
        };
        let watch = IstioWatch {
            cluster: cluster.clone(),
            shelf,
        };
        (Self { resources, listed }, watch)
    }

    /// Returns the resources.
    #[must_use]
    pub fn resources(&self) -> Arc<Resources> {
        self.resources.load_full()
    }

    /// Returns whether every kind has been listed, or found missing.
    #[must_use]
    pub fn is_listed(&self) -> bool {
        *self.listed.borrow() == KINDS.len()
    }

    /// Waits until every kind has been listed, or found missing.
    pub async fn ready(&self) {
        let mut listed = self.listed.clone();
        // The only error says that the watches have ended, and then nothing more will come.
        let _ = listed.wait_for(|&count| count == KINDS.len()).await;
    }
}

impl IstioWatch {
    /// Fills the cache until told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let kinds = KINDS.iter().enumerate();
        let watches = kinds.map(|(index, (kind, name))| self.follow(index, kind, *name).boxed());
        let all = future::join_all(watches);
        let _ = stop.run_until_cancelled(all).await;
    }

    async fn follow(&self, index: usize, kind: &str, name: ResourceName) {
        let attempt = Attempt::new("watch", name);
        let resource = ApiResource {
            group: name.group.to_owned(),
            version: VERSION.to_owned(),
            api_version: format!("{}/{VERSION}", name.group),
            kind: kind.to_owned(),
            plural: name.plural.to_owned(),
        };
        let api: Api<DynamicObject> = Api::all_with(self.cluster.client(), &resource);
        let changes = self.cluster.watch(api, watcher::Config::default());
        let mut changes = std::pin::pin!(changes);
        let mut listing = Objects::new();
        let mut listed = false;
        while let Some(change) = changes.next().await {
            match change {
                Ok(watcher::Event::Init) => listing.clear(),
                Ok(watcher::Event::InitApply(object)) => put(&mut listing, &object),
                Ok(watcher::Event::InitDone) => {
                    info!(resource = %name, count = listing.len(), "Istio's resources listed");
                    let all = std::mem::take(&mut listing);
                    self.shelf.change(index, |objects| *objects = all);
                    self.shelf.count_once(&mut listed);
                }
                Ok(watcher::Event::Apply(object)) => {
                    self.shelf.change(index, |objects| put(objects, &object));
                }
                Ok(watcher::Event::Delete(object)) => {
                    self.shelf.change(index, |objects| {
                        objects.remove(&key(&object));
                    });
                }
                Err(error) => {
                    let error = ClusterError::of_watch(&attempt, error);
                    if error.is_missing() {
                        debug!(resource = %name, "not installed");
                        self.shelf.change(index, Objects::clear);
                        self.shelf.count_once(&mut listed);
                    } else {
                        warn!(error = in_full(&error), "watch of Istio's resources failed");
                    }
                }
            }
        }
    }
}

impl Shelf {
    fn change(&self, index: usize, change: impl FnOnce(&mut Objects)) {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(objects) = kinds.get_mut(index) {
            change(objects);
        }
        let all = kinds.iter().flat_map(Objects::values);
        // Objects of a cluster always name their namespace.
        self.resources.store(Arc::new(Resources::read(all, "")));
    }

    fn count_once(&self, listed: &mut bool) {
        if !std::mem::replace(listed, true) {
            self.listed.send_modify(|count| *count += 1);
        }
    }
}

fn key(object: &DynamicObject) -> (String, String) {
    (object.namespace().unwrap_or_default(), object.name_any())
}

fn put(objects: &mut Objects, object: &DynamicObject) {
    let mut object = object.clone();
    // Managed fields are often larger than everything else.
    object.metadata.managed_fields = None;
    match serde_json::to_value(&object) {
        Ok(value) => {
            objects.insert(key(&object), value);
        }
        Err(error) => warn!(%error, "object not understood"),
    }
}
