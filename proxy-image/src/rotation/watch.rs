//! Told by the kernel when something changes in the directories of credentials.
//!
//! One inotify instance a process, as a node has few for each user id, and all its proxies share one.
//! Where none is to be had, the poll alone remains.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use notify::event::{AccessKind, AccessMode};
use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::Notify;
use tracing::warn;

use super::locked;

/// Watches directories.
pub(super) struct DirectoryWatch {
    changed: Arc<Notify>,
    watcher: Mutex<Option<RecommendedWatcher>>,
}

impl DirectoryWatch {
    pub(super) fn new() -> Self {
        Self {
            changed: Arc::default(),
            watcher: Mutex::default(),
        }
    }

    /// Returns what is notified after a change.
    pub(super) fn changed(&self) -> &Notify {
        &self.changed
    }

    /// Watches these directories, also those that were removed and made again: a watch belongs to the
    /// directory itself, not to its name.
    pub(super) fn watch(&self, directories: impl Iterator<Item = PathBuf>) {
        let mut watcher = locked(&self.watcher);
        if watcher.is_none() {
            *watcher = self.start();
        }
        let Some(watcher) = watcher.as_mut() else {
            return;
        };
        for directory in directories {
            // Whatever is missing is found by the poll when it appears, and then watched.
            let _ = watcher.watch(existing(&directory), RecursiveMode::NonRecursive);
        }
    }

    fn start(&self) -> Option<RecommendedWatcher> {
        let changed = Arc::clone(&self.changed);
        let on_event = move |event: Result<Event, notify::Error>| {
            if event.is_ok_and(|event| is_change(event.kind)) {
                changed.notify_one();
            }
        };
        notify::recommended_watcher(on_event)
            .inspect_err(|error| warn!(%error, "directories are not watched, only polled"))
            .ok()
    }
}

/// Returns the directory, or the nearest above it that is there.
fn existing(directory: &Path) -> &Path {
    let mut ancestors = directory.ancestors();
    ancestors.find(|path| path.is_dir()).unwrap_or(directory)
}

/// Our own reading is an event too, and must not cause another.
fn is_change(kind: EventKind) -> bool {
    !matches!(kind, EventKind::Access(access)
        if access != AccessKind::Close(AccessMode::Write))
}
