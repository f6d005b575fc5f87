//! TCP connections to the first of several addresses that answers (RFC 8305, "happy eyeballs").
//!
//! In: addresses in the order of preference. Out: a connected socket. Knows no names and no TLS.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::failure::ConnectFailure;

/// How long one address may be silent before the next is tried beside it (RFC 8305 section 5).
const HEAD_START: Duration = Duration::from_millis(250);

/// Connects to one of `addresses`: each has a head start over the next, a refusal ends it early.
pub(crate) async fn first_to_answer(addresses: &[SocketAddr]) -> Result<TcpStream, ConnectFailure> {
    if let [only] = addresses {
        return connected(*only)
            .await
            .map_err(|error| ConnectFailure::Dial(*only, error));
    }
    if addresses
        .first()
        .is_some_and(|first| first.ip().is_loopback())
    {
        return in_order(addresses).await;
    }
    let mut waiting = addresses.iter().copied();
    // Dropping the set aborts the attempts that lost.
    let mut attempts = JoinSet::new();
    let mut last = None;
    loop {
        let next = waiting.next();
        if let Some(address) = next {
            attempts.spawn(async move { (address, connected(address).await) });
        }
        let ended = if next.is_some() {
            timeout(HEAD_START, attempts.join_next()).await
        } else {
            Ok(attempts.join_next().await)
        };
        match ended {
            Ok(Some(Ok((_, Ok(tcp))))) => return Ok(tcp),
            Ok(Some(Ok((address, Err(error))))) => {
                last = Some(ConnectFailure::Dial(address, error))
            }
            Ok(None) => return Err(last.unwrap_or(ConnectFailure::NoName)),
            // An attempt panicked, or the next address has its turn.
            Ok(Some(Err(_))) | Err(_) => {}
        }
    }
}

/// The own host refuses at once, so that nothing is gained by racing.
async fn in_order(addresses: &[SocketAddr]) -> Result<TcpStream, ConnectFailure> {
    let mut last = ConnectFailure::NoName;
    for address in addresses {
        match connected(*address).await {
            Ok(tcp) => return Ok(tcp),
            Err(error) => last = ConnectFailure::Dial(*address, error),
        }
    }
    Err(last)
}

async fn connected(address: SocketAddr) -> io::Result<TcpStream> {
    let tcp = TcpStream::connect(address).await?;
    tcp.set_nodelay(true)?;
    // Nobody on the same host vanishes without a word.
    if !address.ip().is_loopback() {
        keep_alive(&tcp);
    }
    Ok(tcp)
}

/// Has the kernel notice, within two minutes, a peer that vanished without a word.
pub(crate) fn keep_alive<'s>(socket: impl Into<SockRef<'s>>) {
    let probes = TcpKeepalive::new()
        .with_time(Duration::from_secs(60))
        .with_interval(Duration::from_secs(15))
        .with_retries(4);
    let _best_effort = socket.into().set_tcp_keepalive(&probes);
}
