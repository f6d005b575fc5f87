//! `check-config`: a configuration's mistakes, or a summary. Opens no socket and no credentials.

use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

use super::USAGE;
use crate::config::{AppProbe, Config, EgressRoute, Host, InboundPort, TrafficRedirect};

pub(super) fn check_config(file: &Path) -> ExitCode {
    match read(file) {
        Ok(config) => {
            let _closed = std::io::stdout().write_all(summary(&config).as_bytes());
            ExitCode::SUCCESS
        }
        Err(mistakes) => {
            let _closed = std::io::stderr().write_all(mistakes.as_bytes());
            ExitCode::from(USAGE)
        }
    }
}

/// Reads a configuration, or says all that is wrong with it, a line each.
pub(super) fn read(file: &Path) -> Result<Config, String> {
    let name = file.display();
    let text = if file == Path::new("-") {
        let mut text = String::new();
        let read = std::io::stdin().read_to_string(&mut text);
        read.map(|_| text)
    } else {
        std::fs::read_to_string(file)
    };
    let text = text.map_err(|error| format!("{name}: cannot be read: {error}\n"))?;
    Config::parse(&text).map_err(|mistakes| {
        let lines = mistakes.iter();
        lines
            .map(|mistake| format!("{name}: {mistake}\n"))
            .collect()
    })
}

fn summary(config: &Config) -> String {
    let redirect = config.redirect.as_ref();
    let routes = config.egress.iter();
    let mut lines: Vec<String> = routes.map(|route| egress_line(route, redirect)).collect();
    lines.extend(config.inbound.iter().map(inbound_line));
    lines.extend(redirect.map(redirect_line));
    lines.extend(config.probes.iter().map(probe_line));
    if lines.is_empty() {
        lines.push("nothing to do: no egress routes and no inbound ports".to_owned());
    }
    lines.join("\n") + "\n"
}

fn egress_line(route: &EgressRoute, redirect: Option<&TrafficRedirect>) -> String {
    let addresses = route.listen_addresses();
    let listen: Vec<_> = match redirect {
        Some(_) if route.listen.is_empty() => vec!["redirect".to_owned()],
        _ => addresses.iter().map(ToString::to_string).collect(),
    };
    let target = match (&route.address, &route.host) {
        (Some(address), _) => address.to_string(),
        (None, Host::Wildcard(_)) => "the dialled host".to_owned(),
        (None, host) => host.to_string(),
    };
    let unverified = if route.tls.insecure_skip_verify {
        ", UNVERIFIED"
    } else {
        ""
    };
    format!(
        "egress {} ({}) on {} -> {target}:{} {}{unverified}",
        route.name(),
        route.protocol,
        listen.join(", "),
        route.target_port,
        route.tls.mode,
    )
}

fn redirect_line(redirect: &TrafficRedirect) -> String {
    let ports = if redirect.inbound.all_ports {
        "all inbound ports"
    } else {
        "inbound ports as above"
    };
    let addresses = match &redirect.outbound.include_ip_ranges {
        None => "all that goes out".to_owned(),
        Some(ranges) => format!("what goes to {} ranges", ranges.len()),
    };
    format!(
        "redirect {addresses} and {ports}, but for user {}",
        redirect.proxy_uid
    )
}

fn probe_line(probe: &AppProbe) -> String {
    format!(
        "probe {} -> {} 127.0.0.1:{}",
        probe.path.as_str(),
        probe.kind,
        probe.port
    )
}

fn inbound_line(port: &InboundPort) -> String {
    format!(
        "inbound {} ({}) {} -> 127.0.0.1:{}",
        port.port, port.protocol, port.mode, port.target_port
    )
}
