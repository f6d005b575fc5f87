//! The life of the process: start the workers, listen, serve the admin ports, drain, end.
//!
//! In: options and a configuration. Out: how it ended. Everything here runs on the main thread's
//! runtime; the data path runs on the workers'.

use std::future::pending;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::admin::{self, Admin};
use crate::config::{Config, Span};
use crate::dns::Resolver;
use crate::drain::Drain;
use crate::listening::Listening;
use crate::metrics::Metrics;
use crate::own_addresses::OwnAddresses;
use crate::plan::Planner;
use crate::reload::Reload;
use crate::rotation::{self, Rotation};
use crate::telemetry::{LevelHandle, stdout};
use crate::worker::{self, Ended, Running, Shared};

/// What the process was told by flags.
pub(crate) struct Options {
    pub(crate) config_file: PathBuf,
    pub(crate) admin: SocketAddr,
    pub(crate) control: SocketAddr,
    pub(crate) workers: usize,
    pub(crate) drain: Option<Span>,
    pub(crate) max_connections: usize,
    pub(crate) max_handshakes: usize,
    pub(crate) level: LevelHandle,
    /// See [`crate::memory::Allocator`].
    pub(crate) flush_thread: fn(),
}

/// For reading files: the configuration's, the credentials', the resolver's.
const BLOCKING_THREADS: usize = 2;

/// How the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    /// Every connection had finished.
    Drained,
    /// Connections were cut, at the deadline or by a second signal.
    Cut,
    /// The application had ended before, so what was cut was nobody's any more, and its Job is not to
    /// fail for it.
    AfterApplication,
}

/// Runs the proxy to its end.
///
/// # Errors
/// What kept the process from starting. A route that cannot be served is no such thing: it shows
/// in `/readyz`.
pub(crate) fn run(options: Options, config: Config) -> anyhow::Result<Stopped> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(BLOCKING_THREADS)
        .build()
        .context("cannot make the main runtime")?;
    runtime.block_on(live(options, config))
}

async fn live(options: Options, config: Config) -> anyhow::Result<Stopped> {
    let mut signals = Signals::new().context("cannot catch signals")?;
    let shared = Arc::new(shared(&options));
    let workers: Vec<Running> = (0..options.workers)
        .map(|index| worker::start(index, Arc::clone(&shared)))
        .collect::<Result<_, _>>()
        .context("cannot start a worker")?;
    let admin = Admin {
        metrics: Arc::clone(&shared.metrics),
        readiness: Arc::default(),
        config: Arc::new(ArcSwap::from_pointee(config)),
        drain: shared.drain.clone(),
    };
    admin::start(&admin, options.admin, options.control, &TaskTracker::new())?;
    let rotation = rotation(&shared.metrics);
    let mut reload = Reload {
        file: options.config_file,
        level: options.level,
        config: Arc::clone(&admin.config),
        metrics: Arc::clone(&shared.metrics),
        planner: Planner::new(
            Arc::clone(&shared.metrics),
            rotation.clone(),
            options.workers,
        ),
        listening: Listening::new(Arc::clone(&admin.readiness), Arc::clone(&shared), &workers),
    };
    let version = env!("CARGO_PKG_VERSION");
    info!(version, workers = options.workers, "proxy started");
    let mut application_ended = false;
    tokio::select! {
        () = reload.until_the_application_ends() => application_ended = true,
        () = rotation.run() => {}
        () = show_expiries(&rotation, &shared.metrics) => {}
        () = stdout::flush_regularly() => {}
        name = signals.next() => info!(signal = name, "drain started"),
        () = shared.drain.started() => info!(request = "/quitquitquit", "drain started"),
    }
    shared.drain.start();
    let configured = admin.config.load().termination_drain_duration;
    let deadline = options.drain.unwrap_or(configured).get();
    let stopped = stop(workers, &shared.drain, deadline, &mut signals).await;
    info!(cut = stopped == Stopped::Cut, "proxy stopped");
    Ok(if application_ended {
        Stopped::AfterApplication
    } else {
        stopped
    })
}

fn shared(options: &Options) -> Shared {
    Shared {
        metrics: Arc::new(Metrics::new()),
        drain: Drain::default(),
        connections: Arc::new(Semaphore::new(options.max_connections)),
        handshakes: Semaphore::new(options.max_handshakes),
        resolver: Resolver::new(Path::new("/etc/resolv.conf")),
        own: OwnAddresses::default(),
        flush_thread: options.flush_thread,
    }
}

fn rotation(metrics: &Arc<Metrics>) -> Rotation {
    let metrics = Arc::clone(metrics);
    Rotation::new(rotation::Options {
        on_reload: Arc::new(move |outcome| metrics.count_reload(outcome.label())),
        ..rotation::Options::default()
    })
}

async fn show_expiries(rotation: &Rotation, metrics: &Metrics) {
    const EVERY: Duration = Duration::from_secs(10);
    loop {
        metrics.show_expiries(&rotation.expiries());
        tokio::time::sleep(EVERY).await;
    }
}

/// Waits for the workers; at the deadline, or at a second signal, cuts what is left.
async fn stop(
    workers: Vec<Running>,
    drain: &Drain,
    deadline: Duration,
    signals: &mut Signals,
) -> Stopped {
    let mut stopped = Stopped::Drained;
    let all = async {
        for worker in workers {
            if worker.ended.await != Ok(Ended::Drained) {
                stopped = Stopped::Cut;
            }
        }
    };
    let cut = async {
        tokio::select! {
            () = tokio::time::sleep(deadline) => warn!("drain reached its deadline"),
            name = signals.next() => warn!(signal = name, "drain aborted"),
        }
        drain.abort();
        pending().await
    };
    tokio::select! {
        () = all => {}
        () = cut => {}
        () = stdout::flush_regularly() => {}
    }
    stopped
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _one = self.terminate.recv() => "SIGTERM",
            _one = self.interrupt.recv() => "SIGINT",
        }
    }
}
