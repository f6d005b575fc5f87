//! Terminates TLS on an accepted connection, as its listener says, and says who the client is.
//!
//! In: a socket. Out: a [`Stream`] of plain bytes and a [`Client`], or why the client is refused. A
//! listener that demands TLS never yields a plaintext stream.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustls::server::UnbufferedServerConnection;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::InboundMode;
use crate::connection::Client;
use crate::plan::{Inbound, Service};
use crate::rotation::{Live, NotLoaded};
use crate::route::Route;
use crate::stream::secured::Secured;
use crate::stream::{Layer, Stream};
use crate::tls::failure::{HandshakeFailure, Peer, Reason};
use crate::tls::server::ServerState;
use crate::worker::Worker;

/// From accept to the end of the handshake.
const LIMIT: Duration = Duration::from_secs(10);

/// Why a client did not get in.
#[derive(Debug)]
pub(crate) enum Failure {
    /// We have no certificate to show.
    Credentials(NotLoaded),
    /// The handshake failed.
    Handshake(HandshakeFailure),
}

impl Failure {
    const fn label(&self) -> &'static str {
        match self {
            Self::Credentials(_) => "credentials_missing",
            Self::Handshake(failure) => failure.label(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.label())?;
        match self {
            Self::Credentials(missing) => missing.fmt(f),
            Self::Handshake(failure) => failure.fmt(f),
        }
    }
}

/// Makes plain bytes of a connection.
pub(crate) async fn terminate(
    tcp: TcpStream,
    service: &Service,
    route: &Route,
    worker: &Worker,
) -> Result<(Stream, Client), Failure> {
    let Some((inbound, live)) = tls_of(service) else {
        return Ok((Stream::new(Layer::Plain(tcp)), Client::default()));
    };
    let began = Instant::now();
    // Boxed, as is what else is done but once, so that a connection does not own its room for life.
    let negotiating = Box::pin(negotiate(tcp, inbound, live, worker));
    let terminated = timeout(LIMIT, negotiating)
        .await
        .unwrap_or_else(|_| Err(HandshakeFailure::timeout(Peer::Client).into()));
    let metrics = &route.metrics;
    match &terminated {
        Ok((Negotiated::Plaintext, _, _)) => metrics.count_plaintext(),
        Ok((Negotiated::Tls, _, client)) => {
            let seconds = began.elapsed().as_secs_f64();
            metrics.handshake_seconds.observe(seconds);
            match &client.refused {
                Some(refused) => metrics.count_handshake("refused", refused.label()),
                None => metrics.count_handshake("ok", ""),
            }
        }
        Err(failure) => metrics.count_handshake("failed", failure.label()),
    }
    terminated.map(|(_, stream, client)| (stream, client))
}

fn tls_of(service: &Service) -> Option<(&Inbound, &Live<ServerState>)> {
    let inbound = service.inbound.as_ref()?;
    Some((inbound, inbound.tls.as_ref()?))
}

enum Negotiated {
    Tls,
    Plaintext,
}

async fn negotiate(
    tcp: TcpStream,
    inbound: &Inbound,
    live: &Live<ServerState>,
    worker: &Worker,
) -> Result<(Negotiated, Stream, Client), Failure> {
    let closed = |error: io::Error| HandshakeFailure::of(Peer::Client, &error);
    // Who is silent waits here, and takes no handshake from those who speak. Unlike waiting for
    // readiness, peeking is never woken for nothing.
    tcp.peek(&mut [0]).await.map_err(closed)?;
    if inbound.port.mode == InboundMode::Permissive && !begins_tls(&tcp).await.map_err(closed)? {
        let stream = Stream::new(Layer::Plain(tcp));
        return Ok((Negotiated::Plaintext, stream, Client::default()));
    }
    let _permit = worker
        .shared
        .handshakes
        .acquire()
        .await
        .expect("the semaphore is never closed");
    let state = live.current()?;
    let session = UnbufferedServerConnection::new(Arc::clone(&state.config))
        .map_err(|error| HandshakeFailure::of_tls(Peer::Client, &error))?;
    let tls = Secured::shake_hands(tcp, session).await.map_err(closed)?;
    let identity = state.client(tls.state())?.map(Arc::new);
    let refused = identity.as_deref().and_then(|identity| {
        (!identity.is_allowed(&inbound.port.allow)).then(|| HandshakeFailure {
            peer: Peer::Client,
            reason: Reason::NotAllowed(identity.all_names()),
        })
    });
    let stream = Stream::new(Layer::Terminated(Box::new(tls)));
    Ok((Negotiated::Tls, stream, Client { identity, refused }))
}

/// Looks, without consuming, whether the bytes begin a ClientHello: a handshake record (22) of
/// version 3.x with a client_hello (1) at its start (RFC 8446 sections 4 and 5.1).
async fn begins_tls(tcp: &TcpStream) -> io::Result<bool> {
    const PAUSE: Duration = Duration::from_millis(5);
    let mut head = [0; 6];
    loop {
        let seen = tcp.peek(&mut head).await?;
        let bytes = head.get(..seen).unwrap_or_default();
        if seen == 0 {
            return Ok(false);
        }
        if let Some(decided) = is_client_hello(bytes) {
            return Ok(decided);
        }
        // Peeking does not consume, so that the socket stays readable: there is no event for more.
        tokio::time::sleep(PAUSE).await;
    }
}

/// Returns `None` while the bytes are too few to tell. The minor version of the record is ignored, as
/// TLS itself ignores it (RFC 8446 section 5.1).
pub(crate) fn is_client_hello(bytes: &[u8]) -> Option<bool> {
    let fits = |(index, byte): (usize, &u8)| match index {
        0 => *byte == 22,
        1 => *byte == 3,
        5 => *byte == 1,
        _ => true,
    };
    if !bytes.iter().enumerate().all(fits) {
        return Some(false);
    }
    (bytes.len() >= 6).then_some(true)
}

impl From<NotLoaded> for Failure {
    fn from(missing: NotLoaded) -> Self {
        Self::Credentials(missing)
    }
}

impl From<HandshakeFailure> for Failure {
    fn from(failure: HandshakeFailure) -> Self {
        Self::Handshake(failure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_a_client_hello_from_plaintext() {
        assert_eq!(is_client_hello(&[22, 3, 1, 2, 0, 1]), Some(true));
        assert_eq!(is_client_hello(&[22, 3, 1]), None);
        assert_eq!(is_client_hello(b"GET / "), Some(false));
        assert_eq!(is_client_hello(b"G"), Some(false));
        assert_eq!(is_client_hello(&[22, 3, 3, 0, 5, 2]), Some(false));
        assert_eq!(is_client_hello(&[22, 9]), Some(false));
        assert_eq!(is_client_hello(&[22, 3, 9, 0, 5, 1]), Some(true));
    }
}
