//! What a client gets of an upstream's bytes is one answer a request, and never that of another.
//!
//! In: any bytes. Out: nothing, or a failed assertion.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::oracle::{self, Answer, Reading};
use super::{Got, Way, run};

/// The body of every answer but the first.
const SECOND: &str = "this is what was asked for";
const REFUSAL: &str = "x-mtls-proxy-error";

/// What the client asks for first. The answers to the first two go on as the bytes they are, the
/// others are read and written anew.
const AS_BYTES: u8 = 2;
const FIRST: [&str; 4] = [
    "GET /a HTTP/1.1\r\nHost: a\r\n\r\n",
    "HEAD /a HTTP/1.1\r\nHost: a\r\n\r\n",
    "GET /a HTTP/1.1\r\nHost: a\r\nTE: trailers\r\n\r\n",
    "POST /a HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
];

/// Answers as an upstream might answer: the first byte says what was asked for and whether the
/// upstream then closes, the others are the answer.
///
/// # Panics
/// When the client gets no answer that has one reading, or to its second request something that the
/// upstream did not say to that.
pub fn check(input: &[u8]) {
    let Some((how, answer)) = input.split_first() else {
        return;
    };
    let first = FIRST.get(usize::from(how & 3)).copied().unwrap_or_default();
    // Who waits for more than there is waits for the idle timeout.
    let closes = how & 4 != 0 || !is_whole(answer, first.starts_with("HEAD"));
    let got = ask(first, answer, closes);
    let Some((one, length)) = first_answer(&got, first.starts_with("HEAD")) else {
        return;
    };
    if how & 3 < AS_BYTES && one.value(REFUSAL).is_none() {
        is_what_the_upstream_said(&one, answer, first.starts_with("HEAD"), &got);
    }
    let rest = got.bytes.get(length..).unwrap_or_default();
    match oracle::answer(rest, false, true) {
        Reading::Whole(two, _) if two.value(REFUSAL).is_none() => {
            assert_eq!(two.body, SECOND.as_bytes(), "{two:?} after {one:?}");
        }
        Reading::Whole(..) => {}
        // The upstream's answer may leave the connection in no state to go on.
        Reading::Partial => assert!(rest.is_empty() || !got.in_order, "{rest:?}"),
        Reading::Wrong(why) => assert!(rest.is_empty(), "{why}: {rest:?}"),
    }
}

fn is_whole(mut bytes: &[u8], to_head: bool) -> bool {
    loop {
        match oracle::answer(bytes, to_head, false) {
            Reading::Whole(answer, length) if answer.is_interim() => {
                bytes = bytes.get(length..).unwrap_or_default();
            }
            reading => return matches!(reading, Reading::Whole(..)),
        }
    }
}

/// Sends two requests at once and returns all that comes back.
fn ask(first: &str, answer: &[u8], closes: bool) -> Got {
    let sent = format!("{first}GET /b HTTP/1.1\r\nHost: a\r\n\r\n");
    let answers = Arc::new(AtomicUsize::new(0));
    run(Way::Out, sent.as_bytes(), sent.len(), |tcp| {
        let (answer, answers) = (answer.to_vec(), Arc::clone(&answers));
        async move {
            let _closed = serve(tcp, &answer, closes, &answers).await;
        }
    })
}

async fn serve(
    mut tcp: TcpStream,
    first: &[u8],
    closes: bool,
    answers: &AtomicUsize,
) -> std::io::Result<()> {
    let mut bytes = Vec::new();
    while tcp.read_buf(&mut bytes).await? > 0 {
        while let Reading::Whole(_, length) = oracle::request(&bytes) {
            bytes.drain(..length);
            if answers.fetch_add(1, Ordering::Relaxed) > 0 {
                let length = SECOND.len();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{SECOND}");
                tcp.write_all(head.as_bytes()).await?;
                continue;
            }
            tcp.write_all(first).await?;
            if closes {
                return tcp.shutdown().await;
            }
        }
    }
    Ok(())
}

/// Returns the client's first answer, which is there and whole unless the connection was cut to say
/// that it is not.
fn first_answer(got: &Got, to_head: bool) -> Option<(Answer, usize)> {
    let mut bytes = got.bytes.as_slice();
    loop {
        match oracle::answer(bytes, to_head, true) {
            Reading::Whole(answer, length) if answer.is_interim() => {
                bytes = bytes.get(length..).unwrap_or_default();
            }
            Reading::Whole(answer, length) => {
                return Some((answer, got.bytes.len() - bytes.len() + length));
            }
            Reading::Partial => return None,
            Reading::Wrong(why) => {
                assert!(
                    !got.in_order,
                    "{why}: {:?}",
                    String::from_utf8_lossy(&got.bytes)
                );
                return None;
            }
        }
    }
}

/// Asserts, of an answer that went on as bytes, that it says what the upstream said.
fn is_what_the_upstream_said(one: &Answer, mut said: &[u8], to_head: bool, got: &Got) {
    loop {
        match oracle::answer(said, to_head, true) {
            Reading::Whole(answer, length) if answer.is_interim() => {
                said = said.get(length..).unwrap_or_default();
            }
            Reading::Whole(meant, _) => {
                assert_eq!((one.status, &one.body), (meant.status, &meant.body));
                return;
            }
            Reading::Partial | Reading::Wrong(_) => {
                assert!(
                    !got.in_order,
                    "{one:?} of {:?}",
                    String::from_utf8_lossy(said)
                );
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::soup::soup;
    use super::*;

    /// Pieces of which answers are made, right and wrong ones.
    const PIECES: &[&str] = &[
        "HTTP/1.1 200 OK\r\n",
        "HTTP/1.1 204 No Content\r\n",
        "HTTP/1.1 789 Odd\r\n",
        "HTTP/1.1 304 Not Modified\r\n",
        "HTTP/1.1 100 Continue\r\n\r\n",
        "HTTP/1.1 103 Early\r\nX: y\r\n\r\n",
        "HTTP/1.0 200 OK\r\n",
        "HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 200\r\n",
        "HTTP/2 200\r\n",
        "Content-Length: 2\r\n",
        "Content-Length: 0\r\n",
        "Content-Length: 3\r\n",
        "content-length: -1\r\n",
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Connection: close\r\n",
        "Connection: keep-alive\r\n",
        "Connection: content-length\r\n",
        "X: a\nY: b\r\n",
        "X : a\r\n",
        " folded\r\n",
        "X: a\rY: b\r\n",
        "X: \0\r\n",
        "Set-Cookie: a=b\r\n",
        "Trailer: x-t\r\n",
        "\r\n",
        "\r\n",
        "\n",
        "\r",
        "ok",
        "2\r\nok\r\n",
        "0\r\n\r\n",
        "0\r\nx-t: 1\r\n\r\n",
        "1;a\r\nx\r\n",
        "0x1\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil",
    ];

    #[test]
    fn a_good_answer_and_the_one_after_it_arrive() {
        let got = ask(
            FIRST[0],
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            false,
        );
        let (one, length) = first_answer(&got, false).unwrap();
        assert_eq!(one.body, b"ok");
        let Reading::Whole(two, _) = oracle::answer(&got.bytes[length..], false, true) else {
            panic!(
                "no second answer: {:?}",
                String::from_utf8_lossy(&got.bytes)
            );
        };
        assert_eq!(two.body, SECOND.as_bytes());
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1000, ..ProptestConfig::default() })]
        #[test]
        fn an_answer_is_never_that_to_another_request(input in soup(PIECES, 10)) {
            check(&input);
        }
    }
}
