//! A worker: one thread with one single-threaded runtime, its own listening sockets and its own
//! upstream connections. Nothing moves between workers, so nothing is locked between them.
//!
//! In: listening sockets, by a channel. Out: served connections. The workers share only counters,
//! limits and the plan.

use std::fmt;
use std::io;
use std::pin::pin;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_util::task::TaskTracker;

use crate::accept::{self, Listener};
use crate::dns::Resolver;
use crate::drain::Drain;
use crate::memory::Ebb;
use crate::metrics::Metrics;
use crate::own_addresses::OwnAddresses;

/// What all workers share.
pub(crate) struct Shared {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) drain: Drain,
    /// A permit for each open connection.
    pub(crate) connections: Arc<Semaphore>,
    /// A permit for each TLS handshake with a client.
    pub(crate) handshakes: Semaphore,
    pub(crate) resolver: Resolver,
    /// What this process listens on, so that it never dials itself.
    pub(crate) own: OwnAddresses,
    /// See [`crate::memory::Allocator`].
    pub(crate) flush_thread: fn(),
}

/// What the tasks of one worker share.
pub(crate) struct Worker {
    pub(crate) index: usize,
    /// Connections that were accepted; a drain waits for them.
    pub(crate) tasks: TaskTracker,
    /// Connections to upstreams; they end with the process, whatever they do.
    pub(crate) upstreams: TaskTracker,
    pub(crate) ebb: Ebb,
    pub(crate) shared: Arc<Shared>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Worker({})", self.index)
    }
}

/// A listening socket for a worker to serve.
pub(crate) struct Assignment {
    pub(crate) socket: std::net::TcpListener,
    pub(crate) listener: Arc<Listener>,
}

/// A running worker.
pub(crate) struct Running {
    pub(crate) assignments: mpsc::Sender<Assignment>,
    /// An error when the thread panicked.
    pub(crate) ended: oneshot::Receiver<Ended>,
}

/// How a worker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// Every connection had finished.
    Drained,
    /// Connections were cut.
    Cut,
}

/// Starts a worker's thread.
///
/// # Errors
/// The thread or its runtime cannot be made.
pub(crate) fn start(index: usize, shared: Arc<Shared>) -> io::Result<Running> {
    const WAITING_ASSIGNMENTS: usize = 64;
    let (assignments, receiver) = mpsc::channel(WAITING_ASSIGNMENTS);
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let (done, ended) = oneshot::channel();
    std::thread::Builder::new()
        .name(format!("worker-{index}"))
        .spawn(move || {
            let worker = Arc::new(Worker {
                index,
                tasks: TaskTracker::new(),
                upstreams: TaskTracker::new(),
                ebb: Ebb::default(),
                shared,
            });
            let how = runtime.block_on(run(worker, receiver));
            // Connections that are left are closed before the end is told.
            drop(runtime);
            let _nobody_waits = done.send(how);
        })?;
    Ok(Running { assignments, ended })
}

async fn run(worker: Arc<Worker>, mut assignments: mpsc::Receiver<Assignment>) -> Ended {
    let drain = &worker.shared.drain;
    let listeners = TaskTracker::new();
    let open = || worker.tasks.len();
    let mut flush = pin!(worker.ebb.flush(open, worker.shared.flush_thread));
    loop {
        let assignment = tokio::select! {
            biased;
            () = drain.started() => break,
            received = assignments.recv() => received,
            () = &mut flush => continue,
        };
        let Some(Assignment { socket, listener }) = assignment else {
            break;
        };
        match TcpListener::from_std(socket) {
            Ok(socket) => {
                let serving = accept::run(socket, listener, Arc::clone(&worker));
                listeners.spawn(serving);
            }
            Err(error) => tracing::error!(%error, "listening socket was unusable"),
        }
    }
    drain.started().await;
    let ended = async {
        listeners.close();
        listeners.wait().await;
        worker.tasks.close();
        worker.tasks.wait().await;
    };
    tokio::select! {
        biased;
        () = ended => {}
        () = drain.aborted() => {}
    }
    // Some connections close by themselves when they hear of the abort; they were cut all the same.
    if drain.has_aborted() {
        Ended::Cut
    } else {
        Ended::Drained
    }
}
