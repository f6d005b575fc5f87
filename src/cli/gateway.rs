//! `mtls-injector gateway`: Istio's Gateways as the configuration of a proxy that stands alone. In:
//! files. Out: the configuration on stdout; what is lost or wrong on stderr.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use mtls_proxy::config::Config;

use super::Failure;
use super::inject::files;
use crate::istio::{Edge, Labels, Severity, Workload};
use crate::manifest;

/// Turn Istio's Gateways into the configuration of a proxy that stands alone at the edge
///
/// Reads Gateway, VirtualService, DestinationRule and ServiceEntry, and prints what mtls-proxy run
/// --config takes. The Secret that a credentialName names is expected below
/// /etc/mtls-proxy/credentials/NAME. If something cannot be honoured without weakening security,
/// everything wrong is reported and nothing is printed.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mtls-injector gateway -f gateway.yaml -f routes.yaml > config.yaml
  mtls-proxy run --config config.yaml

  # One of several gateways, by the labels that its selector asks for
  mtls-injector gateway -f istio/ -l istio=ingressgateway")]
pub(super) struct Gateway {
    /// A file, a directory of .yaml, .yml and .json files, or - for stdin; may be repeated
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    filenames: Vec<PathBuf>,
    /// The namespace of the proxy, and of objects that name none
    #[arg(short, long, value_name = "NAMESPACE", default_value = "default")]
    namespace: String,
    /// The labels of the proxy, to which selectors of Gateways are compared
    #[arg(short = 'l', long = "labels", value_name = "KEY=VALUE", value_delimiter = ',', value_parser = label)]
    labels: Vec<(String, String)>,
}

impl Gateway {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let files = files::read(&self.filenames, false)?;
        let documents = files.iter().flat_map(manifest::read);
        let documents: Result<Vec<_>, _> = documents.collect();
        let documents = documents.map_err(|error| Failure::Work(error.into()))?;
        let resources = manifest::resources(&documents, &self.namespace);
        let labels: Labels = self.labels.into_iter().collect();
        let edge = resources.edge(&Workload {
            namespace: &self.namespace,
            labels: &labels,
        });
        report(&edge);
        let is_empty = edge.egress.is_empty() && edge.inbound.is_empty();
        let refused = edge
            .findings
            .iter()
            .any(|finding| finding.severity == Severity::Denial);
        if refused || is_empty {
            return Ok(ExitCode::FAILURE);
        }
        print(&Config {
            egress: edge.egress,
            inbound: edge.inbound,
            ..Config::default()
        })?;
        Ok(ExitCode::SUCCESS)
    }
}

#[expect(clippy::print_stderr, reason = "what is found is for people")]
fn report(edge: &Edge) {
    for finding in &edge.findings {
        let kind = match finding.severity {
            Severity::Warning => "warning",
            Severity::Denial => "error",
        };
        eprintln!("{kind}: {finding}");
    }
    if edge.egress.is_empty() && edge.inbound.is_empty() && edge.findings.is_empty() {
        eprintln!("error: no Gateway here selects a proxy with these labels and serves anything");
    }
}

fn print(config: &Config) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(config).context("failed to write the configuration")?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{text}").context("failed to write to stdout")
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) = text
        .split_once('=')
        .ok_or_else(|| format!("{text:?} is not KEY=VALUE, such as istio=ingressgateway"))?;
    Ok((key.to_owned(), value.to_owned()))
}
