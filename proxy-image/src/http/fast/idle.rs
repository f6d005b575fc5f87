//! The upstream connections of one route on one worker that wait for a request, the latest used
//! first. None of them is trusted: an upstream may have closed it since.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::route::Route;
use crate::scratch;
use crate::stream::Stream;
use crate::worker::Worker;

/// More than this are closed.
const MOST: usize = 128;
/// How often those that have become useless are closed, even if nobody asks for one.
const ROUND: Duration = Duration::from_secs(5);

/// Connections that wait.
#[derive(Debug, Default)]
pub(crate) struct Idle(Mutex<Vec<Waiting>>);

/// A connection with what has to be known to use it again.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) stream: Stream,
    /// Of the credentials that it was opened with.
    pub(super) generation: u64,
    /// The name that was dialled, on a wildcard route.
    pub(super) dialled: Option<Box<str>>,
    pub(super) since: Instant,
}

impl Idle {
    /// Takes a living connection for a name, opened with the credentials of today.
    pub(super) async fn take(&self, dialled: Option<&str>, generation: u64) -> Option<Waiting> {
        poll_fn(|cx| {
            let mut waiting = self.lock();
            let fits =
                |one: &Waiting| one.generation == generation && one.dialled.as_deref() == dialled;
            while let Some(index) = waiting.iter().rposition(fits) {
                let mut one = waiting.swap_remove(index);
                if is_quiet(cx, &mut one.stream) {
                    return Poll::Ready(Some(one));
                }
            }
            Poll::Ready(None)
        })
        .await
    }

    /// Keeps a connection for the next request.
    pub(super) fn put(route: &Arc<Route>, worker: &Arc<Worker>, one: Waiting) {
        let Some(idle) = route.idle(worker.index) else {
            return;
        };
        let mut waiting = idle.lock();
        if waiting.len() >= MOST {
            return;
        }
        waiting.push(one);
        if waiting.len() == 1 {
            worker
                .upstreams
                .spawn(reap(Arc::clone(route), worker.index));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Closes what has waited too long, was closed by the upstream, or bears old credentials. Ends when
/// nothing waits any more.
async fn reap(route: Arc<Route>, worker: usize) {
    let limit = route.timeouts.idle.limit();
    loop {
        tokio::time::sleep(limit.map_or(ROUND, |limit| limit.min(ROUND))).await;
        let generation = route.generation();
        let none_left = poll_fn(|cx| {
            let Some(idle) = route.idle(worker) else {
                return Poll::Ready(true);
            };
            let mut waiting = idle.lock();
            waiting.retain_mut(|one| {
                limit.is_none_or(|limit| one.since.elapsed() < limit)
                    && Ok(one.generation) == generation.as_ref().copied()
                    && is_quiet(cx, &mut one.stream)
            });
            Poll::Ready(waiting.is_empty())
        });
        if none_left.await {
            return;
        }
    }
}

/// Returns whether nothing has come on a connection: no end, no error, no answer to nothing.
fn is_quiet(cx: &mut Context<'_>, stream: &mut Stream) -> bool {
    scratch::read(cx, stream, |_, _| ()).is_pending()
}
