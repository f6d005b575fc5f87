//! Turns a sidecar into RFC 6902 operations on the raw pod. Only adds: nothing of the user's is
//! reordered, rewritten or even looked into, except how the probes that were moved ask. In: the pod
//! and the sidecar. Out: the patch.

mod probes;
mod removal;

pub use removal::removal;

use json_patch::jsonptr::PointerBuf;
use json_patch::{AddOperation, Patch, PatchOperation};
use serde_json::{Map, Value, json};

use crate::annotations::Key;
use crate::review::Pod;
use crate::sidecar::{Placement, SYSCTL, Sidecar};

/// Returns the operations that give a pod its sidecar.
#[must_use]
pub fn injection(pod: Pod<'_>, sidecar: &Sidecar) -> Patch {
    let mut operations = Operations {
        pod,
        list: Vec::new(),
    };
    operations.annotate(sidecar);
    operations.append("volumes", &sidecar.volumes);
    operations.append("hostAliases", &sidecar.host_aliases);
    if sidecar.unprivileged_ports {
        operations.allow_low_ports();
    }
    // By their place in the pod, so before anything is put in front of it.
    operations.list.extend(probes::moved(pod, &sidecar.probes));
    operations.place(sidecar);
    Patch(operations.list)
}

struct Operations<'a> {
    pod: Pod<'a>,
    list: Vec<PatchOperation>,
}

impl Operations<'_> {
    fn annotate(&mut self, sidecar: &Sidecar) {
        let entries = [
            (Key::ProxyConfig.name(), &sidecar.proxy_config),
            (Key::Status.name(), &sidecar.status),
        ];
        if self.pod.annotations().is_some() {
            for (name, value) in entries {
                self.add(&["metadata", "annotations", name], value.as_str().into());
            }
            return;
        }
        let entries = entries.map(|(name, value)| (name.to_owned(), value.as_str().into()));
        let annotations = Value::Object(Map::from_iter(entries));
        if self.pod.at(&["metadata"]).is_some() {
            self.add(&["metadata", "annotations"], annotations);
        } else {
            self.add(&["metadata"], json!({ "annotations": annotations }));
        }
    }

    /// Appends to a list of the pod's `spec`, or makes it.
    fn append(&mut self, list: &str, items: &[Value]) {
        if items.is_empty() {
            return;
        }
        if self.pod.at(&["spec", list]).is_none() {
            self.add(&["spec", list], Value::Array(items.to_vec()));
            return;
        }
        for item in items {
            self.add(&["spec", list, "-"], item.clone());
        }
    }

    fn allow_low_ports(&mut self) {
        let sysctl = json!({ "name": SYSCTL, "value": "0" });
        let context = ["spec", "securityContext"];
        if self.pod.at(&context).is_none() {
            self.add(&context, json!({ "sysctls": [sysctl] }));
        } else if self
            .pod
            .at(&["spec", "securityContext", "sysctls"])
            .is_none()
        {
            self.add(&["spec", "securityContext", "sysctls"], json!([sysctl]));
        } else {
            self.add(&["spec", "securityContext", "sysctls", "-"], sysctl);
        }
    }

    /// The kernel's rules are loaded before the proxy starts. Whatever of the application starts
    /// after them is protected: with a native proxy that is all of it, and with a classic one all
    /// but its init containers, which would find no proxy at the other end.
    fn place(&mut self, sidecar: &Sidecar) {
        let init = sidecar.init_container.as_slice();
        let proxy = std::slice::from_ref(&sidecar.container);
        match sidecar.placement {
            Placement::Native => self.prepend("initContainers", &[init, proxy].concat()),
            Placement::Classic => {
                self.append("initContainers", init);
                self.append("containers", proxy);
            }
            Placement::ClassicHolding => {
                self.append("initContainers", init);
                self.prepend("containers", proxy);
            }
        }
    }

    /// Puts items before those of a list of the pod's `spec`, or makes it.
    fn prepend(&mut self, list: &str, items: &[Value]) {
        if self.pod.at(&["spec", list]).is_none() {
            self.add(&["spec", list], Value::Array(items.to_vec()));
            return;
        }
        for item in items.iter().rev() {
            self.add(&["spec", list, "0"], item.clone());
        }
    }

    fn add(&mut self, tokens: &[&str], value: Value) {
        self.list.push(PatchOperation::Add(AddOperation {
            path: PointerBuf::from_tokens(tokens.iter().copied()),
            value,
        }));
    }
}
