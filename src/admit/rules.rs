//! The order of the decision: what leaves a pod as it is, or refuses it, before anything is built.
//! In: the request, the pod, its wishes. Out: a reason, or none. Every rule is one line of the order.

use serde_json::Value;

use crate::annotations::{Author, Key, Wishes};
use crate::config::Config;
use crate::decision::{Decision, Denial, DenialKind, SkipReason};
use crate::review::{Pod, Request, Target, name_of};
use crate::sidecar::Status;

/// Returns why a request is none of ours.
pub(super) fn outside(request: &Request) -> Option<SkipReason> {
    if request.target == Target::Other {
        return Some(SkipReason::OtherKind);
    }
    (request.operation != "CREATE").then_some(SkipReason::OtherOperation)
}

/// Returns what becomes of a pod that is not even looked at for injection.
pub(super) fn before_injection(
    config: &Config,
    pod: Pod<'_>,
    namespace: &str,
    wishes: &Wishes,
) -> Option<Decision> {
    if pod.is_windows() {
        return Some(Decision::Skip(SkipReason::Windows));
    }
    if pod.is_static() {
        return Some(Decision::Skip(SkipReason::StaticPod));
    }
    if pod.host_network() {
        return Some(on_host_network(wishes));
    }
    let reason = if config.system_namespaces.contains(namespace) {
        SkipReason::SystemNamespace
    } else if config.own_namespace.as_deref() == Some(namespace) {
        SkipReason::OwnNamespace
    } else if has_foreign_mesh(pod) {
        SkipReason::ForeignMesh
    } else if wishes.refused {
        SkipReason::Refused
    } else {
        return None;
    };
    Some(Decision::Skip(reason))
}

/// A pod that itself asks for routes would run without them and never know, so it is refused. One
/// that only inherits them from its namespace is an agent of the node that nobody had in mind.
fn on_host_network(wishes: &Wishes) -> Decision {
    if wishes.routes_by == Some(Author::Pod) && !wishes.refused {
        return Decision::Deny(Denial::of(
            DenialKind::HostNetwork,
            "spec.hostNetwork",
            "shares the node's ports and names with other pods, so egress and inbound cannot work; \
             leave the host network, or remove these annotations",
        ));
    }
    Decision::Skip(SkipReason::HostNetwork)
}

fn has_foreign_mesh(pod: Pod<'_>) -> bool {
    pod.all_containers()
        .any(|container| matches!(name_of(container), "istio-proxy" | "linkerd-proxy"))
}

/// Returns whether neither the pod nor its namespace asks for anything, not even wrongly.
pub(super) fn asks_for_nothing(wishes: &Wishes) -> bool {
    wishes.asked_by.is_none() && !wishes.bears_own_keys
}

/// Returns the status of a pod that was injected: it has what its status names.
pub(super) fn injected(pod: Pod<'_>) -> Option<Status> {
    let text = pod.annotations()?.get(Key::Status.name())?.as_str()?;
    Status::parse(text).filter(|status| status.describes(pod))
}

/// Returns a warning for each written key that a pod bears although it was never injected.
pub(super) fn overwritten(pod: Pod<'_>) -> impl Iterator<Item = String> {
    let keys = Key::ALL.iter().filter(|key| key.is_written());
    keys.filter(move |key| {
        let annotations = pod.annotations();
        annotations.is_some_and(|all| all.get(key.name()).is_some_and(Value::is_string))
    })
    .map(|key| {
        format!(
            "{} is written by mtls-injector; its value was replaced",
            key.name()
        )
    })
}
