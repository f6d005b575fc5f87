//! The webhook's HTTPS server and its admin port. In: bound listeners, a TLS configuration, what the
//! core needs. Out: answered reviews. Only this layer names axum.
//!
//! ```text
//! listen -> permit -> connection (handshake, HTTP/1.1 or HTTP/2) -> mutate -> admit
//! ```

mod admin;
mod body;
mod connection;
mod listen;
mod mutate;
mod refusal;
mod shutdown;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::admit::{Admission, Namespaces};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::readiness::Readiness;

pub use shutdown::{Pace, Phase, Shutdown, Signals};

/// What a review is answered with; shared by all requests.
pub struct Webhook {
    config: Arc<ArcSwap<Config>>,
    namespaces: Arc<dyn Namespaces>,
    metrics: Arc<Metrics>,
    tell: Box<dyn Fn(&Admission) + Send + Sync>,
    /// Memory that bodies in flight may take, in KiB.
    memory: Arc<Semaphore>,
}

/// Bodies in flight: eight of the largest, or over a thousand of a usual size.
const BODY_MEMORY_KIB: usize = 64 * 1024;

impl Webhook {
    /// Puts together what answers reviews. The configuration may be replaced at any time.
    #[must_use]
    pub fn new(
        config: Arc<ArcSwap<Config>>,
        namespaces: Arc<dyn Namespaces>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            config,
            namespaces,
            metrics,
            tell: Box::new(|_| ()),
            memory: Arc::new(Semaphore::new(BODY_MEMORY_KIB)),
        }
    }

    /// Has somebody told of every admission, after it was decided; they must not wait.
    #[must_use]
    pub fn telling(self, tell: impl Fn(&Admission) + Send + Sync + 'static) -> Self {
        Self {
            tell: Box::new(tell),
            ..self
        }
    }
}

/// The sockets of a server.
#[derive(Debug)]
pub struct Listeners {
    /// HTTPS, for the API server.
    pub webhook: TcpListener,
    /// HTTP, for kubelet and Prometheus.
    pub admin: TcpListener,
}

impl Listeners {
    /// Binds both.
    ///
    /// # Errors
    /// With the address that cannot be bound.
    pub async fn bind(webhook: SocketAddr, admin: SocketAddr) -> Result<Self, BindError> {
        Ok(Self {
            webhook: bind(webhook).await?,
            admin: bind(admin).await?,
        })
    }
}

/// An address cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen on {address}")]
pub struct BindError {
    address: SocketAddr,
    #[source]
    source: io::Error,
}

async fn bind(address: SocketAddr) -> Result<TcpListener, BindError> {
    let bound = match TcpListener::bind(address).await {
        // A kernel without IPv6 has no [::]; every address it has is an IPv4 one.
        Err(error) if address.ip().is_unspecified() && !is_taken(&error) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    };
    bound.map_err(|source| BindError { address, source })
}

fn is_taken(error: &io::Error) -> bool {
    use io::ErrorKind::{AddrInUse, PermissionDenied};
    matches!(error.kind(), AddrInUse | PermissionDenied)
}

/// A server, ready to run.
pub struct Server {
    /// What answers.
    pub webhook: Webhook,
    /// The TLS settings, with the certificate inside.
    pub tls: Arc<ServerConfig>,
    /// What `/readyz` tells.
    pub readiness: Readiness,
}

impl Server {
    /// Serves until `shutdown` has gone through its phases; then every request that began has been
    /// answered, unless the deadline or a second signal cut it off.
    ///
    /// # Errors
    /// When requests were cut off.
    pub async fn run(self, listeners: Listeners, shutdown: Shutdown) -> Result<(), CutOff> {
        let tracker = TaskTracker::new();
        let metrics = Arc::clone(&self.webhook.metrics);
        let admin = admin::Admin {
            readiness: self.readiness.clone(),
            metrics: Arc::clone(&metrics),
        };
        let administration = admin.serve(listeners.admin, shutdown.clone());
        let administration = tracker.spawn(administration);
        let listener = listen::Listener {
            socket: listeners.webhook,
            front: connection::Front::new(self.tls, mutate::routes(self.webhook), metrics),
            connections: TaskTracker::new(),
        };
        let connections = listener.connections.clone();
        let accepting = tracker.spawn(listener.accept(shutdown.clone()));
        shutdown.reached(Phase::Closed).await;
        let _ended = accepting.await;
        connections.close();
        tokio::select! {
            () = connections.wait() => {}
            () = shutdown.reached(Phase::Aborted) => {}
        }
        administration.abort();
        match connections.len() {
            0 => Ok(()),
            open => Err(CutOff { connections: open }),
        }
    }
}

/// The server stopped before it had answered everything.
#[derive(Debug, thiserror::Error)]
#[error("stopped with {connections} connections cut off")]
pub struct CutOff {
    /// How many were open.
    pub connections: usize,
}

/// How long the steps of a request may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits;

impl Limits {
    /// From accept to a finished handshake.
    pub(crate) const HANDSHAKE: Duration = Duration::from_secs(5);
    /// From a finished handshake to the headers of the first request.
    pub(crate) const FIRST_REQUEST: Duration = Duration::from_secs(10);
    /// Between requests. Longer than the 90 s after which Go's client closes an idle connection, so
    /// that the API server never sends a request into one that is being closed.
    pub(crate) const IDLE: Duration = Duration::from_secs(100);
    /// From a request's headers to its answer.
    pub(crate) const REVIEW: Duration = Duration::from_secs(5);
    /// Connections open at once.
    pub(crate) const CONNECTIONS: usize = 2048;
}
