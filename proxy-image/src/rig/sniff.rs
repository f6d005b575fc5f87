//! What a redirected connection is taken for: once that is decided, more bytes do not change it, and
//! what HTTP's own parser takes for a request is never taken for something that passes through.
//!
//! In: any bytes. Out: nothing, or a failed assertion.

use crate::sniff::{Spoken, recognise};

/// Looks at bytes as they may come from an application.
///
/// # Panics
/// When more bytes change what was decided, or a request was taken for another protocol.
pub fn check(bytes: &[u8]) {
    let mut decided = None;
    for end in 0..=bytes.len() {
        let now = recognise(bytes.get(..end).unwrap_or_default());
        assert!(
            decided.is_none() || now == decided,
            "{end} bytes of {bytes:?}: {decided:?}, {now:?}"
        );
        decided = now;
    }
    let mut fields = [httparse::EMPTY_HEADER; 128];
    let mut request = httparse::Request::new(&mut fields);
    let parsed = request.parse(bytes);
    if parsed.is_ok_and(|parsed| parsed.is_complete()) {
        let taken_for_http = matches!(
            decided,
            Some(Spoken::Http(_) | Spoken::HeadUnread | Spoken::Http2)
        );
        assert!(taken_for_http, "{bytes:?}: {decided:?}");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_decided_once(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            check(&bytes);
        }

        #[test]
        fn whatever_looks_like_a_request_is_decided_once(
            text in "(\r?\n){0,2}[A-Z!#a-z]{1,8} {1,2}(/|\\*|http://a)[a-z:?%]{0,6} HTTP/[12]\\.[019]\r?\n(Host: ?[a-z.:]{0,8}\r?\n|[a-z ]{0,4}: ?\r\n){0,3}\r?\n?[a-z]{0,3}"
        ) {
            check(text.as_bytes());
        }
    }
}
