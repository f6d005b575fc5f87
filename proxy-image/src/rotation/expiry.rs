//! Warns in time of what ends: 30, 7 and 1 days before, then every hour.
//!
//! In: the ends of the files in use, at every round. Out: one log line a step and file.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;

use rustls::pki_types::UnixTime;
use tracing::{error, warn};

use crate::credentials::Expiry;
use crate::tls::rfc3339;

use super::locked;

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// Remembers which warnings were given.
#[derive(Default)]
pub(super) struct Warnings {
    given: Mutex<HashMap<PathBuf, (i64, Step)>>,
}

/// How near an end is. A line is written when the step changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Days(i64),
    Hours(i64),
    HoursAgo(i64),
}

impl Step {
    /// Returns the step of what ends in `seconds`; `None`: that is far away.
    fn of(seconds: i64) -> Option<Self> {
        match seconds {
            ..=-1 => Some(Self::HoursAgo(-seconds / HOUR)),
            0..DAY => Some(Self::Hours(seconds / HOUR)),
            _ => [1, 7, 30]
                .into_iter()
                .find(|days| seconds <= days * DAY)
                .map(Self::Days),
        }
    }
}

impl Warnings {
    /// Warns of what is near its end, unless that was said before.
    pub(super) fn warn(&self, expiries: impl Iterator<Item = Expiry>, now: UnixTime) {
        let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let mut given = locked(&self.given);
        for Expiry { file, not_after } in expiries {
            let Some(step) = Step::of(not_after.saturating_sub(now)) else {
                continue;
            };
            if given.insert(file.clone(), (not_after, step)) == Some((not_after, step)) {
                continue;
            }
            let (file, not_after) = (file.display(), rfc3339(not_after));
            match step {
                Step::Days(days) => {
                    warn!(%file, not_after, days_left = days, "credentials expire soon");
                }
                Step::Hours(hours) => {
                    warn!(%file, not_after, hours_left = hours, "credentials expire soon");
                }
                Step::HoursAgo(_) => error!(%file, not_after, "credentials have expired"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::io::{self, Write};
    use std::sync::Arc;
    use std::time::Duration;

    use tracing_subscriber::fmt::MakeWriter;

    /// Collects log lines.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            locked(&self.0).write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    #[test]
    fn warns_at_30_7_and_1_days_then_every_hour_and_once_each() {
        const END: i64 = 1_893_456_000;
        let lines = Lines::default();
        let subscriber = tracing_subscriber::fmt()
            .with_writer(lines.clone())
            .with_ansi(false)
            .without_time()
            .with_target(false)
            .finish();
        let warnings = Warnings::default();
        tracing::subscriber::with_default(subscriber, || {
            // Every ten minutes, from 40 days before the end until 90 minutes after it.
            for minutes in (-90..=40 * 24 * 60).rev().step_by(10) {
                let now = u64::try_from(END - minutes * 60).unwrap();
                let ends = Expiry {
                    file: "/etc/mtlsfiles/cert".into(),
                    not_after: END,
                };
                let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
                warnings.warn(std::iter::once(ends), now);
            }
        });
        let lines = String::from_utf8(locked(&lines.0).clone()).unwrap();
        let left: Vec<_> = lines
            .lines()
            .map(|line| line.rsplit(' ').next().unwrap_or_default())
            .collect();
        let hours = (0..24).rev().map(|hour| format!("hours_left={hour}"));
        let expected: Vec<_> = ["days_left=30", "days_left=7", "days_left=1"]
            .into_iter()
            .map(str::to_owned)
            .chain(hours)
            .chain(["not_after=\"2030-01-01T00:00:00Z\"".to_owned(); 1])
            .collect();
        assert_eq!(left[..expected.len()], expected);
        assert_eq!(
            lines.lines().next(),
            Some(
                " WARN credentials expire soon file=/etc/mtlsfiles/cert \
                 not_after=\"2030-01-01T00:00:00Z\" days_left=30"
            )
        );
        assert_eq!(
            lines.lines().last(),
            Some(
                "ERROR credentials have expired file=/etc/mtlsfiles/cert \
                 not_after=\"2030-01-01T00:00:00Z\""
            )
        );
    }
}
