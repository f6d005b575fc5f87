//! Where a request ends up: the service behind a destination, the DestinationRule that holds for it,
//! and the part of a route that follows from both.

use mtls_proxy::config::{
    ClientTls, EgressRoute, Host, Port, Protocol, SubjectAltName, UpstreamMode,
};

use super::Resources;
use super::destination_rule::{DestinationRule, TrafficPolicy, UpstreamTls};
use super::finding::{Finding, merge};
use super::host::{CLUSTER_DOMAIN, covers, full_name, specificity};
use super::object::{ROOT_NAMESPACE, Resource, Workload, selects};
use super::service::Service;
use super::virtual_service::Destination;

/// What is behind a host, as one pod sees it.
#[derive(Clone, Copy)]
pub(super) struct View<'r> {
    pub(super) resources: &'r Resources,
    pub(super) workload: &'r Workload<'r>,
}

/// A destination that has been looked up.
#[derive(Clone)]
pub(super) struct Upstream<'r> {
    pub(super) host: String,
    pub(super) port: Port,
    service: Option<&'r Resource<Service>>,
    rule: Option<&'r Resource<DestinationRule>>,
    subset: Option<String>,
}

impl<'r> View<'r> {
    /// Finds the service that declares a host: one of the pod's own namespace before others, a full
    /// name before a wildcard, then the oldest.
    pub(super) fn service(&self, host: &str) -> Option<&'r Resource<Service>> {
        let own = |service: &Resource<Service>| service.meta.namespace == self.workload.namespace;
        let found = self.services().filter_map(|service| {
            let covering = service.spec.hosts.iter().filter(|own| covers(own, host));
            let best = covering.map(|own| specificity(own)).max()?;
            Some(((best, own(service)), service))
        });
        first_of_best(found)
    }

    /// Yields the services that the pod's namespace sees.
    pub(super) fn services(&self) -> impl Iterator<Item = &'r Resource<Service>> + use<'r> {
        let namespace = self.workload.namespace;
        self.resources.services.iter().filter(move |service| {
            service
                .spec
                .export_to
                .reaches(&service.meta.namespace, namespace)
        })
    }

    /// Yields the DestinationRules that the pod's namespace sees.
    pub(super) fn rules(&self) -> impl Iterator<Item = &'r Resource<DestinationRule>> + use<'r> {
        let workload = self.workload;
        self.resources.destination_rules.iter().filter(move |rule| {
            let own = rule.meta.namespace == workload.namespace;
            let selected = match &rule.spec.workload_selector {
                None => true,
                Some(labels) => own && selects(labels, workload.labels),
            };
            selected
                && rule
                    .spec
                    .export_to
                    .reaches(&rule.meta.namespace, workload.namespace)
        })
    }

    /// Finds the DestinationRule of a host: those of the pod's namespace, then those of the service's,
    /// then those of the root namespace; among them one that selects the pod, then the most specific
    /// host, then the oldest.
    fn rule(
        &self,
        host: &str,
        service: Option<&Resource<Service>>,
    ) -> Option<&'r Resource<DestinationRule>> {
        let of_service = service
            .map(|service| service.meta.namespace.clone())
            .or_else(|| namespace_in(host));
        let namespaces = [
            Some(self.workload.namespace.to_owned()),
            of_service,
            Some(ROOT_NAMESPACE.to_owned()),
        ];
        namespaces.iter().flatten().find_map(|namespace| {
            let found = self.rules().filter_map(|rule| {
                let own = full_name(&rule.spec.host, &rule.meta.namespace);
                let fits = rule.meta.namespace == *namespace && covers(&own, host);
                let selected = rule.spec.workload_selector.is_some();
                fits.then(|| ((selected, specificity(&own)), rule))
            });
            first_of_best(found)
        })
    }

    /// Looks up a host and port.
    pub(super) fn upstream(&self, host: &str, port: Port) -> Upstream<'r> {
        let service = self.service(host);
        Upstream {
            host: host.to_owned(),
            port,
            service,
            rule: self.rule(host, service),
            subset: None,
        }
    }

    /// Looks up the destination of a route that was reached at `listened`.
    pub(super) fn destination(
        &self,
        destination: &Destination,
        its_namespace: &str,
        listened: Port,
    ) -> Upstream<'r> {
        let host = full_name(&destination.host, its_namespace);
        let service = self.service(&host);
        let only = service.and_then(|service| match service.spec.ports.as_slice() {
            [only] => Some(only.number),
            _ => None,
        });
        Upstream {
            subset: destination.subset.clone(),
            ..self.upstream(&host, destination.port.or(only).unwrap_or(listened))
        }
    }
}

