//! How a server ends, step by step. In: signals and durations. Out: phases that tasks wait for.
//!
//! Kubernetes takes a stopping pod out of its Service only some time after SIGTERM, so a webhook
//! goes on accepting for a while, unready; it then closes its listener and finishes what it began.

use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::readiness::Readiness;

/// Where a server is on its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Serving.
    Running,
    /// Unready and still accepting; clients are told to go elsewhere.
    Draining,
    /// No longer accepting; requests in flight are finished.
    Closed,
    /// What is still open is cut off.
    Aborted,
}

/// The phase of one server; cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<Phase>);

impl Shutdown {
    /// Returns a shutdown and the sender that drives it.
    #[must_use]
    pub fn new() -> (watch::Sender<Phase>, Self) {
        let (sender, receiver) = watch::channel(Phase::Running);
        (sender, Self(receiver))
    }

    /// Waits until a phase, or a later one, is reached. A driver that is gone means the last.
    pub async fn reached(&self, phase: Phase) {
        let mut receiver = self.0.clone();
        let _gone = receiver.wait_for(|&now| now >= phase).await;
    }

    /// Returns the phase.
    #[must_use]
    pub fn phase(&self) -> Phase {
        *self.0.borrow()
    }
}

/// When SIGTERM or SIGINT arrives: how long which phase lasts.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How long requests are accepted after the signal.
    pub delay: Duration,
    /// How long requests in flight may take after that.
    pub deadline: Duration,
}

/// The signals that end a server.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    /// Begins to listen, so that no signal after this is lost.
    ///
    /// # Errors
    /// When the process may not handle signals.
    pub fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Drives a server through its phases: one signal ends it gracefully, a second at once.
    pub async fn drive(mut self, phase: watch::Sender<Phase>, readiness: Readiness, pace: Pace) {
        let name = self.next().await;
        info!(signal = name, "stop requested");
        readiness.stop();
        for (next, lasts) in [
            (Phase::Draining, pace.delay),
            (Phase::Closed, pace.deadline),
        ] {
            phase.send_replace(next);
            if let Ok(name) = timeout(lasts, self.next()).await {
                warn!(
                    signal = name,
                    "stop requested again; open connections are cut off"
                );
                break;
            }
        }
        phase.send_replace(Phase::Aborted);
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
