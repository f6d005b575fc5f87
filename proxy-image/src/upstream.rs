//! Opens connections to upstreams: resolve, dial, originate TLS, all within the route's connect
//! timeout. Never falls back to plaintext.
//!
//! In: a route. Out: a [`Stream`] of plain bytes, or why there is none.

pub(crate) mod dial;
pub(crate) mod failure;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustls::client::UnbufferedClientConnection;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout_at};

use crate::config::{Host, RetryOn};
use crate::metrics::Direction;
use crate::rotation::Live;
use crate::route::{Route, Target};
use crate::stream::secured::Secured;
use crate::stream::{Layer, Stream};
use crate::tls::client::ClientState;
use crate::tls::failure::{HandshakeFailure, Peer};
use crate::tls::generation::Generation;
use crate::upstream::failure::ConnectFailure;
use crate::worker::Shared;

/// Names of protocols (RFC 7301 section 6).
pub(crate) const H2: &[u8] = b"h2";
pub(crate) const HTTP_1_1: &[u8] = b"http/1.1";

/// An open connection to an upstream.
pub(crate) struct Connected {
    pub(crate) stream: Stream,
    /// Of the credentials that it was opened with.
    pub(crate) generation: Generation,
    /// Whether HTTP/2 is spoken on it.
    pub(crate) http2: bool,
}

/// The versions of HTTP that an upstream is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Offer {
    /// HTTP/1.1, or whatever the bytes of a tcp connection are.
    Http1,
    /// HTTP/2 where it is negotiated, else HTTP/1.1.
    Either,
    /// HTTP/2, also where nothing is negotiated.
    Http2,
}

/// What a connection is opened for.
pub(crate) struct Wanted<'a> {
    pub(crate) route: &'a Route,
    pub(crate) shared: &'a Shared,
    /// The name that the application asked for, which a wildcard route needs.
    pub(crate) dialled: Option<&'a str>,
    /// The address that the client dialled: inbound, the pod's own.
    pub(crate) headed_to: SocketAddr,
    pub(crate) offer: Offer,
}

/// Connects to a route's target, again as often as `attempts` has left and the route wants it.
///
/// # Errors
/// Why the last attempt failed.
pub(crate) async fn connect_with_retries(
    wanted: &Wanted<'_>,
    attempts: &mut u8,
) -> Result<Connected, ConnectFailure> {
    let retries = &wanted.route.retries;
    let again = retries.on.contains(&RetryOn::ConnectFailure);
    let mut pause = Duration::from_millis(25);
    loop {
        match connect(wanted).await {
            Err(failure) if failure.may_pass() && *attempts > 0 && again => {
                *attempts -= 1;
                sleep(pause).await;
                pause *= 2;
            }
            outcome => return outcome,
        }
    }
}

/// Connects to a route's target.
///
/// # Errors
/// Why no connection came about.
pub(crate) async fn connect(wanted: &Wanted<'_>) -> Result<Connected, ConnectFailure> {
    let route = wanted.route;
    let limit = route.timeouts.connect.get();
    let deadline = Instant::now() + limit;
    // Without credentials there is no need to bother anyone.
    let state = route.tls.as_ref().map(Live::current).transpose()?;
    let tcp = timeout_at(deadline, dial(wanted, limit))
        .await
        .unwrap_or(Err(ConnectFailure::Timeout(limit)))?;
    let Some(state) = state else {
        return Ok(Connected {
            stream: Stream::new(Layer::Plain(tcp)),
            generation: Generation::PLAIN,
            http2: wanted.offer == Offer::Http2,
        });
    };
    let began = Instant::now();
    let shaken = timeout_at(deadline, handshake(&state, wanted, tcp))
        .await
        .unwrap_or_else(|_| Err(HandshakeFailure::timeout(Peer::Upstream).into()));
    match &shaken {
        Ok(_) => {
            route.metrics.count_handshake("ok", "");
            let seconds = began.elapsed().as_secs_f64();
            route.metrics.handshake_seconds.observe(seconds);
        }
        Err(failure) => route.metrics.count_handshake("failed", failure.label()),
    }
    let (stream, http2) = shaken?;
    Ok(Connected {
        stream,
        generation: state.generation,
        http2,
    })
}

