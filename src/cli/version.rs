//! `mtls-injector version`: what is running, in one line or as JSON.

use std::io::{self, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::json;

use super::Failure;

/// Print the version
#[derive(Args, Debug)]
pub(super) struct Version {
    /// How it is written
    #[arg(short, long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Output {
    Text,
    Json,
}

impl Version {
    pub(super) fn run(&self) -> Result<ExitCode, Failure> {
        let version = env!("CARGO_PKG_VERSION");
        let line = match self.output {
            Output::Text => format!("mtls-injector {version}"),
            Output::Json => json!({ "name": "mtls-injector", "version": version }).to_string(),
        };
        writeln!(io::stdout(), "{line}").context("failed to write to stdout")?;
        Ok(ExitCode::SUCCESS)
    }
}
