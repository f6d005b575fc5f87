//! Ends the proxies of Jobs. A proxy that is an ordinary container outlives its application, and the
//! Job would never be done; nothing inside the pod can tell it of the end without a privilege. In: the
//! running pods of Jobs, and what the end of one means, as a function. Out: an annotation of the pod,
//! which the kubelet carries to the proxy.

use std::collections::BTreeMap;
use std::future::pending;
use std::time::Duration;

use backon::ExponentialBackoff;
use futures::{FutureExt, Stream, StreamExt};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ApiResource, DynamicObject};
use kube::runtime::watcher::{self, Event};
use kube::{Api, ResourceExt};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::cluster::annotating::{Annotator, Wanted};
use crate::cluster::client::Cluster;
use crate::cluster::failure::{Attempt, ClusterError, ResourceName};
use crate::cluster::metrics::ClusterMetrics;
use crate::telemetry::in_full;

/// The label that every release of Kubernetes puts on the pods of a Job.
const JOB: &str = "job-name";

/// Tells the proxies of Jobs that their application has ended.
pub struct JobEnder {
    cluster: Cluster,
    annotator: Annotator,
    /// Pods whose application has ended and whose proxy does not know it yet.
    waiting: BTreeMap<(String, String), DynamicObject>,
}

impl JobEnder {
    /// Makes an ender; the function returns annotations for a pod whose application has ended.
    #[must_use]
    pub fn new(cluster: &Cluster, ended: Wanted, metrics: &ClusterMetrics) -> Self {
        Self {
            cluster: cluster.clone(),
            annotator: Annotator::new(cluster, ended, &metrics.job_ends),
            waiting: BTreeMap::new(),
        }
    }

    /// Watches until told to stop. A pod that could not be patched is tried again after a pause.
    pub async fn run(mut self, stop: CancellationToken) {
        let resource = ApiResource::erase::<Pod>(&());
        let api: Api<DynamicObject> = Api::all_with(self.cluster.client(), &resource);
        // Those that are done, or not begun, would only fill the memory.
        let running = watcher::Config::default()
            .labels(JOB)
            .fields("status.phase=Running");
        let changes = self.cluster.watch(api, running);
        let _ = stop.run_until_cancelled(self.follow(changes).boxed()).await;
    }

    async fn follow(&mut self, changes: impl Stream<Item = watcher::Result<Event<DynamicObject>>>) {
        let attempt = Attempt::new("watch", ResourceName::PODS);
        let mut changes = std::pin::pin!(changes);
        let mut pauses = self.cluster.backoff();
        let mut pause = None;
        loop {
            tokio::select! {
                change = changes.next() => match change {
                    Some(Ok(event)) => self.hear(event),
                    Some(Err(error)) => {
                        let error = ClusterError::of_watch(&attempt, error);
                        warn!(error = in_full(&error), "pods of Jobs not watched");
                        continue;
                    }
                    None => return,
                },
                () = elapsed(pause) => {}
            }
            pause = self.tell(&mut pauses).await;
        }
    }

    fn hear(&mut self, event: Event<DynamicObject>) {
        match event {
            Event::Init | Event::InitDone => {}
            Event::InitApply(pod) | Event::Apply(pod) => {
                let namespace = pod.namespace().unwrap_or_default();
                if self.annotator.patch_for(&namespace, &pod).is_some() {
                    self.waiting.insert((namespace, pod.name_any()), pod);
                }
            }
            Event::Delete(pod) => {
                let key = (pod.namespace().unwrap_or_default(), pod.name_any());
                self.waiting.remove(&key);
            }
        }
    }

    /// Tells every proxy that waits; returns the pause after which to try again, if need be.
    async fn tell(&mut self, pauses: &mut ExponentialBackoff) -> Option<Duration> {
        for ((namespace, name), pod) in std::mem::take(&mut self.waiting) {
            let Some(patch) = self.annotator.patch_for(&namespace, &pod) else {
                continue;
            };
            match self.annotator.pod(&namespace, &name, &patch).await {
                Ok(true) => info!(
                    pod.namespace = namespace,
                    pod.name = name,
                    "proxy told of its application's end"
                ),
                Ok(false) => {}
                Err(error) => {
                    warn!(
                        error = in_full(&error),
                        pod.namespace = namespace,
                        pod.name = name,
                        "proxy not told of its application's end"
                    );
                    self.waiting.insert((namespace, name), pod);
                }
            }
        }
        if self.waiting.is_empty() {
            *pauses = self.cluster.backoff();
            return None;
        }
        Some(pauses.next().unwrap_or_default())
    }
}

async fn elapsed(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => pending().await,
    }
}
