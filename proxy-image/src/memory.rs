//! Gives memory back when a burst of connections has gone.
//!
//! In: how many connections a worker has. Out: calls of what the program has to empty its allocator's
//! cache of that worker's thread.
//!
//! An allocator that caches freed memory by thread lets go of it as more is allocated. After a burst
//! nothing may be allocated for long, and the little that is cached keeps whole slabs.

use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

/// What is asked of the program's allocator, whichever that is.
#[derive(Clone, Copy, Debug)]
pub struct Allocator {
    /// Called before connections are served, once the process has given up what it does not need.
    pub confined: fn(),
    /// Gives back what the calling thread keeps of freed memory for its next allocations.
    pub flush_thread: fn(),
}

/// With fewer connections, the cache holds about what the next ones need.
const BURST: usize = 64;
/// What part of a burst may be left: low enough that nothing is flushed as connections come and go.
const EBB: usize = 8;
/// Late enough that what belonged to a connection has been freed.
const EVERY: Duration = Duration::from_secs(1);

/// Sees one worker's bursts of connections end.
#[derive(Debug, Default)]
pub(crate) struct Ebb {
    burst: Notify,
}

impl Ebb {
    /// To be told when a connection is accepted: how many there are.
    pub(crate) fn opened(&self, open: usize) {
        if open >= BURST {
            // Who waits is told; who watches a burst already sees its connections anyway.
            self.burst.notify_waiters();
        }
    }

    /// Flushes when most of a burst has gone. To be run on the worker's thread, from before the first
    /// connection; wakes up only between a burst and its end.
    pub(crate) async fn flush(&self, open: impl Fn() -> usize, flush_thread: fn()) {
        loop {
            self.burst.notified().await;
            let mut most = BURST;
            while most >= BURST {
                sleep(EVERY).await;
                let left = open();
                most = most.max(left);
                if left <= most / EBB {
                    flush_thread();
                    most = left;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;

    use super::{EVERY, Ebb};

    thread_local! {
        static FLUSHED: Cell<usize> = const { Cell::new(0) };
    }

    /// Returns how often the cache was flushed as the number of connections went through these.
    async fn flushes(numbers: &[usize]) -> usize {
        let ebb = Ebb::default();
        let open = Rc::new(Cell::new(0));
        let watched = Rc::clone(&open);
        let before = FLUSHED.get();
        let change = async {
            for &number in numbers {
                if number > open.get() {
                    ebb.opened(number);
                }
                open.set(number);
                tokio::time::sleep(EVERY + EVERY / 2).await;
            }
        };
        tokio::select! {
            biased;
            () = ebb.flush(move || watched.get(), || FLUSHED.set(FLUSHED.get() + 1)) => {}
            () = change => {}
        }
        FLUSHED.get() - before
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_a_burst_flushes() {
        assert_eq!(flushes(&[5000, 4000, 626]).await, 0);
        assert_eq!(flushes(&[5000, 625]).await, 1);
        assert_eq!(flushes(&[5000, 0, 0, 0]).await, 1);
        assert_eq!(flushes(&[5000, 5001, 0, 0, 0]).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_burst_that_ends_by_and_by_flushes_to_its_end() {
        assert_eq!(flushes(&[5000, 600, 76, 75, 10, 9, 1, 0]).await, 3);
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_burst_flushes_again() {
        assert_eq!(flushes(&[64, 0, 64, 0]).await, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_few_connections_never_flush() {
        assert_eq!(flushes(&[63, 0, 63, 0]).await, 0);
    }
}
