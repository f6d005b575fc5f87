//! Protocol tcp: bytes as they come.

use std::net::SocketAddr;

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::chain::Chain;
use crate::harness::{PATIENCE, Proxy, eventually, local};
use crate::ports::free_port;
use crate::stub;

const MUCH: usize = 24 * 1024 * 1024;

/// Bytes that show when some are lost, doubled or moved.
fn much() -> Vec<u8> {
    (0..MUCH as u32 / 4).flat_map(u32::to_be_bytes).collect()
}

/// An upstream that answers when the question has ended.
async fn answering_much() -> SocketAddr {
    stub::listen(|mut tcp| async move {
        let mut question = String::new();
        tcp.read_to_string(&mut question).await.unwrap();
        assert_eq!(question, "all of it, please");
        tcp.write_all(&much()).await.unwrap();
    })
    .await
}

/// Asks it through a port of the proxy.
async fn ask_for_much(port: u16) {
    let mut tcp = TcpStream::connect(local(port)).await.unwrap();
    tcp.write_all(b"all of it, please").await.unwrap();
    tcp.shutdown().await.unwrap();
    let mut answer = Vec::new();
    tcp.read_to_end(&mut answer).await.unwrap();
    assert!(answer == much(), "{} bytes", answer.len());
}

#[tokio::test]
async fn a_half_close_is_kept_with_24_mib_the_other_way() {
    let upstream = answering_much().await;
    let port = free_port();
    let config = json!({"egress": [{
        "host": "a.example", "port": port, "targetPort": upstream.port(),
        "address": "127.0.0.1", "protocol": "tcp", "tls": {"mode": "DISABLE"},
    }]});
    let proxy = Proxy::start(&config).await;
    ask_for_much(port).await;
    let series = format!(
        r#"mtls_proxy_bytes_total{{direction="egress",flow="sent",route="a.example:{port}"}}"#
    );
    eventually("the bytes are counted", async || {
        proxy.metric(&series).await == MUCH as u64
    })
    .await;
}

/// Here the end is said by TLS, too: by close_notify (RFC 8446 section 6.1).
#[tokio::test]
async fn a_half_close_is_kept_through_tls_by_whichever_side() {
    let asked = answering_much().await;
    let chain = Chain::of("tcp", asked.port()).await;
    ask_for_much(chain.port).await;

    let (told, mut heard) = tokio::sync::mpsc::channel(1);
    let short = stub::listen(move |mut tcp| {
        let told = told.clone();
        async move {
            tcp.write_all(b"send it").await.unwrap();
            tcp.shutdown().await.unwrap();
            let mut all = Vec::new();
            tcp.read_to_end(&mut all).await.unwrap();
            told.send(all).await.unwrap();
        }
    })
    .await;
    let chain = Chain::of("tcp", short.port()).await;
    let mut tcp = TcpStream::connect(local(chain.port)).await.unwrap();
    let mut question = String::new();
    tcp.read_to_string(&mut question).await.unwrap();
    assert_eq!(question, "send it");
    tcp.write_all(&much()).await.unwrap();
    tcp.shutdown().await.unwrap();
    let all = tokio::time::timeout(PATIENCE, heard.recv()).await;
    let all = all.expect("in time").unwrap();
    assert!(all == much(), "{} bytes", all.len());
}

#[tokio::test]
async fn a_connection_on_which_nothing_moves_is_closed() {
    let upstream = stub::listen(|tcp| async move {
        std::future::pending::<()>().await;
        drop(tcp);
    })
    .await;
    let port = free_port();
    let config = json!({"egress": [{
        "host": "a.example", "port": port, "targetPort": upstream.port(),
        "address": "127.0.0.1", "protocol": "tcp", "tls": {"mode": "DISABLE"},
        "timeouts": {"idle": "200ms"},
    }]});
    let proxy = Proxy::start(&config).await;
    let mut tcp = TcpStream::connect(local(port)).await.unwrap();
    let mut nothing = Vec::new();
    tcp.read_to_end(&mut nothing).await.unwrap();
    assert!(nothing.is_empty());
    eventually("it is logged", async || {
        proxy.log().contains(r#""outcome":"idle""#)
    })
    .await;
}

#[tokio::test]
async fn without_an_upstream_the_connection_is_closed_and_the_log_says_why() {
    let port = free_port();
    let config = json!({"egress": [{
        "host": "a.example", "port": port, "targetPort": free_port(),
        "address": "127.0.0.1", "protocol": "tcp", "tls": {"mode": "DISABLE"},
    }]});
    let proxy = Proxy::start(&config).await;
    let mut tcp = TcpStream::connect(local(port)).await.unwrap();
    let mut nothing = Vec::new();
    tcp.read_to_end(&mut nothing).await.unwrap();
    assert!(nothing.is_empty());
    eventually("it is logged", async || {
        let log = proxy.log();
        log.contains(r#""outcome":"upstream_failed""#)
            && log.contains("cannot connect to 127.0.0.1:")
    })
    .await;
}
