//! Ports of 127.0.0.1 for programs that have to be told theirs.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below those that a kernel takes for outgoing connections (ip_local_port_range of ip(7), by
/// default from 32768): nobody else takes one between this answer and its use.
const FIRST: u32 = 16_000;
const COUNT: u32 = 14_000;

/// Returns a port on which nothing listens, another each time.
pub(crate) fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    // Another program of tests may run at the same time.
    let start = std::process::id().wrapping_mul(331);
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    std::iter::repeat_with(|| start.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)))
        .take(COUNT as usize)
        .filter_map(|number| u16::try_from(FIRST + number % COUNT).ok())
        .find(is_free)
        .expect("a port is free")
}
