//! When a connection last had something to do. In: requests that begin and end. Out: the moment
//! when it has been silent for too long.

use std::sync::Arc;

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::server::Limits;

/// The activity of one connection.
#[derive(Debug)]
pub(super) struct Activity(watch::Sender<State>);

#[derive(Clone, Copy, Debug)]
struct State {
    in_flight: usize,
    /// When the connection is given up, if nothing is in flight.
    until: Instant,
}

impl Default for Activity {
    fn default() -> Self {
        let state = State {
            in_flight: 0,
            until: Instant::now() + Limits::FIRST_REQUEST,
        };
        Self(watch::channel(state).0)
    }
}

impl Activity {
    /// Notes that a request began; it ends when the returned guard is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> InFlight {
        self.0.send_modify(|state| state.in_flight += 1);
        InFlight(Arc::clone(self))
    }

    /// Waits until the connection has been silent for too long.
    pub(super) async fn silence(&self) {
        let mut states = self.0.subscribe();
        loop {
            let state = *states.borrow_and_update();
            tokio::select! {
                () = sleep_until(state.until), if state.in_flight == 0 => return,
                _changed = states.changed() => {}
            }
        }
    }
}

/// A request in flight.
#[derive(Debug)]
pub(super) struct InFlight(Arc<Activity>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.0.send_modify(|state| {
            state.in_flight -= 1;
            state.until = Instant::now() + Limits::IDLE;
        });
    }
}
