//! The configuration in use, kept equal to its file. In: a path. Out: a [`Config`] that is replaced
//! as a whole when the file has changed and is right.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use mtls_proxy::config::Mistakes;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Config;
use crate::changes::{Seen, keep_looking};
use crate::metrics::{Metrics, Reload};
use crate::telemetry::in_full;

/// Why a file gives no configuration.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("failed to read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is wrong: every mistake, one a line.
    #[error("{}", on_lines(.path, .mistakes))]
    Wrong {
        /// Which.
        path: PathBuf,
        /// What is wrong in it.
        mistakes: Mistakes,
    },
}

fn on_lines(path: &Path, mistakes: &Mistakes) -> String {
    let count = mistakes.iter().count();
    let many = if count == 1 { "" } else { "s" };
    let lines = mistakes.iter().map(|mistake| format!("\n  {mistake}"));
    format!(
        "{count} mistake{many} in {}:{}",
        path.display(),
        lines.collect::<String>()
    )
}

impl Config {
    /// Reads a configuration file.
    ///
    /// # Errors
    /// When it cannot be read or is wrong.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        read(path).map(|(_text, config)| config)
    }
}

fn read(path: &Path) -> Result<(String, Config), FileError> {
    let text = fs::read_to_string(path).map_err(|source| FileError::Read {
        path: path.to_owned(),
        source,
    })?;
    let config = parse(path, &text)?;
    Ok((text, config))
}

fn parse(path: &Path, text: &str) -> Result<Config, FileError> {
    Config::parse(text).map_err(|mistakes| FileError::Wrong {
        path: path.to_owned(),
        mistakes,
    })
}

/// Completes what a file says with what is known besides, such as the cluster's version.
pub type Completion = Box<dyn Fn(Config) -> Config + Send>;

/// A configuration that follows its file.
pub struct FollowedConfig {
    path: PathBuf,
    complete: Completion,
    current: Arc<ArcSwap<Config>>,
    metrics: Arc<Metrics>,
    seen: Seen,
}

impl FollowedConfig {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// When it cannot be read or is wrong: nobody should start with settings that are not meant.
    pub fn open(
        path: PathBuf,
        complete: Completion,
        metrics: Arc<Metrics>,
    ) -> Result<Self, FileError> {
        let (text, config) = read(&path)?;
        let mut seen = Seen::default();
        seen.is_new(Ok::<_, String>(text));
        Ok(Self {
            current: Arc::new(ArcSwap::from_pointee(complete(config))),
            path,
            complete,
            metrics,
            seen,
        })
    }

    /// Returns the configuration in use.
    #[must_use]
    pub fn current(&self) -> Arc<ArcSwap<Config>> {
        Arc::clone(&self.current)
    }

    /// Takes up every change of the file, until told to stop. What is wrong is logged and counted,
    /// and the configuration before stays in use.
    pub async fn follow(mut self, stop: CancellationToken) {
        keep_looking(stop, || self.look()).await;
    }

    fn look(&mut self) {
        let content = self.content();
        if !self.seen.is_new(&content) {
            return;
        }
        match content {
            Ok(text) => match parse(&self.path, &text) {
                Ok(config) => self.apply(config),
                Err(error) => self.reject(&in_full(&error)),
            },
            Err(unread) => self.reject(&unread),
        }
    }

    fn content(&self) -> Result<String, String> {
        fs::read_to_string(&self.path)
            .map_err(|error| format!("failed to read {}: {error}", self.path.display()))
    }

    fn apply(&self, config: Config) {
        self.current.store(Arc::new((self.complete)(config)));
        self.metrics.record_reload("config", Reload::Applied);
        info!(config.path = %self.path.display(), "configuration replaced");
    }

    fn reject(&self, error: &str) {
        self.metrics.record_reload("config", Reload::Rejected);
        warn!(error, "new configuration rejected; the old one stays");
    }
}
