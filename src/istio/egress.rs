//! What a pod calls: ServiceEntry, VirtualService and DestinationRule together become egress routes.

use std::collections::BTreeSet;

use mtls_proxy::config::{ClientTls, EgressRoute, Host, Port, Protocol, UpstreamMode};

use super::Resources;
use super::destination::{Upstream, View, first_of_best, istio_mutual};
use super::destination_rule::DestinationRule;
use super::finding::{Finding, merge};
use super::host::{CLUSTER_DOMAIN, aliases, covers, full_name, specificity};
use super::http_route::{Action, HttpRoute, Viewpoint};
use super::object::{Resource, Workload};
use super::service::Speaks;
use super::virtual_service::{MESH, VirtualService};

/// The routes of one pod and what is to be said about them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Egress {
    /// In the order in which their hosts were found.
    pub routes: Vec<EgressRoute>,
    /// About the resources behind these routes, and no others.
    pub findings: Vec<Finding>,
}

impl Resources {
    /// Returns what a pod's calls become.
    #[must_use]
    pub fn egress(&self, workload: &Workload<'_>) -> Egress {
        let view = View {
            resources: self,
            workload,
        };
        let mut egress = Egress::default();
        for host in view.hosts() {
            let front = view.front(&host);
            if front.is_captured(workload) {
                merge(&mut egress.findings, front.findings.iter().cloned());
                egress.routes.extend(front.routes(workload));
            }
        }
        merge(&mut egress.findings, view.lost_rules());
        let unread = self.unread.iter();
        let own = unread.filter(|(namespace, _)| namespace == workload.namespace);
        merge(
            &mut egress.findings,
            own.map(|(_, finding)| finding.clone()),
        );
        egress
    }
}

/// One host with all its ports, and the routes that begin there.
struct Front<'r> {
    host: String,
    virtual_service: Option<&'r Resource<VirtualService>>,
    has_tls: bool,
    routes: Vec<EgressRoute>,
    findings: Vec<Finding>,
}

/// One port of a host.
struct Door<'f> {
    host: &'f str,
    port: Port,
    speaks: Speaks,
}

impl<'r> View<'r> {
    /// Returns the hosts that a pod may mean, each once: those of services, those of VirtualServices
    /// and those Services of Kubernetes that only a DestinationRule names.
    fn hosts(&self) -> Vec<String> {
        let of_services = self
            .services()
            .flat_map(|service| service.spec.hosts.clone());
        let of_routes = self.virtual_services().flat_map(|one| {
            let hosts = one.spec.hosts.iter();
            let full = hosts.map(|host| full_name(host, &one.meta.namespace));
            full.collect::<Vec<_>>()
        });
        let of_rules = self.rules().filter_map(|rule| {
            let host = full_name(&rule.spec.host, &rule.meta.namespace);
            let known = host.ends_with(CLUSTER_DOMAIN) && !host.starts_with('*');
            known.then_some(host)
        });
        let mut seen = BTreeSet::new();
        let mut all: Vec<_> = of_services.chain(of_routes).chain(of_rules).collect();
        all.retain(|host| host != "*" && seen.insert(host.clone()));
        all
    }

    fn virtual_services(&self) -> impl Iterator<Item = &'r Resource<VirtualService>> + use<'r> {
        let namespace = self.workload.namespace;
        self.resources.virtual_services.iter().filter(move |one| {
            let own = &one.meta.namespace;
            one.spec.is_bound_to(MESH, own) && one.spec.export_to.reaches(own, namespace)
        })
    }

