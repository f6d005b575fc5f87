//! `mtls-injector sample`: the two ends of the sample in `kind-cluster`, so that a cluster needs no
//! image but ours: an external system that demands a client certificate, an application that speaks
//! plain HTTP, and throw-away certificates for both.

mod certificates;
mod client;
mod server;

use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use super::Failure;

/// Play the ends of a sample: external system, application, certificates
///
/// For trying out a cluster, not for production: the certificates are throw-away.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Sample {
    #[command(subcommand)]
    part: Part,
}

const EXAMPLES: &str = "\
Examples:
  mtls-injector sample certificates pki --server-name external.system.com
  mtls-injector sample server --listen 127.0.0.1:8443 --tls pki/server
  mtls-injector sample client http://external.system.com/secured-endpoint";

#[derive(Debug, Subcommand)]
enum Part {
    Certificates(certificates::Certificates),
    Server(server::Server),
    Client(client::Client),
}

impl Sample {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        match self.part {
            Part::Certificates(certificates) => Ok(certificates.write()?),
            Part::Server(server) => block_on(server.serve()),
            Part::Client(client) => block_on(client.call()),
        }
    }
}

/// Runs until the work ends or somebody ends it: as the first process of a container, a program
/// that does not listen for SIGTERM is only killed when the grace period is over.
fn block_on(work: impl Future<Output = anyhow::Result<ExitCode>>) -> Result<ExitCode, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("failed to start")?;
    let ended = runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate()).context("failed to handle signals")?;
        tokio::select! {
            done = work => done,
            _ = terminated.recv() => Ok(ExitCode::SUCCESS),
            _ = tokio::signal::ctrl_c() => Ok(ExitCode::SUCCESS),
        }
    });
    Ok(ended?)
}

/// Writes a line to stdout.
fn say(line: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{line}")
}
