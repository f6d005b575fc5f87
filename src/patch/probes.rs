//! The probes that ask the proxy instead of the application, and back. Only the field that says how to
//! ask is exchanged: every other one of the probe stays in its place, known or not. In: what was moved,
//! or the pod and what it was moved from. Out: RFC 6902 operations.

use json_patch::jsonptr::PointerBuf;
use json_patch::{PatchOperation, ReplaceOperation};
use mtls_proxy::config::{ADMIN_PORT, AppProbe};
use serde_json::{Map, Value};

use crate::review::{Pod, name_of};
use crate::sidecar::{MovedProbe, Originals, ProbePlace};

/// Where the proxy is asked.
const HTTP_GET: &str = "httpGet";

/// Returns the operations that put each probe to the proxy.
pub(super) fn moved(pod: Pod<'_>, probes: &[MovedProbe]) -> Vec<PatchOperation> {
    let operations = probes.iter().filter_map(|probe| {
        let at = Location {
            list: probe.list,
            index: probe.index,
            place: probe.place,
        };
        at.exchange(pod, probe.field, HTTP_GET, &probe.http_get)
    });
    operations.collect()
}

/// Returns the operations that put probes back to what their author wrote. One that somebody has
/// changed since is left as it is.
pub(super) fn restored(pod: Pod<'_>, originals: &Originals) -> Vec<PatchOperation> {
    let mut operations = Vec::new();
    for list in ["initContainers", "containers"] {
        for (index, container) in pod.list(list).iter().enumerate() {
            let Some(probes) = originals.get(name_of(container)) else {
                continue;
            };
            for place in ProbePlace::ALL {
                let original = probes.get(place.key);
                if let Some((field, handler)) = original.and_then(|fields| fields.iter().next())
                    && asks_the_proxy(container, place)
                {
                    let at = Location { list, index, place };
                    operations.extend(at.exchange(pod, HTTP_GET, field, handler));
                }
            }
        }
    }
    operations
}

fn asks_the_proxy(container: &Value, place: ProbePlace) -> bool {
    let keys = place.keys.iter().chain([&HTTP_GET]);
    let request = keys
        .into_iter()
        .try_fold(container, |value, key| value.get(key));
    let path = request.and_then(|request| request.get("path")?.as_str());
    let port = request.and_then(|request| request.get("port")?.as_u64());
    port == Some(ADMIN_PORT.into()) && path.is_some_and(|path| path.starts_with(AppProbe::PREFIX))
}

/// A probe in a pod.
struct Location {
    list: &'static str,
    index: usize,
    place: ProbePlace,
}

impl Location {
    /// Gives the probe another field for how it asks, where it had the old one.
    fn exchange(
        &self,
        pod: Pod<'_>,
        old: &str,
        new: &str,
        value: &Value,
    ) -> Option<PatchOperation> {
        let index = self.index.to_string();
        let container = pod.list(self.list).get(self.index)?;
        let keys = self.place.keys.iter();
        let probe = keys
            .clone()
            .try_fold(container, |value, key| value.get(key))?;
        let fields = probe.as_object()?.iter();
        let kept = fields.filter(|(key, _)| *key == old || *key != new);
        let fields: Map<_, _> = kept
            .map(|(key, kept)| match key == old {
                true => (new.to_owned(), value.clone()),
                false => (key.clone(), kept.clone()),
            })
            .collect();
        let at = ["spec", self.list, &index].into_iter();
        Some(PatchOperation::Replace(ReplaceOperation {
            path: PointerBuf::from_tokens(at.chain(keys.copied())),
            value: Value::Object(fields),
        }))
    }
}
