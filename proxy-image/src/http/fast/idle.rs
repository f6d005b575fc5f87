//! The upstream connections of one route on one worker that wait for a request, the latest used
//! first. None of them is trusted: an upstream may have closed it since.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::route::Route;
use crate::scratch;
use crate::stream::Stream;
use crate::tls::generation::Generation;
use crate::worker::Worker;

/// More than this are closed.
const MOST: usize = 128;
/// How often those that have become useless are closed, even if nobody asks for one.
const ROUND: Duration = Duration::from_secs(5);

/// Connections that wait.
#[derive(Debug, Default)]
pub(crate) struct Idle {
    waiting: Mutex<Vec<Waiting>>,
    /// Whether one is being opened to take the place of an older one.
    renewing: AtomicBool,
}

/// A connection with what has to be known to use it again.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) stream: Stream,
    /// Of the credentials that it was opened with.
    pub(super) generation: Generation,
    /// The name that was dialled, on a wildcard route.
    pub(super) dialled: Option<Box<str>>,
    pub(super) since: Instant,
}

impl Idle {
    /// Takes a living connection for a name, opened with the credentials of today or, while these
    /// are new, with those of before.
    pub(super) async fn take(&self, dialled: Option<&str>, today: Generation) -> Option<Waiting> {
        poll_fn(|cx| {
            let mut waiting = self.lock();
            let fits = |one: &Waiting| one.dialled.as_deref() == dialled;
            let current = |one: &Waiting| one.generation == today && fits(one);
            let older = |one: &Waiting| today.hands_over_from(one.generation) && fits(one);
            let next = |waiting: &[Waiting]| {
                let newest = waiting.iter().rposition(current);
                newest.or_else(|| waiting.iter().rposition(older))
            };
            while let Some(index) = next(&waiting) {
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

    /// Returns whether the caller is to open one in the place of an older one, and nobody else until
    /// [`Self::renewed`].
    pub(super) fn begins_renewal(&self) -> bool {
        !self.renewing.swap(true, Ordering::Relaxed)
    }

    pub(super) fn renewed(&self) {
        self.renewing.store(false, Ordering::Relaxed);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Waiting>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
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
