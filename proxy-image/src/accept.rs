//! Accepts connections. In: a worker's listening socket. Out: a task for each connection, which
//! holds a permit. Handshakes happen in those tasks, never here.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::connection::{self, Accepted};
use crate::front::Front;
use crate::worker::Worker;

/// One address that is listened on, by all workers.
pub(crate) struct Listener {
    /// What happens to new connections and requests; a reload replaces it.
    pub(crate) front: ArcSwap<Front>,
    /// Cancelled when the configuration no longer names the address.
    pub(crate) removed: CancellationToken,
}

/// Accepts until the drain begins or the listener is removed.
pub(crate) async fn run(socket: TcpListener, listener: Arc<Listener>, worker: Arc<Worker>) {
    let mut pause = Backoff::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = worker.shared.drain.started() => return,
            () = listener.removed.cancelled() => return,
            accepted = accept(&socket, &worker) => accepted,
        };
        match accepted {
            Ok(accepted) => {
                pause = Backoff::default();
                let serving =
                    connection::serve(accepted, Arc::clone(&listener), Arc::clone(&worker));
                worker.tasks.spawn(serving);
                worker.ebb.opened(worker.tasks.len());
            }
            Err(error) if concerns_one_connection(&error) => {}
            Err(error) => {
                worker.shared.metrics.accept_errors.inc();
                let pause = pause.next();
                tracing::warn!(%error, pause_ms = pause.as_millis(), "accepting failed");
                sleep(pause).await;
            }
        }
    }
}

/// A permit comes first: at the limit, connections wait in the kernel's queue, which is bounded.
async fn accept(socket: &TcpListener, worker: &Worker) -> std::io::Result<Accepted> {
    let permits = Arc::clone(&worker.shared.connections);
    let permit = permits
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    let (tcp, peer) = socket.accept().await?;
    Ok(Accepted { tcp, peer, permit })
}

fn concerns_one_connection(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionRefused | ConnectionReset
    )
}

/// Out of file descriptors, `accept` fails at once and for as long as no connection ends: without
/// a pause the loop would burn a core.
struct Backoff(Duration);

impl Default for Backoff {
    fn default() -> Self {
        Self(Duration::from_millis(5))
    }
}

impl Backoff {
    fn next(&mut self) -> Duration {
        const LONGEST: Duration = Duration::from_secs(1);
        let pause = self.0;
        self.0 = (self.0 * 2).min(LONGEST);
        pause
    }
}
