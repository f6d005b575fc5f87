//! What hostile or broken peers do, and that everybody else does not notice.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use socket2::SockRef;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::harness::{Proxy, eventually, folder, get, local};
use crate::inbound::{as_client, credentials, port};
use crate::pki::Ca;
use crate::ports::free_port;
use crate::stub;

fn plain(port: u16, upstream: SocketAddr, protocol: &str) -> Value {
    json!({
        "host": "a.example", "port": port, "targetPort": upstream.port(), "protocol": protocol,
        "address": "127.0.0.1", "tls": {"mode": "DISABLE"},
    })
}

#[tokio::test]
async fn a_flood_of_handshakes_does_not_hinder_a_good_client() {
    let (_folder, folder) = folder();
    credentials(&folder, &Ca::new("ca"));
    let (app, _) = stub::echo_heads().await;
    let listen = free_port();
    let config = json!({"inbound": [port(listen, app.port(), "STRICT", &folder)]});
    // Fewer handshakes at once than there are silent peers.
    let proxy = Proxy::spawn(&config, &["--max-handshakes", "8"]).await;
    proxy.wait_ready().await;
    let mut flood = Vec::new();
    for index in 0..60 {
        let mut tcp = TcpStream::connect(local(listen)).await.unwrap();
        if index >= 40 {
            tcp.write_all(&[0x5a; 600]).await.unwrap();
        }
        flood.push(tcp);
    }
    let began = Instant::now();
    let answer = as_client(&folder, listen, &[]).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(
        began.elapsed() < Duration::from_secs(3),
        "{:?}",
        began.elapsed()
    );
    let garbage =
        r#"mtls_proxy_handshakes_total{direction="inbound",outcome="failed",reason="protocol"}"#;
    eventually("garbage is counted", async || {
        proxy.metric(garbage).await == 20
    })
    .await;
    drop(flood);
}

#[tokio::test]
async fn out_of_file_descriptors_it_waits_and_recovers() {
    let (upstream, _) = stub::echo_heads().await;
    let listen = free_port();
    let config = json!({"egress": [plain(listen, upstream, "http")]});
    let below = ["prlimit", "--nofile=64:64"];
    let proxy = Proxy::spawn_below(&config, &[], &below).await;
    proxy.wait_ready().await;
    let mut many = Vec::new();
    for _ in 0..80 {
        many.push(TcpStream::connect(local(listen)).await.unwrap());
    }
    eventually("accepting fails", async || {
        proxy.log().contains("accepting failed")
    })
    .await;
    drop(many);
    eventually("it serves again", async || {
        get(local(listen), "/").await.starts_with("HTTP/1.1 200 ")
    })
    .await;
    let failures = proxy.log().matches("accepting failed").count();
    assert!(failures < 100, "a pause lies between failures: {failures}");
}

#[tokio::test]
async fn a_backend_that_is_down_resets_is_slow_and_comes_back_is_told_as_it_is() {
    let backend = free_port();
    let (listen, hurried) = (free_port(), free_port());
    let mut hasty = plain(hurried, local(backend), "http");
    hasty["timeouts"] = json!({"request": "300ms"});
    let routes = [plain(listen, local(backend), "http"), hasty];
    let _proxy = Proxy::start(&json!({"egress": routes})).await;
    let answer = get(local(listen), "/").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "down: {answer}");

    let socket = TcpListener::bind(local(backend)).await.unwrap();
    let resets = async {
        let (mut tcp, _) = socket.accept().await.unwrap();
        stub::read_head(&mut tcp).await;
        SockRef::from(&tcp)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    };
    let (answer, ()) = tokio::join!(get(local(listen), "/"), resets);
    assert!(answer.starts_with("HTTP/1.1 502 "), "reset: {answer}");
    assert!(answer.contains("upstream_broken"), "{answer}");

    let (slow, answer) = tokio::join!(socket.accept(), get(local(hurried), "/"));
    assert!(answer.starts_with("HTTP/1.1 504 "), "slow: {answer}");
    assert!(
        answer.contains("no answer from the upstream within 300 ms"),
        "{answer}"
    );
    drop(slow);

    let good = async {
        let (mut tcp, _) = socket.accept().await.unwrap();
        stub::read_head(&mut tcp).await;
        tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nback")
            .await
            .unwrap();
    };
    let (answer, ()) = tokio::join!(get(local(listen), "/"), good);
    assert!(answer.ends_with("back"), "{answer}");
}

#[tokio::test]
async fn abortive_closes_and_churn_leave_no_file_descriptor_behind() {
    let (upstream, _) = stub::echo_heads().await;
    let (web, raw) = (free_port(), free_port());
    let echo = stub::echo().await;
    let mut quick = plain(web, upstream, "http");
    quick["timeouts"] = json!({"idle": "2s"});
    let config = json!({"egress": [quick, plain(raw, echo, "tcp")]});
    let proxy = Proxy::start(&config).await;
    get(local(web), "/").await;
    eventually("all are closed", async || {
        proxy.metric("mtls_proxy_open_connections").await == 0
    })
    .await;
    let before = proxy.open_files();
    for index in 0..40 {
        let listen = if index % 2 == 0 { web } else { raw };
        let mut tcp = TcpStream::connect(local(listen)).await.unwrap();
        tcp.write_all(b"GET / HTTP/1.1\r\nHost: a").await.unwrap();
        SockRef::from(&tcp)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
    }
    let mut churn = JoinSet::new();
    for index in 0..600 {
        churn.spawn(async move {
            if index % 2 == 0 {
                let answer = get(local(web), "/").await;
                assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            } else {
                let mut tcp = TcpStream::connect(local(raw)).await.unwrap();
                tcp.write_all(b"echo").await.unwrap();
                tcp.shutdown().await.unwrap();
                let mut echo = String::new();
                tcp.read_to_string(&mut echo).await.unwrap();
                assert_eq!(echo, "echo");
            }
        });
        if churn.len() >= 20 {
            churn.join_next().await.unwrap().unwrap();
        }
    }
    while let Some(ended) = churn.join_next().await {
        ended.unwrap();
    }
    eventually("as many descriptors as before", async || {
        proxy.open_files() <= before
    })
    .await;
}

#[tokio::test]
async fn a_drain_lets_five_large_transfers_finish() {
    const SIZE: usize = 8 * 1024 * 1024;
    let upstream = stub::listen(|mut tcp| async move {
        stub::read_head(&mut tcp).await;
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {SIZE}\r\n\r\n");
        tcp.write_all(head.as_bytes()).await.unwrap();
        tcp.write_all(&vec![b'x'; SIZE]).await.unwrap();
    })
    .await;
    let listen = free_port();
    let config = json!({"egress": [plain(listen, upstream, "http")]});
    let mut proxy = Proxy::start(&config).await;
    let mut transfers = Vec::new();
    for _ in 0..5 {
        let mut tcp = TcpStream::connect(local(listen)).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
        tcp.write_all(request).await.unwrap();
        let head = stub::read_head(&mut tcp).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        transfers.push(tcp);
    }
    proxy.signal("TERM");
    eventually("no new connections", async || {
        TcpStream::connect(local(listen)).await.is_err()
    })
    .await;
    for mut tcp in transfers {
        let mut body = Vec::new();
        tcp.read_to_end(&mut body).await.unwrap();
        assert_eq!(body.len(), SIZE);
    }
    assert_eq!(proxy.ended().await.code(), Some(0));
}
