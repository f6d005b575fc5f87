//! The command line of the proxy.

use std::process::ExitCode;

fn main() -> ExitCode {
    mtls_proxy::cli::main()
}
