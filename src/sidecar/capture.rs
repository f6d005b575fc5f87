//! How the application's connections reach the proxy. With `hosts`, each host becomes the alias of a
//! loopback address of its own, on which the proxy listens: no privilege, no rule of the kernel. With
//! `redirect`, the kernel leads them there. In: routes. Out: routes that listen, and the aliases or
//! what is redirected.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use k8s_openapi::api::core::v1::HostAlias;
use mtls_proxy::config::{EgressRoute, Host, TrafficRedirect};
use serde_json::Value;

use super::Draft;
use crate::config::{Capture, IpFamily};

/// Routes that are reached, and how.
pub(super) struct Captured {
    pub(super) egress: Vec<EgressRoute>,
    pub(super) host_aliases: Vec<Value>,
    pub(super) redirect: Option<TrafficRedirect>,
}

impl Draft<'_> {
    pub(super) fn capture(&mut self, egress: Vec<EgressRoute>) -> Captured {
        let (capture, path) = self.wishes.capture(self.config);
        if capture != Capture::Redirect {
            self.warn_of_idle_traffic_wishes(capture);
        }
        match capture {
            Capture::Hosts => self.capture_hosts(egress),
            Capture::Redirect => Captured {
                redirect: Some(self.redirect(&egress, path)),
                ..unaliased(egress)
            },
            Capture::None => unaliased(egress),
        }
    }

    fn warn_of_idle_traffic_wishes(&mut self, capture: Capture) {
        let paths = self.wishes.traffic.paths();
        self.warnings.extend(paths.map(|path| {
            format!("{path} has no effect with capture {capture}; it belongs to capture redirect")
        }));
    }

    fn capture_hosts(&mut self, mut egress: Vec<EgressRoute>) -> Captured {
        let mut names: Vec<String> = Vec::new();
        for (index, route) in egress.iter_mut().enumerate() {
            let path = format!("{}[{index}]", self.wishes.egress.path);
            let name = route.host.to_string();
            let known = names.iter().position(|known| *known == name);
            let address = loopback(self.config.ip_family, known.unwrap_or(names.len()));
            if !self.may_be_aliased(route, address, &path) {
                continue;
            }
            if known.is_none() {
                names.push(name);
            }
            route.listen = vec![address];
        }
        let mut host_aliases = aliases(self.config.ip_family, names);
        host_aliases.retain(|alias| !self.pod.list("hostAliases").contains(alias));
        Captured {
            host_aliases,
            ..unaliased(egress)
        }
    }

    fn may_be_aliased(&mut self, route: &EgressRoute, address: IpAddr, path: &str) -> bool {
        let against = match &route.host {
            Host::Wildcard(_) => Some(
                "is a wildcard, which no alias can stand for; list each host, or use capture redirect",
            ),
            Host::Ip(_) => Some(
                "is an address, which no alias can stand for; give the host's name and this as its `address`, or use capture redirect",
            ),
            Host::Name(name) if name == "localhost" => {
                Some("is the pod itself; name the external host")
            }
            Host::Name(name) if self.has_alias(name, address) => Some(
                "is named by the pod's own hostAliases; remove it there and use `address`, or use capture none",
            ),
            // RFC 1123 has no underscore, and the API server holds hostAliases to it.
            Host::Name(name) if name.contains('_') => {
                Some("has an underscore, which no alias can have; use capture none")
            }
            Host::Name(_) => None,
        };
        if let Some(reason) = against {
            let host = route.host.to_string();
            self.mistakes
                .add(&format!("{path}.host"), Some(&host), reason);
        } else if !route.listen.is_empty() {
            let reason = "is chosen by capture hosts; leave it out, or use capture none";
            self.mistakes.add(&format!("{path}.listen"), None, reason);
        }
        against.is_none()
    }

    /// Whether the pod leads a name anywhere but to this address.
    fn has_alias(&self, name: &str, address: IpAddr) -> bool {
        let elsewhere = |alias: &IpAddr| *alias != address;
        self.aliases_of(name).iter().any(elsewhere)
    }

    /// Returns where the pod's own aliases lead a name; nowhere (`::`) where that is no address.
    pub(super) fn aliases_of(&self, name: &str) -> Vec<IpAddr> {
        let aliases = self.pod.list("hostAliases").iter();
        let named = aliases.filter(|alias| {
            let names = alias.get("hostnames").and_then(Value::as_array);
            let mut names = names.into_iter().flatten().filter_map(Value::as_str);
            names.any(|other| other.eq_ignore_ascii_case(name))
        });
        let address = |alias: &Value| alias.get("ip")?.as_str()?.parse().ok();
        named
            .map(|alias| address(alias).unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)))
            .collect()
    }
}

/// The application dials 127.0.0.1, wherever the route says that the proxy listens, or what it likes.
const fn unaliased(egress: Vec<EgressRoute>) -> Captured {
    Captured {
        egress,
        host_aliases: Vec::new(),
        redirect: None,
    }
}

/// The loopback address of the n-th host: 127.77.0.1, 127.77.0.2, …
fn loopback(family: IpFamily, index: usize) -> IpAddr {
    match family {
        IpFamily::V6 => IpAddr::V6(Ipv6Addr::LOCALHOST),
        IpFamily::V4 => {
            let number = u16::try_from(index + 1).unwrap_or(u16::MAX);
            let [high, low] = number.to_be_bytes();
            IpAddr::V4(Ipv4Addr::new(127, 77, high, low))
        }
    }
}

fn aliases(family: IpFamily, names: Vec<String>) -> Vec<Value> {
    let alias = |ip: IpAddr, hostnames: Vec<String>| {
        let alias = HostAlias {
            ip: ip.to_string(),
            hostnames: Some(hostnames),
        };
        serde_json::to_value(alias).expect("an alias is made of JSON values")
    };
    match family {
        IpFamily::V6 if names.is_empty() => Vec::new(),
        IpFamily::V6 => vec![alias(loopback(family, 0), names)],
        IpFamily::V4 => {
            let numbered = names.into_iter().enumerate();
            numbered
                .map(|(index, name)| alias(loopback(family, index), vec![name]))
                .collect()
        }
    }
}
