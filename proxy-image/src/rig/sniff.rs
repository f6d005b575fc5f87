//! What a redirected connection is taken for: once that is decided, more bytes do not change it, and
//! what HTTP's own parser takes for a request is never taken for something that passes through, nor
//! for one to another host.
//!
//! In: any bytes. Out: nothing, or a failed assertion.

use super::oracle::{self, Reading, Request};
use crate::config::without_port;
use crate::sniff::{Spoken, recognise};

/// Looks at bytes as they may come from an application.
///
/// # Panics
/// When more bytes change what was decided, or a request was taken for another protocol or for one to
/// another host.
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
    if let (Some(Spoken::Http(name)), Reading::Whole(request, _)) =
        (decided, oracle::request(bytes))
    {
        assert_eq!(name, host_of(&request), "{request:?}");
    }
}

/// Returns the host that a request is for, without its port.
fn host_of(request: &Request) -> Option<String> {
    let absolute = request.target.split_once("://");
    let absolute = absolute.filter(|_| !request.target.starts_with('/'));
    let absolute = absolute.map(|(_, rest)| {
        let authority = rest.split(['/', '?', '#']).next();
        authority.unwrap_or_default().to_owned()
    });
    let authority = absolute.or_else(|| {
        let mut fields = request.fields.iter();
        let (_, host) = fields.find(|(name, _)| name == "host")?;
        String::from_utf8(host.clone()).ok()
    })?;
    let name = without_port(&authority);
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_host_of_a_request_is_seen_in_it() {
        for target in ["/", "http://b.example:80#f", "http://b.example?q"] {
            check(format!("GET {target} HTTP/1.1\r\nHost: a.example:8080\r\n\r\n").as_bytes());
        }
    }

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
