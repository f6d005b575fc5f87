//! Requests that two recipients could read differently: none of them reaches an upstream.

use serde_json::json;

use crate::harness::{Proxy, exchange, local};
use crate::ports::free_port;
use crate::stub;

/// Each has a second request hidden behind an ambiguity.
const CORPUS: &[(&str, &str)] = &[
    (
        "two lengths",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 30\r\n\r\n",
    ),
    (
        "two equal lengths",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n",
    ),
    (
        "a list of lengths",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0, 0\r\n\r\n",
    ),
    (
        "a signed length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n\r\n",
    ),
    (
        "a hexadecimal length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x0\r\n\r\n",
    ),
    (
        "a negative length",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
    ),
    (
        "a length that overflows",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551616\r\n\r\n",
    ),
    (
        "CL.TE",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "TE.CL",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    ),
    (
        "two codings",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    ),
    (
        "a list of codings",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "chunked twice",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "an unknown coding",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a quoted coding",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
    ),
    (
        "a space before the colon",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a folded line",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    ),
    (
        "a line that begins with a space",
        "GET / HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n",
    ),
    (
        "a coding in HTTP/1.0",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ),
    ("LF alone", "GET / HTTP/1.1\nHost: a\n\n"),
    (
        "LF alone in the head",
        "GET / HTTP/1.1\r\nHost: a\nX: 1\r\n\r\n",
    ),
    (
        "CR alone",
        "GET / HTTP/1.1\r\nHost: a\r\nX: 1\rTransfer-Encoding: chunked\r\n\r\n",
    ),
    (
        "NUL in a value",
        "GET / HTTP/1.1\r\nHost: a\r\nX: a\0b\r\n\r\n",
    ),
    ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"),
    ("no host", "GET / HTTP/1.1\r\nX: 1\r\n\r\n"),
    (
        "no host but in the target",
        "GET http://a/ HTTP/1.1\r\nX: 1\r\n\r\n",
    ),
    ("a host that is none", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"),
    (
        "a name without a colon",
        "GET / HTTP/1.1\r\nHost: a\r\nnonsense\r\n\r\n",
    ),
    ("an empty name", "GET / HTTP/1.1\r\nHost: a\r\n: x\r\n\r\n"),
    (
        "a space in the target",
        "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    (
        "a target that is not percent-encoded",
        "GET http://a/\u{fc} HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    (
        "a target that is only a host",
        "GET b HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    ("another version", "GET / HTTP/3.7\r\nHost: a\r\n\r\n"),
    (
        "a host in the target that is none",
        "GET http://a,b/ HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    (
        "a user name in the target",
        "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    ),
    (
        "a switch with a body",
        "POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\nContent-Length: 3\r\n\r\nabc",
    ),
];

/// Bodies that begin after a right head; the request is begun, and must not be ended.
const CHUNKS: &[(&str, &str)] = &[
    ("LF after the size", "1\na\r\n0\r\n\r\n"),
    ("LF after the data", "1\r\na\n0\r\n\r\n"),
    ("a size with a sign", "+1\r\na\r\n0\r\n\r\n"),
    ("a size with 0x", "0x1\r\na\r\n0\r\n\r\n"),
    ("a size with a space", "1 \r\na\r\n0\r\n\r\n"),
    (
        "a size that overflows",
        "10000000000000001\r\na\r\n0\r\n\r\n",
    ),
    ("data longer than its size", "1\r\nab\r\n0\r\n\r\n"),
    ("LF in an extension", "1;a\nb\r\na\r\n0\r\n\r\n"),
    ("LF at the end", "0\r\n\n"),
];

const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: a\r\n\r\n";

#[tokio::test]
async fn an_ambiguous_request_is_a_400_and_goes_nowhere() {
    let (upstream, heads) = stub::echo_heads().await;
    let port = free_port();
    let config = json!({"egress": [{
        "host": "a", "port": port, "targetPort": upstream.port(),
        "address": "127.0.0.1", "tls": {"mode": "DISABLE"},
    }]});
    let _proxy = Proxy::start(&config).await;
    for (name, request) in CORPUS {
        let answer = exchange(local(port), format!("{request}{HIDDEN}").as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{name}: {answer:?}");
        assert_eq!(answer.matches("\r\n\r\n").count(), 1, "{name}: {answer:?}");
        assert_eq!(heads.lock().unwrap().len(), 0, "{name}");
    }
}

#[tokio::test]
async fn a_request_hidden_behind_bad_chunks_is_not_found() {
    let (upstream, heads) = stub::echo_heads().await;
    let port = free_port();
    let config = json!({"egress": [{
        "host": "a", "port": port, "targetPort": upstream.port(),
        "address": "127.0.0.1", "tls": {"mode": "DISABLE"},
    }]});
    let _proxy = Proxy::start(&config).await;
    for (name, body) in CHUNKS {
        let head = "POST /seen HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        exchange(local(port), format!("{head}{body}{HIDDEN}").as_bytes()).await;
        let heads = std::mem::take(&mut *heads.lock().unwrap());
        let hidden = heads.iter().any(|head| head.contains("hidden"));
        assert!(!hidden, "{name}: {heads:?}");
    }
}
