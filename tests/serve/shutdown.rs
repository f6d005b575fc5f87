//! SIGTERM loses no review; a second one does not wait.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::client::{self, Client, Version};
use crate::program::{Program, wait_until};
use crate::reviews::one;

/// Sends the first half of a review, once the server has taken up the request: a connection on which
/// it has read nothing yet is an idle one, and is closed when it stops.
async fn begun(program: &Program) -> (TlsStream<TcpStream>, Vec<u8>) {
    let review = one("pod-bare-name.json");
    let mut stream = client::tls(program, Version::Http1).await.unwrap();
    let head = format!(
        "POST /mutate HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         expect: 100-continue\r\ncontent-length: {}\r\n\r\n",
        review.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut go_on = [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()];
    stream.read_exact(&mut go_on).await.unwrap();
    assert_eq!(&go_on, b"HTTP/1.1 100 Continue\r\n\r\n");
    let (first, rest) = review.split_at(review.len() / 2);
    stream.write_all(first).await.unwrap();
    stream.flush().await.unwrap();
    (stream, rest.to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_review_that_began_before_sigterm_is_answered() {
    let program = Program::start();
    let (mut stream, rest) = begun(&program).await;
    program.wait_for_metric("mtls_injector_connections 1");
    program.signal("TERM");
    program.wait_for_log("stop requested");
    wait_until("the listener is closed", || {
        std::net::TcpStream::connect(program.address).is_err()
    });
    assert_eq!(program.admin("/readyz"), (503, "stopping\n".to_owned()));
    assert_eq!(program.admin("/livez").0, 200);
    stream.write_all(&rest).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(answer.contains("\"uid\""), "{answer}");
    let (status, _) = program.ended();
    assert_eq!(status.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn reviews_are_accepted_for_a_while_after_sigterm() {
    let program = Program::start_with(&["--shutdown-delay", "3s"]);
    let mut idle = Client::connect(&program, Version::Http2).await.unwrap();
    idle.review(one("job.json")).await.unwrap();
    program.signal("TERM");
    program.wait_for_log("stop requested");
    assert_eq!(program.admin("/readyz").0, 503);
    for version in [Version::Http1, Version::Http2] {
        let mut client = Client::connect(&program, version).await.unwrap();
        let answer = client.review(one("pod-bare-name.json")).await.unwrap();
        assert_eq!(answer.status, 200, "{version:?}");
    }
    let (status, log) = program.ended();
    assert_eq!(status.code(), Some(0));
    assert!(
        log.iter().any(|line| line["message"] == "stopped"),
        "{log:#?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_cuts_off_what_is_open() {
    let program = Program::start();
    let (stream, _rest) = begun(&program).await;
    program.wait_for_metric("mtls_injector_connections 1");
    program.signal("TERM");
    program.wait_for_log("stop requested");
    program.signal("INT");
    let (status, log) = program.ended();
    assert_eq!(status.code(), Some(1));
    let said = "mtls-injector: stopped with 1 connections cut off";
    assert!(log.iter().any(|line| line == said), "{log:#?}");
    drop(stream);
}
