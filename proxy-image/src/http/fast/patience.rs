//! One timer for one connection: it waits for one thing at a time, so one timer is enough, and
//! moving a timer costs less than making one.

use std::future::Future;
use std::pin::Pin;
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
        let Some(limit) = limit else {
            return Ok(something.await);
        };
        self.0.as_mut().reset(Instant::now() + limit);
        tokio::select! {
            biased;
            output = something => Ok(output),
            () = self.0.as_mut() => Err(Over),
        }
    }

    /// Waits for something for as long as it goes on: at each `limit`, `progress` must have changed.
    pub(super) async fn while_moving<F: Future>(
        &mut self,
        limit: Option<Duration>,
        progress: impl Fn() -> u64,
        something: F,
    ) -> Result<F::Output, Over> {
        let mut something = std::pin::pin!(something);
        loop {
            let before = progress();
            match self.at_most(limit, something.as_mut()).await {
                Ok(output) => return Ok(output),
                Err(Over) if progress() != before => {}
                Err(Over) => return Err(Over),
            }
        }
    }
}
