//! The command line of the proxy.

use std::process::ExitCode;

use mtls_proxy::memory::Allocator;
use tikv_jemalloc_ctl::{Access as _, AsName as _};

/// Gives memory back to the system within a second or two of a burst's end, which the C library's
/// allocator does not; how it is set up is in `.cargo/config.toml`.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    mtls_proxy::cli::main(Allocator {
        confined: give_back_by_a_thread,
        flush_thread,
    })
}

/// Has memory given back also when nothing more is allocated. Not from the start: the allocator is
/// at work before the C library knows, in a static program, that stacks are not executable.
fn give_back_by_a_thread() {
    // Without the thread it is given back at the next allocations.
    let _best_effort = tikv_jemalloc_ctl::background_thread::write(true);
}

fn flush_thread() {
    // Without, it is flushed as more is allocated.
    let _best_effort = flush();
}

/// What the crate offers of this is only what is read and written: a cache that is disabled is
/// flushed first (<https://jemalloc.net/jemalloc.3.html#thread.tcache.enabled>).
fn flush() -> tikv_jemalloc_ctl::Result<()> {
    let enabled = b"thread.tcache.enabled\0".name();
    enabled.write(false)?;
    enabled.write(true)
}

#[cfg(test)]
mod tests {
    use tikv_jemalloc_ctl::{Access as _, AsName as _};

    #[test]
    fn a_flushed_cache_is_in_use_again() {
        let in_use = || b"thread.tcache.enabled\0".name().read();
        assert_eq!(in_use(), Ok(true));
        assert_eq!(super::flush(), Ok(()));
        assert_eq!(in_use(), Ok(true));
    }
}
