//! What Istio's resources add to a pod's wishes. In: what the pod asks for by annotations, and the
//! resources that are known. Out: the same wishes with more routes, with the modes and rules of its
//! ports, and with what has to be said. Annotations of our own win over resources.

use mtls_proxy::config::{EgressRoute, Port};
use serde_json::Value;

use crate::annotations::Reading;
use crate::config::IstioKeys;
use crate::istio::{Declared, Finding, Labels, Resources, Severity, Workload};
use crate::review::Pod;

/// Where routes of resources stand, for messages about them.
const PATH: &str = "routes of Istio's resources";

/// Adds what the resources say about a pod that asked for the proxy.
pub(super) fn apply(
    resources: &Resources,
    pod: Pod<'_>,
    namespace: &str,
    istio: IstioKeys,
    reading: &mut Reading,
) {
    if istio == IstioKeys::Ignore || resources.is_empty() {
        return;
    }
    let labels = labels(pod);
    let workload = Workload {
        namespace,
        labels: &labels,
    };
    let egress = resources.egress(&workload);
    add_routes(reading, egress.routes);
    let mode_is_written = reading.wishes.writes_inbound_modes;
    let declared: Vec<_> = std::mem::take(&mut reading.wishes.inbound.value)
        .into_iter()
        .map(|port| Declared {
            port,
            mode_is_written,
        })
        .collect();
    // Whatever the capture, the proxy asks for certificates only at ports that it was told of.
    let inbound = resources.inbound(&workload, &declared, &app_ports(pod));
    reading.wishes.inbound.value = inbound.ports;
    for finding in egress.findings.iter().chain(&inbound.findings) {
        say(finding, reading);
    }
}

/// A route of an annotation stands for its host and port alone.
fn add_routes(reading: &mut Reading, routes: Vec<EgressRoute>) {
    let egress = &mut reading.wishes.egress;
    if egress.value.is_empty() {
        PATH.clone_into(&mut egress.path);
    }
    let own: Vec<_> = egress
        .value
        .iter()
        .map(|route| (route.host.clone(), route.port))
        .collect();
    let free = |route: &EgressRoute| !own.contains(&(route.host.clone(), route.port));
    egress.value.extend(routes.into_iter().filter(free));
}

fn say(finding: &Finding, reading: &mut Reading) {
    match finding.severity {
        Severity::Warning => reading.warnings.push(finding.to_string()),
        Severity::Denial => {
            let path = match finding.path.as_str() {
                "" => finding.resource.clone(),
                path => format!("{}: {path}", finding.resource),
            };
            reading.mistakes.add(&path, None, &finding.reason);
        }
    }
}

fn labels(pod: Pod<'_>) -> Labels {
    let labels = pod.at(&["metadata", "labels"]).and_then(Value::as_object);
    let pairs = labels.into_iter().flatten();
    pairs
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

/// The TCP ports that the pod's containers declare.
fn app_ports(pod: Pod<'_>) -> Vec<Port> {
    let containers = pod.list("containers").iter();
    let ports = containers
        .filter_map(|container| container.get("ports")?.as_array())
        .flatten();
    let tcp = ports.filter(|port| {
        let protocol = port.get("protocol").and_then(Value::as_str);
        protocol.is_none_or(|protocol| protocol == "TCP")
    });
    let numbers = tcp.filter_map(|port| u16::try_from(port.get("containerPort")?.as_u64()?).ok());
    let mut ports: Vec<_> = numbers.filter_map(Port::new).collect();
    ports.dedup();
    ports
}
