//! The end of the process: a drain lets open connections finish, an abort cuts them.
//!
//! In: whoever wants the end calls [`Drain::start`] or [`Drain::abort`]. Out: everyone else waits
//! for [`Drain::started`] or [`Drain::aborted`].

use tokio_util::sync::{CancellationToken, WaitForCancellationFuture};

/// Tells every task that the end has begun.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drain {
    started: CancellationToken,
    aborted: CancellationToken,
}

impl Drain {
    /// Begins the drain: no new connections, and open ones end at their next good moment.
    pub(crate) fn start(&self) {
        self.started.cancel();
    }

    /// Cuts what is still open.
    pub(crate) fn abort(&self) {
        self.started.cancel();
        self.aborted.cancel();
    }

    pub(crate) fn has_started(&self) -> bool {
        self.started.is_cancelled()
    }

    pub(crate) fn has_aborted(&self) -> bool {
        self.aborted.is_cancelled()
    }

    pub(crate) fn started(&self) -> WaitForCancellationFuture<'_> {
        self.started.cancelled()
    }

    pub(crate) fn aborted(&self) -> WaitForCancellationFuture<'_> {
        self.aborted.cancelled()
    }
}
