//! Told by the kernel when something changes in the directories of credentials.
//!
//! One inotify instance a process, as a node has few for each user id, and all its proxies share one.
//! Where none is to be had, the poll alone remains.

use std::future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream as _;
use inotify::{EventStream, Inotify, WatchMask, Watches};
use tracing::warn;

/// What is a change. Not that a file is opened or read, which we do ourselves at every poll.
const CHANGE: WatchMask = WatchMask::ATTRIB
    .union(WatchMask::CREATE)
    .union(WatchMask::DELETE)
    .union(WatchMask::MODIFY)
    .union(WatchMask::CLOSE_WRITE)
    .union(WatchMask::MOVE)
    .union(WatchMask::DELETE_SELF)
    .union(WatchMask::MOVE_SELF);

/// Tells of changes in directories.
pub(super) struct Changes {
    events: Option<EventStream<Vec<u8>>>,
}

impl Changes {
    /// Takes an inotify instance. Belongs to one task on a runtime.
    pub(super) fn new() -> Self {
        let events = Inotify::init().and_then(|inotify| inotify.into_event_stream(vec![0; 4096]));
        let events = events
            .inspect_err(|error| warn!(%error, "directories are not watched, only polled"))
            .ok();
        Self { events }
    }

    /// Returns what directories are added to.
    pub(super) fn directories(&self) -> Directories {
        Directories(self.events.as_ref().map(EventStream::watches))
    }

    /// Waits for the next change; those that came together are one.
    pub(super) async fn next(&mut self) {
        let Some(events) = &mut self.events else {
            return future::pending().await;
        };
        if let Err(error) = future::poll_fn(|context| poll_all(events, context)).await {
            warn!(%error, "directories are no longer watched, only polled");
            self.events = None;
        }
    }
}

/// Takes all events there are. What they say does not matter: all files are read again.
fn poll_all(events: &mut EventStream<Vec<u8>>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
    let mut seen = false;
    loop {
        match Pin::new(&mut *events).poll_next(context) {
            Poll::Ready(Some(Ok(_))) => seen = true,
            Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
            Poll::Ready(None) => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
            Poll::Pending if seen => return Poll::Ready(Ok(())),
            Poll::Pending => return Poll::Pending,
        }
    }
}

/// The directories that are watched.
pub(super) struct Directories(Option<Watches>);

impl Directories {
    /// Watches these, also those that were removed and made again: a watch belongs to the directory
    /// itself, not to its name.
    pub(super) fn watch(&mut self, directories: impl Iterator<Item = PathBuf>) {
        let Some(watches) = &mut self.0 else {
            return;
        };
        for directory in directories {
            // Whatever is missing is found by the poll when it appears, and then watched.
            let _ = watches.add(existing(&directory), CHANGE);
        }
    }
}

/// Returns the directory, or the nearest above it that is there.
fn existing(directory: &Path) -> &Path {
    let mut ancestors = directory.ancestors();
    ancestors.find(|path| path.is_dir()).unwrap_or(directory)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::iter;

    use super::*;

    #[test]
    fn a_file_that_is_written_is_a_change_and_one_that_is_read_is_none() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("cert");
        fs::write(&file, "one").unwrap();
        let mut inotify = Inotify::init().unwrap();
        let mut directories = Directories(Some(inotify.watches()));
        directories.watch(iter::once(directory.path().to_owned()));

        fs::read(&file).unwrap();
        let mut buffer = [0; 4096];
        let seen = inotify.read_events(&mut buffer).map(Iterator::count);
        assert_eq!(seen.unwrap_err().kind(), io::ErrorKind::WouldBlock);
        fs::write(&file, "two").unwrap();
        assert!(inotify.read_events(&mut buffer).unwrap().count() > 0);
    }

    #[tokio::test]
    async fn a_directory_made_again_is_watched_again() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("secret");
        let mut changes = Changes::new();
        for _ in 0..3 {
            // As long as it is missing, the one above it is watched.
            changes.directories().watch(iter::once(directory.clone()));
            fs::create_dir(&directory).unwrap();
            changes.next().await;
            changes.directories().watch(iter::once(directory.clone()));
            fs::write(directory.join("cert"), "one").unwrap();
            changes.next().await;
            fs::remove_dir_all(&directory).unwrap();
            changes.next().await;
        }
    }
}
