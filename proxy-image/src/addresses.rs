//! The addresses of a route's host, which tell that an application that dials one of them means the
//! route.
//!
//! In: a host, and the name system. Out: whether an address is one of the host's. Addresses are
//! remembered for a while: large systems answer each question with a few of their many.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::Host;
use crate::dns::{DnsFailure, Resolver};

/// How long an address stays one of the host's after the name system last said so.
const REMEMBERED: Duration = Duration::from_secs(600);
/// The most addresses that are remembered of one host.
const MOST: usize = 256;
/// How long a question may take.
const LIMIT: Duration = Duration::from_secs(5);

/// The addresses of one host.
#[derive(Debug)]
pub(crate) struct Addresses {
    hosts: Vec<Host>,
    seen: Mutex<BTreeMap<IpAddr, Instant>>,
}

impl Addresses {
    /// Collects those of a host, and of what is dialled in its stead.
    pub(crate) fn new(host: &Host, instead: Option<&Host>) -> Self {
        Self {
            hosts: std::iter::once(host).chain(instead).cloned().collect(),
            seen: Mutex::default(),
        }
    }

    /// Returns whether an address is one of the host's.
    ///
    /// # Errors
    /// A name could not be resolved, so that nobody knows.
    pub(crate) async fn include(
        &self,
        address: IpAddr,
        resolver: &Resolver,
    ) -> Result<bool, DnsFailure> {
        let mut unknown = None;
        for host in &self.hosts {
            match host {
                Host::Ip(ip) if *ip == address => return Ok(true),
                Host::Ip(_) | Host::Wildcard(_) => {}
                Host::Name(name) => match resolver.lookup(name, LIMIT).await {
                    Ok(found) => self.remember(&found),
                    Err(DnsFailure::NoSuchName(_) | DnsFailure::NoAddress(_)) => {}
                    Err(failure) => unknown = Some(failure),
                },
            }
        }
        match (self.remembers(address), unknown) {
            (true, _) => Ok(true),
            (false, Some(failure)) => Err(failure),
            (false, None) => Ok(false),
        }
    }

    fn remember(&self, found: &[IpAddr]) {
        let now = Instant::now();
        let mut seen = self.lock();
        seen.extend(found.iter().map(|ip| (*ip, now)));
        if seen.len() > MOST {
            seen.retain(|_, since| *since == now);
        }
    }

    fn remembers(&self, address: IpAddr) -> bool {
        let mut seen = self.lock();
        seen.retain(|_, since| since.elapsed() < REMEMBERED);
        seen.contains_key(&address)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<IpAddr, Instant>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
