//! Kubernetes Events about pods that asked for a proxy and did not get one. In: what happened, to
//! whose pod. Out: an Event on the pod's owner, where `kubectl describe` shows it. Never waits: the
//! queue is bounded and what does not fit is counted.

use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::cluster::client::Cluster;
use crate::cluster::failure::{Attempt, ResourceName};
use crate::cluster::metrics::ClusterMetrics;
use crate::telemetry::in_full;

const EVENTS: ResourceName = ResourceName {
    plural: "events",
    group: "events.k8s.io",
};
const CONTROLLER: &str = "mtls-injector.io/injector";
const QUEUE: usize = 256;
/// The API refuses a longer note.
const LONGEST_NOTE: usize = 1024;

/// The object that made the pod: a ReplicaSet, a Job, …
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// `apps/v1`
    pub api_version: String,
    /// `ReplicaSet`
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
}

/// What became of the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was refused.
    Denied,
    /// It was admitted without a proxy although it asked for one.
    Skipped,
}

impl Fate {
    fn reason(self) -> &'static str {
        match self {
            Self::Denied => "MutualTLSDenied",
            Self::Skipped => "MutualTLSSkipped",
        }
    }
}

/// One occasion for an Event. A dry run is none: whoever asks must not ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Occasion {
    /// The namespace of the pod and its owner.
    pub namespace: String,
    /// The owner: a pod without one has nobody to tell but the caller, who has the answer.
    pub owner: Owner,
    /// What became of the pod.
    pub fate: Fate,
    /// Why, in sentences.
    pub note: String,
}

/// Takes occasions; cheap to clone.
#[derive(Clone)]
pub struct Events {
    queue: mpsc::Sender<Occasion>,
    metrics: ClusterMetrics,
}

/// Publishes what was taken.
pub struct EventPublisher {
    cluster: Cluster,
    queue: mpsc::Receiver<Occasion>,
    recorder: Recorder,
    metrics: ClusterMetrics,
}

impl Events {
    /// Makes an empty queue and its publisher. `instance` is the name of our own pod.
    #[must_use]
    pub fn new(
        cluster: &Cluster,
        instance: Option<String>,
        metrics: &ClusterMetrics,
    ) -> (Self, EventPublisher) {
        let (sender, receiver) = mpsc::channel(QUEUE);
        let reporter = Reporter {
            controller: CONTROLLER.to_owned(),
            instance,
        };
        let publisher = EventPublisher {
            cluster: cluster.clone(),
            queue: receiver,
            recorder: Recorder::new(cluster.client(), reporter),
            metrics: metrics.clone(),
        };
        (
            Self {
                queue: sender,
                metrics: metrics.clone(),
            },
            publisher,
        )
    }

    /// Takes an occasion without waiting.
    pub fn record(&self, occasion: Occasion) {
        if self.queue.try_send(occasion).is_err() {
            self.metrics.events.with_label_values(&["dropped"]).inc();
        }
    }
}

impl EventPublisher {
    /// Publishes until told to stop. A failed Event is not repeated: the next pod brings another.
    pub async fn run(mut self, stop: CancellationToken) {
        while let Some(Some(occasion)) = stop.run_until_cancelled(self.queue.recv()).await {
            let attempt = Attempt::new("create", EVENTS).within(&occasion.namespace);
            let (event, regarding) = render(occasion);
            let publish = self.recorder.publish(&event, &regarding);
            let outcome = match self.cluster.call(&attempt, publish).await {
                Ok(()) => "published",
                Err(error) if error.is_missing() => {
                    debug!(error = in_full(&error), "Event not published");
                    "failed"
                }
                Err(error) => {
                    warn!(error = in_full(&error), "Event not published");
                    "failed"
                }
            };
            self.metrics.events.with_label_values(&[outcome]).inc();
        }
    }
}

fn render(occasion: Occasion) -> (Event, ObjectReference) {
    let Occasion {
        namespace,
        owner,
        fate,
        note,
    } = occasion;
    let event = Event {
        type_: EventType::Warning,
        reason: fate.reason().to_owned(),
        note: Some(shortened(note)),
        action: "Inject".to_owned(),
        secondary: None,
    };
    let regarding = ObjectReference {
        api_version: Some(owner.api_version),
        kind: Some(owner.kind),
        name: Some(owner.name),
        namespace: Some(namespace),
        uid: Some(owner.uid),
        ..ObjectReference::default()
    };
    (event, regarding)
}

fn shortened(mut note: String) -> String {
    const MORE: &str = " …";
    if note.len() > LONGEST_NOTE {
        let room = LONGEST_NOTE - MORE.len();
        let end = (0..=room).rev().find(|&end| note.is_char_boundary(end));
        note.truncate(end.unwrap_or_default());
        note.push_str(MORE);
    }
    note
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_note_is_cut_between_characters() {
        let cut = shortened("ä".repeat(1000));
        assert!(cut.len() <= LONGEST_NOTE);
        assert!(cut.ends_with("ä …"));
    }

    #[test]
    fn a_note_that_fits_is_left_alone() {
        assert_eq!(shortened("why".to_owned()), "why");
    }
}