impl Upstream<'_> {
    /// Returns whether TLS is originated.
    pub(super) fn has_tls(&self) -> bool {
        self.policy().is_some_and(TrafficPolicy::asks_for_tls)
    }

    /// Makes the route from `host:port` to this destination.
    pub(super) fn route(&self, host: Host, port: Port, protocol: Protocol) -> EgressRoute {
        let dialled = host.to_string();
        let service = self.service.map(|service| &service.spec);
        let endpoint = service.and_then(|service| service.endpoints.first());
        let elsewhere = (self.host != dialled).then(|| self.host.parse().ok());
        let mut route = EgressRoute {
            port,
            target_port: service.map_or(self.port, |service| service.target(self.port)),
            address: endpoint
                .map(|endpoint| endpoint.address.clone())
                .or_else(|| elsewhere.flatten()),
            protocol,
            tls: ClientTls {
                mode: UpstreamMode::Disable,
                ..ClientTls::default()
            },
            ..EgressRoute::to_host(host)
        };
        if let Some(policy) = self.policy() {
            apply(policy, &mut route);
        }
        if route.tls.mode != UpstreamMode::Disable {
            self.name_what_is_verified(&mut route, &dialled);
        }
        route
    }

    /// The names of the certificate: those of the DestinationRule, else of the ServiceEntry, else the
    /// server name of the DestinationRule, else the destination's own.
    fn name_what_is_verified(&self, route: &mut EgressRoute, dialled: &str) {
        let tls = &mut route.tls;
        if tls.subject_alt_names.is_empty()
            && let Some(service) = self.service
        {
            tls.subject_alt_names
                .clone_from(&service.spec.subject_alt_names);
        }
        if self.host != dialled && tls.sni.is_none() {
            tls.sni = self
                .host
                .parse()
                .ok()
                .filter(|host| matches!(host, Host::Name(_)));
        }
        let sent = tls.sni.as_ref().and_then(Host::name);
        if tls.subject_alt_names.is_empty()
            && let Some(name) = sent.filter(|name| *name != dialled)
        {
            tls.subject_alt_names = vec![SubjectAltName::Dns(name.to_owned())];
        }
    }

    /// Returns what was found in the resources behind this destination, and what they ask that cannot
    /// be done here.
    pub(super) fn findings(&self) -> Vec<Finding> {
        let mut findings = Vec::new();
        if let Some(service) = self.service {
            merge(&mut findings, service.findings.iter().cloned());
        }
        let Some(rule) = self.rule else {
            return findings;
        };
        merge(&mut findings, rule.findings.iter().cloned());
        if matches!(
            self.policy().and_then(|policy| policy.tls.as_ref()),
            Some(UpstreamTls::IstioMutual)
        ) {
            merge(&mut findings, [istio_mutual(rule)]);
        }
        let subsets = &rule.spec.tls_subsets;
        if let Some(name) = self.subset.as_ref().filter(|name| subsets.contains(name)) {
            let reason =
                format!("subset {name} has TLS settings of its own, which are not supported");
            merge(&mut findings, [rule.meta.denial("spec.subsets", &reason)]);
        }
        findings
    }

    fn policy(&self) -> Option<&TrafficPolicy> {
        self.rule.map(|rule| rule.spec.policy(self.port))
    }
}

/// Refuses a mode that stands on identities issued by Istio.
pub(super) fn istio_mutual(rule: &Resource<DestinationRule>) -> Finding {
    let reason = format!(
        "mode ISTIO_MUTUAL needs identities issued by Istio, which a pod without a mesh does not have; use MUTUAL with a certificate of your own for {}",
        rule.spec.host
    );
    rule.meta.denial("spec.trafficPolicy", &reason)
}

fn apply(policy: &TrafficPolicy, route: &mut EgressRoute) {
    if let Some(connect) = policy.connect_timeout {
        route.timeouts.connect = connect;
    }
    if let Some(idle) = policy.idle_timeout {
        route.timeouts.idle = idle;
    }
    if let Some(UpstreamTls::Settings { tls, secret }) = &policy.tls {
        route.tls = ClientTls::clone(tls);
        route.secret.clone_from(secret);
    }
}

/// The namespace that the full name of a Service tells.
fn namespace_in(host: &str) -> Option<String> {
    let short = host.strip_suffix(&format!(".{CLUSTER_DOMAIN}"))?;
    short.split_once('.').map(|(_, own)| own.to_owned())
}

/// Returns the first of those that rank highest; the iterator yields the oldest first.
pub(super) fn first_of_best<K: Ord, T>(ranked: impl Iterator<Item = (K, T)>) -> Option<T> {
    let best = ranked.reduce(|best, next| if next.0 > best.0 { next } else { best });
    best.map(|(_, value)| value)
}
