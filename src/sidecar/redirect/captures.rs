//! Which of the pod's ports lead to the proxy, and what the kernel's rules depend on. In: what is
//! redirected, and the ways in. Out: answers about one port, and one text for all rules.

use mtls_proxy::config::{
    self as proxy, ADMIN_PORT, InboundMode, InboundPort, InboundTraffic, Port,
};

/// What is redirected of the connections to the pod.
pub(in crate::sidecar) struct Captures<'a> {
    pub(in crate::sidecar) traffic: &'a InboundTraffic,
    pub(in crate::sidecar) inbound: &'a [InboundPort],
}

impl<'a> Captures<'a> {
    /// Returns whether connections to a port are redirected to the proxy.
    pub(in crate::sidecar) fn take(&self, port: Port) -> bool {
        let traffic = self.traffic;
        let included = traffic.all_ports
            || traffic.include_ports.contains(&port)
            || self.entries(port).next().is_some();
        included && port.get() != ADMIN_PORT && !traffic.exclude_ports.contains(&port)
    }

    /// Returns whether a plain connection to a port ends at the proxy. Where several entries lead to
    /// one port of the application, the strictest guards it.
    pub(in crate::sidecar) fn guard(&self, port: Port) -> bool {
        let lax = |entry: &InboundPort| {
            matches!(entry.mode, InboundMode::Permissive | InboundMode::Disable)
        };
        self.take(port) && self.entries(port).any(|entry| !lax(entry))
    }

    /// Returns the port of the application behind one that is the proxy's alone.
    pub(in crate::sidecar) fn behind(&self, port: Port) -> Option<Port> {
        let entry = self.entries(port).next()?;
        (entry.target_port != port).then_some(entry.target_port)
    }

    /// Yields the entries that decide over a port: the one written for it, or else those behind
    /// which it is.
    fn entries(&self, port: Port) -> impl Iterator<Item = &'a InboundPort> {
        let inbound = self.inbound;
        let own = inbound.iter().find(|entry| entry.port == port);
        let behind = inbound
            .iter()
            .filter(move |entry| own.is_none() && entry.target_port == port);
        own.into_iter().chain(behind)
    }
}

/// Returns everything that the kernel's rules are made of, as one text: they are loaded once, so a
/// pod that runs keeps those that it started with.
pub(in crate::sidecar) fn rules(config: &proxy::Config) -> Option<String> {
    let redirect = config.redirect.as_ref()?;
    let entries = config.inbound.iter();
    let mut ports: Vec<_> = entries
        .flat_map(|entry| [entry.port, entry.target_port])
        .collect();
    ports.sort_unstable();
    ports.dedup();
    let rules = serde_json::to_string(&(redirect, ports));
    Some(rules.expect("rules are made of numbers and texts"))
}