/// Resolves and dials, but never this process itself.
async fn dial(wanted: &Wanted<'_>, limit: Duration) -> Result<TcpStream, ConnectFailure> {
    let (own, by) = (&wanted.shared.own, wanted.route.direction);
    let mut addresses = resolve(wanted, limit).await?;
    let first = addresses.first().copied();
    addresses.retain(|address| !own.lead_back(by, *address, None));
    let tcp = match (addresses.as_slice(), first) {
        ([], Some(itself)) => return Err(ConnectFailure::Loop(itself)),
        (addresses, _) => dial::first_to_answer(addresses).await?,
    };
    let ends = tcp
        .peer_addr()
        .and_then(|peer| Ok((peer, tcp.local_addr()?)));
    match ends {
        Ok((peer, local)) if own.lead_back(by, peer, Some(local.ip())) => {
            Err(ConnectFailure::Loop(peer))
        }
        // Who has no address any more is about to fail anyway.
        Ok(_) | Err(_) => Ok(tcp),
    }
}

async fn handshake(
    state: &ClientState,
    wanted: &Wanted<'_>,
    tcp: TcpStream,
) -> Result<(Stream, bool), ConnectFailure> {
    let name = state.server_name(wanted.dialled.unwrap_or_default());
    let name = name.ok_or(ConnectFailure::NoName)?;
    let config = Arc::clone(&state.config);
    let session = match wanted.offer {
        Offer::Http1 => UnbufferedClientConnection::new(config, name),
        Offer::Either | Offer::Http2 => {
            let protocols = [H2, HTTP_1_1].map(<[u8]>::to_vec);
            UnbufferedClientConnection::new_with_alpn(config, name, protocols.into())
        }
    };
    let session = session.map_err(|error| HandshakeFailure::of_tls(Peer::Upstream, &error))?;
    let tls = Secured::shake_hands(tcp, session)
        .await
        .map_err(|error| HandshakeFailure::of(Peer::Upstream, &error))?;
    let http2 = tls.state().alpn_protocol() == Some(H2);
    Ok((Stream::new(Layer::Originated(Box::new(tls))), http2))
}

async fn resolve(wanted: &Wanted<'_>, limit: Duration) -> Result<Vec<SocketAddr>, ConnectFailure> {
    let (host, port) = match &wanted.route.target {
        Target::Application(port) => {
            return Ok(application(port.get(), wanted.headed_to.ip()));
        }
        Target::Original => return Ok(original(wanted)),
        Target::Host(host, port) => (host.clone(), *port),
        Target::Dialled(port) => {
            let name = wanted.dialled.and_then(|name| name.parse::<Host>().ok());
            (name.ok_or(ConnectFailure::NoName)?, *port)
        }
    };
    let addresses = match host {
        Host::Ip(ip) => vec![ip],
        Host::Name(name) => wanted.shared.resolver.lookup(&name, limit).await?,
        Host::Wildcard(_) => return Err(ConnectFailure::NoName),
    };
    let sockets = addresses.iter();
    Ok(sockets.map(|ip| SocketAddr::new(*ip, port.get())).collect())
}

/// A client's connection goes to the application; the pod's own goes where it was headed.
fn original(wanted: &Wanted<'_>) -> Vec<SocketAddr> {
    let to = wanted.headed_to;
    match wanted.route.direction {
        Direction::Inbound => application(to.port(), to.ip()),
        Direction::Egress => vec![to],
    }
}

/// An application binds all addresses, or loopback in one of the families, or the pod's own.
pub(crate) fn application(port: u16, own: IpAddr) -> Vec<SocketAddr> {
    let loopback = [
        IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(Ipv6Addr::LOCALHOST),
    ];
    let others = (!loopback.contains(&own)).then_some(own);
    let all = loopback.into_iter().chain(others);
    all.map(|ip| SocketAddr::new(ip, port)).collect()
}
