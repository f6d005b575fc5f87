//! A proxy that stands alone at the edge: Gateway and the VirtualServices bound to it.
//!
//! A port that ends TLS leads to a port on loopback that has the egress routes of the gateway's hosts
//! (the proxy hands requests over without a connection in between); a plain port has them itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mtls_proxy::config::{
    EgressRoute, Host, InboundPort, Port, Protocol, Redirect, RedirectCode, RequestMatch, TextMatch,
};

use super::Resources;
use super::destination::View;
use super::egress::plain;
use super::finding::{Finding, merge};
use super::gateway::{Gateway, ServedHost, Server, Serves, Termination};
use super::http_route::{Action, HttpRoute, Viewpoint};
use super::object::{Resource, Workload, selects};
use super::virtual_service::VirtualService;

/// The first of the ports on loopback that only ports with TLS lead to.
const FIRST_INNER_PORT: u16 = 15100;

/// What a proxy at the edge does, and what is to be said about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    /// From the gateway's listeners to the applications.
    pub egress: Vec<EgressRoute>,
    /// Where TLS is ended.
    pub inbound: Vec<InboundPort>,
    /// About the gateways that select the proxy and the resources behind them.
    pub findings: Vec<Finding>,
}

impl Resources {
    /// Returns what the gateways ask of a proxy with these labels in this namespace.
    #[must_use]
    pub fn edge(&self, workload: &Workload<'_>) -> Edge {
        let view = View {
            resources: self,
            workload,
        };
        let mut edge = Edge::default();
        let own = self
            .gateways
            .iter()
            .filter(|gateway| selects(&gateway.spec.selector, workload.labels));
        for gateway in own {
            merge(&mut edge.findings, gateway.findings.iter().cloned());
            for (index, server) in gateway.spec.servers.iter().enumerate() {
                let site = Site {
                    view,
                    gateway,
                    server,
                    path: format!("spec.servers[{index}]"),
                };
                site.serve(&mut edge);
            }
        }
        edge
    }
}

/// One server of one gateway.
struct Site<'r> {
    view: View<'r>,
    gateway: &'r Resource<Gateway>,
    server: &'r Server,
    path: String,
}

