//! VirtualService: where a request to a host goes.
//! <https://istio.io/latest/docs/reference/config/networking/virtual-service/>

use mtls_proxy::config::{Host, Port};

use super::http_route::HttpRoute;
use super::object::ExportTo;
use super::reader::Reader;

/// The gateway that stands for all sidecars.
pub(super) const MESH: &str = "mesh";

/// The spec of a VirtualService.
#[derive(Clone, Debug)]
pub(super) struct VirtualService {
    pub(super) hosts: Vec<String>,
    gateways: Vec<String>,
    pub(super) http: Vec<HttpRoute>,
    pub(super) tcp: Vec<TcpRoute>,
    pub(super) export_to: ExportTo,
}

/// One entry of `tcp`: connections to a port go to a destination.
#[derive(Clone, Debug)]
pub(super) struct TcpRoute {
    /// The ports that it takes; empty: every port.
    pub(super) ports: Vec<Port>,
    pub(super) destination: Destination,
}

/// Where a request is sent.
#[derive(Clone, Debug)]
pub(super) struct Destination {
    pub(super) host: String,
    pub(super) port: Option<Port>,
    pub(super) subset: Option<String>,
}

impl VirtualService {
    pub(super) fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        let hosts: Vec<String> = reader.list("hosts");
        let http = reader.objects("http", HttpRoute::read);
        let tcp = reader.objects("tcp", TcpRoute::read);
        if hosts.is_empty() {
            reader.deny("hosts", "is required");
        }
        if reader.value("tls").is_some() {
            reader.warn(
                "tls",
                "is not supported: what the application encrypts itself goes where its host leads",
            );
        }
        Some(Self {
            hosts,
            gateways: reader.list("gateways"),
            http: http.into_iter().flatten().collect(),
            tcp: tcp.into_iter().flatten().collect(),
            export_to: ExportTo::read(reader),
        })
    }

    /// Returns whether the rules hold at a gateway, `NAMESPACE/NAME` or [`MESH`].
    pub(super) fn is_bound_to(&self, gateway: &str, own_namespace: &str) -> bool {
        names_gateway(&self.gateways, gateway, own_namespace)
            || (self.gateways.is_empty() && gateway == MESH)
    }
}

/// Returns whether a list names a gateway; a name without namespace is of the resource's own.
pub(super) fn names_gateway(list: &[String], gateway: &str, own_namespace: &str) -> bool {
    list.iter().any(|name| {
        name == gateway || (name != MESH && format!("{own_namespace}/{name}") == gateway)
    })
}

impl TcpRoute {
    fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        let matches = reader.objects("match", |one| {
            one.deny_unknown();
            one.get::<Port>("port")
        });
        let destination = one_destination(reader);
        let ports = match matches.iter().all(Option::is_some) {
            true => matches.into_iter().flatten().collect(),
            false => Vec::new(),
        };
        Some(Self {
            ports,
            destination: destination?,
        })
    }

    pub(super) fn takes(&self, port: Port) -> bool {
        self.ports.is_empty() || self.ports.contains(&port)
    }
}

/// Reads `route`, which must lead to one place.
pub(super) fn one_destination(reader: &mut Reader<'_, '_>) -> Option<Destination> {
    let all = reader.objects("route", read_weighted);
    if all.len() > 1 {
        reader.deny(
            "route",
            "has more than one destination; requests are not shared out by weight here",
        );
    }
    all.into_iter().flatten().next()
}

fn read_weighted(reader: &mut Reader<'_, '_>) -> Option<Destination> {
    if reader.get::<u8>("weight") == Some(0) {
        reader.deny("weight", "is 0, so that nothing would be sent anywhere");
    }
    refuse_header_changes(reader);
    let destination = reader.object("destination", |reader| {
        let host: Option<Host> = reader.get("host");
        match &host {
            None if reader.value("host").is_none() => reader.deny("host", "is required"),
            None => {}
            Some(Host::Wildcard(_)) => reader.deny("host", "is a wildcard; name the one host"),
            Some(Host::Name(_) | Host::Ip(_)) => {}
        }
        let port = reader
            .object("port", |port| port.get::<Port>("number"))
            .flatten();
        let subset = reader.get("subset");
        Some(Destination {
            host: host
                .filter(|host| !matches!(host, Host::Wildcard(_)))?
                .to_string(),
            port,
            subset,
        })
    });
    if destination.is_none() {
        reader.deny("destination", "is required");
    }
    destination.flatten()
}

/// Refuses header operations: a field that must be removed would be sent.
pub(super) fn refuse_header_changes(reader: &mut Reader<'_, '_>) {
    reader.refuse(
        "headers",
        "is not supported: fields would neither be added nor removed",
    );
}
