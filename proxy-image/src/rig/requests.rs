//! What an upstream gets of a client's bytes has one reading, and it is the reading of the proxy.
//!
//! In: any bytes. Out: nothing, or a failed assertion.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::oracle::{self, Reading, Request};
use super::{Got, Way, run};

const PREFACE: &[u8] = b"PRI * HTTP/2.0";
/// Answers bear the number of their request.
const NUMBER: &str = "x-number";
const PORTIONS: [usize; 4] = [4096, 1, 7, 61];

/// What the upstream got.
#[derive(Debug, Default)]
struct Seen {
    requests: Vec<Request>,
    /// The same as bytes.
    raw: Vec<u8>,
    /// What the upstream could not read, and why.
    wrong: Vec<(&'static str, String)>,
    /// HTTP/2 has frames; they are read by the library that wrote them.
    is_http2: bool,
}

/// Sends what a client might send: the first byte says which way and in what portions, the others are
/// sent.
///
/// # Panics
/// When the upstream gets something else than the client's requests, each whole and in turn; when
/// the client gets something else than their answers; when a field gets through that must not.
pub fn check(input: &[u8]) {
    let Some((how, sent)) = input.split_first() else {
        return;
    };
    let way = if how & 1 == 0 { Way::Out } else { Way::In };
    let portion = PORTIONS.get(usize::from(how >> 1) % PORTIONS.len());
    let (got, seen) = forward(way, sent, portion.copied().unwrap_or(1));
    assert!(
        seen.wrong.is_empty(),
        "it has no one reading: {:?}",
        seen.wrong
    );
    for request in &seen.requests {
        is_for_an_upstream(request, way);
    }
    if !sent.starts_with(PREFACE) {
        comes_from(sent, &seen.requests);
        answers_in_turn(&got, &seen.requests);
    }
    if !seen.is_http2 {
        is_read_again_as_it_was_read(&seen, way);
    }
}

fn forward(way: Way, sent: &[u8], portion: usize) -> (Got, Seen) {
    let seen = Arc::new(Mutex::new(Seen::default()));
    let got = run(way, sent, portion, |tcp| {
        let seen = Arc::clone(&seen);
        async move {
            let _closed = serve(tcp, &seen).await;
        }
    });
    let mut seen = seen.lock().unwrap_or_else(PoisonError::into_inner);
    (got, std::mem::take(&mut seen))
}

async fn serve(mut tcp: TcpStream, seen: &Mutex<Seen>) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    while tcp.read_buf(&mut bytes).await? > 0 {
        if bytes.starts_with(PREFACE) {
            lock(seen).is_http2 = true;
            return Ok(());
        }
        while let Some(answer) = take_request(&mut bytes, seen) {
            tcp.write_all(answer.as_bytes()).await?;
        }
        if !lock(seen).wrong.is_empty() {
            return Ok(());
        }
    }
    Ok(())
}

/// Takes the first request from what came, and returns its answer.
fn take_request(bytes: &mut Vec<u8>, seen: &Mutex<Seen>) -> Option<String> {
    let mut seen = lock(seen);
    match oracle::request(bytes) {
        Reading::Partial => None,
        Reading::Wrong(why) => {
            let text = String::from_utf8_lossy(bytes).into_owned();
            seen.wrong.push((why, text));
            bytes.clear();
            None
        }
        Reading::Whole(request, length) => {
            let number = seen.requests.len();
            let body = if request.method == "HEAD" { "" } else { "ok" };
            seen.requests.push(request);
            seen.raw.extend(bytes.drain(..length));
            Some(format!(
                "HTTP/1.1 200 OK\r\n{NUMBER}: {number}\r\ncontent-length: 2\r\n\r\n{body}"
            ))
        }
    }
}

fn lock(seen: &Mutex<Seen>) -> std::sync::MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asserts that no field got through that ends here, or that only a proxy may set.
fn is_for_an_upstream(request: &Request, way: Way) {
    const HOP_BY_HOP: [&str; 5] = [
        "keep-alive",
        "proxy-connection",
        "proxy-authorization",
        "proxy-authenticate",
        "http2-settings",
    ];
    let origin = request.target.starts_with('/');
    assert!(origin || request.target == "*", "{request:?}");
    assert_eq!(request.version, "HTTP/1.1");
    assert!(
        HOP_BY_HOP.iter().all(|name| !request.has(name)),
        "{request:?}"
    );
    for (name, _) in &request.fields {
        let name = name.replace('_', "-");
        let tells = name == "x-forwarded-client-cert" || name.starts_with("x-client-cert-");
        assert!(
            way == Way::Out || !tells,
            "a client says who it is: {request:?}"
        );
    }
}

