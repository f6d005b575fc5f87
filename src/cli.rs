//! The command line. In: arguments. Out: an exit code: 0 done, 1 not done, 64 wrong usage or
//! configuration (`EX_USAGE` of sysexits.h). Each subcommand has a file of its own below this one.

mod check;
mod demo;
mod gateway;
mod inject;
mod install;
mod sample;
mod serve;
mod version;

use std::ffi::OsString;
use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Config;

/// Wrong arguments or a wrong configuration file.
const EX_USAGE: u8 = 64;

/// Gives a pod mutual TLS for one annotation.
///
/// An application speaks plain HTTP; a small proxy beside it in the same pod speaks mutual TLS for
/// it. This program puts the proxy there: as an admission webhook (serve), or in manifests before
/// they are applied (inject).
#[derive(Debug, Parser)]
#[command(name = "mtls-injector", version, max_term_width = 100, after_help = EXAMPLES)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Exit codes:
  0   done
  1   not done: what was asked for failed
  64  wrong usage or configuration

Ask any command for its own examples: mtls-injector inject --help";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(Box<serve::Serve>),
    Install(install::Install),
    Inject(inject::Inject),
    Check(check::Check),
    Gateway(gateway::Gateway),
    Demo(demo::Demo),
    Sample(sample::Sample),
    Version(version::Version),
}

/// Why a command did not do its work.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The arguments or the configuration are wrong: exit code 64.
    Usage(anyhow::Error),
    /// The work failed: exit code 1.
    Work(anyhow::Error),
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Work(error)
    }
}

/// Runs the command that the arguments name; the first argument is the program's own name.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(refused) => return explain(&refused),
    };
    let outcome = match arguments.command {
        Command::Serve(serve) => serve.run(),
        Command::Install(install) => install.run(),
        Command::Inject(inject) => inject.run(),
        Command::Check(check) => check.run(),
        Command::Gateway(gateway) => gateway.run(),
        Command::Demo(demo) => demo.run(),
        Command::Sample(sample) => sample.run(),
        Command::Version(version) => version.run(),
    };
    match outcome {
        Ok(code) => code,
        Err(Failure::Usage(error)) => report(&error, ExitCode::from(EX_USAGE)),
        Err(Failure::Work(error)) => report(&error, ExitCode::FAILURE),
    }
}

/// Reads the platform's settings; the defaults when no file is named.
fn config(path: Option<&Path>) -> Result<Config, Failure> {
    let config = path.map_or_else(|| Ok(Config::default()), Config::read);
    config.map_err(|error| Failure::Usage(error.into()))
}

/// Help and version are asked for and go to stdout; everything else is wrong usage.
fn explain(refused: &clap::Error) -> ExitCode {
    // Nothing can be said any more when stdout and stderr are closed.
    let _ = refused.print();
    if refused.use_stderr() {
        ExitCode::from(EX_USAGE)
    } else {
        ExitCode::SUCCESS
    }
}

#[expect(
    clippy::print_stderr,
    reason = "the last word of a command is for people"
)]
fn report(error: &anyhow::Error, code: ExitCode) -> ExitCode {
    eprintln!("mtls-injector: {error:#}");
    code
}
