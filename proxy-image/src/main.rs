//! The command line of the proxy.

use std::process::ExitCode;

/// Gives memory back to the system within a second or two of a burst's end, which the C library's
/// allocator does not; how it is set up is in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    mtls_proxy::cli::main(give_back_by_a_thread)
}

/// Has memory given back also when nothing more is allocated. Not from the start: the allocator is
/// at work before the C library knows, in a static program, that stacks are not executable.
fn give_back_by_a_thread() {
    // Without the thread it is given back at the next allocations.
    let _best_effort = tikv_jemalloc_ctl::background_thread::write(true);
}
