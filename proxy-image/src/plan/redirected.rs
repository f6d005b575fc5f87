//! The listeners to which the kernel redirects connections.
//!
//! In: the routes and ports of a plan. Out: the front of outbound connections, on loopback alone so
//! that no other pod can use it, and that of inbound ones.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::{Plan, Planner, Service};
use crate::arrival::Misled;
use crate::config::{INBOUND_PORT, InboundMode, InboundPort, OUTBOUND_PORT, TrafficRedirect};
use crate::front::{Front, InboundPorts};
use crate::metrics::Direction;
use crate::outbound::Outbound;
use crate::route::Route;

/// The ways of connections that no route and no policy is for; made once, for their counters.
pub(super) struct Through {
    outbound: Arc<Route>,
    inbound: Arc<Route>,
}

impl Planner {
    /// Adds the fronts of redirected connections.
    pub(super) fn redirected(&mut self, redirect: &TrafficRedirect, plan: &mut Plan) {
        let through = self.through.get_or_insert_with(|| {
            let way = |direction| Route::passthrough(direction, &self.metrics, self.workers);
            Through {
                outbound: Arc::new(way(Direction::Egress)),
                inbound: Arc::new(way(Direction::Inbound)),
            }
        });
        let routes: Vec<_> = self
            .egress
            .iter()
            .map(|(_, route)| Arc::clone(route))
            .collect();
        let outbound = Outbound::new(&routes, &through.outbound, redirect.proxy_uid);
        if let Some((runs_as, exempt)) = outbound.not_exempt {
            plan.obstacles
                .push(Misled::NotExempt { runs_as, exempt }.to_string());
        }
        let inbound = Front::Inbound(InboundPorts {
            by_port: by_port(&self.inbound),
            others: Arc::new(Service::through(&through.inbound)),
            through: Arc::clone(&through.inbound),
        });
        let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let any: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let both = [
            (Arc::new(Front::Outbound(outbound)), loopback, OUTBOUND_PORT),
            (Arc::new(inbound), any, INBOUND_PORT),
        ];
        for (front, ips, port) in both {
            plan.fronts
                .extend(ips.map(|ip| (SocketAddr::new(ip, port), Arc::clone(&front))));
        }
    }
}

/// Policies by what a client dials: the port itself, or the application's own behind it.
fn by_port(ports: &[(InboundPort, Arc<Service>)]) -> BTreeMap<u16, Arc<Service>> {
    let mut strictest: Vec<_> = ports.iter().collect();
    strictest.sort_by_key(|(port, _)| laxity(port.mode));
    let mut by_port = BTreeMap::new();
    for (port, service) in &strictest {
        by_port
            .entry(port.target_port.get())
            .or_insert_with(|| Arc::clone(service));
    }
    // What was written for a port stands above what it means for another.
    for (port, service) in ports {
        by_port.insert(port.port.get(), Arc::clone(service));
    }
    by_port
}

/// Where several ports lead to one of the application, the strictest guards it.
const fn laxity(mode: InboundMode) -> u8 {
    match mode {
        InboundMode::Strict => 0,
        InboundMode::OptionalMutual => 1,
        InboundMode::Simple => 2,
        InboundMode::Permissive => 3,
        InboundMode::Disable => 4,
    }
}
