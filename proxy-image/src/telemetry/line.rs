//! Access lines, written without a detour: one is written for each request, or connection of protocol
//! tcp, and the general way, through spans, visitors and maps, costs more than routing it.
//!
//! In: the fields of one line. Out: the same JSON object that the general way writes, in the buffer
//! of standard output.

mod connection;
mod request;
#[cfg(test)]
mod tests;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::json::Line;
use super::{clock, stdout};
pub(crate) use connection::ConnectionLine;
pub(crate) use request::RequestLine;

/// Whether lines are JSON objects.
static JSON: AtomicBool = AtomicBool::new(false);

/// Says how lines look from now on.
pub(super) fn set_json(json: bool) {
    JSON.store(json, Ordering::Relaxed);
}

/// A line of target `mtls_proxy::access`.
pub(crate) trait AccessLine {
    /// What happened, for the field `message`.
    const MESSAGE: &'static str;

    /// Adds the line's own fields.
    fn add_fields(&self, line: &mut Line<'_>);

    /// Writes the line the general way.
    fn write_through_tracing(&self);

    /// Writes the line, if the level of logging lets it through.
    fn write(&self) {
        if !tracing::enabled!(target: "mtls_proxy::access", tracing::Level::INFO) {
            return;
        }
        if JSON.load(Ordering::Relaxed) {
            stdout::line(false, |out| self.write_json(out));
        } else {
            self.write_through_tracing();
        }
    }

    /// Writes the line as JSON.
    fn write_json(&self, out: &mut Vec<u8>) {
        let mut line = Line(out);
        line.piece(r#"{"timestamp":""#);
        line.0.extend_from_slice(clock::now().as_bytes());
        line.piece(r#"","level":"INFO""#);
        line.text(r#","message":"#, Self::MESSAGE);
        self.add_fields(&mut line);
        line.piece(",\"target\":\"mtls_proxy::access\"}\n");
    }
}

fn microseconds(duration: Duration) -> u64 {
    let rounded = duration.saturating_add(Duration::from_nanos(500));
    u64::try_from(rounded.as_micros()).unwrap_or(u64::MAX)
}

/// Returns milliseconds with three decimals.
#[expect(clippy::cast_precision_loss, reason = "microseconds fit for 285 years")]
fn milliseconds(duration: Duration) -> f64 {
    microseconds(duration) as f64 / 1e3
}
