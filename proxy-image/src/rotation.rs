//! Credentials that follow their files.
//!
//! In: the [`Material`] of each route and port, and a builder for what is made of it. Out: a [`Live`]
//! value that is swapped as a whole when the files have changed and are right. What is in use stays
//! in use until then; files that are not there yet are waited for. Kubelet replaces the `..data` link
//! beside the files rather than the files, so directories are watched, and because a watch can be
//! lost the content is also read at every poll.

mod expiry;
mod watch;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::pki_types::UnixTime;
use tokio::sync::{Notify, watch as channel};
use tracing::{error, info, warn};

use crate::config::Material;
use crate::credentials::{self, CredentialError, Credentials, Expiry, Side, Snapshot, SnapshotId};

use expiry::Warnings;
use watch::{Changes, Directories};

/// How long files are left to settle after a change: a writer that is not kubelet touches several.
const SETTLE: Duration = Duration::from_millis(100);

/// How a rotation behaves.
#[derive(Clone)]
pub struct Options {
    /// How often the files are read even when nothing was seen to change.
    pub poll: Duration,
    /// Told of every load that ended; counts `reloads_total`.
    pub on_reload: Arc<dyn Fn(ReloadOutcome) + Send + Sync>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            poll: Duration::from_secs(10),
            on_reload: Arc::new(|_| ()),
        }
    }
}

/// How a load ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ReloadOutcome {
    /// New credentials are in use.
    Loaded,
    /// The files are missing or wrong; what was in use, if anything, stays in use.
    Failed,
}

impl ReloadOutcome {
    /// Returns the outcome's name in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Loaded => "loaded",
            Self::Failed => "failed",
        }
    }
}

/// Nothing could be loaded yet.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("credentials are not loaded: {reason}")]
pub struct NotLoaded {
    /// Why, naming the file.
    pub reason: Arc<str>,
}

/// All credentials of a process. Clones are one and the same.
#[derive(Clone)]
pub struct Rotation {
    shared: Arc<Shared>,
}

struct Shared {
    options: Options,
    members: Mutex<Vec<Weak<dyn Member>>>,
    /// Told of a new member.
    joined: Notify,
    warnings: Warnings,
}

/// What a rotation knows of a [`Live`] value, whatever its type.
trait Member: Send + Sync {
    /// Loads again if the files have changed.
    fn refresh(&self);
    /// Returns the directories in which a change matters.
    fn directories(&self) -> Vec<PathBuf>;
    /// Returns what is in use and when it ends.
    fn expiries(&self) -> Vec<Expiry>;
}

impl Rotation {
    /// Makes a rotation of nothing yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            shared: Arc::new(Shared {
                options,
                members: Mutex::default(),
                joined: Notify::new(),
                warnings: Warnings::default(),
            }),
        }
    }

    /// Loads credentials now and keeps them current while [`Rotation::run`] runs and the value lives.
    ///
    /// `name` is the route's or port's, for the log. `build` makes the value from credentials and
    /// their generation, counted from 1.
    pub fn live<T, B>(&self, name: String, material: Material, side: Side, build: B) -> Live<T>
    where
        T: Send + Sync + 'static,
        B: Fn(&Credentials, u64) -> Result<T, CredentialError> + Send + Sync + 'static,
    {
        let not_loaded = NotLoaded {
            reason: "not tried yet".into(),
        };
        let cell = Arc::new(Cell {
            name,
            material,
            side,
            build: Box::new(build),
            on_reload: Arc::clone(&self.shared.options.on_reload),
            current: ArcSwap::from_pointee(Err(not_loaded)),
            generation: channel::Sender::new(0),
            progress: Mutex::default(),
        });
        cell.refresh();
        let member: Weak<Cell<T>> = Arc::downgrade(&cell);
        locked(&self.shared.members).push(member);
        self.shared.joined.notify_one();
        Live { cell }
    }

    /// Follows the files until it is dropped. One task of a process runs it.
    pub async fn run(&self) {
        let mut changes = Changes::new();
        loop {
            let shared = Arc::clone(&self.shared);
            let directories = changes.directories();
            // Reading files and deriving a key store's key may block for long.
            let round = tokio::task::spawn_blocking(move || shared.round(directories));
            if let Err(panicked) = round.await {
                error!(error = %panicked, "credentials could not be followed");
            }
            tokio::select! {
                () = self.shared.joined.notified() => {}
                () = changes.next() => tokio::time::sleep(SETTLE).await,
                () = tokio::time::sleep(self.shared.options.poll) => {}
            }
        }
    }

    /// Returns when each file in use ends, for `mtls_proxy_certificate_not_after_seconds{file}`.
    #[must_use]
    pub fn expiries(&self) -> Vec<Expiry> {
        let mut all: Vec<_> = self
            .shared
            .members()
            .iter()
            .flat_map(|m| m.expiries())
            .collect();
        all.sort_by(|a, b| (&a.file, a.not_after).cmp(&(&b.file, b.not_after)));
        all.dedup_by(|later, earlier| later.file == earlier.file);
        all
    }
}

