//! The command line of the injector.

use std::process::ExitCode;

fn main() -> ExitCode {
    mtls_injector::cli::run(std::env::args_os())
}
