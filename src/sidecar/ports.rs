//! The ports that the proxy binds in the pod's network: they must be free, and low ones must be
//! allowed. In: routes and inbound ports. Out: whether the pod needs the sysctl for low ports.

use std::net::IpAddr;

use mtls_proxy::config::{ADMIN_PORT, INBOUND_PORT, InboundPort, OUTBOUND_PORT, Port};
use serde_json::Value;

use super::Draft;
use super::capture::Captured;
use crate::review::name_of;

/// The sysctl below whose value a port needs a privilege. Kubernetes counts it among the safe ones,
/// which Pod Security `restricted` lets pass.
pub(crate) const SYSCTL: &str = "net.ipv4.ip_unprivileged_port_start";

/// Bound by the proxy for itself: control, outbound and inbound redirect, admin.
const RESERVED: [u16; 4] = [15000, OUTBOUND_PORT, INBOUND_PORT, ADMIN_PORT];

impl Draft<'_> {
    pub(super) fn ports(&mut self, captured: &Captured, inbound: &[InboundPort]) -> bool {
        // What the kernel redirects needs no listener, unless one is asked for.
        let redirected = captured.redirect.is_some();
        let binds = |listen: &[IpAddr]| !redirected || !listen.is_empty();
        let bound = |port: &&InboundPort| binds(&port.listen);
        let mut low = Vec::new();
        for (index, route) in captured.egress.iter().enumerate() {
            if !binds(&route.listen) {
                continue;
            }
            let path = format!("{}[{index}].port", self.wishes.egress.path);
            self.refuse_a_taken_port(route.port, &path);
            let mut inbound = inbound.iter().filter(bound);
            if inbound.any(|inbound| inbound.port == route.port) {
                let reason = "is listened on for inbound as well";
                self.mistakes
                    .add(&path, Some(&route.port.to_string()), reason);
            }
            low.push(route.port);
        }
        for (index, port) in inbound.iter().enumerate() {
            let path = format!("{}[{index}].port", self.wishes.inbound.path);
            if bound(&port) {
                self.refuse_a_taken_port(port.port, &path);
                low.push(port.port);
            } else {
                self.refuse_a_reserved_port(port.port, &path);
            }
        }
        low.retain(|port| port.get() < 1024);
        let lowest = low.into_iter().min();
        lowest.is_some_and(|port| self.needs_sysctl(port))
    }

    fn refuse_a_reserved_port(&mut self, port: Port, path: &str) {
        if RESERVED.contains(&port.get()) {
            let reason = "is a port that the proxy needs for itself";
            self.mistakes.add(path, Some(&port.to_string()), reason);
        }
    }

    fn refuse_a_taken_port(&mut self, port: Port, path: &str) {
        let shown = port.to_string();
        self.refuse_a_reserved_port(port, path);
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