impl Site<'_> {
    fn serve(&self, edge: &mut Edge) {
        match &self.server.serves {
            Serves::Http => {
                let routes = self.routes(self.server.port, &everywhere(), &mut edge.findings);
                add(routes, &mut edge.egress);
            }
            Serves::Redirect => {
                let hosts = self.server.hosts.iter();
                let routes = hosts.filter_map(|served| {
                    let mut route = plain(served.host.parse().ok()?, self.server.port);
                    let code = RedirectCode::MovedPermanently;
                    route.redirect = Some(Redirect::to_https(code, None));
                    route.matches = only_for(&served.host, Vec::new());
                    Some(route)
                });
                let routes = routes.map(|route| listening(route, &everywhere()));
                add(routes.collect(), &mut edge.egress);
            }
            Serves::Https(termination) => {
                let inner = self.terminate(termination, edge);
                let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST)];
                let routes = self.routes(inner, &loopback, &mut edge.findings);
                add(routes, &mut edge.egress);
            }
        }
    }

    /// Adds the port that ends TLS and returns the one it leads to. Servers on one port share it.
    fn terminate(&self, termination: &Termination, edge: &mut Edge) -> Port {
        let port = self.server.port;
        if let Some(own) = edge.inbound.iter().find(|own| own.port == port) {
            let inner = own.target_port;
            let same = own.mode == termination.mode
                && own.tls == termination.tls
                && own.allow == termination.allow;
            if !same {
                let reason = format!(
                    "differs from another server on port {port}; one port has one certificate"
                );
                let path = format!("{}.tls", self.path);
                merge(
                    &mut edge.findings,
                    [self.gateway.meta.denial(&path, &reason)],
                );
            }
            return inner;
        }
        let index = u16::try_from(edge.inbound.len()).unwrap_or_default();
        let inner = Port::new(FIRST_INNER_PORT.saturating_add(index)).unwrap_or(Port::HTTP);
        edge.inbound.push(InboundPort {
            mode: termination.mode,
            tls: termination.tls.clone(),
            allow: termination.allow.clone(),
            ..InboundPort::new(port, inner)
        });
        inner
    }

    /// Returns the routes of all VirtualServices that are bound here.
    fn routes(
        &self,
        port: Port,
        listen: &[IpAddr],
        findings: &mut Vec<Finding>,
    ) -> Vec<EgressRoute> {
        let own = &self.gateway.meta;
        let name = format!("{}/{}", own.namespace, own.name);
        let mut routes = Vec::new();
        for one in &self.view.resources.virtual_services {
            let bound = one.spec.is_bound_to(&name, &one.meta.namespace);
            let seen = one
                .spec
                .export_to
                .reaches(&one.meta.namespace, &own.namespace);
            if !(bound && seen) {
                continue;
            }
            merge(findings, one.findings.iter().cloned());
            for served in &self.server.hosts {
                for host in &one.spec.hosts {
                    routes.extend(self.of_host(one, (served, host), port, findings));
                }
            }
        }
        let listen = |route| listening(route, listen);
        routes.into_iter().map(listen).collect()
    }

    fn of_host(
        &self,
        one: &Resource<VirtualService>,
        (served, host): (&ServedHost, &str),
        port: Port,
        findings: &mut Vec<Finding>,
    ) -> Vec<EgressRoute> {
        let own = &self.gateway.meta;
        let Some(host) = served.served_by(host, &one.meta.namespace, &own.namespace) else {
            return Vec::new();
        };
        let gateway = format!("{}/{}", own.namespace, own.name);
        let from = Viewpoint {
            workload: self.view.workload,
            gateway: &gateway,
            own_namespace: &one.meta.namespace,
            port: self.server.port,
        };
        let entries = one.spec.http.iter();
        let routes = entries.filter_map(|http| {
            let conditions = http.conditions(&from)?;
            let mut route = self.route(http, &from, &host, findings)?;
            route.port = port;
            route.matches = only_for(&host, conditions);
            Some(route)
        });
        routes.collect()
    }

    fn route(
        &self,
        http: &HttpRoute,
        from: &Viewpoint<'_>,
        host: &str,
        findings: &mut Vec<Finding>,
    ) -> Option<EgressRoute> {
        let host: Host = host.parse().ok()?;
        let mut route = match &http.action {
            Action::Redirect(redirect) => EgressRoute {
                redirect: Some(redirect.clone()),
                ..plain(host, from.port)
            },
            Action::Send(to) => {
                let upstream = self.view.destination(to, from.own_namespace, from.port);
                merge(findings, upstream.findings());
                upstream.route(host, from.port, Protocol::Http)
            }
        };
        http.shape(&mut route);
        Some(route)
    }
}

/// A listener with one host would take requests for any other: the condition keeps them out.
fn only_for(host: &str, mut conditions: Vec<RequestMatch>) -> Vec<RequestMatch> {
    if host.contains('*') {
        return conditions;
    }
    if conditions.is_empty() {
        conditions.push(RequestMatch::default());
    }
    for condition in &mut conditions {
        let own = || TextMatch::Exact(host.to_owned());
        condition.authority.get_or_insert_with(own);
    }
    conditions
}

fn listening(route: EgressRoute, listen: &[IpAddr]) -> EgressRoute {
    EgressRoute {
        listen: listen.to_vec(),
        ..route
    }
}

fn everywhere() -> [IpAddr; 2] {
    [
        IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    ]
}

/// Adds routes after those that are there: among those of one host, the earlier ones are tried first.
fn add(routes: Vec<EgressRoute>, all: &mut Vec<EgressRoute>) {
    for mut route in routes {
        let same = |other: &&EgressRoute| other.host == route.host && other.port == route.port;
        route.rank = all
            .iter()
            .filter(same)
            .map(|other| other.rank + 1)
            .max()
            .unwrap_or(0);
        all.push(route);
    }
}
