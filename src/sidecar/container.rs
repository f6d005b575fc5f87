//! The proxy's container, as strict as Pod Security `restricted` wants it. In: settings, wishes and
//! mounts. Out: the container as JSON.

use k8s_openapi::api::core::v1::{
    Capabilities, Container, ContainerPort, ExecAction, HTTPGetAction, Lifecycle, LifecycleHandler,
    Probe, SeccompProfile, SecurityContext, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use mtls_proxy::config::ADMIN_PORT;
use serde_json::Value;

use super::volumes::CONFIG_DIRECTORY;
use super::{CONTAINER, Draft, Placement};

impl Draft<'_> {
    pub(super) fn container(&mut self, placement: Placement, mounts: Vec<Value>) -> Value {
        let image = self.wishes.proxy.image.as_ref();
        let native = placement == Placement::Native;
        let container = Container {
            name: CONTAINER.to_owned(),
            image: Some(image.unwrap_or(&self.config.proxy_image).clone()),
            args: Some(vec![
                "run".to_owned(),
                format!("--config={CONFIG_DIRECTORY}/config.yaml"),
            ]),
            restart_policy: native.then(|| "Always".to_owned()),
            ports: Some(vec![ContainerPort {
                name: Some("mtls-admin".to_owned()),
                container_port: i32::from(ADMIN_PORT),
                protocol: Some("TCP".to_owned()),
                ..ContainerPort::default()
            }]),
            resources: Some(self.resources()),
            lifecycle: (placement == Placement::ClassicHolding).then(wait_until_ready),
            startup_probe: Some(ready_within(1, 120)),
            readiness_probe: Some(ready_within(2, 3)),
            security_context: Some(security_context(self.config.proxy_user)),
            termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
            ..Container::default()
        };
        let mut container =
            serde_json::to_value(container).expect("a container is made of JSON values");
        if let Some(container) = container.as_object_mut() {
            // The user's mounts stay as they were written, with fields that our types may not know.
            container.insert("volumeMounts".to_owned(), Value::Array(mounts));
        }
        container
    }
}

pub(super) fn mount(name: &str, path: &str) -> Value {
    let mount = VolumeMount {
        name: name.to_owned(),
        mount_path: path.to_owned(),
        read_only: Some(true),
        ..VolumeMount::default()
    };
    serde_json::to_value(mount).expect("a mount is made of JSON values")
}

fn ready_within(period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some("/readyz".to_owned()),
            port: IntOrString::Int(i32::from(ADMIN_PORT)),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        failure_threshold: Some(failure_threshold),
        ..Probe::default()
    }
}

/// Kubelet starts the containers of a pod one after the other, and each only after the `postStart`
/// hook of the one before has ended. Native sidecars have startup probes for this.
fn wait_until_ready() -> Lifecycle {
    let command = ["/usr/local/bin/mtls-proxy", "wait"].map(str::to_owned);
    Lifecycle {
        post_start: Some(LifecycleHandler {
            exec: Some(ExecAction {
                command: Some(command.into()),
            }),
            ..LifecycleHandler::default()
        }),
        ..Lifecycle::default()
    }
}

pub(super) fn security_context(user: Option<i64>) -> SecurityContext {
    SecurityContext {
        run_as_user: user,
        run_as_group: user,
        run_as_non_root: Some(true),
        read_only_root_filesystem: Some(true),
        allow_privilege_escalation: Some(false),
        privileged: Some(false),
        capabilities: Some(Capabilities {
            drop: Some(vec!["ALL".to_owned()]),
            add: None,
        }),
        seccomp_profile: Some(SeccompProfile {
            type_: "RuntimeDefault".to_owned(),
            localhost_profile: None,
        }),
        ..SecurityContext::default()
    }
}
