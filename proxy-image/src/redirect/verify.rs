//! Proves that the rules work: listens where the proxy will, dials an address of the documentation's
//! (RFC 5737, RFC 3849) and expects its own connection back. Nothing leaves the pod when they do.
//!
//! In: what is redirected. Out: for each family of addresses, what was seen.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use crate::config::{OUTBOUND_PORT, TrafficRedirect};
use crate::original_dst::OriginalDst;

/// How long a connection may take that never leaves the pod.
const LIMIT: Duration = Duration::from_secs(2);

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        })
    }
}

/// What was seen.
#[derive(Debug)]
pub(crate) enum Verified {
    /// The connection to this address came back.
    Redirected(SocketAddr),
    /// It cannot be tried, and why.
    Untried(String),
    /// It did not come back: connections of the application would leave the pod as they are.
    Escaped(SocketAddr, String),
}

impl fmt::Display for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Redirected(to) => write!(f, "a connection to {to} is redirected"),
            Self::Untried(why) => write!(f, "not tried: {why}"),
            Self::Escaped(to, why) => write!(f, "a connection to {to} is not redirected: {why}"),
        }
    }
}

/// Tries a connection of a family.
pub(crate) fn verify(family: Family, redirect: &TrafficRedirect) -> Verified {
    if rustix::process::geteuid().as_raw() == redirect.proxy_uid.get() {
        return Verified::Untried("this is the user whose connections are exempt".to_owned());
    }
    let Some(to) = target(family, redirect) else {
        return Verified::Untried("every address to try is excluded".to_owned());
    };
    let listen: IpAddr = match family {
        Family::V4 => Ipv4Addr::LOCALHOST.into(),
        Family::V6 => Ipv6Addr::LOCALHOST.into(),
    };
    let listener = match TcpListener::bind(SocketAddr::new(listen, OUTBOUND_PORT)) {
        Ok(listener) => listener,
        Err(error) => return Verified::Untried(format!("{listen}:{OUTBOUND_PORT}: {error}")),
    };
    match TcpStream::connect_timeout(&to, LIMIT) {
        Ok(own) => arrived(&listener, &own, to),
        Err(error) if is_missing(&error) => Verified::Untried(format!("no route: {error}")),
        Err(error) => Verified::Escaped(to, error.to_string()),
    }
}

/// The first address that the rules redirect; one of the documentation's, where they reach that far.
fn target(family: Family, redirect: &TrafficRedirect) -> Option<SocketAddr> {
    let documentation: [IpAddr; 2] = [
        Ipv4Addr::new(192, 0, 2, 2).into(),
        Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 2).into(),
    ];
    let traffic = &redirect.outbound;
    let included = traffic.include_ip_ranges.iter().flatten();
    let addresses = documentation
        .into_iter()
        .chain(included.map(|range| range.first()));
    let ports = traffic.include_ports.iter().map(|port| port.get());
    let ports: Vec<u16> = ports.chain([80, 443, 8080, 65000]).collect();
    let of_family = addresses.filter(|ip| ip.is_ipv6() == (family == Family::V6));
    let mut all = of_family.flat_map(|ip| ports.iter().map(move |port| SocketAddr::new(ip, *port)));
    all.find(|to| traffic.redirects(*to))
}

/// The connection is ours when it comes from where ours began, and was headed where ours was.
fn arrived(listener: &TcpListener, own: &TcpStream, to: SocketAddr) -> Verified {
    match accepted_within(listener, own) {
        Ok(Some(headed_to)) if headed_to == to => Verified::Redirected(to),
        Ok(Some(headed_to)) => {
            let why = format!("the kernel says that it was headed to {headed_to}");
            Verified::Escaped(to, why)
        }
        Ok(None) => Verified::Escaped(to, "somebody else answered".to_owned()),
        Err(error) => Verified::Escaped(to, error.to_string()),
    }
}

fn accepted_within(listener: &TcpListener, own: &TcpStream) -> io::Result<Option<SocketAddr>> {
    let from = own.local_addr()?;
    let socket = socket2::SockRef::from(listener);
    socket.set_nonblocking(false)?;
    // `accept` heeds the receive timeout.
    socket.set_read_timeout(Some(LIMIT))?;
    let deadline = Instant::now() + LIMIT;
    while Instant::now() < deadline {
        match listener.accept() {
            Ok((tcp, peer)) if peer == from => {
                let headed_to = OriginalDst::of(&tcp);
                let headed_to = headed_to.map_err(|why| io::Error::other(why.to_string()))?;
                return Ok(Some(headed_to.get()));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// A pod may have addresses of one family only.
fn is_missing(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrNotAvailable, HostUnreachable, NetworkUnreachable};
    matches!(
        error.kind(),
        AddrNotAvailable | HostUnreachable | NetworkUnreachable
    )
}
