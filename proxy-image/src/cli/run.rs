//! `run`: reads the configuration and runs the proxy.

use std::error::Error as _;
use std::io::Write;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use tracing::{info, warn};

use super::{USAGE, check_config};
use crate::app::{self, Options, Stopped};
use crate::config::{Config, Span};
use crate::memory::Allocator;
use crate::sandbox;
use crate::telemetry::{self, LogFormat, stdout};

/// What the process is told by flags, because a reload cannot change it.
#[derive(Debug, Args)]
pub(super) struct RunOptions {
    /// The configuration, YAML or JSON.
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Serves /livez, /readyz and /metrics.
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:15020")]
    admin_listen: SocketAddr,
    /// Serves POST /quitquitquit and /config. Keep it on loopback.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:15000")]
    control_listen: SocketAddr,
    /// How log lines look.
    #[arg(long, value_enum, default_value = "json")]
    log_format: LogFormat,
    /// Threads that serve connections; default: one for each processor, at most 4.
    #[arg(long, value_name = "N")]
    workers: Option<NonZeroUsize>,
    /// How long a drain waits for open connections; default: the configuration's
    /// terminationDrainDuration.
    #[arg(long, value_name = "DURATION")]
    drain: Option<Span>,
    /// The most connections that are open at once; more wait in the kernel's queue.
    #[arg(long, value_name = "N", default_value = "16384")]
    max_connections: NonZeroUsize,
    /// The most TLS handshakes with clients that are under way at once.
    #[arg(long, value_name = "N", default_value = "256")]
    max_handshakes: NonZeroUsize,
}

pub(super) fn run(options: &RunOptions, allocator: Allocator) -> ExitCode {
    let config = match check_config::read(&options.config) {
        Ok(config) => config,
        Err(mistakes) => {
            complain(&mistakes);
            return ExitCode::from(USAGE);
        }
    };
    let level = telemetry::install(options.log_format, config.log_level);
    let workers = options
        .workers
        .map_or_else(default_workers, NonZeroUsize::get);
    confine(&config, &options.config);
    (allocator.confined)();
    let options = Options {
        config_file: options.config.clone(),
        admin: options.admin_listen,
        control: options.control_listen,
        workers,
        drain: options.drain,
        max_connections: options.max_connections.get(),
        max_handshakes: options.max_handshakes.get(),
        level,
        flush_thread: allocator.flush_thread,
    };
    let ended = app::run(options, config);
    stdout::flush();
    match ended {
        Ok(Stopped::Drained | Stopped::AfterApplication) => ExitCode::SUCCESS,
        Ok(Stopped::Cut) => ExitCode::FAILURE,
        Err(error) => {
            complain(&format!("mtls-proxy: {error:#}\n"));
            ExitCode::FAILURE
        }
    }
}

fn confine(config: &Config, file: &Path) {
    match sandbox::enter(config, file) {
        Ok(enforced) => info!(landlock = enforced.label(), "sandbox entered"),
        Err(error) => {
            let cause = error.source().map(tracing::field::display);
            warn!(%error, cause, "sandbox not entered");
        }
    }
}

pub(super) fn complain(text: &str) {
    let _closed = std::io::stderr().write_all(text.as_bytes());
}

fn default_workers() -> usize {
    const MOST: usize = 4;
    std::thread::available_parallelism().map_or(1, |processors| processors.get().min(MOST))
}
