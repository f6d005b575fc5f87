//! Capture by the kernel: what is redirected, and whom the kernel can tell from the proxy. In: wishes,
//! settings and the pod's users. Out: the proxy's `redirect`, or every reason against it. The rules
//! themselves are the proxy's work.

mod bypass;
mod captures;

pub(super) use captures::{Captures, rules};

use mtls_proxy::config::{
    EgressRoute, Host, InboundTraffic, OutboundTraffic, Protocol, TrafficRedirect, Uid,
};
use serde_json::Value;

use super::Draft;
use crate::annotations::{Named, Selection};
use crate::review::name_of;

/// Stands in for a user that is missing, while the rest is checked.
const NOBODY: Uid = Uid::new(u32::MAX).expect("it is not root");

impl Draft<'_> {
    /// Tells what the kernel has to redirect; `path` is where that is asked for.
    pub(super) fn redirect(&mut self, egress: &[EgressRoute], path: &str) -> TrafficRedirect {
        self.foresee_pod_security(path);
        self.refuse_hosts_out_of_reach(egress);
        let proxy_uid = self.proxy_uid(path);
        TrafficRedirect {
            proxy_uid: proxy_uid.unwrap_or(NOBODY),
            outbound: self.outbound(),
            inbound: self.inbound_traffic(),
        }
    }

    /// Returns the proxy's user, by which the kernel knows the proxy's own connections. Whoever else
    /// ran as it would go around the proxy.
    fn proxy_uid(&mut self, path: &str) -> Option<Uid> {
        let user = self.config.proxy_user;
        let uid = user
            .and_then(|user| u32::try_from(user).ok())
            .and_then(Uid::new);
        match (user, uid) {
            (Some(user), Some(_)) => self.refuse_the_proxys_user(user),
            _ => {
                let reason = "cannot work while the injector's configuration says proxyUser none: the kernel tells the proxy by its user; set proxyUser, or use capture hosts";
                self.mistakes.add(path, Some("redirect"), reason);
            }
        }
        uid
    }

    fn refuse_the_proxys_user(&mut self, user: i64) {
        const WHY: &str = "is the proxy's own user, whose connections are never redirected";
        let run_as = |value: &Value| value.pointer("/securityContext/runAsUser")?.as_i64();
        let mut inheriting = Vec::new();
        for list in ["initContainers", "containers", "ephemeralContainers"] {
            for (index, container) in self.pod.list(list).iter().enumerate() {
                match run_as(container) {
                    Some(own) if own == user => {
                        let path = format!("spec.{list}[{index}].securityContext.runAsUser");
                        let reason = format!(
                            "{WHY}; run container {:?} as another, or use capture hosts",
                            name_of(container)
                        );
                        self.mistakes.add(&path, Some(&user.to_string()), &reason);
                    }
                    Some(_) => {}
                    None => inheriting.push(format!("{:?}", name_of(container))),
                }
            }
        }
        let of_pod = self.pod.at(&["spec"]).and_then(run_as);
        if of_pod == Some(user) && !inheriting.is_empty() {
            let reason = format!(
                "{WHY}; run {} as another, or use capture hosts",
                inheriting.join(", ")
            );
            let path = "spec.securityContext.runAsUser";
            self.mistakes.add(path, Some(&user.to_string()), &reason);
        }
    }

    fn refuse_hosts_out_of_reach(&mut self, egress: &[EgressRoute]) {
        for (index, route) in egress.iter().enumerate() {
            if let Some(reason) = self.out_of_reach(route) {
                let path = format!("{}[{index}].host", self.wishes.egress.path);
                self.mistakes
                    .add(&path, Some(&route.host.to_string()), reason);
            }
        }
    }

    /// What stays within the pod is never redirected. Of other connections the proxy knows a name
    /// from what is said in them, and of those that say nothing from where DNS leads.
    fn out_of_reach(&self, route: &EgressRoute) -> Option<&'static str> {
        const WITHIN: &str = "is the pod itself; name the external host";
        match &route.host {
            Host::Wildcard(_) => None,
            Host::Ip(ip) => ip.is_loopback().then_some(WITHIN),
            Host::Name(name) if name == "localhost" => Some(WITHIN),
            Host::Name(name) => {
                let aliases = self.aliases_of(name);
                if aliases.iter().any(|ip| ip.is_loopback()) {
                    Some("is led to the pod itself by the pod's own hostAliases; remove it there")
                } else if !aliases.is_empty() && route.protocol == Protocol::Tcp {
                    Some(
                        "is named by the pod's own hostAliases, so the proxy cannot know its connections by where DNS leads; remove it there, or give the address as the host",
                    )
                } else {
                    None
                }
            }
        }
    }

    fn outbound(&self) -> OutboundTraffic {
        let wishes = &self.wishes.traffic;
        let (include_ports, all_ports) = match &wishes.include_outbound_ports {
            Some(Named { value, .. }) => (only(value), *value == Selection::All),
            None => (Vec::new(), false),
        };
        let include_ip_ranges = match &wishes.include_outbound_ranges {
            Some(Named {
                value: Selection::Only(ranges),
                ..
            }) if !all_ports => Some(ranges.clone()),
            _ => None,
        };
        let exclude_ports = wishes.exclude_outbound_ports.as_ref();
        let exclude_ranges = wishes.exclude_outbound_ranges.as_ref();
        OutboundTraffic {
            include_ports,
            exclude_ports: exclude_ports.map_or_else(Vec::new, |ports| ports.value.0.clone()),
            include_ip_ranges,
            exclude_ip_ranges: exclude_ranges.map_or_else(Vec::new, |list| list.value.0.clone()),
        }
    }

    fn inbound_traffic(&self) -> InboundTraffic {
        let wishes = &self.wishes.traffic;
        let include = wishes.include_inbound_ports.as_ref();
        let exclude = wishes.exclude_inbound_ports.as_ref();
        InboundTraffic {
            all_ports: include.is_some_and(|ports| ports.value == Selection::All),
            include_ports: include.map_or_else(Vec::new, |ports| only(&ports.value)),
            exclude_ports: exclude.map_or_else(Vec::new, |ports| ports.value.0.clone()),
        }
    }
}

fn only<T: Clone>(selection: &Selection<T>) -> Vec<T> {
    match selection {
        Selection::All => Vec::new(),
        Selection::Only(items) => items.clone(),
    }
}
