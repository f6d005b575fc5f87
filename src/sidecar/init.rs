//! The init container that loads the kernel's rules, with the one capability that this needs. In: the
//! settings and the proxy's container. Out: the container as JSON, and what stands against its place.

use k8s_openapi::api::core::v1::{Capabilities, Container, SecurityContext};
use serde_json::Value;

use super::container::{mount, security_context};
use super::volumes::{CONFIG_DIRECTORY, CONFIG_VOLUME};
use super::{Draft, INIT_CONTAINER, Placement};
use crate::annotations::Key;
use crate::review::name_of;

impl Draft<'_> {
    /// Makes the container that redirects the pod's traffic before anything of the application runs.
    pub(super) fn init_container(&mut self, placement: Placement, proxy: &Value) -> Value {
        self.check_neighbours(placement);
        let image = self.config.init_image();
        if image.is_none() {
            let reason = "is needed for capture redirect, and cannot be told from a proxyImage with a digest; set it to the image that is packed beside that one";
            self.mistakes
                .add("the injector's configuration: initImage", None, reason);
        }
        let container = Container {
            name: INIT_CONTAINER.to_owned(),
            image,
            args: Some(vec![
                "redirect".to_owned(),
                "--apply".to_owned(),
                format!("--config={CONFIG_DIRECTORY}/config.yaml"),
            ]),
            security_context: Some(may_load_rules()),
            termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
            ..Container::default()
        };
        let mut container =
            serde_json::to_value(container).expect("a container is made of JSON values");
        if let Some(container) = container.as_object_mut() {
            // As much as the proxy: no pod needs more for it, and what a quota demands is set.
            let resources = proxy.get("resources").cloned().unwrap_or_default();
            container.insert("resources".to_owned(), resources);
            let mounts = vec![mount(CONFIG_VOLUME, CONFIG_DIRECTORY)];
            container.insert("volumeMounts".to_owned(), Value::Array(mounts));
        }
        container
    }

    /// Beside a native proxy the pod's own init containers start after the rules and the proxy. A
    /// classic proxy starts after all of them, so the rules are loaded last: what ran before would
    /// find nobody at the other end.
    fn check_neighbours(&mut self, placement: Placement) {
        if placement == Placement::Native {
            return;
        }
        let mut before = Vec::new();
        for (index, container) in self.pod.list("initContainers").iter().enumerate() {
            let name = name_of(container);
            if is_restartable(container) {
                let reason = format!(
                    "keeps running, but starts before a classic proxy and so unprotected; use a native one ({}: \"true\", Kubernetes 1.29), or capture hosts",
                    Key::NativeSidecar.name()
                );
                let path = format!("spec.initContainers[{index}]");
                self.mistakes.add(&path, Some(name), &reason);
            } else {
                before.push(name);
            }
        }
        if !before.is_empty() {
            self.warnings.push(format!(
                "init containers {} run before a classic proxy, so their connections are not captured; use a native one ({}: \"true\", Kubernetes 1.29)",
                before.join(", "),
                Key::NativeSidecar.name()
            ));
        }
    }
}

/// Whether an init container keeps running beside the application.
pub(super) fn is_restartable(container: &Value) -> bool {
    container
        .get("restartPolicy")
        .is_some_and(|policy| policy == "Always")
}

/// Root without root's powers but this one: only root of the pod's network may load rules.
fn may_load_rules() -> SecurityContext {
    SecurityContext {
        run_as_non_root: Some(false),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            add: Some(vec!["NET_ADMIN".to_owned()]),
        }),
        ..security_context(Some(0))
    }
}
