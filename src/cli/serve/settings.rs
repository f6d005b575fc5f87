//! The platform's settings, from a file or the defaults, completed by what the cluster tells.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::beside::Beside;
use super::surroundings::Surroundings;
use crate::cli::Failure;
use crate::config::Config;
use crate::config::followed::FollowedConfig;

/// Where the platform's settings come from.
enum Source {
    Defaults(Arc<ArcSwap<Config>>),
    File(FollowedConfig),
}

/// The settings and what completes them.
pub(super) struct Settings {
    source: Source,
    around: Option<Arc<Surroundings>>,
}

impl Settings {
    pub(super) fn open(
        file: Option<PathBuf>,
        around: Option<Arc<Surroundings>>,
        beside: &Beside,
    ) -> Result<Self, Failure> {
        let completing = around.clone();
        let complete = Box::new(move |config| complete(config, completing.as_deref()));
        let source = match file {
            None => Source::Defaults(Arc::new(ArcSwap::from_pointee(complete(Config::default())))),
            Some(path) => FollowedConfig::open(path, complete, Arc::clone(&beside.metrics))
                .map(Source::File)
                .map_err(|error| Failure::Usage(error.into()))?,
        };
        Ok(Self { source, around })
    }

    pub(super) fn current(&self) -> Arc<ArcSwap<Config>> {
        match &self.source {
            Source::Defaults(config) => Arc::clone(config),
            Source::File(followed) => followed.current(),
        }
    }

    /// Takes up the file's changes and the cluster's version. One task does both, so that neither
    /// overwrites what the other has just learnt.
    pub(super) async fn follow(self, stop: CancellationToken) {
        let current = self.current();
        let version = async {
            if let Some(around) = self.around {
                around.learn_version(&stop).await;
                current.rcu(|config| complete(Config::clone(config), Some(&around)));
            }
        };
        let file = async {
            if let Source::File(followed) = self.source {
                followed.follow(stop.clone()).await;
            }
        };
        tokio::join!(version, file);
    }
}

fn complete(config: Config, around: Option<&Surroundings>) -> Config {
    match around {
        Some(around) => around.complete(config),
        None => config,
    }
}
