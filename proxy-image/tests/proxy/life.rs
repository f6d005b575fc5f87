//! From start to end: readiness, reload, drain.

use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{Proxy, eventually, exchange, get, local};
use crate::ports::free_port;
use crate::stub;

fn plain(port: u16, target: u16, protocol: &str) -> serde_json::Value {
    json!({
        "host": "a.example", "port": port, "targetPort": target, "address": "127.0.0.1",
        "protocol": protocol, "tls": {"mode": "DISABLE"},
    })
}

#[tokio::test]
async fn a_listener_that_cannot_be_bound_fails_alone_and_is_bound_later() {
    let (upstream, _) = stub::echo_heads().await;
    let taken = TcpListener::bind(local(0)).await.unwrap();
    let taken_port = taken.local_addr().unwrap().port();
    let good = free_port();
    let config = json!({"egress": [
        plain(good, upstream.port(), "http"),
        plain(taken_port, upstream.port(), "http"),
    ]});
    let proxy = Proxy::spawn(&config, &[]).await;
    let answer = get(local(good), "/").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let ready = get(proxy.admin, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503 "), "{ready}");
    let named = format!("listener 127.0.0.1:{taken_port}: cannot be bound: Address already in use");
    assert!(ready.contains(&named), "{ready}");
    drop(taken);
    proxy.wait_ready().await;
    let answer = get(local(taken_port), "/").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

#[tokio::test]
async fn a_drain_finishes_requests_in_flight_and_then_ends_with_0() {
    let upstream = stub::Patient::start().await;
    let port = free_port();
    let config = json!({"egress": [plain(port, upstream.address.port(), "http")]});
    let mut proxy = Proxy::start(&config).await;
    let mut busy = TcpStream::connect(local(port)).await.unwrap();
    busy.write_all(b"GET /long HTTP/1.1\r\nHost: a.example\r\n\r\n")
        .await
        .unwrap();
    upstream.asked().await;
    let mut idle = TcpStream::connect(local(port)).await.unwrap();
    let open = "mtls_proxy_open_connections";
    eventually("both are open", async || proxy.metric(open).await == 2).await;
    proxy.signal("TERM");
    eventually("it is not ready", async || {
        let ready = get(proxy.admin, "/readyz").await;
        ready.starts_with("HTTP/1.1 503 ") && ready.contains("draining")
    })
    .await;
    eventually("no new connections", async || {
        TcpStream::connect(local(port)).await.is_err()
    })
    .await;
    upstream.answer();
    let mut answer = String::new();
    busy.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(answer.contains("connection: close"), "{answer}");
    assert!(answer.ends_with("done"), "{answer}");
    let mut nothing = String::new();
    idle.read_to_string(&mut nothing).await.unwrap();
    assert_eq!(nothing, "");
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_drain_cuts_at_its_deadline_or_at_a_second_signal_and_ends_with_1() {
    let upstream = stub::listen(|tcp| async move {
        std::future::pending::<()>().await;
        drop(tcp);
    })
    .await;
    for (flag, signals) in [("100ms", 1), ("1h", 2)] {
        let port = free_port();
        let config = json!({"egress": [plain(port, upstream.port(), "tcp")]});
        let mut proxy = Proxy::spawn(&config, &["--drain", flag]).await;
        proxy.wait_ready().await;
        let mut tcp = TcpStream::connect(local(port)).await.unwrap();
        tcp.write_all(b"x").await.unwrap();
        eventually("it is open", async || {
            proxy.metric("mtls_proxy_open_connections").await == 1
        })
        .await;
        proxy.signal("TERM");
        if signals > 1 {
            eventually("it drains", async || {
                get(proxy.admin, "/readyz").await.contains("draining")
            })
            .await;
            proxy.signal("TERM");
        }
        assert_eq!(proxy.ended().await.code(), Some(1), "{flag}");
    }
}

#[tokio::test]
async fn quitquitquit_ends_the_process_and_only_by_post() {
    let mut proxy = Proxy::start(&json!({})).await;
    let answer = get(proxy.control, "/quitquitquit").await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
    let public = exchange(
        proxy.admin,
        b"POST /quitquitquit HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
    )
    .await;
    assert!(public.starts_with("HTTP/1.1 404 "), "{public}");
    let post = b"POST /quitquitquit HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
    let answer = exchange(proxy.control, post).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert_eq!(proxy.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_reload_keeps_the_sockets_and_connections_that_stay() {
    let (upstream, _) = stub::echo_heads().await;
    let (kept, first, second) = (free_port(), free_port(), free_port());
    let config = |other: u16| {
        let routes = [kept, other].map(|port| plain(port, upstream.port(), "http"));
        json!({"egress": routes})
    };
    let proxy = Proxy::start(&config(first)).await;
    let mut open = TcpStream::connect(local(kept)).await.unwrap();
    ask_again(&mut open).await;
    proxy.reconfigure(&config(second).to_string());
    eventually("the new listener", async || {
        get(local(second), "/").await.starts_with("HTTP/1.1 200 ")
    })
    .await;
    let loaded = r#"mtls_proxy_reloads_total{outcome="loaded"}"#;
    eventually("it is counted", async || proxy.metric(loaded).await == 1).await;
    eventually("the old listener is gone", async || {
        TcpStream::connect(local(first)).await.is_err()
    })
    .await;
    ask_again(&mut open).await;
    let shown = get(proxy.control, "/config").await;
    assert!(shown.contains(&second.to_string()), "{shown}");
    assert!(!shown.contains(&first.to_string()), "{shown}");
}

/// Asks on a connection that stays open.
async fn ask_again(open: &mut TcpStream) {
    open.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n")
        .await
        .unwrap();
    let head = stub::read_head(open).await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    // The body is the head that the upstream saw.
    stub::read_head(open).await;
}

#[tokio::test]
async fn a_bad_document_changes_nothing_and_says_why() {
    let (upstream, _) = stub::echo_heads().await;
    let port = free_port();
    let config = json!({"egress": [plain(port, upstream.port(), "http")]});
    let proxy = Proxy::start(&config).await;
    proxy.reconfigure("egress: [{host: a.example, prot: 80}]");
    let failed = r#"mtls_proxy_reloads_total{outcome="failed"}"#;
    eventually("it is counted", async || proxy.metric(failed).await == 1).await;
    let why = "egress[0].prot: is not a known field";
    eventually("it is logged", async || proxy.log().contains(why)).await;
    assert!(get(local(port), "/").await.starts_with("HTTP/1.1 200 "));
    proxy.reconfigure(&config.to_string());
    assert!(
        get(proxy.admin, "/readyz")
            .await
            .starts_with("HTTP/1.1 200 ")
    );
}

#[tokio::test]
async fn a_connection_is_asked_to_end_at_its_greatest_age() {
    let (upstream, _) = stub::echo_heads().await;
    let port = free_port();
    let config = json!({"inbound": [{
        "port": port, "targetPort": upstream.port(), "mode": "DISABLE", "maxConnectionAge": "300ms",
    }]});
    let _proxy = Proxy::start(&config).await;
    let mut open = TcpStream::connect(local(port)).await.unwrap();
    ask_again(&mut open).await;
    let mut rest = Vec::new();
    open.read_to_end(&mut rest).await.unwrap();
    assert!(rest.is_empty());
}
