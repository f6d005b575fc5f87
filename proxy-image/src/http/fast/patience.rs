//! One timer for one connection: it waits for one thing at a time, so one timer is enough.
//!
//! Most of what is waited for is there at once, or soon: then the clock is not read, and the timer
//! not moved. A timer that goes off too early is cheap, because it seldom does; moving it for every
//! request is not.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// A connection's timer.
pub(super) struct Patience(Pin<Box<Sleep>>);

/// The time was over.
#[derive(Debug)]
pub(super) struct Over;

impl Patience {
    pub(super) fn new() -> Self {
        Self(Box::pin(sleep(Duration::ZERO)))
    }

    /// Waits for something, at most for so long.
    pub(super) async fn at_most<F: Future>(
        &mut self,
        limit: Option<Duration>,
        something: F,
    ) -> Result<F::Output, Over> {
        let mut something = pin!(something);
        let mut due = None;
        poll_fn(|cx| {
            if let Poll::Ready(output) = something.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            let Some(limit) = limit else {
                return Poll::Pending;
            };
            let due = *due.get_or_insert_with(|| Instant::now() + limit);
            ready!(self.poll_until(cx, due));
            Poll::Ready(Err(Over))
        })
        .await
    }

    /// Waits for something for as long as it goes on: at each `limit`, `progress` must have changed.
    pub(super) async fn while_moving<F: Future>(
        &mut self,
        limit: Option<Duration>,
        progress: impl Fn() -> u64,
        something: F,
    ) -> Result<F::Output, Over> {
        let mut something = pin!(something);
        loop {
            let before = progress();
            match self.at_most(limit, something.as_mut()).await {
                Ok(output) => return Ok(output),
                Err(Over) if progress() != before => {}
                Err(Over) => return Err(Over),
            }
        }
    }

    /// Ready at `due`. Until then the timer may stand at an earlier time, never at a later one.
    fn poll_until(&mut self, cx: &mut Context<'_>, due: Instant) -> Poll<()> {
        if self.0.deadline() > due {
            self.0.as_mut().reset(due);
        }
        loop {
            ready!(self.0.as_mut().poll(cx));
            if self.0.deadline() >= due {
                return Poll::Ready(());
            }
            self.0.as_mut().reset(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn every_limit_is_kept_whatever_the_timer_was_at() {
        let mut patience = Patience::new();
        for minutes in [2, 1, 3, 3, 1] {
            let began = Instant::now();
            let limit = MINUTE * minutes;
            let waited = patience.at_most(Some(limit), pending::<()>()).await;
            assert!(waited.is_err());
            assert_eq!(began.elapsed(), limit);
            let soon = patience.at_most(Some(MINUTE * 5), sleep(MINUTE));
            assert!(soon.await.is_ok());
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_moves_may_take_longer_than_the_limit() {
        let mut patience = Patience::new();
        let began = Instant::now();
        let minutes = || began.elapsed().as_secs() / 60;
        let moving = || minutes().min(7);
        let passed = patience.while_moving(Some(MINUTE * 2), moving, pending::<()>());
        assert!(passed.await.is_err());
        assert_eq!(minutes(), 10);
    }
}
