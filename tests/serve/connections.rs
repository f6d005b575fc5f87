//! Connections that do not behave delay nobody and are given up.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::client::{self, Client, Version};
use crate::program::Program;
use crate::reviews::one;

async fn answers_at_once(program: &Program) {
    let begun = Instant::now();
    for version in [Version::Http1, Version::Http2] {
        let mut client = Client::connect(program, version).await.unwrap();
        let answer = client.review(one("pod-bare-name.json")).await.unwrap();
        assert_eq!(answer.status, 200);
    }
    assert!(
        begun.elapsed() < Duration::from_secs(3),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_instead_of_tls_ends_its_own_connection_only() {
    let program = Program::start();
    for garbage in [
        "GET / HTTP/1.1\r\n\r\n",
        "\0\0\0\0\0\0\0\0",
        "\u{16}\u{3}\u{1}zzzz",
    ] {
        let mut stream = TcpStream::connect(program.address).await.unwrap();
        stream.write_all(garbage.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut rest = Vec::new();
        // The server may answer with an alert or with a reset.
        let _ = stream.read_to_end(&mut rest).await;
        assert!(!rest.starts_with(b"HTTP"), "{rest:?}");
    }
    answers_at_once(&program).await;
    program.wait_for_metric("mtls_injector_connections 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hundred_silent_connections_delay_nobody_and_are_given_up() {
    let program = Program::start();
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(program.address).await.unwrap());
    }
    let mut shaken = Vec::new();
    for _ in 0..50 {
        shaken.push(client::tls(&program, Version::Http1).await.unwrap());
        shaken.push(client::tls(&program, Version::Http2).await.unwrap());
    }
    program.wait_for_metric("mtls_injector_connections 200");
    answers_at_once(&program).await;
    // Both kinds stay open on our side: it is the server that closes them.
    program.wait_for_metric("mtls_injector_handshake_failures_total{reason=\"timeout\"} 100");
    program.wait_for_metric("mtls_injector_connections 0");
    drop((silent, shaken));
    answers_at_once(&program).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_distrusts_the_certificate_is_named_in_the_log() {
    let program = Program::start();
    let mut other = Program::start();
    other.address = program.address;
    client::tls(&other, Version::Http1).await.unwrap_err();
    let line = program.wait_for_log(
        "client refused the TLS handshake; is the caBundle of the webhook configuration right?",
    );
    assert_eq!(line["alert"], "UnknownCA");
}
