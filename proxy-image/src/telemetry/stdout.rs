//! Standard output behind one buffer: a line for each request must not cost a system call for each.
//!
//! In: whole lines. Out: the same lines, in their order, within [`PAUSE`]; at once from a warning
//! upwards, and at the end of the process.

use std::io::{self, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How long a line may wait.
const PAUSE: Duration = Duration::from_millis(100);
/// More than this does not wait.
const MOST: usize = 32 * 1024;

/// The process has one standard output, so it has one buffer.
static WAITING: Mutex<Vec<u8>> = Mutex::new(Vec::new());

/// There is a first line that waits.
static SOMETHING: Notify = Notify::const_new();

/// Makes writers that put their lines into the buffer.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buffered;

/// Writes lines that are as urgent as their event.
#[derive(Debug)]
pub(super) struct Lines {
    urgent: bool,
}

impl<'w> MakeWriter<'w> for Buffered {
    type Writer = Lines;

    fn make_writer(&'w self) -> Lines {
        Lines { urgent: true }
    }

    fn make_writer_for(&'w self, event: &Metadata<'_>) -> Lines {
        Lines {
            urgent: *event.level() <= Level::WARN,
        }
    }
}

impl Write for Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self::line(self.urgent, |waiting| waiting.extend_from_slice(line));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Adds a line, which `write` writes with its end.
pub(super) fn line(urgent: bool, write: impl FnOnce(&mut Vec<u8>)) {
    let mut waiting = waiting();
    if waiting.is_empty() {
        SOMETHING.notify_one();
    }
    write(&mut waiting);
    if urgent || waiting.len() > MOST {
        write_out(&mut waiting);
    }
}

/// Writes what waits.
pub(crate) fn flush() {
    write_out(&mut waiting());
}

/// Writes what waits, again and again; nothing wakes where nothing is logged.
pub(crate) async fn flush_regularly() {
    loop {
        SOMETHING.notified().await;
        tokio::time::sleep(PAUSE).await;
        flush();
    }
}

fn waiting() -> MutexGuard<'static, Vec<u8>> {
    WAITING.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write_out(waiting: &mut Vec<u8>) {
    if waiting.is_empty() {
        return;
    }
    let mut stdout = io::stdout().lock();
    // Nobody is left to complain to.
    let _closed = stdout.write_all(waiting).and_then(|()| stdout.flush());
    waiting.clear();
    waiting.shrink_to(MOST);
}
