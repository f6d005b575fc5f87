//! The time of day for log lines, in UTC with microseconds: `2026-11-22T15:04:05.000001Z`.
//!
//! In: the system's clock. Out: text. Only the microseconds differ between most lines, so the rest
//! is kept from line to line.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::tls::rfc3339;

/// How long a text is for the next 7,900 years; also for the `Z` and the six digits before it.
const LENGTH: usize = 27;

/// A point in time, written.
pub(super) struct Text([u8; LENGTH]);

impl Text {
    pub(super) const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

thread_local! {
    static LATEST: RefCell<(u64, Text)> = const { RefCell::new((u64::MAX, Text([b'0'; LENGTH]))) };
}

/// Returns what time it is.
pub(super) fn now() -> Text {
    // Before 1970 there are no logs.
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let since = since.unwrap_or_default();
    written(since.as_secs(), since.subsec_micros())
}

fn written(second: u64, micros: u32) -> Text {
    LATEST.with_borrow_mut(|(latest, text)| {
        if *latest != second {
            *latest = second;
            let seconds = i64::try_from(second).unwrap_or(i64::MAX);
            let whole = rfc3339(seconds);
            let whole = whole.bytes().map(|b| if b == b'Z' { b'.' } else { b });
            for (to, from) in text.0.iter_mut().zip(whole) {
                *to = from;
            }
        }
        let mut written = text.0;
        let mut rest = micros;
        let [digits @ .., z] = &mut written;
        *z = b'Z';
        for digit in digits.iter_mut().rev().take(6) {
            *digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
        }
        Text(written)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_each_microsecond_of_each_second() {
        let at = |second, micros| String::from_utf8(written(second, micros).0.to_vec()).unwrap();
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000000Z");
        assert_eq!(at(0, 1), "1970-01-01T00:00:00.000001Z");
        assert_eq!(at(1_795_602_245, 999_999), "2026-11-25T10:24:05.999999Z");
        assert_eq!(at(1_795_602_246, 120_000), "2026-11-25T10:24:06.120000Z");
    }
}
