//! The addresses on which this process listens: a route that leads back would go round and round.
//! Only one way leads on: out by egress and in again by an inbound port, to the application.
//!
//! In: listeners that come and go. Out: whether an address leads back. Knows no routes.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use arc_swap::ArcSwap;

use crate::metrics::Direction;

/// Listeners; read for each new connection and rarely written.
#[derive(Debug, Default)]
pub(crate) struct OwnAddresses(ArcSwap<BTreeMap<SocketAddr, Direction>>);

impl OwnAddresses {
    /// Replaces the set.
    pub(crate) fn replace(&self, listeners: impl Iterator<Item = (SocketAddr, Direction)>) {
        self.0.store(listeners.collect::<BTreeMap<_, _>>().into());
    }

    /// Returns whether dialling this address, by a route of this direction, would lead back. `local` is the address that
    /// was dialled from, once that is known: who dials an address of the own host gets that same
    /// address.
    pub(crate) fn lead_back(
        &self,
        by: Direction,
        dialled: SocketAddr,
        local: Option<IpAddr>,
    ) -> bool {
        // A socket of IPv6 reaches IPv4 by addresses such as ::ffff:127.0.0.1.
        let dialled = SocketAddr::new(dialled.ip().to_canonical(), dialled.port());
        let local = local.map(|ip| ip.to_canonical());
        let own = self.0.load();
        let leads_back = |listener: SocketAddr| {
            let found = own.get(&listener);
            found.is_some_and(|found| by == Direction::Inbound || *found == Direction::Egress)
        };
        let any = |ip: IpAddr| {
            let unspecified: IpAddr = match ip {
                IpAddr::V4(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
                IpAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
            };
            leads_back(SocketAddr::new(unspecified, dialled.port()))
        };
        let ip = dialled.ip();
        let is_here = ip.is_loopback() || ip.is_unspecified() || local == Some(ip);
        leads_back(dialled) || (is_here && any(ip))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_ways_that_lead_back() {
        use Direction::{Egress, Inbound};
        let own = OwnAddresses::default();
        let listening = [
            ("127.77.0.1:80", Egress),
            ("0.0.0.0:81", Egress),
            ("0.0.0.0:8443", Inbound),
        ];
        own.replace(
            listening
                .map(|(at, way)| (at.parse().unwrap(), way))
                .into_iter(),
        );
        let back = |by, dialled: &str, local: Option<&str>| {
            let local = local.map(|ip| ip.parse().unwrap());
            own.lead_back(by, dialled.parse().unwrap(), local)
        };
        assert!(back(Egress, "127.77.0.1:80", None));
        assert!(back(Egress, "127.0.0.1:81", None));
        assert!(back(Egress, "[::ffff:127.77.0.1]:80", None));
        assert!(back(Egress, "[::ffff:10.1.2.3]:81", Some("10.1.2.3")));
        assert!(back(Egress, "10.1.2.3:81", Some("10.1.2.3")));
        assert!(!back(Egress, "10.1.2.3:81", Some("10.1.2.4")));
        assert!(!back(Egress, "127.0.0.1:80", None));
        assert!(!back(Egress, "[::1]:81", None));
        // Out and in again, to the application; and there it ends.
        assert!(!back(Egress, "127.0.0.1:8443", None));
        assert!(back(Inbound, "127.0.0.1:8443", None));
        assert!(back(Inbound, "127.77.0.1:80", None));
    }
}
