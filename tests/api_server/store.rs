//! The objects, their versions and their history. Every change has a number: the resourceVersion.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use serde_json::{Value, json};
use tokio::sync::{Barrier, watch};

use super::apply::{self, Owners};

/// Which object: the plural of its kind, its namespace (empty for none) and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) plural: String,
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(plural: &str, namespace: &str, name: &str) -> Self {
        Self {
            plural: plural.into(),
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

/// A failure as the API reports it: HTTP status, reason, message.
#[derive(Debug)]
pub(crate) struct Failure(pub(crate) u16, pub(crate) &'static str, pub(crate) String);

type Outcome = Result<Value, Failure>;

/// One entry of the history.
#[derive(Clone)]
pub(crate) struct Change {
    pub(crate) version: u64,
    pub(crate) kind: &'static str,
    pub(crate) key: Key,
    pub(crate) object: Value,
}

/// A call that was answered: `create secrets 409`.
pub(crate) type Request = (String, String, u16);

#[derive(Default)]
struct Cluster {
    version: u64,
    objects: BTreeMap<Key, Value>,
    owners: BTreeMap<Key, Owners>,
    history: Vec<Change>,
    /// Changes up to this one are forgotten.
    compacted: u64,
    forbidden: BTreeSet<(String, String)>,
    meetings: BTreeMap<(String, String), (usize, Arc<Barrier>)>,
    /// Resources whose watches are silent.
    late: BTreeSet<String>,
    requests: Vec<Request>,
    bookmarks: usize,
}

/// The cluster's state, shared by all connections.
pub(crate) struct Store {
    cluster: Mutex<Cluster>,
    changes: watch::Sender<u64>,
    /// Counts how often all watches were closed.
    pub(crate) watch_epoch: watch::Sender<u64>,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            cluster: Mutex::default(),
            changes: watch::Sender::new(0),
            watch_epoch: watch::Sender::new(0),
        }
    }
}

/// What tests do and ask.
impl Store {
    pub(crate) fn get(&self, key: &Key) -> Option<Value> {
        self.cluster().objects.get(key).cloned()
    }

    pub(crate) fn list(&self, plural: &str) -> Vec<Value> {
        let cluster = self.cluster();
        let of_kind = cluster
            .objects
            .iter()
            .filter(|(key, _)| key.plural == plural);
        of_kind.map(|(_, object)| object.clone()).collect()
    }

    /// Changes an object as `kubectl edit` would, under another field manager.
    pub(crate) fn edit(&self, key: &Key, manager: &str, change: impl FnOnce(&mut Value)) {
        let mut object = self.get(key).unwrap();
        change(&mut object);
        self.update(key, object, manager).unwrap();
    }

    /// Forbids a verb on a resource.
    pub(crate) fn forbid(&self, verb: &str, plural: &str) {
        self.cluster()
            .forbidden
            .insert((verb.into(), plural.into()));
    }

    pub(crate) fn permit(&self, verb: &str, plural: &str) {
        self.cluster()
            .forbidden
            .remove(&(verb.into(), plural.into()));
    }

    /// Holds the first calls of a kind back until `count` of them are there: a race for certain.
    pub(crate) fn let_meet(&self, verb: &str, plural: &str, count: usize) {
        let meeting = (count, Arc::new(Barrier::new(count)));
        self.cluster()
            .meetings
            .insert((verb.into(), plural.into()), meeting);
    }

    /// Keeps the watches of a resource from telling anything.
    pub(crate) fn delay_watches(&self, plural: &str) {
        self.cluster().late.insert(plural.into());
    }

    /// Lets them tell all that happened meanwhile.
    pub(crate) fn resume_watches(&self, plural: &str) {
        self.cluster().late.remove(plural);
        self.changes.send_modify(|_| ());
    }

    /// Forgets the history and closes all watches: each comes back with a version that is gone.
    pub(crate) fn expire_watches(&self) {
        let mut cluster = self.cluster();
        // As if other objects had changed in the meantime.
        cluster.version += 1;
        drop(cluster);
        self.close_watches_and_forget();
    }

    /// The same, but those who know the latest version need not begin anew.
    pub(crate) fn close_watches_and_forget(&self) {
        let mut cluster = self.cluster();
        cluster.compacted = cluster.version;
        cluster.history.clear();
        drop(cluster);
        self.watch_epoch.send_modify(|epoch| *epoch += 1);
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.cluster().requests.clone()
    }

    /// Counts the calls of a verb on a resource that were answered with a status.
    pub(crate) fn count(&self, verb: &str, plural: &str, code: u16) -> usize {
        let wanted = (verb.to_owned(), plural.to_owned(), code);
        self.cluster()
            .requests
            .iter()
            .filter(|request| **request == wanted)
            .count()
    }

    pub(crate) fn bookmarks(&self) -> usize {
        self.cluster().bookmarks
    }

    /// The fields that a manager owns in an object, as paths.
    pub(crate) fn owned_by(&self, key: &Key, manager: &str) -> Vec<String> {
        let cluster = self.cluster();
        let owners = cluster.owners.get(key);
        owners
            .map(|owners| owners.paths_of(manager))
            .unwrap_or_default()
    }

    pub(crate) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }
}

/// What the HTTP side does.
impl Store {
    pub(crate) fn create(&self, key: &Key, mut object: Value, manager: &str) -> Outcome {
        let mut cluster = self.cluster();
        if cluster.objects.contains_key(key) {
            let message = format!("{} \"{}\" already exists", key.plural, key.name);
            return Err(Failure(409, "AlreadyExists", message));
        }
        object["metadata"]["uid"] = json!(format!("uid-{}", cluster.version + 1));
        cluster
            .owners
            .entry(key.clone())
            .or_default()
            .updated(manager, &Value::Null, &object);
        Ok(self.commit(cluster, key, object, "ADDED"))
    }

