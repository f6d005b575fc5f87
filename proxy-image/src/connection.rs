//! One accepted connection: terminate TLS where the listener has it, then hand over to http or tcp.
//!
//! In: a socket and its permit. Out: the connection served, counted and closed.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use prometheus::IntGauge;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

use crate::accept::Listener;
use crate::arrival;
use crate::config::Protocol;
use crate::front::Entry;
use crate::identity::ClientIdentity;
use crate::record::{ConnectionRecord, Outcome};
use crate::route::Route;
use crate::stream::Stream;
use crate::tls::failure::HandshakeFailure;
use crate::worker::Worker;
use crate::{http, tcp, terminate};

/// A connection as it was accepted.
pub(crate) struct Accepted {
    pub(crate) tcp: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) permit: OwnedSemaphorePermit,
}

/// A connection on which plain bytes can be exchanged.
pub(crate) struct Downstream {
    pub(crate) stream: Stream,
    pub(crate) opened: Instant,
    pub(crate) parts: Parts,
}

/// Who is at the other end, and what that takes up.
pub(crate) struct Parts {
    pub(crate) peer: Peer,
    pub(crate) client: Client,
    /// Where the peer wanted to go: this listener, or what it dialled before the kernel redirected it.
    pub(crate) headed_to: SocketAddr,
    pub(crate) held: Held,
}

/// Who dialled, for logs.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    pub(crate) identity: Option<Arc<ClientIdentity>>,
}

impl Peer {
    /// Returns the name in a verified client's certificate.
    pub(crate) fn name(&self) -> Option<&str> {
        self.identity.as_deref().map(ClientIdentity::name)
    }
}

/// What a handshake told of a client.
#[derive(Clone, Debug, Default)]
pub(crate) struct Client {
    pub(crate) identity: Option<Arc<ClientIdentity>>,
    /// Why it may not come in although its certificate is good.
    pub(crate) refused: Option<HandshakeFailure>,
}

/// What an open connection takes up; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Held {
    _permit: OwnedSemaphorePermit,
    open: IntGauge,
}

impl Held {
    fn new(permit: OwnedSemaphorePermit, open: &IntGauge) -> Self {
        open.inc();
        Self {
            _permit: permit,
            open: open.clone(),
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.open.dec();
    }
}

/// Serves one connection to its end.
pub(crate) async fn serve(accepted: Accepted, listener: Arc<Listener>, worker: Arc<Worker>) {
    let Accepted {
        mut tcp,
        peer,
        permit,
    } = accepted;
    let opened = Instant::now();
    let held = Held::new(permit, &worker.shared.metrics.open_connections);
    // Requests and answers are small and waited for; Nagle's delay helps nobody here.
    let _best_effort = tcp.set_nodelay(true);
    let mut peer = Peer {
        address: peer,
        identity: None,
    };
    let refuse = |route: &Arc<Route>, why: &dyn fmt::Display, peer: Peer| {
        let mut record = ConnectionRecord::open(route, peer, opened);
        record.close(Outcome::Refused, Some(why));
    };
    let front = listener.front.load_full();
    let arrival = match arrival::arrive(&mut tcp, &front, &worker.shared).await {
        Ok(arrival) => arrival,
        Err((route, misled)) => return refuse(&route, &misled, peer),
    };
    let service = arrival.service;
    let Some(route) = service.table.only() else {
        return;
    };
    let (mut stream, client) = match terminate::terminate(tcp, &service, route, &worker).await {
        Ok(terminated) => terminated,
        Err(failure) => return refuse(route, &failure, peer),
    };
    stream.begin_with(arrival.read);
    peer.identity.clone_from(&client.identity);
    let downstream = Downstream {
        stream,
        opened,
        parts: Parts {
            peer,
            client,
            headed_to: arrival.headed_to,
            held,
        },
    };
    let entry = Entry::new(listener, arrival.way, Arc::clone(&service));
    match service.protocol {
        Protocol::Http => http::serve(downstream, entry, &worker).await,
        Protocol::Tcp => tcp::serve(downstream, &service, &worker).await,
    }
}
