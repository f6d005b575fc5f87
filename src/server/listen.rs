//! The accept loop. In: a listening socket. Out: a task for each connection. A handshake never
//! delays the next accept, and connections are bounded by permits.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tracing::warn;

use super::connection::{Front, Peer};
use super::{Limits, Phase, Shutdown};

pub(super) struct Listener {
    pub(super) socket: TcpListener,
    pub(super) front: Front,
    pub(super) connections: TaskTracker,
}

impl Listener {
    /// Accepts until the server closes.
    pub(super) async fn accept(self, shutdown: Shutdown) {
        tokio::select! {
            () = self.accept_all(&shutdown) => {}
            () = shutdown.reached(Phase::Closed) => {}
        }
    }

    async fn accept_all(&self, shutdown: &Shutdown) {
        let permits = Arc::new(Semaphore::new(Limits::CONNECTIONS));
        let mut backoff = Backoff::default();
        // A permit comes before the accept: what cannot be served waits in the kernel's queue.
        while let Ok(permit) = Arc::clone(&permits).acquire_owned().await {
            let (stream, peer) = match self.socket.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    backoff.after(&error).await;
                    continue;
                }
            };
            backoff = Backoff::default();
            prepare(&stream);
            let connection = self
                .front
                .clone()
                .serve(stream, Peer(peer), shutdown.clone());
            self.connections.spawn(async move {
                connection.await;
                drop(permit);
            });
        }
    }
}

/// Answers are small and awaited: they leave at once.
fn prepare(stream: &TcpStream) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "TCP_NODELAY not set");
    }
}

/// The pause after a failed accept. Out of file descriptors, accept fails at once and again.
#[derive(Default)]
struct Backoff(u32);

impl Backoff {
    async fn after(&mut self, error: &io::Error) {
        // The peer gave up between its SYN and our accept; the next one is unaffected.
        if error.kind() == io::ErrorKind::ConnectionAborted {
            return;
        }
        let pause = Duration::from_millis(5 << self.0.min(7));
        self.0 += 1;
        warn!(%error, pause_ms = pause.as_millis(), "accept failed");
        tokio::time::sleep(pause).await;
    }
}
