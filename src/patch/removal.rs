//! Takes an earlier sidecar out of a pod, so that a current one can be put in. In: the pod and the
//! status that describes what was added. Out: RFC 6902 operations that remove just that, and put the
//! user's probes back.

use json_patch::jsonptr::PointerBuf;
use json_patch::{Patch, PatchOperation, RemoveOperation};
use serde_json::Value;

use super::probes;
use crate::review::{Pod, name_of};
use crate::sidecar::Status;

/// Returns the operations that remove what a status names.
#[must_use]
pub fn removal(pod: Pod<'_>, status: &Status) -> Patch {
    let address = |alias: &Value| {
        alias
            .get("ip")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let name = |item: &Value| name_of(item).to_owned();
    // By their place in the pod, so before anything is taken from in front of them.
    let mut operations = probes::restored(pod, &status.probes);
    remove(pod, "containers", &status.containers, name, &mut operations);
    remove(
        pod,
        "initContainers",
        &status.init_containers,
        name,
        &mut operations,
    );
    remove(pod, "volumes", &status.volumes, name, &mut operations);
    remove(
        pod,
        "hostAliases",
        &status.host_aliases,
        address,
        &mut operations,
    );
    Patch(operations)
}

/// Removes from the end, so that no removal moves what is still to be removed.
fn remove(
    pod: Pod<'_>,
    list: &str,
    names: &[String],
    name: fn(&Value) -> String,
    operations: &mut Vec<PatchOperation>,
) {
    let items = pod.list(list).iter().enumerate().rev();
    let named = items.filter(|(_, item)| names.contains(&name(item)));
    operations.extend(named.map(|(index, _)| {
        let path = PointerBuf::from_tokens(["spec", list, &index.to_string()]);
        PatchOperation::Remove(RemoveOperation { path })
    }));
}
