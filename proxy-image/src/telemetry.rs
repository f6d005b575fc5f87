//! Logs: one event a line, JSON or text, on standard output.
//!
//! In: `tracing` events. Out: lines, from the level that the configuration says, which a reload can
//! change. Nothing here or elsewhere logs header values, bodies or keys.

mod clock;
mod json;
pub(crate) mod line;
pub(crate) mod stdout;

use clap::ValueEnum;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry, fmt, reload};

use crate::config::LogLevel;

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Changes the level of a running process.
#[derive(Clone, Debug)]
pub(crate) struct LevelHandle(reload::Handle<Targets, Registry>);

impl LevelHandle {
    pub(crate) fn set(&self, level: LogLevel) {
        // Fails only when the subscriber is gone, and then nobody reads logs.
        let _gone = self.0.reload(filter(level));
    }
}

/// Installs the subscriber of this process. A second call in one process keeps the first.
pub(crate) fn install(format: LogFormat, level: LogLevel) -> LevelHandle {
    line::set_json(format == LogFormat::Json);
    let (filter, handle) = reload::Layer::new(filter(level));
    let lines = fmt::layer().with_writer(stdout::Buffered);
    let lines = match format {
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
        LogFormat::Text => lines.with_ansi(false).boxed(),
    };
    let subscriber = tracing_subscriber::registry().with(filter).with(lines);
    let _installed_before = subscriber.try_init();
    LevelHandle(handle)
}

/// Libraries are held at warnings whatever is asked for: at trace level some of them print headers.
fn filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warning => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Off => LevelFilter::OFF,
    };
    Targets::new()
        .with_target(env!("CARGO_CRATE_NAME"), level)
        .with_default(level.min(LevelFilter::WARN))
}
