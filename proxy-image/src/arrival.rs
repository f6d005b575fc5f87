//! Where an accepted connection belongs.
//!
//! In: a socket and the front of its listener. Out: the service, where the connection was headed and
//! what was read to find that out; or why it is refused, with the route under which that counts.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use tokio::net::TcpStream;

use crate::config::Uid;
use crate::dns::DnsFailure;
use crate::front::{Front, InboundPorts, Way};
use crate::original_dst::{NotRedirected, OriginalDst};
use crate::outbound::Outbound;
use crate::plan::Service;
use crate::route::Route;
use crate::worker::Shared;

/// A connection whose service is known.
pub(crate) struct Arrival {
    pub(crate) way: Way,
    pub(crate) service: Arc<Service>,
    /// Where the peer wanted to go.
    pub(crate) headed_to: SocketAddr,
    /// Read meanwhile, and still to be passed on.
    pub(crate) read: Vec<u8>,
}

/// Why a connection is refused before anything is done for it.
#[derive(Debug)]
pub(crate) enum Misled {
    /// It was not redirected by the kernel: to serve it would be a loop.
    Direct(NotRedirected),
    /// It cannot be told whether it is for a route that asks for TLS.
    Unknown(SocketAddr, DnsFailure),
    /// The proxy's own connections would be redirected to itself.
    NotExempt { runs_as: u32, exempt: Uid },
}

impl fmt::Display for Misled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct(direct) => direct.fmt(f),
            Self::Unknown(address, failure) => write!(
                f,
                "{}: cannot tell whether {address} belongs to a route: {failure}",
                failure.label()
            ),
            Self::NotExempt { runs_as, exempt } => write!(
                f,
                "loop: the proxy runs as user {runs_as}, and the rules exempt user {exempt}"
            ),
        }
    }
}

/// Finds out where a connection belongs.
///
/// # Errors
/// Why nowhere, and the route under which that is recorded.
pub(crate) async fn arrive(
    tcp: &mut TcpStream,
    front: &Front,
    shared: &Shared,
) -> Result<Arrival, (Arc<Route>, Misled)> {
    match front {
        Front::One(service) => Ok(Arrival {
            way: Way::Only,
            service: Arc::clone(service),
            headed_to: local(tcp),
            read: Vec::new(),
        }),
        Front::Inbound(ports) => inbound(tcp, ports)
            .map_err(|direct| (Arc::clone(&ports.through), Misled::Direct(direct))),
        Front::Outbound(routes) => Box::pin(outbound(tcp, routes, shared))
            .await
            .map_err(|misled| (Arc::clone(&routes.through), misled)),
    }
}

fn local(tcp: &TcpStream) -> SocketAddr {
    let unknown = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), 0);
    let local = tcp.local_addr().unwrap_or(unknown);
    SocketAddr::new(local.ip().to_canonical(), local.port())
}

fn inbound(tcp: &TcpStream, ports: &InboundPorts) -> Result<Arrival, NotRedirected> {
    let headed_to = OriginalDst::of(tcp)?.get();
    Ok(Arrival {
        way: Way::Port(headed_to.port()),
        service: Arc::clone(ports.service(headed_to.port())),
        headed_to,
        read: Vec::new(),
    })
}

async fn outbound(
    tcp: &mut TcpStream,
    routes: &Outbound,
    shared: &Shared,
) -> Result<Arrival, Misled> {
    let headed_to = OriginalDst::of(tcp).map_err(Misled::Direct)?.get();
    if let Some((runs_as, exempt)) = routes.not_exempt {
        return Err(Misled::NotExempt { runs_as, exempt });
    }
    let chosen = routes.choose(tcp, headed_to, &shared.resolver).await;
    let (choice, read) = chosen.map_err(|failure| Misled::Unknown(headed_to, failure))?;
    let service = routes.service(headed_to.port(), &choice);
    let service = Arc::clone(service.unwrap_or(&routes.otherwise));
    Ok(Arrival {
        way: Way::Chosen(headed_to.port(), choice),
        service,
        headed_to,
        read,
    })
}
