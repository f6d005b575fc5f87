//! Follows the configuration's file: a good document replaces the running one, a bad one changes
//! nothing and says why.
//!
//! In: the file, which is read every second: that costs less than a watch, and cannot miss that
//! kubelet replaces a symbolic link some way up. Out: the plan applied, and a count of reloads.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tracing::{info, warn};

use crate::config::Config;
use crate::listening::Listening;
use crate::metrics::Metrics;
use crate::plan::Planner;
use crate::telemetry::LevelHandle;

/// How often the file is read.
const POLL: Duration = Duration::from_secs(1);

/// Everything that a new configuration changes.
pub(crate) struct Reload {
    pub(crate) file: PathBuf,
    pub(crate) level: LevelHandle,
    /// The configuration in use.
    pub(crate) config: Arc<ArcSwap<Config>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) planner: Planner,
    pub(crate) listening: Listening,
}

impl Reload {
    /// Applies the configuration, and every later one, until one says that the application has ended.
    pub(crate) async fn until_the_application_ends(&mut self) {
        self.follow().await;
        info!(reason = "the application has ended", "drain started");
    }

    async fn follow(&mut self) {
        if self.config.load().application_ended {
            return;
        }
        self.apply().await;
        if self.file == Path::new("-") {
            return self.listening.keep_trying().await;
        }
        let mut last_text = None;
        let mut looked_at = None;
        loop {
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = self.listening.keep_trying() => {}
            }
            let text = tokio::fs::read_to_string(&self.file).await;
            let text = text.map_err(|error| format!("cannot be read: {error}"));
            // A file that is being written may be a good document before it is whole.
            if last_text.as_ref() != Some(&text) {
                last_text = Some(text);
                continue;
            }
            // What is wrong with a document is told once, not at every poll.
            if looked_at == last_text {
                continue;
            }
            looked_at.clone_from(&last_text);
            if let Err(mistake) = self.reload(text).await {
                let file = self.file.display();
                warn!(%file, error = mistake, "configuration not reloaded, the old stays in use");
                self.metrics.count_reload("failed");
            }
            if self.config.load().application_ended {
                return;
            }
        }
    }

    async fn reload(&mut self, text: Result<String, String>) -> Result<(), String> {
        let config = Config::parse(&text?).map_err(|mistakes| mistakes.to_string())?;
        if config == **self.config.load() {
            return Ok(());
        }
        self.config.store(Arc::new(config));
        self.apply().await;
        self.metrics.count_reload("loaded");
        let file = self.file.display();
        info!(%file, "configuration reloaded");
        Ok(())
    }

    async fn apply(&mut self) {
        let config = self.config.load_full();
        self.level.set(config.log_level);
        let plan = self.planner.plan(&config);
        self.listening.apply(plan).await;
    }
}
