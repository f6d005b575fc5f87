//! `check-config`: a configuration's mistakes, or a summary. Opens no socket and no credentials.

use std::io::{Read, Write};
use std::path::Path;
use std::process::ExitCode;

use super::USAGE;
use crate::config::{Config, EgressRoute, Host, InboundPort};

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
    let mut lines: Vec<String> = config.egress.iter().map(egress_line).collect();
    lines.extend(config.inbound.iter().map(inbound_line));
    if lines.is_empty() {
        lines.push("nothing to do: no egress routes and no inbound ports".to_owned());
    }
    lines.join("\n") + "\n"
}

fn egress_line(route: &EgressRoute) -> String {
    let listen: Vec<_> = route
        .listen_addresses()
        .iter()
        .map(ToString::to_string)
        .collect();
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

fn inbound_line(port: &InboundPort) -> String {
    format!(
        "inbound {} ({}) {} -> 127.0.0.1:{}",
        port.port, port.protocol, port.mode, port.target_port
    )
}