impl Shared {
    fn round(&self, mut directories: Directories) {
        let members = self.members();
        // Watched before they are read, so that no change falls between.
        directories.watch(members.iter().flat_map(|m| m.directories()));
        for member in &members {
            member.refresh();
        }
        let expiries = members.iter().flat_map(|m| m.expiries());
        self.warnings.warn(expiries, UnixTime::now());
    }

    fn members(&self) -> Vec<Arc<dyn Member>> {
        let mut members = locked(&self.members);
        members.retain(|member| member.strong_count() > 0);
        members.iter().filter_map(Weak::upgrade).collect()
    }
}

/// A value that is made anew when its credentials change. Clones are one and the same.
pub struct Live<T> {
    cell: Arc<Cell<T>>,
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self {
            cell: Arc::clone(&self.cell),
        }
    }
}

impl<T> Live<T> {
    /// Returns the value as of now; never waits.
    ///
    /// # Errors
    /// Why there is none.
    pub fn current(&self) -> Result<Arc<T>, NotLoaded> {
        self.cell.current.load().as_ref().clone()
    }

    /// Returns a receiver of generations: 0 until the first load, then one more with each.
    #[must_use]
    pub fn subscribe(&self) -> channel::Receiver<u64> {
        self.cell.generation.subscribe()
    }
}

type Build<T> = dyn Fn(&Credentials, u64) -> Result<T, CredentialError> + Send + Sync;

struct Cell<T> {
    name: String,
    material: Material,
    side: Side,
    build: Box<Build<T>>,
    on_reload: Arc<dyn Fn(ReloadOutcome) + Send + Sync>,
    current: ArcSwap<Result<Arc<T>, NotLoaded>>,
    generation: channel::Sender<u64>,
    progress: Mutex<Progress>,
}

/// What the last rounds came to.
#[derive(Default)]
struct Progress {
    in_use: Option<SnapshotId>,
    expiries: Vec<Expiry>,
    /// The last failure, until a load succeeds. It is told once, not at every poll.
    failure: Option<String>,
}

impl<T: Send + Sync> Member for Cell<T> {
    fn refresh(&self) {
        let mut progress = locked(&self.progress);
        match Snapshot::read(&self.material, self.side) {
            Ok(snapshot) if progress.in_use == Some(snapshot.id()) => {
                if progress.failure.take().is_some() {
                    info!(route = self.name, "credentials are again those in use");
                }
            }
            read => match read.and_then(|snapshot| self.load(&snapshot, &mut progress)) {
                Ok(()) => (self.on_reload)(ReloadOutcome::Loaded),
                Err(error) => self.fail(error.to_string(), &mut progress),
            },
        }
    }

    fn directories(&self) -> Vec<PathBuf> {
        credentials::directories(&self.material)
    }

    fn expiries(&self) -> Vec<Expiry> {
        locked(&self.progress).expiries.clone()
    }
}

impl<T> Cell<T> {
    fn load(&self, snapshot: &Snapshot, progress: &mut Progress) -> Result<(), CredentialError> {
        let credentials = Credentials::parse(snapshot, UnixTime::now())?;
        let generation = *self.generation.borrow() + 1;
        let value = (self.build)(&credentials, generation)?;
        self.current.store(Arc::new(Ok(Arc::new(value))));
        self.generation.send_replace(generation);
        *progress = Progress {
            in_use: Some(snapshot.id()),
            expiries: credentials.expiries,
            failure: None,
        };
        info!(route = self.name, generation, "credentials loaded");
        Ok(())
    }

    fn fail(&self, reason: String, progress: &mut Progress) {
        if progress.failure.as_ref() == Some(&reason) {
            return;
        }
        if progress.in_use.is_some() {
            warn!(
                route = self.name,
                error = reason,
                "credentials not reloaded, the old stay in use"
            );
        } else {
            warn!(route = self.name, error = reason, "credentials not loaded");
            let reason = reason.as_str().into();
            self.current.store(Arc::new(Err(NotLoaded { reason })));
        }
        (self.on_reload)(ReloadOutcome::Failed);
        progress.failure = Some(reason);
    }
}

/// Locks, also after a panic: what is behind these locks is replaced as a whole or not at all.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
