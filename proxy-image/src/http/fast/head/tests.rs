//! What is read, what is written, and what is left to the general path.

use super::fields::Slots;
use super::write::{Changes, Framing, HostField, write_request, write_response};
use super::*;

const IN: Changes<'_> = Changes {
    host: HostField::AsSent,
    drop_identity: true,
    added: b"x-added: 1\r\n",
};

/// Reads a request and writes it for the upstream; `None` when it is left to the general path.
fn forwarded(text: &str, changes: Changes<'_>) -> Option<String> {
    let mut slots = Slots::new();
    let Read::Whole((head, target, fields)) = read_request(text.as_bytes(), &mut slots) else {
        return None;
    };
    assert!(head.length <= text.len());
    let mut out = Vec::new();
    write_request(&mut out, &target, &fields, changes);
    Some(String::from_utf8(out).unwrap())
}

#[test]
fn a_usual_request_goes_on_without_its_hop_by_hop_fields() {
    let text = "GET /a?b HTTP/1.1\r\nHost:  shop.example:80 \r\nConnection: keep-alive, X-Private\r\n\
                X-Private: 1\r\nKeep-Alive: timeout=5\r\nProxy-Authorization: Basic eA==\r\n\
                X-Forwarded-Client-Cert: Hash=spoof\r\nX_Client_Cert_Subject: CN=spoof\r\n\
                X-Client-Cert-: nothing\r\n\
                traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\r\nrest";
    let expected = "GET /a?b HTTP/1.1\r\nHost: shop.example:80\r\n\
                    traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
                    x-added: 1\r\n\r\n";
    assert_eq!(forwarded(text, IN).unwrap(), expected);
}

#[test]
fn a_host_is_replaced_and_identity_kept_where_nobody_comes_in() {
    let changes = Changes {
        host: HostField::Replaced(b"b.example"),
        drop_identity: false,
        added: b"",
    };
    let text = "PUT / HTTP/1.1\r\nhost: 127.0.0.1\r\nx-client-cert-subject: CN=a\r\ncontent-length: 3\r\n\r\nabc";
    let expected = "PUT / HTTP/1.1\r\nhost: b.example\r\nx-client-cert-subject: CN=a\r\ncontent-length: 3\r\n\r\n";
    assert_eq!(forwarded(text, changes).unwrap(), expected);
}

#[test]
fn what_is_ambiguous_or_unusual_is_left_to_the_general_path() {
    let unusual = [
        "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@a\r\n\r\n",
        "GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, Host\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: 1\n\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX : 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\rb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: \u{0}\r\n\r\n",
    ];
    for text in unusual {
        assert_eq!(forwarded(text, IN), None, "{text:?}");
    }
}

#[test]
fn half_a_head_is_waited_for() {
    let mut slots = Slots::new();
    let request = read_request(b"GET / HTTP/1.1\r\nHost: a\r\n\r", &mut slots);
    assert!(matches!(request, Read::Partial));
    let mut slots = Slots::new();
    let answer = read_response(b"HTTP/1.1 200 OK\r\n", false, &mut slots);
    assert!(matches!(answer, Read::Partial));
}

/// Checks status, ending and keep-alive of an answer to a GET; none: it is unusual.
fn check_answer(text: &str, expected: Option<(u16, Ending, bool)>) {
    let mut slots = Slots::new();
    let found = match read_response(text.as_bytes(), false, &mut slots) {
        Read::Whole((head, _)) => Some((head.status, head.ending, head.keep_alive)),
        Read::Partial | Read::Unusual => None,
    };
    assert_eq!(found, expected, "{text:?}");
}

#[test]
fn an_answer_ends_as_its_head_says() {
    use Ending::{Chunked, Close, Length};
    let cases = [
        ("200 OK\r\nContent-Length: 5", (200, Length(5), true)),
        (
            "304 Not Modified\r\nContent-Length: 5",
            (304, Length(0), true),
        ),
        ("200\r\nTransfer-Encoding: Chunked", (200, Chunked, true)),
        (
            "200 OK\r\nConnection: close\r\nContent-Length: 1",
            (200, Length(1), false),
        ),
        ("200 OK\r\nServer: x", (200, Close, false)),
        ("100 Continue\r\nServer: x", (100, Length(0), true)),
    ];
    for (text, expected) in cases {
        check_answer(&format!("HTTP/1.1 {text}\r\n\r\n"), Some(expected));
    }
    check_answer(
        "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n",
        Some((200, Length(1), false)),
    );
    let long = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n";
    let Read::Whole((head, _)) = read_response(long, true, &mut Slots::new()) else {
        panic!("a usual answer");
    };
    assert_eq!(head.ending, Length(0), "an answer to HEAD has no body");
}

#[test]
fn an_answer_with_two_readings_is_none() {
    let wrong = [
        "600 Odd",
        "200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked",
        "200 OK\r\nTransfer-Encoding: gzip, chunked",
        "200 OK\r\nContent-Length: 5\r\nContent-Length: 6",
        "200 OK\nContent-Length: 5",
        "200 OK\r\nContent-Length : 5",
        "200 OK\r\n folded",
    ];
    for text in wrong {
        check_answer(&format!("HTTP/1.1 {text}\r\n\r\n"), None);
    }
    check_answer("\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", None);
}

#[test]
fn an_answer_goes_on_with_our_own_framing_where_only_the_end_ends_it() {
    let text =
        "HTTP/1.0 404 Not  Found\r\nServer: x\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n\r\nbody";
    let mut slots = Slots::new();
    let Read::Whole((head, fields)) = read_response(text.as_bytes(), false, &mut slots) else {
        panic!("a usual answer");
    };
    let mut out = Vec::new();
    write_response(
        &mut out,
        &text.as_bytes()[..head.length],
        &fields,
        Framing::Chunked,
        true,
    );
    let expected = "HTTP/1.1 404 Not  Found\r\nServer: x\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}
