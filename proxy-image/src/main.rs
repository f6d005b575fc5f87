//! The command line of the proxy.

use std::process::ExitCode;

/// Gives memory back to the system within a second or two of a burst's end, which the C library's
/// allocator does not; how it is set up is in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    mtls_proxy::cli::main()
}
