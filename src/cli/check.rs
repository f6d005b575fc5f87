//! `mtls-injector check`: would it be injected, by which rule, what is wrong? In: manifests, or pods
//! and namespaces of a cluster. Out: a table or JSON; exit code 1 when something is wrong.

mod bundle;
mod called;
mod finding;
mod live;
mod lookups;
mod manifests;
mod target;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};

use self::finding::{Finding, json, table};
use self::target::Target;
use super::Failure;

/// Tell whether pods get the proxy, by which rule, and what is wrong
///
/// For manifests (-f): would each pod be injected, and if not, why? Nothing is asked of a cluster.
///
/// For pods and namespaces of a cluster: does a pod have the proxy, is it the current one or stale,
/// is the webhook called for it, does the namespace carry the label, and does the webhook's caBundle
/// fit the certificate? Are the Secrets there that a proxy needs? Reads the kubeconfig that kubectl reads; changes nothing.
///
/// With --config alone: is the file right?
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mtls-injector check -f app.yaml
  mtls-injector check pod/web-5d9c7 -n shop
  mtls-injector check namespace/shop -o json
  mtls-injector check --config config.yaml

Exit codes:
  0   everything that asks has the proxy, or would get it
  1   something is wrong; the table says what
  64  wrong usage or configuration")]
pub(super) struct Check {
    /// What to look at in a cluster: pod/NAME, namespace/NAME
    #[arg(value_name = "KIND/NAME", required_unless_present_any = ["filenames", "config"],
          conflicts_with = "filenames")]
    targets: Vec<Target>,
    /// A file, a directory of .yaml, .yml and .json files, or - for stdin; may be repeated
    #[arg(short, long = "filename", value_name = "FILE")]
    filenames: Vec<PathBuf>,
    /// The namespace of pods, and of objects that name none
    #[arg(short, long, value_name = "NAMESPACE", default_value = "default")]
    namespace: String,
    /// The platform's settings, YAML; without it those of the cluster, or the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How to reach the cluster; the file that kubectl reads without it
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The kubeconfig's context; its current one without it
    #[arg(long, value_name = "NAME")]
    context: Option<String>,
    /// The name of the MutatingWebhookConfiguration
    #[arg(long, value_name = "NAME", default_value = "mtls-injector")]
    webhook_configuration: String,
    /// How the findings are written
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Table,
    Json,
}

impl Check {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let config = super::config(self.config.as_deref())?;
        let findings = if self.targets.is_empty() {
            manifests::check(&self.filenames, &self.namespace, &config)?
        } else {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let runtime = runtime.context("failed to start")?;
            runtime.block_on(live::check(&self, config))?
        };
        self.print(&findings)?;
        let wrong = findings.iter().any(|finding| !finding.problems.is_empty());
        Ok(ExitCode::from(u8::from(wrong)))
    }

    fn print(&self, findings: &[Finding]) -> anyhow::Result<()> {
        let text = match self.output {
            Output::Table if findings.is_empty() && self.filenames.is_empty() => {
                "the configuration is right\n".to_owned()
            }
            Output::Table => table(findings),
            Output::Json => json(findings),
        };
        io::stdout()
            .lock()
            .write_all(text.as_bytes())
            .context("failed to write to stdout")
    }
}
