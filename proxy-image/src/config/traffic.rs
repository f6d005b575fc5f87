//! Capture by the kernel: which TCP connections of the pod are redirected to the proxy. The rules that
//! do it and the listeners that take the connections are made of the same settings.
//!
//! In: the field `redirect` of a configuration. Out: ports and ranges. Knows no nftables and no socket.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use ipnet::IpNet;
use serde::{Serialize, Serializer};

use super::fields::Fields;
use super::scalars::Port;
use super::tls::is_false;

/// Where redirected connections of the application arrive; bound on loopback alone.
pub const OUTBOUND_PORT: u16 = 15001;
/// Where redirected connections to the application arrive.
pub const INBOUND_PORT: u16 = 15006;
/// The admin port, which is never redirected: kubelet and Prometheus dial it.
pub const ADMIN_PORT: u16 = 15020;

/// What is redirected to the proxy. Field names follow Istio's annotations of
/// `traffic.sidecar.istio.io`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TrafficRedirect {
    /// The user id of the proxy, whose own connections are never redirected. No other process of
    /// the pod may run as it.
    pub proxy_uid: Uid,
    /// Connections that the pod opens.
    #[serde(skip_serializing_if = "OutboundTraffic::is_default")]
    pub outbound: OutboundTraffic,
    /// Connections that are opened to the pod.
    #[serde(skip_serializing_if = "InboundTraffic::is_default")]
    pub inbound: InboundTraffic,
}

impl TrafficRedirect {
    /// Redirects all that leaves the pod, and what comes in to the ports of the configuration.
    #[must_use]
    pub fn new(proxy_uid: Uid) -> Self {
        Self {
            proxy_uid,
            outbound: OutboundTraffic::default(),
            inbound: InboundTraffic::default(),
        }
    }

    pub(super) fn from_fields(mut fields: Fields<'_>) -> Option<Self> {
        let proxy_uid = fields.required("proxyUid");
        let outbound = fields.object("outbound", OutboundTraffic::from_fields);
        let inbound = fields.object("inbound", InboundTraffic::from_fields);
        fields.finish();
        Some(Self {
            proxy_uid: proxy_uid?,
            outbound: outbound.unwrap_or_default(),
            inbound: inbound.unwrap_or_default(),
        })
    }
}

/// Which connections of the pod are redirected. What is excluded never is; of the rest, those to an
/// included port or an included range.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutboundTraffic {
    /// Redirected whatever their address.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include_ports: Vec<Port>,
    /// Never redirected.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude_ports: Vec<Port>,
    /// Redirected; absent: every address.
    #[serde(rename = "includeIPRanges", skip_serializing_if = "Option::is_none")]
    pub include_ip_ranges: Option<Vec<IpRange>>,
    /// Never redirected.
    #[serde(rename = "excludeIPRanges", skip_serializing_if = "Vec::is_empty")]
    pub exclude_ip_ranges: Vec<IpRange>,
}

impl OutboundTraffic {
    /// Returns whether a connection to this address is redirected, unless it stays in the pod.
    #[must_use]
    pub fn redirects(&self, to: SocketAddr) -> bool {
        let among = |ranges: &[IpRange]| ranges.iter().any(|range| range.contains(to.ip()));
        let listed = |ports: &[Port]| ports.iter().any(|port| port.get() == to.port());
        if listed(&self.exclude_ports) || among(&self.exclude_ip_ranges) {
            return false;
        }
        let included = self.include_ip_ranges.as_deref();
        included.is_none_or(among) || listed(&self.include_ports)
    }

    fn from_fields(mut fields: Fields<'_>) -> Self {
        let all = !fields.has("includeIPRanges");
        let ranges = fields.list("includeIPRanges");
        let outbound = Self {
            include_ports: fields.list("includePorts"),
            exclude_ports: fields.list("excludePorts"),
            include_ip_ranges: (!all).then_some(ranges),
            exclude_ip_ranges: fields.list("excludeIPRanges"),
        };
        fields.finish();
        outbound
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// Which connections to the pod are redirected: those to the ports of `inbound` and to the
/// applications' ports behind them, and those to the ports listed here.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InboundTraffic {
    /// Whether every port is redirected.
    #[serde(skip_serializing_if = "is_false")]
    pub all_ports: bool,
    /// Redirected besides the configuration's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub include_ports: Vec<Port>,
    /// Never redirected.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub exclude_ports: Vec<Port>,
}

impl InboundTraffic {
    fn from_fields(mut fields: Fields<'_>) -> Self {
        let inbound = Self {
            all_ports: fields.or("allPorts", false),
            include_ports: fields.list("includePorts"),
            exclude_ports: fields.list("excludePorts"),
        };
        fields.finish();
        inbound
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// A numeric user id of Linux, but for root: whoever may do everything cannot be told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Uid(u32);

impl Uid {
    /// Returns the user with that id, unless it is root.
    #[must_use]
    pub const fn new(id: u32) -> Option<Self> {
        if id == 0 { None } else { Some(Self(id)) }
    }

    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl FromStr for Uid {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let uid = text.parse().ok().and_then(Self::new);
        uid.ok_or("is not the id of a user other than root (1-4294967295)")
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A range of addresses, such as `10.0.0.0/8`; one address is a range of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct IpRange(IpNet);

impl IpRange {
    /// Returns whether an address lies in the range.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address)
    }

    /// Returns the range's first address.
    #[must_use]
    pub fn first(&self) -> IpAddr {
        self.0.addr()
    }

    /// Returns the fewest ranges that cover the same addresses.
    #[must_use]
    pub fn aggregate(ranges: &[Self]) -> Vec<Self> {
        let nets: Vec<_> = ranges.iter().map(|range| range.0).collect();
        IpNet::aggregate(&nets).into_iter().map(Self).collect()
    }

    /// Returns whether the range is one of IPv6.
    #[must_use]
    pub const fn is_ipv6(&self) -> bool {
        matches!(self.0, IpNet::V6(_))
    }
}

impl FromStr for IpRange {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let range = text.parse::<IpNet>().ok();
        let range = range.or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
        let range = range.ok_or("is not a range of addresses such as 10.0.0.0/8 or fd00::/8")?;
        Ok(Self(range.trunc()))
    }
}

impl fmt::Display for IpRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for IpRange {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn knows_what_its_rules_redirect() {
        let config = "{redirect: {proxyUid: 1, outbound: {includeIPRanges: [10.0.0.0/8],
            excludeIPRanges: [10.1.0.0/16], includePorts: [443], excludePorts: [22]}}}";
        let traffic = Config::parse(config).unwrap().redirect.unwrap().outbound;
        let check = |to: &str, expected| {
            assert_eq!(traffic.redirects(to.parse().unwrap()), expected, "{to}");
        };
        check("10.2.0.1:80", true);
        check("10.1.0.1:443", false);
        check("192.0.2.2:80", false);
        check("192.0.2.2:443", true);
        check("10.2.0.1:22", false);
    }
}
