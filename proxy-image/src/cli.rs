//! The command line. In: arguments. Out: an exit code: 0 done, 1 failed, 64 bad usage or
//! configuration (`EX_USAGE` of sysexits).

mod check_config;
mod redirect;
mod run;
mod wait;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::error::ErrorKind;
use clap::{Parser, Subcommand};

use redirect::RedirectOptions;
use run::RunOptions;
use wait::WaitOptions;

use crate::memory::Allocator;

/// Bad usage or bad configuration.
const USAGE: u8 = 64;

const VERSION: &str = concat!(
    env!("CARGO_PKG_VERSION"),
    "\ncommit:  ",
    env!("BUILD_COMMIT"),
    "\nrustc:   ",
    env!("BUILD_RUSTC"),
    "\ntarget:  ",
    env!("BUILD_TARGET"),
    "\nprofile: ",
    env!("BUILD_PROFILE"),
    "\ncrypto:  aws-lc-rs",
);

/// Speaks mutual TLS for an application that speaks plain HTTP or TCP.
///
/// The application dials the proxy, the proxy dials the world with TLS and the application's client
/// certificate (egress); clients dial the proxy with TLS, the proxy dials the application (inbound).
#[derive(Debug, Parser)]
#[command(name = "mtls-proxy", version = VERSION, after_help = EXAMPLE)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLE: &str = "\
A configuration:

  egress:
    - host: external.system.com      # the application calls http://external.system.com
      tls:
        credentialDirectory: /etc/mtlsfiles
  inbound:
    - port: 8443                     # clients call https://POD:8443
      targetPort: 8080               # the application listens here
      tls:
        credentialDirectory: /etc/mtlsfiles

Exit codes: 0 done, 1 failed (or connections were cut), 64 bad usage or configuration.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy until SIGTERM, SIGINT or POST /quitquitquit.
    Run(RunOptions),
    /// Check a configuration and print every mistake in it, or what it would do.
    CheckConfig {
        /// A YAML or JSON file; - reads standard input.
        file: PathBuf,
    },
    /// Have the kernel redirect the pod's connections to the proxy: what the init container runs.
    Redirect(RedirectOptions),
    /// Wait until a running proxy is ready: the postStart hook of a classic sidecar.
    Wait(WaitOptions),
}

/// Runs the command line of this process.
#[must_use]
pub fn main(allocator: Allocator) -> ExitCode {
    match Cli::try_parse() {
        Ok(Cli {
            command: Command::Run(options),
        }) => run::run(&options, allocator),
        Ok(Cli {
            command: Command::CheckConfig { file },
        }) => check_config::check_config(&file),
        Ok(Cli {
            command: Command::Redirect(options),
        }) => redirect::redirect(&options),
        Ok(Cli {
            command: Command::Wait(options),
        }) => wait::wait(&options),
        Err(error) => {
            let _closed = error.print();
            match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitCode::from(USAGE),
            }
        }
    }
}
