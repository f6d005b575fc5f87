//! The ports that the proxy binds in the pod's network: they must be free, and low ones must be
//! allowed. In: routes and inbound ports. Out: whether the pod needs the sysctl for low ports.

use mtls_proxy::config::{EgressRoute, InboundPort, Port};
use serde_json::Value;

use super::Draft;
use crate::review::name_of;

/// The sysctl below whose value a port needs a privilege. Kubernetes counts it among the safe ones,
/// which Pod Security `restricted` lets pass.
pub(crate) const SYSCTL: &str = "net.ipv4.ip_unprivileged_port_start";

/// Bound by the proxy for itself: control, outbound and inbound redirect, admin.
const RESERVED: [u16; 4] = [15000, 15001, 15006, super::container::ADMIN_PORT];

impl Draft<'_> {
    pub(super) fn ports(&mut self, egress: &[EgressRoute], inbound: &[InboundPort]) -> bool {
        for (index, route) in egress.iter().enumerate() {
            let path = format!("{}[{index}].port", self.wishes.egress.path);
            self.refuse_a_taken_port(route.port, &path);
            if inbound.iter().any(|inbound| inbound.port == route.port) {
                let reason = "is listened on for inbound as well";
                self.mistakes
                    .add(&path, Some(&route.port.to_string()), reason);
            }
        }
        for (index, port) in inbound.iter().enumerate() {
            let path = format!("{}[{index}].port", self.wishes.inbound.path);
            self.refuse_a_taken_port(port.port, &path);
        }
        let egress = egress.iter().map(|route| route.port);
        let lowest = egress.chain(inbound.iter().map(|port| port.port)).min();
        lowest
            .filter(|port| port.get() < 1024)
            .is_some_and(|port| self.needs_sysctl(port))
    }

    fn refuse_a_taken_port(&mut self, port: Port, path: &str) {
        let shown = port.to_string();
        if RESERVED.contains(&port.get()) {
            self.mistakes.add(
                path,
                Some(&shown),
                "is a port that the proxy needs for itself",
            );
        }
        let owner = self
            .pod
            .all_containers()
            .find(|container| declares(container, port));
        if let Some(owner) = owner {
            let reason = format!(
                "is a port that container {:?} declares as its own; choose another",
                name_of(owner)
            );
            self.mistakes.add(path, Some(&shown), &reason);
        }
    }

    /// Returns whether the sysctl has to be added; one that the pod sets is respected.
    fn needs_sysctl(&mut self, lowest: Port) -> bool {
        let sysctls = self.pod.at(&["spec", "securityContext", "sysctls"]);
        let mut sysctls = sysctls.and_then(Value::as_array).into_iter().flatten();
        let Some(own) = sysctls.find(|sysctl| name_of(sysctl) == SYSCTL) else {
            return true;
        };
        let value = own.get("value").and_then(Value::as_str).unwrap_or_default();
        if !value
            .trim()
            .parse()
            .is_ok_and(|start: u16| start <= lowest.get())
        {
            let reason = format!(
                "is too high for the proxy to listen on port {lowest}; set it to 0, or choose a port of at least 1024"
            );
            let path = format!("spec.securityContext.sysctls: {SYSCTL}");
            self.mistakes.add(&path, Some(value), &reason);
        }
        false
    }
}

fn declares(container: &Value, port: Port) -> bool {
    let ports = container.get("ports").and_then(Value::as_array);
    ports.into_iter().flatten().any(|declared| {
        let tcp = declared
            .get("protocol")
            .is_none_or(|protocol| protocol == "TCP");
        tcp && declared.get("containerPort") == Some(&port.get().into())
    })
}
