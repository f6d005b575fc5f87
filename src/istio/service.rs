//! The services that a pod can call: those that a ServiceEntry declares, and those of Kubernetes.
//! <https://istio.io/latest/docs/reference/config/networking/service-entry/>

use mtls_proxy::config::{Host, Port, Protocol, SubjectAltName};

use super::host::CLUSTER_DOMAIN;
use super::object::ExportTo;
use super::reader::{Labels, Reader, scalar};

/// A ServiceEntry, or a Service of Kubernetes.
#[derive(Clone, Debug)]
pub(super) struct Service {
    pub(super) hosts: Vec<String>,
    pub(super) ports: Vec<ServicePort>,
    pub(super) endpoints: Vec<Endpoint>,
    pub(super) subject_alt_names: Vec<SubjectAltName>,
    pub(super) export_to: ExportTo,
    /// The pods behind a Service of Kubernetes.
    pub(super) selector: Labels,
}

/// One port of a service.
#[derive(Clone, Debug)]
pub(super) struct ServicePort {
    pub(super) number: Port,
    pub(super) name: String,
    pub(super) speaks: Speaks,
    pub(super) target: Option<Port>,
}

/// What is spoken at a port by those who call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speaks {
    /// HTTP that the proxy can read.
    Http,
    /// TLS of the application's own.
    Tls,
    /// Anything else.
    Tcp,
}

impl Speaks {
    pub(super) const fn protocol(self) -> Protocol {
        match self {
            Self::Http => Protocol::Http,
            Self::Tls | Self::Tcp => Protocol::Tcp,
        }
    }

    /// Reads a protocol, or the first word of a port's name, which means the same.
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().split('-').next()? {
            "http" | "http2" | "grpc" => Some(Self::Http),
            "https" | "tls" => Some(Self::Tls),
            "tcp" | "mongo" | "mysql" | "redis" => Some(Self::Tcp),
            _ => None,
        }
    }
}

/// An address behind a service.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    pub(super) address: Host,
    ports: Vec<(String, Port)>,
}

impl Service {
    /// Reads the spec of a ServiceEntry.
    pub(super) fn from_entry(reader: &mut Reader<'_, '_>) -> Option<Self> {
        let hosts: Vec<String> = reader.list("hosts");
        let ports = reader.objects("ports", ServicePort::from_entry);
        let endpoints = reader.objects("endpoints", Endpoint::read);
        let location: Option<String> = reader.get("location");
        let resolution: Option<String> = reader.get("resolution");
        reader.ignore(&["addresses"]);
        if hosts.is_empty() {
            reader.deny("hosts", "is required");
        }
        if endpoints.len() > 1 {
            reader.warn(
                "endpoints",
                "has more than one address; only the first is dialled",
            );
        }
        if reader.value("workloadSelector").is_some() {
            let inside = location.as_deref() == Some("MESH_INTERNAL");
            reader.warn(
                "workloadSelector",
                match inside {
                    true => "is not followed; the host is resolved by DNS",
                    false => "has no meaning for a service outside the mesh",
                },
            );
        }
        if resolution.as_deref() == Some("STATIC") && endpoints.is_empty() {
            reader.warn("endpoints", "is empty; the host is resolved by DNS");
        }
        Some(Self {
            hosts: hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
            ports: ports.into_iter().flatten().collect(),
            endpoints: endpoints.into_iter().flatten().collect(),
            subject_alt_names: reader.list("subjectAltNames"),
            export_to: ExportTo::read(reader),
            selector: Labels::new(),
        })
    }

    /// Reads the spec of a Service of Kubernetes. What it says beside its ports is nobody's loss.
    pub(super) fn from_kubernetes(
        reader: &mut Reader<'_, '_>,
        name: &str,
        namespace: &str,
    ) -> Self {
        let ports = reader.objects("ports", ServicePort::from_kubernetes);
        let selector = reader.labels("selector");
        reader.ignore(KUBERNETES_FIELDS);
        Self {
            hosts: vec![format!("{name}.{namespace}.{CLUSTER_DOMAIN}")],
            ports: ports.into_iter().flatten().collect(),
            endpoints: Vec::new(),
            subject_alt_names: Vec::new(),
            export_to: ExportTo::read(reader),
            selector,
        }
    }

    pub(super) fn port(&self, number: Port) -> Option<&ServicePort> {
        self.ports.iter().find(|port| port.number == number)
    }

    /// Returns the port to dial for a port of the service.
    pub(super) fn target(&self, number: Port) -> Port {
        let Some(port) = self.port(number) else {
            return number;
        };
        let endpoint = self.endpoints.first();
        let of_endpoint = endpoint.and_then(|endpoint| {
            let mut ports = endpoint.ports.iter();
            ports.find(|(name, _)| *name == port.name)
        });
        of_endpoint
            .map(|&(_, target)| target)
            .or(port.target)
            .unwrap_or(number)
    }
}

/// The fields of a Service that say nothing about what is spoken at its ports.
const KUBERNETES_FIELDS: &[&str] = &[
    "type",
    "clusterIP",
    "clusterIPs",
    "ipFamilies",
    "ipFamilyPolicy",
    "internalTrafficPolicy",
    "externalTrafficPolicy",
    "sessionAffinity",
    "sessionAffinityConfig",
    "externalName",
    "externalIPs",
    "loadBalancerIP",
    "loadBalancerClass",
    "loadBalancerSourceRanges",
    "allocateLoadBalancerNodePorts",
    "healthCheckNodePort",
    "publishNotReadyAddresses",
    "trafficDistribution",
];

impl ServicePort {
    fn from_entry(reader: &mut Reader<'_, '_>) -> Option<Self> {
        let number = reader.get("number");
        let name: String = reader.get("name").unwrap_or_default();
        let protocol: Option<String> = reader.get("protocol");
        let target = reader.get("targetPort");
        if number.is_none() && reader.value("number").is_none() {
            reader.deny("number", "is required");
        }
        let speaks = match protocol.as_deref() {
            None => Speaks::from_name(&name).unwrap_or(Speaks::Tcp),
            Some(protocol) => Speaks::from_name(protocol).unwrap_or_else(|| {
                reader.warn("protocol", &format!("{protocol:?} is taken for TCP"));
                Speaks::Tcp
            }),
        };
        Some(Self {
            number: number?,
            name,
            speaks,
            target,
        })
    }

    fn from_kubernetes(reader: &mut Reader<'_, '_>) -> Option<Self> {
        let number = reader.get("port");
        let name: String = reader.get("name").unwrap_or_default();
        let application: Option<String> = reader.get("appProtocol");
        // targetPort belongs to the Service: its address is dialled, on the port it offers.
        reader.ignore(&["targetPort", "protocol", "nodePort"]);
        let speaks = application
            .as_deref()
            .and_then(|name| Speaks::from_name(name.rsplit('/').next().unwrap_or(name)))
            .or_else(|| Speaks::from_name(&name));
        Some(Self {
            number: number?,
            name,
            speaks: speaks.unwrap_or(Speaks::Tcp),
            target: None,
        })
    }
}

impl Endpoint {
    fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        let address: Option<String> = reader.get("address");
        let ports = reader.map("ports", |name, value, path, findings| {
            Some((name.to_owned(), scalar(value, path, findings)?))
        });
        reader.ignore(&["labels", "network", "locality", "weight", "serviceAccount"]);
        let address = address?;
        match address.parse() {
            Ok(Host::Wildcard(_)) | Err(_) => {
                let reason = format!("{address:?} is not an address or a host name");
                reader.deny("address", &reason);
                None
            }
            Ok(address) => Some(Self { address, ports }),
        }
    }
}
