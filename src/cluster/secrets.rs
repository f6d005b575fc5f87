//! Which keys a Secret has, for the warning that one is missing. In: the name that a pod mentions.
//! Out: its keys, that it does not exist, or that we may not know. Values are never kept.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future;
use k8s_openapi::api::core::v1::Secret;
use tokio::time::Instant;
use tracing::warn;

use crate::cluster::client::Cluster;
use crate::cluster::failure::{ClusterError, ResourceName};
use crate::cluster::object::ObjectClient;
use crate::telemetry::in_full;

/// An admission waits no longer than this for the sake of a warning.
const PATIENCE: Duration = Duration::from_millis(300);
/// A Deployment's pods ask for the same Secret within seconds.
const FRESH: Duration = Duration::from_secs(10);
/// After a refusal we do not ask again for a while: somebody chose not to let us read Secrets.
const SILENCE: Duration = Duration::from_secs(300);
const MOST_REMEMBERED: usize = 1024;
const MOST_OF_A_POD: usize = 16;

/// What is known about a Secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretKeys {
    /// It exists and has these keys, sorted.
    Present(Vec<String>),
    /// It does not exist.
    Missing,
    /// The API server did not tell in time, or not us.
    Unknown,
}

/// Looks Secrets up, remembering answers for a moment.
#[derive(Clone)]
pub struct Secrets {
    cluster: Cluster,
    memory: Arc<Mutex<Memory>>,
}

#[derive(Default)]
struct Memory {
    answers: HashMap<(String, String), (SecretKeys, Instant)>,
    silent_until: Option<Instant>,
}

impl Secrets {
    /// Makes a look-up with nothing remembered.
    #[must_use]
    pub fn new(cluster: &Cluster) -> Self {
        Self {
            cluster: cluster.clone(),
            memory: Arc::default(),
        }
    }

    /// Tells which keys several Secrets have, all within a third of a second. Of a pod that mentions
    /// more of them than anybody means to, the rest is not asked for.
    pub async fn all_keys(&self, namespace: &str, names: &[&str]) -> BTreeMap<String, SecretKeys> {
        let asked = names.iter().take(MOST_OF_A_POD).map(|name| async move {
            let keys = self.keys(namespace, name).await;
            ((*name).to_owned(), keys)
        });
        future::join_all(asked).await.into_iter().collect()
    }

    /// Tells which keys a Secret has, within a third of a second.
    pub async fn keys(&self, namespace: &str, name: &str) -> SecretKeys {
        if let Some(known) = self.remembered(namespace, name) {
            return known;
        }
        match tokio::time::timeout(PATIENCE, self.ask(namespace, name)).await {
            Ok(Ok(answer)) => self.remember(namespace, name, answer),
            Ok(Err(error)) => {
                if error.is_forbidden() {
                    self.fall_silent();
                    warn!(error = in_full(&error), "Secrets of pods not looked up");
                }
                SecretKeys::Unknown
            }
            Err(_) => SecretKeys::Unknown,
        }
    }

    async fn ask(&self, namespace: &str, name: &str) -> Result<SecretKeys, ClusterError> {
        let secret: ObjectClient<Secret> =
            ObjectClient::within(&self.cluster, ResourceName::SECRETS, namespace, name);
        Ok(match secret.get().await? {
            None => SecretKeys::Missing,
            Some(secret) => {
                SecretKeys::Present(secret.data.unwrap_or_default().into_keys().collect())
            }
        })
    }

    fn remembered(&self, namespace: &str, name: &str) -> Option<SecretKeys> {
        let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if memory.silent_until.is_some_and(|until| now < until) {
            return Some(SecretKeys::Unknown);
        }
        let key = (namespace.to_owned(), name.to_owned());
        let (answer, at) = memory.answers.get(&key)?;
        (now - *at < FRESH).then(|| answer.clone())
    }

    fn remember(&self, namespace: &str, name: &str, answer: SecretKeys) -> SecretKeys {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if memory.answers.len() >= MOST_REMEMBERED {
            memory.answers.retain(|_, (_, at)| now - *at < FRESH);
        }
        if memory.answers.len() < MOST_REMEMBERED {
            let key = (namespace.to_owned(), name.to_owned());
            memory.answers.insert(key, (answer.clone(), now));
        }
        answer
    }

    fn fall_silent(&self) {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        memory.silent_until = Some(Instant::now() + SILENCE);
    }
}