/// Asserts that these are requests that the client sent, in turn, and nothing behind the first that
/// has no one reading.
fn comes_from(sent: &[u8], requests: &[Request]) {
    let meant = meant(sent);
    let mut left = meant.iter();
    for request in requests {
        let found = left.any(|meant| {
            meant.method == request.method
                && meant.body == request.body
                && target_of(meant) == request.target
        });
        assert!(found, "nobody sent {request:?} in {meant:?}");
    }
}

/// Reads a client's bytes up to the first that are not HTTP/1.1 beyond doubt.
fn meant(mut sent: &[u8]) -> Vec<Request> {
    let mut meant = Vec::new();
    loop {
        while let Some(rest) = sent.strip_prefix(b"\r\n") {
            sent = rest;
        }
        let Reading::Whole(request, length) = oracle::request(sent) else {
            return meant;
        };
        sent = sent.get(length..).unwrap_or_default();
        let ends = request.method == "CONNECT" || request.has("upgrade");
        meant.push(request);
        if ends {
            return meant;
        }
    }
}

/// Returns path and query of a target; a fragment is no part of a request.
fn target_of(request: &Request) -> String {
    let target = request.target.split('#').next().unwrap_or_default();
    let Some((_, rest)) = target
        .split_once("://")
        .filter(|_| !target.starts_with('/'))
    else {
        return target.to_owned();
    };
    match rest.find(['/', '?']).map(|at| rest.split_at(at)) {
        Some((_, path)) if path.starts_with('/') => path.to_owned(),
        Some((_, query)) => format!("/{query}"),
        None => "/".to_owned(),
    }
}

