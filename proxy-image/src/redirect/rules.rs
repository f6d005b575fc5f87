//! The nftables rules as text. In: what is redirected. Out: a script for `nft -f`, which the kernel
//! takes in one transaction.

use std::collections::BTreeSet;
use std::fmt::{Display, Write as _};

use crate::config::{ADMIN_PORT, Config, INBOUND_PORT, IpRange, OUTBOUND_PORT, TrafficRedirect};

/// One table of its own: what others have in the kernel is neither read nor changed.
const TABLE: &str = "inet mtls_proxy";

/// The port of the name system (RFC 1035 section 4.2).
const DNS: u16 = 53;

/// Returns the script that replaces the table by the rules of a configuration, however often it is
/// run.
pub(crate) fn install(config: &Config, redirect: &TrafficRedirect) -> String {
    let mut script = remove();
    let mut line = |text: &str| {
        script.push_str(text);
        script.push('\n');
    };
    line(&format!("table {TABLE} {{"));
    line("\tchain output {");
    line("\t\ttype nat hook output priority -100; policy accept;");
    for rule in output(config, redirect) {
        line(&format!("\t\t{rule}"));
    }
    line("\t}");
    line("\tchain prerouting {");
    line("\t\ttype nat hook prerouting priority -100; policy accept;");
    for rule in prerouting(config, redirect) {
        line(&format!("\t\t{rule}"));
    }
    line("\t}");
    line("}");
    script
}

/// Returns the script that removes the table, also when there is none.
pub(crate) fn remove() -> String {
    format!("add table {TABLE}\ndelete table {TABLE}\n")
}

fn output(config: &Config, redirect: &TrafficRedirect) -> Vec<String> {
    let traffic = &redirect.outbound;
    let to = format!("redirect to :{OUTBOUND_PORT}");
    let mut rules = vec![
        format!("meta skuid {} return", redirect.proxy_uid),
        "oifname \"lo\" return".to_owned(),
    ];
    // Names are resolved with or without a proxy that runs, over TCP as well as over UDP.
    if !config.egress.iter().any(|route| route.port.get() == DNS) {
        rules.push(format!("tcp dport {DNS} return"));
    }
    rules.extend(of_ports(&traffic.exclude_ports, "return"));
    rules.extend(of_ranges(&traffic.exclude_ip_ranges, "return"));
    match &traffic.include_ip_ranges {
        None => rules.push(format!("meta l4proto tcp {to}")),
        Some(ranges) => {
            rules.extend(of_ports(&traffic.include_ports, &to));
            rules.extend(of_ranges(ranges, &format!("meta l4proto tcp {to}")));
        }
    }
    rules
}

fn prerouting(config: &Config, redirect: &TrafficRedirect) -> Vec<String> {
    let traffic = &redirect.inbound;
    let to = format!("redirect to :{INBOUND_PORT}");
    // The proxy's own ports: who dials them means them.
    let mut never: BTreeSet<u16> = [ADMIN_PORT, INBOUND_PORT, OUTBOUND_PORT].into();
    never.extend(traffic.exclude_ports.iter().map(|port| port.get()));
    let mut rules = vec![
        "iifname \"lo\" return".to_owned(),
        format!("tcp dport {} return", set(&never)),
    ];
    if traffic.all_ports {
        rules.push(format!("meta l4proto tcp {to}"));
    } else {
        let guarded = config.inbound.iter();
        let guarded = guarded.flat_map(|port| [port.port, port.target_port]);
        let ports: Vec<_> = guarded
            .chain(traffic.include_ports.iter().copied())
            .collect();
        rules.extend(of_ports(&ports, &to));
    }
    rules
}

fn of_ports<P: Copy + Ord + Display>(ports: &[P], verdict: &str) -> Option<String> {
    let ports: BTreeSet<P> = ports.iter().copied().collect();
    (!ports.is_empty()).then(|| format!("tcp dport {} {verdict}", set(&ports)))
}

/// A rule for each family that there are ranges of.
fn of_ranges(ranges: &[IpRange], verdict: &str) -> Vec<String> {
    let (six, four) = IpRange::aggregate(ranges)
        .into_iter()
        .partition::<BTreeSet<_>, _>(IpRange::is_ipv6);
    let families = [("ip", four), ("ip6", six)].into_iter();
    families
        .filter(|(_, ranges)| !ranges.is_empty())
        .map(|(family, ranges)| format!("{family} daddr {} {verdict}", set(&ranges)))
        .collect()
}

fn set<T: Display>(items: &BTreeSet<T>) -> String {
    let mut text = String::from("{ ");
    for (index, item) in items.iter().enumerate() {
        let comma = if index == 0 { "" } else { ", " };
        write!(text, "{comma}{item}").expect("a string takes any text");
    }
    text + " }"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(yaml: &str) -> Vec<String> {
        let config = Config::parse(yaml).unwrap();
        let redirect = config.redirect.clone().unwrap();
        let script = install(&config, &redirect);
        let lines = script.lines().filter_map(|line| line.strip_prefix("\t\t"));
        lines
            .filter(|line| !line.starts_with("type"))
            .map(str::to_owned)
            .collect()
    }

    #[test]
    fn redirects_everything_but_its_own_by_default() {
        let rules =
            rules("{redirect: {proxyUid: 15100}, inbound: [{port: 8443, targetPort: 8080}]}");
        let expected = [
            "meta skuid 15100 return",
            "oifname \"lo\" return",
            "tcp dport 53 return",
            "meta l4proto tcp redirect to :15001",
            "iifname \"lo\" return",
            "tcp dport { 15001, 15006, 15020 } return",
            "tcp dport { 8080, 8443 } redirect to :15006",
        ];
        assert_eq!(rules, expected);
    }

    #[test]
    fn exclusions_come_first_and_ranges_are_told_apart_by_family() {
        let rules = rules(
            "
redirect:
  proxyUid: 1
  outbound:
    includePorts: [443]
    excludePorts: [22, 22]
    includeIPRanges: [10.0.0.0/8, 10.1.0.0/16, 'fd00::/8']
    excludeIPRanges: [10.9.0.0/16]
  inbound: {allPorts: true, excludePorts: [9000]}",
        );
        let expected = [
            "meta skuid 1 return",
            "oifname \"lo\" return",
            "tcp dport 53 return",
            "tcp dport { 22 } return",
            "ip daddr { 10.9.0.0/16 } return",
            "tcp dport { 443 } redirect to :15001",
            "ip daddr { 10.0.0.0/8 } meta l4proto tcp redirect to :15001",
            "ip6 daddr { fd00::/8 } meta l4proto tcp redirect to :15001",
            "iifname \"lo\" return",
            "tcp dport { 9000, 15001, 15006, 15020 } return",
            "meta l4proto tcp redirect to :15006",
        ];
        assert_eq!(rules, expected);
    }
}