    pub(crate) fn update(&self, key: &Key, mut object: Value, manager: &str) -> Outcome {
        let mut cluster = self.cluster();
        let live = cluster
            .objects
            .get(key)
            .ok_or_else(|| missing(key))?
            .clone();
        same_version(key, &live, &object)?;
        // Only the server sets the version.
        object["metadata"]["resourceVersion"] = live["metadata"]["resourceVersion"].clone();
        if object == live {
            return Ok(live);
        }
        valid(key, &object)?;
        cluster
            .owners
            .entry(key.clone())
            .or_default()
            .updated(manager, &live, &object);
        Ok(self.commit(cluster, key, object, "MODIFIED"))
    }

    /// JSON merge patch, RFC 7386.
    pub(crate) fn merge(&self, key: &Key, patch: &Value, manager: &str) -> Outcome {
        let mut object = self.get(key).ok_or_else(|| missing(key))?;
        json_patch::merge(&mut object, patch);
        self.update(key, object, manager)
    }

    /// Server-side apply.
    pub(crate) fn apply(&self, key: &Key, config: &Value, manager: &str, force: bool) -> Outcome {
        let mut cluster = self.cluster();
        let Some(live) = cluster.objects.get(key).cloned() else {
            if config["metadata"]["resourceVersion"].is_string() {
                return Err(missing(key));
            }
            drop(cluster);
            valid(key, config)?;
            return self.create(key, config.clone(), manager);
        };
        same_version(key, &live, config)?;
        let owners = cluster.owners.entry(key.clone()).or_default();
        let (object, claimed) = apply::apply(&live, config, owners, manager, force)
            .map_err(|message| Failure(409, "Conflict", message))?;
        valid(key, &object)?;
        cluster.owners.insert(key.clone(), claimed);
        if object == live {
            return Ok(live);
        }
        Ok(self.commit(cluster, key, object, "MODIFIED"))
    }

    pub(crate) fn delete(&self, key: &Key) -> Outcome {
        let mut cluster = self.cluster();
        let object = cluster.objects.remove(key).ok_or_else(|| missing(key))?;
        cluster.owners.remove(key);
        Ok(self.commit(cluster, key, object, "DELETED"))
    }

    pub(crate) fn version(&self) -> u64 {
        self.cluster().version
    }

    /// The changes after a version, or `None` when they are forgotten.
    pub(crate) fn changes_since(&self, version: u64) -> Option<(Vec<Change>, u64)> {
        let cluster = self.cluster();
        if version < cluster.compacted {
            return None;
        }
        let later = cluster
            .history
            .iter()
            .filter(|change| change.version > version);
        Some((later.cloned().collect(), cluster.version))
    }

    pub(crate) fn is_forbidden(&self, verb: &str, plural: &str) -> bool {
        self.cluster()
            .forbidden
            .contains(&(verb.into(), plural.into()))
    }

    pub(crate) fn record(&self, verb: &str, plural: &str, code: u16) {
        self.cluster()
            .requests
            .push((verb.into(), plural.into(), code));
        // A refused call changes no object, yet somebody may wait for it.
        self.changes.send_modify(|_| ());
    }

    pub(crate) fn record_bookmark(&self) {
        self.cluster().bookmarks += 1;
        self.changes.send_modify(|_| ());
    }

    pub(crate) fn is_late(&self, plural: &str) -> bool {
        self.cluster().late.contains(plural)
    }

    pub(crate) fn meeting(&self, verb: &str, plural: &str) -> Option<Arc<Barrier>> {
        let mut cluster = self.cluster();
        let (left, barrier) = cluster.meetings.get_mut(&(verb.into(), plural.into()))?;
        *left = left.checked_sub(1)?;
        Some(Arc::clone(barrier))
    }

    fn commit(
        &self,
        mut cluster: MutexGuard<'_, Cluster>,
        key: &Key,
        mut object: Value,
        kind: &'static str,
    ) -> Value {
        cluster.version += 1;
        let version = cluster.version;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        if kind != "DELETED" {
            cluster.objects.insert(key.clone(), object.clone());
        }
        let change = Change {
            version,
            kind,
            key: key.clone(),
            object: object.clone(),
        };
        cluster.history.push(change);
        drop(cluster);
        self.changes.send_replace(version);
        object
    }

    fn cluster(&self) -> MutexGuard<'_, Cluster> {
        self.cluster.lock().unwrap()
    }
}

pub(crate) fn missing(key: &Key) -> Failure {
    Failure(
        404,
        "NotFound",
        format!("{} \"{}\" not found", key.plural, key.name),
    )
}

/// Optimistic locking: whoever names a version must name the current one.
fn same_version(key: &Key, live: &Value, given: &Value) -> Result<(), Failure> {
    let given = &given["metadata"]["resourceVersion"];
    if given.is_null() || *given == live["metadata"]["resourceVersion"] {
        return Ok(());
    }
    let message = format!(
        "Operation cannot be fulfilled on {} \"{}\": the object has been modified; please apply \
         your changes to the latest version and try again",
        key.plural, key.name
    );
    Err(Failure(409, "Conflict", message))
}

/// The required fields of a webhook, which an apply onto a removed entry would leave out.
fn valid(key: &Key, object: &Value) -> Result<(), Failure> {
    if key.plural != "mutatingwebhookconfigurations" {
        return Ok(());
    }
    for webhook in object["webhooks"].as_array().into_iter().flatten() {
        for field in ["admissionReviewVersions", "sideEffects"] {
            if webhook[field].is_null() {
                let message = format!("webhooks[].{field}: Required value");
                return Err(Failure(422, "Invalid", message));
            }
        }
    }
    Ok(())
}
