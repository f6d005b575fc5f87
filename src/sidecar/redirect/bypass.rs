//! What goes around the proxy although a route or a way in was asked for it, because the pod's own
//! lists leave it out. In: the finished configuration. Out: one sentence each.

use mtls_proxy::config::{self as proxy, EgressRoute, Host, InboundMode, IpRange, OutboundTraffic};

use crate::annotations::{Named, Selection};
use crate::sidecar::Draft;

impl Draft<'_> {
    /// Says what is left out, for each list that does it.
    pub(in crate::sidecar) fn warn_of_ways_around(
        &mut self,
        outbound: &OutboundTraffic,
        config: &proxy::Config,
    ) {
        let wishes = &self.wishes.traffic;
        if let Some(Named { path, value }) = &wishes.exclude_inbound_ports {
            let guarded = config.inbound.iter();
            let guarded = guarded.filter(|entry| entry.mode != InboundMode::Disable);
            for entry in guarded.filter(|entry| value.0.contains(&entry.target_port)) {
                self.warnings.push(format!(
                    "{path}: the application's own port {} stays reachable in plaintext from other pods",
                    entry.target_port
                ));
            }
        }
        if let Some(Named { path, value }) = &wishes.include_inbound_ports
            && *value == Selection::Only(Vec::new())
            && !config.inbound.is_empty()
        {
            self.warnings.push(format!(
                "{path}: the ports of {} are redirected all the same; excludeInboundPorts takes one out",
                self.wishes.inbound.path
            ));
        }
        let routes = config.egress.iter().enumerate();
        for (index, route) in routes.filter(|(_, route)| !reaches(outbound, route)) {
            self.warnings.push(format!(
                "{}[{index}]: connections to {}:{} are kept from the proxy by {}, and leave the pod in plaintext",
                self.wishes.egress.path,
                route.host,
                route.port,
                self.lists_of_outbound()
            ));
        }
    }

    /// Names the lists that decide over the ways out.
    fn lists_of_outbound(&self) -> String {
        let wishes = self.wishes.traffic.paths();
        let outbound: Vec<_> = wishes.filter(|path| path.contains("Outbound")).collect();
        outbound.join(", ")
    }
}

/// Whether the application's connections for a route may be redirected to the proxy. Where a name
/// leads is not known here, so only what holds for every address counts.
fn reaches(outbound: &OutboundTraffic, route: &EgressRoute) -> bool {
    let within = |ranges: &[IpRange]| match route.host {
        Host::Ip(ip) => Some(ranges.iter().any(|range| range.contains(ip))),
        Host::Name(_) | Host::Wildcard(_) => None,
    };
    if outbound.exclude_ports.contains(&route.port)
        || within(&outbound.exclude_ip_ranges) == Some(true)
    {
        return false;
    }
    let Some(ranges) = &outbound.include_ip_ranges else {
        return true;
    };
    outbound.include_ports.contains(&route.port) || within(ranges).unwrap_or(!ranges.is_empty())
}
