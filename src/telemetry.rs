//! Logs. In: a format and a level. Out: one line an event on stderr. Knows nothing of what is
//! logged; pods and reviews never are, at any level.

use std::error::Error;

use mtls_proxy::config::LogLevel;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// Sends this process's events to stderr, from now on. Does nothing when events already go
/// somewhere.
pub fn log_to_stderr(format: LogFormat, level: LogLevel) {
    // The libraries below speak of single frames; that is wanted only when everything is.
    let own = LevelFilter::from(Severity(level));
    let libraries = own.min(LevelFilter::WARN);
    let libraries = if level == LogLevel::Trace {
        own
    } else {
        libraries
    };
    let filter = Targets::new()
        .with_default(libraries)
        .with_target("mtls_injector", own)
        .with_target("mtls_proxy", own);
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let _already = match format {
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
        LogFormat::Text => registry.with(lines.with_ansi(false)).try_init(),
    };
}

/// Returns an error with its causes in one line: `failed to x: because of y: because of z`.
#[must_use]
pub fn in_full(error: &dyn Error) -> String {
    let causes = std::iter::successors(error.source(), |&cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

struct Severity(LogLevel);

impl From<Severity> for LevelFilter {
    fn from(Severity(level): Severity) -> Self {
        match level {
            LogLevel::Trace => Self::TRACE,
            LogLevel::Debug => Self::DEBUG,
            LogLevel::Info => Self::INFO,
            LogLevel::Warning => Self::WARN,
            LogLevel::Error => Self::ERROR,
            LogLevel::Off => Self::OFF,
        }
    }
}
