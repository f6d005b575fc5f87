//! The command line of the injector.

use std::process::ExitCode;

/// Reading a review is mostly allocation, and the C library's allocator takes twice as long and
/// keeps what a burst of reviews has left; how it is set up is in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    mtls_injector::cli::run(std::env::args_os())
}
