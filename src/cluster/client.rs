//! The connection to the API server. In: where to find it and how patient to be. Out: calls that
//! always end, watches that always come back, failures that name what was attempted.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures::Stream;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::runtime::watcher::{Event, ExponentialBackoff as StreamBackoff};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, Client, Config, Resource};
use serde::de::DeserializeOwned;

use crate::cluster::failure::{Attempt, ClusterError};

/// A watch is renewed this often, so that a connection that died silently is noticed.
const WATCH_SECONDS: u32 = 60;
/// Longer than a healthy watch is ever silent.
const READ_TIMEOUT: Duration = Duration::from_secs(75);

/// Where the credentials for the API server come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Access {
    /// The service account of the pod that we run in.
    InCluster,
    /// A kubeconfig file; without a path the usual ones (`$KUBECONFIG`, `~/.kube/config`).
    Kubeconfig {
        /// The file, when one was named.
        path: Option<PathBuf>,
        /// The context, when not the file's current one.
        context: Option<String>,
    },
}

/// Where kubelet puts the token of a pod's service account.
const TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

impl Access {
    /// Returns the service account's access when we run in a pod that has one.
    #[must_use]
    pub fn in_cluster() -> Option<Self> {
        Path::new(TOKEN).exists().then_some(Self::InCluster)
    }
}

/// How patient we are with the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pace {
    /// The longest a single call may take.
    pub call_timeout: Duration,
    /// The first pause after a failure; each further one about doubles, with jitter.
    pub backoff_min: Duration,
    /// The longest pause after failures.
    pub backoff_max: Duration,
    /// How often everything is looked at again although no watch reported a change.
    pub resync: Duration,
    /// How long a change of the webhook is given to reach every API server before we rely on it.
    pub settle: Duration,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            call_timeout: Duration::from_secs(10),
            backoff_min: Duration::from_millis(200),
            backoff_max: Duration::from_secs(15),
            resync: Duration::from_secs(30),
            settle: Duration::from_secs(5),
        }
    }
}

/// A connected API server.
#[derive(Clone)]
pub struct Cluster {
    client: Client,
    pace: Pace,
}

impl Cluster {
    /// Reads the credentials and prepares the connection. Nothing is sent yet.
    ///
    /// # Errors
    /// When no credentials are found or they cannot be used.
    pub async fn connect(access: &Access, pace: Pace) -> Result<Self, ClusterError> {
        let config = match access {
            Access::InCluster => Config::incluster().map_err(configuration)?,
            Access::Kubeconfig { path, context } => {
                let options = KubeConfigOptions {
                    context: context.clone(),
                    ..Default::default()
                };
                match path {
                    None => Config::from_kubeconfig(&options)
                        .await
                        .map_err(configuration)?,
                    Some(path) => {
                        let file = Kubeconfig::read_from(path).map_err(configuration)?;
                        Config::from_custom_kubeconfig(file, &options)
                            .await
                            .map_err(configuration)?
                    }
                }
            }
        };
        Self::with_config(config, pace)
    }

    /// Prepares the connection that a configuration describes. Nothing is sent yet.
    ///
    /// # Errors
    /// When the configuration's certificates or keys cannot be used.
    pub fn with_config(mut config: Config, pace: Pace) -> Result<Self, ClusterError> {
        config.connect_timeout = Some(pace.call_timeout);
        config.write_timeout = Some(pace.call_timeout);
        config.read_timeout = Some(READ_TIMEOUT);
        config.reset_reader_on_write = true;
        let client = Client::try_from(config).map_err(ClusterError::Client)?;
        Ok(Self { client, pace })
    }

    /// Returns the namespace of the service account or context.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.client.default_namespace()
    }

    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    pub(crate) fn pace(&self) -> &Pace {
        &self.pace
    }

    /// Runs one call to its end, or to the end of our patience.
    pub(crate) async fn call<T>(
        &self,
        attempt: &Attempt,
        call: impl Future<Output = kube::Result<T>> + Send,
    ) -> Result<T, ClusterError> {
        let after = self.pace.call_timeout;
        match tokio::time::timeout(after, call).await {
            Ok(answer) => answer.map_err(|error| ClusterError::of_call(attempt, error)),
            Err(_) => Err(ClusterError::TimedOut {
                attempt: attempt.clone(),
                after,
            }),
        }
    }

    /// The pauses between attempts, without end. Jitter keeps replicas from marching in step.
    pub(crate) fn backoff(&self) -> ExponentialBackoff {
        self.backoff_builder().build()
    }

    /// Watches everything that the interface covers, for as long as the stream is polled.
    pub(crate) fn watch<K>(
        &self,
        api: Api<K>,
        config: watcher::Config,
    ) -> impl Stream<Item = watcher::Result<Event<K>>> + Send + use<K>
    where
        K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    {
        watcher(api, config.timeout(WATCH_SECONDS))
            .backoff(StreamBackoff::from(self.backoff_builder()))
    }

    fn backoff_builder(&self) -> ExponentialBuilder {
        ExponentialBuilder::default()
            .with_min_delay(self.pace.backoff_min)
            .with_max_delay(self.pace.backoff_max)
            .with_factor(2.0)
            .with_jitter()
            .without_max_times()
    }
}

fn configuration(error: impl std::error::Error + Send + Sync + 'static) -> ClusterError {
    ClusterError::Configuration(Box::new(error))
}