/// Asserts that the client got the answers of its requests in their order, and all of them unless it
/// was cut off. What follows a refusal is not looked at.
fn answers_in_turn(got: &Got, requests: &[Request]) {
    let (mut bytes, mut next) = (got.bytes.as_slice(), 0);
    while !bytes.is_empty() {
        // A refusal says so in its head; whether it is one to HEAD, nobody has told.
        let Reading::Whole(head, _) = oracle::answer(bytes, true, true) else {
            assert!(!got.in_order, "no answer: {}", shown(bytes));
            break;
        };
        if head.status != 100 {
            let Some(number) = head.value(NUMBER) else {
                return;
            };
            assert_eq!(number, next.to_string().as_bytes(), "{head:?}");
        }
        let to_head = requests.get(next).is_some_and(|one| one.method == "HEAD");
        let Reading::Whole(answer, length) = oracle::answer(bytes, to_head, true) else {
            assert!(!got.in_order, "half an answer: {}", shown(bytes));
            break;
        };
        next += usize::from(answer.status != 100);
        bytes = bytes.get(length..).unwrap_or_default();
    }
    assert!(
        !got.in_order || next == requests.len(),
        "{next} answers to {requests:?}"
    );
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Asserts that the proxy, given what it has forwarded, reads it as it has read it.
fn is_read_again_as_it_was_read(seen: &Seen, way: Way) {
    let (_, again) = forward(way, &seen.raw, PORTIONS[0]);
    let sorted = |requests: &[Request]| {
        let mut requests = requests.to_vec();
        requests.iter_mut().for_each(|one| one.fields.sort());
        requests
    };
    assert_eq!(sorted(&again.requests), sorted(&seen.requests));
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::soup::soup;
    use super::*;

    /// Pieces of which requests are made, right and wrong ones.
    const PIECES: &[&str] = &[
        "GET / HTTP/1.1\r\n",
        "POST /p?q HTTP/1.1\r\n",
        "HEAD /h HTTP/1.1\r\n",
        "GET /old HTTP/1.0\r\n",
        "OPTIONS * HTTP/1.1\r\n",
        "GET http://b.example/a#f HTTP/1.1\r\n",
        "GET http://b.example#f HTTP/1.1\r\n",
        "GET z HTTP/1.1\r\n",
        "GET /a#f HTTP/1.1\r\n",
        "GET http://b.example?q HTTP/1.1\r\n",
        "CONNECT a:1 HTTP/1.1\r\n",
        "Host: a.example\r\n",
        "Host: a.example\r\n\r\n",
        "host:a.example:80\r\n\r\n",
        "Host: a, b\r\n",
        "Content-Length: 2\r\n",
        "Content-Length: 0\r\n",
        "content-length: +1\r\n",
        "Content-Length: 5, 5\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: xchunked\r\n",
        "transfer-encoding:\tchunked\r\n",
        "Connection: close\r\n",
        "Connection: keep-alive, x-a\r\n",
        "Connection: upgrade\r\nUpgrade: x\r\n",
        "Connection: content-length\r\n",
        "Expect: 100-continue\r\n",
        "TE: trailers\r\n",
        "X-A: b\r\n",
        "X-Client-Cert-Subject: CN=root\r\n",
        "x_forwarded_client_cert: Hash=0\r\n",
        "Cookie: a=b\r\n",
        "X-B : c\r\n",
        " folded\r\n",
        "X: a\nY: b\r\n",
        "X: a\rY: b\r\n",
        "X: \0\r\n",
        "X-\u{e9}: 1\r\n",
        "\r\n",
        "\n",
        "\r",
        "ok",
        "2\r\nok\r\n",
        "0\r\n\r\n",
        "1\r\n",
        "1;a=\"b\"\r\nx\r\n",
        "0\r\nx-t: 1\r\n\r\n",
        "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    ];

    #[test]
    fn good_requests_all_arrive() {
        let sent = b"\0POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok\
                     POST /q HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n\
                     HEAD /h HTTP/1.1\r\nHost: a\r\n\r\nGET http://b/x?y HTTP/1.1\r\nHost: a\r\n\r\n";
        check(sent);
        let (_, seen) = forward(Way::Out, &sent[1..], 5);
        let targets: Vec<_> = seen
            .requests
            .iter()
            .map(|one| one.target.as_str())
            .collect();
        assert_eq!(targets, ["/p", "/q", "/h", "/x?y"]);
    }

    #[test]
    fn a_fragment_goes_nowhere() {
        let sent = b"GET /a?q#f HTTP/1.1\r\nHost: a\r\n\r\n";
        let (_, seen) = forward(Way::Out, sent, PORTIONS[0]);
        assert_eq!(seen.requests[0].target, "/a?q");
    }

    #[test]
    fn a_target_without_a_path_has_one() {
        let sent =
            b"GET http://a#f HTTP/1.1\r\nHost: a\r\n\r\nGET http://a?q HTTP/1.1\r\nHost: a\r\n\r\n\
                     GET http://a HTTP/1.1\r\nHost: a\r\n\r\n";
        let (_, seen) = forward(Way::Out, sent, PORTIONS[0]);
        assert_eq!(seen.wrong, []);
        let targets: Vec<_> = seen
            .requests
            .iter()
            .map(|one| one.target.as_str())
            .collect();
        assert_eq!(targets, ["/", "/?q", "/"]);
    }

    #[test]
    fn an_application_is_always_told_a_host() {
        let (_, seen) = forward(Way::In, b"GET / HTTP/1.0\r\n\r\n", PORTIONS[0]);
        assert_eq!(seen.wrong, []);
        let host = ("host".to_owned(), b"localhost".to_vec());
        assert!(seen.requests[0].fields.contains(&host), "{seen:?}");
    }

    #[test]
    fn a_get_keeps_its_body_whatever_its_framing() {
        let sent =
            b"GET /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n\
                     GET /b HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nok";
        let (_, seen) = forward(Way::Out, sent, PORTIONS[0]);
        let bodies: Vec<_> = seen
            .requests
            .iter()
            .map(|one| one.body.as_slice())
            .collect();
        assert_eq!(bodies, [b"ok", b"ok"]);
    }

    #[test]
    fn http_2_begins_a_connection_or_not_at_all() {
        let sent = b"GET / HTTP/1.1\r\nHost: a\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        let (got, seen) = forward(Way::Out, sent, PORTIONS[0]);
        assert_eq!(seen.requests.len(), 1);
        let text = shown(&got.bytes);
        assert!(text.contains("\r\n\r\nokHTTP/1.1 400 "), "{text}");
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]
        #[test]
        fn what_goes_on_has_the_one_reading_that_it_had(input in soup(PIECES, 14)) {
            check(&input);
        }
    }
}