    /// Finds the VirtualService of a host: the most specific, then the oldest.
    fn virtual_service(&self, host: &str) -> Option<&'r Resource<VirtualService>> {
        first_of_best(self.virtual_services().filter_map(|one| {
            let names = one.spec.hosts.iter();
            let full = names.map(|name| full_name(name, &one.meta.namespace));
            let best = full
                .filter(|name| covers(name, host))
                .map(|name| specificity(&name));
            Some((best.max()?, one))
        }))
    }

    fn front(&self, host: &str) -> Front<'r> {
        let virtual_service = self.virtual_service(host);
        let mut front = Front {
            host: host.to_owned(),
            virtual_service,
            has_tls: false,
            routes: Vec::new(),
            findings: Vec::new(),
        };
        if let Some(one) = virtual_service {
            merge(&mut front.findings, one.findings.iter().cloned());
        }
        let leads_to: Vec<_> = virtual_service
            .map(|one| self.ports_led_to(one, host))
            .unwrap_or_default();
        for (port, speaks) in self.ports(host, virtual_service) {
            let door = Door { host, port, speaks };
            // The port that encrypted requests are led to is no port that the application dials.
            if speaks != Speaks::Tls || !leads_to.contains(&port) {
                self.open(&door, &mut front);
            }
        }
        front
    }

    /// Returns the ports of a host at which something may come in.
    fn ports(
        &self,
        host: &str,
        virtual_service: Option<&Resource<VirtualService>>,
    ) -> Vec<(Port, Speaks)> {
        if let Some(service) = self.service(host) {
            let ports = service.spec.ports.iter();
            return ports.map(|port| (port.number, port.speaks)).collect();
        }
        if let Some(one) = virtual_service {
            let mut http: BTreeSet<_> = one.spec.http.iter().flat_map(HttpRoute::ports).collect();
            if http.is_empty() && !one.spec.http.is_empty() {
                http.insert(Port::HTTP);
            }
            let http = http.into_iter().map(|port| (port, Speaks::Http));
            let tcp = one.spec.tcp.iter().flat_map(|route| route.ports.clone());
            return http.chain(tcp.map(|port| (port, Speaks::Tcp))).collect();
        }
        let of_rules = self.rules().filter(|rule| names(rule, host));
        let ports: BTreeSet<_> = of_rules.flat_map(|rule| rule.spec.ports()).collect();
        ports.into_iter().map(|port| (port, Speaks::Http)).collect()
    }

    /// Returns the ports of the host itself to which its VirtualService leads.
    fn ports_led_to(&self, one: &Resource<VirtualService>, host: &str) -> Vec<Port> {
        let http = one
            .spec
            .http
            .iter()
            .filter_map(|route| match &route.action {
                Action::Send(destination) => Some(destination),
                Action::Redirect(_) => None,
            });
        let tcp = one.spec.tcp.iter().map(|route| &route.destination);
        let own = http
            .chain(tcp)
            .filter(|to| full_name(&to.host, &one.meta.namespace) == host);
        own.filter_map(|destination| destination.port).collect()
    }

    /// Adds the routes that begin at one port.
    fn open(&self, door: &Door<'_>, front: &mut Front<'r>) {
        let one = front.virtual_service;
        match (one, door.speaks) {
            (Some(one), Speaks::Http) if !one.spec.http.is_empty() => {
                self.open_http(one, door, front);
            }
            (Some(one), Speaks::Tcp) if one.spec.tcp.iter().any(|to| to.takes(door.port)) => {
                let first = one.spec.tcp.iter().find(|to| to.takes(door.port));
                if let Some(first) = first {
                    let to = &first.destination;
                    let upstream = self.destination(to, &one.meta.namespace, door.port);
                    front.add(door, &upstream);
                }
            }
            _ => {
                let upstream = self.upstream(door.host, door.port);
                front.add(door, &upstream);
            }
        }
    }

    fn open_http(&self, one: &'r Resource<VirtualService>, door: &Door<'_>, front: &mut Front<'r>) {
        let from = Viewpoint {
            workload: self.workload,
            gateway: MESH,
            own_namespace: &one.meta.namespace,
            port: door.port,
        };
        let mut rank = 0;
        for http in &one.spec.http {
            let Some(conditions) = http.conditions(&from) else {
                continue;
            };
            let takes_all = conditions.is_empty();
            let Some(host) = front.parsed_host() else {
                return;
            };
            let mut route = self.http_route(http, &from, host, front);
            route.matches = conditions;
            route.rank = rank;
            rank += 1;
            front.routes.push(route);
            if takes_all {
                break;
            }
        }
    }

    fn http_route(
        &self,
        http: &HttpRoute,
        from: &Viewpoint<'_>,
        host: Host,
        front: &mut Front<'r>,
    ) -> EgressRoute {
        let mut route = match &http.action {
            Action::Redirect(redirect) => EgressRoute {
                redirect: Some(redirect.clone()),
                ..plain(host, from.port)
            },
            Action::Send(to) => {
                let upstream = self.destination(to, from.own_namespace, from.port);
                front.note(&upstream);
                upstream.route(host, from.port, Protocol::Http)
            }
        };
        http.shape(&mut route);
        route
    }

    /// Returns what is lost of DestinationRules that ask for TLS but lead to no route.
    fn lost_rules(&self) -> Vec<Finding> {
        let own = self.rules().filter(|rule| {
            rule.meta.namespace == self.workload.namespace && rule.spec.asks_for_tls()
        });
        own.filter_map(|rule| self.lost_rule(rule)).collect()
    }

    fn lost_rule(&self, rule: &Resource<DestinationRule>) -> Option<Finding> {
        let host = full_name(&rule.spec.host, &rule.meta.namespace);
        let is_led_to = self.virtual_services().any(|one| {
            let http = one.spec.http.iter();
            let mut destinations = http.filter_map(|route| match &route.action {
                Action::Send(to) => Some(full_name(&to.host, &one.meta.namespace)),
                Action::Redirect(_) => None,
            });
            destinations.any(|to| covers(&host, &to))
        });
        let hosts = self.hosts();
        let mut covered = hosts.iter().filter(|known| covers(&host, known));
        if is_led_to || covered.any(|known| !self.ports(known, None).is_empty()) {
            return None;
        }
        if rule.spec.is_istio_mutual() {
            return Some(istio_mutual(rule));
        }
        Some(rule.meta.denial(
            "spec.host",
            &format!("{host} is in no ServiceEntry that this pod sees, so its ports are not known and it would be called without TLS; declare it, or name its ports in portLevelSettings"),
        ))
    }
}

impl<'r> Front<'r> {
    /// A host is worth an alias when TLS is originated for it, or when its routes were written for
    /// the pod's own namespace.
    fn is_captured(&self, workload: &Workload<'_>) -> bool {
        let own = self
            .virtual_service
            .is_some_and(|one| one.meta.namespace == workload.namespace);
        self.has_tls || own
    }

    fn add(&mut self, door: &Door<'_>, upstream: &Upstream<'r>) {
        self.note(upstream);
        if let Some(host) = self.parsed_host() {
            let protocol = door.speaks.protocol();
            self.routes.push(upstream.route(host, door.port, protocol));
        }
    }

    fn note(&mut self, upstream: &Upstream<'r>) {
        self.has_tls |= upstream.has_tls();
        merge(&mut self.findings, upstream.findings());
    }

    fn parsed_host(&self) -> Option<Host> {
        self.host.parse().ok()
    }

    /// Returns the routes under each name by which the pod can dial the host.
    fn routes(self, workload: &Workload<'_>) -> Vec<EgressRoute> {
        let full = self.parsed_host();
        let names = aliases(&self.host, workload.namespace);
        let hosts = names.iter().filter_map(|name| name.parse::<Host>().ok());
        hosts
            .flat_map(|host| {
                let routes = self.routes.iter().cloned();
                let full = full.clone();
                routes.map(move |route| renamed(route, &host, full.as_ref()))
            })
            .collect()
    }
}

/// The same route under a shorter name, still dialling and verifying the full one.
fn renamed(mut route: EgressRoute, host: &Host, full: Option<&Host>) -> EgressRoute {
    let Some(full) = full.filter(|full| *full != host) else {
        return route;
    };
    if route.redirect.is_none() {
        route.address.get_or_insert_with(|| full.clone());
    }
    if route.tls.mode != UpstreamMode::Disable {
        if route.tls.subject_alt_names.is_empty() && route.tls.sni.is_none() {
            let name = full.to_string().parse();
            route.tls.subject_alt_names.extend(name);
        }
        route.tls.sni.get_or_insert_with(|| full.clone());
    }
    route.host = host.clone();
    route
}

/// A route that originates no TLS.
pub(super) fn plain(host: Host, port: Port) -> EgressRoute {
    EgressRoute {
        port,
        target_port: port,
        tls: ClientTls {
            mode: UpstreamMode::Disable,
            ..ClientTls::default()
        },
        ..EgressRoute::to_host(host)
    }
}

fn names(rule: &Resource<DestinationRule>, host: &str) -> bool {
    full_name(&rule.spec.host, &rule.meta.namespace) == host
}
