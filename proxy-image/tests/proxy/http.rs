//! What HTTP asks of a proxy: hop-by-hop fields, targets, bodies, upgrades.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Proxy, curl, exchange, folder, local};
use crate::ports::free_port;
use crate::stub;

fn plain(port: u16, upstream: SocketAddr) -> Value {
    json!({
        "host": "a.example", "port": port, "targetPort": upstream.port(),
        "address": "127.0.0.1", "tls": {"mode": "DISABLE"},
    })
}

async fn before(upstream: SocketAddr) -> (Proxy, SocketAddr) {
    let port = free_port();
    let proxy = Proxy::start(&json!({"egress": [plain(port, upstream)]})).await;
    (proxy, local(port))
}

#[tokio::test]
async fn hop_by_hop_fields_stay_behind_and_traces_go_on() {
    let (upstream, heads) = stub::echo_heads().await;
    let (_proxy, address) = before(upstream).await;
    let request = "GET /x HTTP/1.1\r\nHost: a.example\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n\
                   Keep-Alive: 5\r\nTE: trailers\r\nProxy-Authorization: Basic eA==\r\n\
                   traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n\
                   X-End: 2\r\n\r\n";
    let answer = exchange(address, request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let head = heads.lock().unwrap()[0].to_lowercase();
    assert!(head.starts_with("get /x http/1.1\r\n"), "{head}");
    for kept in [
        "x-end: 2",
        "host: a.example",
        "te: trailers",
        "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    ] {
        assert!(head.contains(kept), "{kept} in {head}");
    }
    for gone in [
        "x-hop:",
        "keep-alive",
        "proxy-authorization",
        "connection: close",
    ] {
        assert!(!head.contains(gone), "{gone} in {head}");
    }
}

#[tokio::test]
async fn all_forms_of_a_target_are_understood_and_connect_is_refused() {
    let (upstream, heads) = stub::echo_heads().await;
    let (_proxy, address) = before(upstream).await;
    let first_line = || heads.lock().unwrap().pop().unwrap_or_default();
    let close = "Connection: close\r\n\r\n";
    let absolute = format!("GET http://a.example/p?q HTTP/1.1\r\nHost: b.example\r\n{close}");
    exchange(address, absolute.as_bytes()).await;
    let head = first_line();
    assert!(head.starts_with("GET /p?q HTTP/1.1\r\n"), "{head}");
    assert!(
        head.to_lowercase().contains("host: a.example\r\n"),
        "{head}"
    );
    let old = exchange(address, b"GET /old HTTP/1.0\r\n\r\n").await;
    assert!(
        old.starts_with("HTTP/1.0 200") || old.starts_with("HTTP/1.1 200"),
        "{old}"
    );
    let head = first_line();
    assert!(head.starts_with("GET /old HTTP/1.1\r\n"), "{head}");
    let port = address.port();
    assert!(
        head.to_lowercase()
            .contains(&format!("host: a.example:{port}\r\n")),
        "{head}"
    );
    let star = format!("OPTIONS * HTTP/1.1\r\nHost: a.example\r\n{close}");
    exchange(address, star.as_bytes()).await;
    assert!(first_line().starts_with("OPTIONS * HTTP/1.1\r\n"));
    let tunnel = exchange(
        address,
        b"CONNECT a.example:443 HTTP/1.1\r\nHost: a.example:443\r\n\r\n",
    )
    .await;
    assert!(tunnel.starts_with("HTTP/1.1 405 "), "{tunnel}");
    assert_eq!(first_line(), "");
}

#[tokio::test]
async fn routes_are_found_by_host_and_by_the_longest_prefix() {
    let (upstream, _) = stub::echo_heads().await;
    let port = free_port();
    let mut other = plain(port, upstream);
    other["host"] = json!("b.example");
    other["match"] = json!([{"pathPrefix": "/only"}]);
    let config = json!({"egress": [plain(port, upstream), other]});
    let proxy = Proxy::start(&config).await;
    let ask = async |host: &str, path: &str| {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        exchange(local(port), request.as_bytes()).await
    };
    assert!(ask("a.example", "/").await.starts_with("HTTP/1.1 200 "));
    assert!(
        ask("b.example", "/only/x")
            .await
            .starts_with("HTTP/1.1 200 ")
    );
    for (host, path) in [("b.example", "/onlyx"), ("c.example", "/")] {
        let answer = ask(host, path).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        assert!(
            answer.contains("x-mtls-proxy-error: no route: no_route: "),
            "{answer}"
        );
    }
    let series = format!(
        r#"mtls_proxy_requests_total{{code="200",direction="egress",route="b.example:{port}/only"}}"#
    );
    proxy.counts(&series, 1).await;
}

#[tokio::test]
async fn large_bodies_stream_both_ways_with_expect_100_continue() {
    // It sends the body back as it comes, in chunks.
    let upstream = stub::listen(|mut tcp| async move {
        let head = stub::read_head(&mut tcp).await.to_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap();
        let mut left: usize = length.split("\r\n").next().unwrap().parse().unwrap();
        tcp.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
            .await
            .unwrap();
        let mut buffer = vec![0; 65536];
        while left > 0 {
            let read = tcp.read(&mut buffer).await.unwrap();
            left -= read;
            let size = format!("{read:x}\r\n");
            tcp.write_all(size.as_bytes()).await.unwrap();
            tcp.write_all(&buffer[..read]).await.unwrap();
            tcp.write_all(b"\r\n").await.unwrap();
        }
        tcp.write_all(b"0\r\n\r\n").await.unwrap();
    })
    .await;
    let (_proxy, address) = before(upstream).await;
    let (_folder, folder) = folder();
    let file = folder.join("body");
    let body: Vec<u8> = (0..8 * 1024 * 1024_u32).map(|i| (i % 251) as u8).collect();
    std::fs::write(&file, &body).unwrap();
    let back = folder.join("back");
    let url = format!("http://{address}/");
    let data = format!("@{}", file.display());
    let output = curl(&[
        "-H",
        "Expect: 100-continue",
        "--data-binary",
        &data,
        "-o",
        back.to_str().unwrap(),
        &url,
    ])
    .await;
    assert_eq!(output, "");
    assert!(
        std::fs::read(back).unwrap() == body,
        "the same bytes come back"
    );
}

#[tokio::test]
async fn trailers_reach_who_asks_for_them() {
    let upstream = stub::listen(|mut tcp| async move {
        stub::read_head(&mut tcp).await;
        let answer = b"HTTP/1.1 200 OK\r\ntrailer: x-sum\r\ntransfer-encoding: chunked\r\n\r\n\
                       2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n";
        tcp.write_all(answer).await.unwrap();
    })
    .await;
    let (_proxy, address) = before(upstream).await;
    let request =
        b"GET / HTTP/1.1\r\nHost: a.example\r\nTE: trailers\r\nConnection: close, TE\r\n\r\n";
    let answer = exchange(address, request).await;
    assert!(
        answer.contains("2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_websocket_is_switched_to_and_relayed() {
    let upstream = stub::listen(|mut tcp| async move {
        let head = stub::read_head(&mut tcp).await.to_lowercase();
        assert!(head.contains("upgrade: websocket"), "{head}");
        assert!(head.contains("connection: upgrade"), "{head}");
        let answer =
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                       Sec-WebSocket-Accept: x\r\n\r\nhello";
        tcp.write_all(answer).await.unwrap();
        let mut said = [0; 4];
        tcp.read_exact(&mut said).await.unwrap();
        tcp.write_all(&said).await.unwrap();
    })
    .await;
    let (proxy, address) = before(upstream).await;
    let mut tcp = TcpStream::connect(address).await.unwrap();
    let request =
        b"GET /ws HTTP/1.1\r\nHost: a.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                    Sec-WebSocket-Key: x\r\n\r\nping";
    tcp.write_all(request).await.unwrap();
    let head = stub::read_head(&mut tcp).await.to_lowercase();
    assert!(head.starts_with("http/1.1 101 "), "{head}");
    assert!(head.contains("upgrade: websocket"), "{head}");
    let mut rest = String::new();
    tcp.read_to_string(&mut rest).await.unwrap();
    assert_eq!(rest, "helloping");
    drop(tcp);
    crate::harness::eventually("the switch is logged", async || {
        proxy.log().contains(r#""http.status":101"#)
    })
    .await;
}

#[tokio::test]
async fn a_pooled_connection_that_the_upstream_closed_is_not_the_applications_concern() {
    let (closes, mut closed) = tokio::sync::mpsc::unbounded_channel();
    let upstream = stub::listen(move |mut tcp| {
        let closes = closes.clone();
        async move {
            stub::read_head(&mut tcp).await;
            tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                .await
                .unwrap();
            // It says nothing of closing, and closes.
            drop(tcp);
            closes.send(()).unwrap();
        }
    })
    .await;
    let (_proxy, address) = before(upstream).await;
    for _ in 0..50 {
        let request =
            b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        let answer = exchange(address, request).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        closed.recv().await.unwrap();
    }
}

#[tokio::test]
async fn a_route_that_leads_to_the_proxy_itself_is_refused_at_once() {
    let own = local(free_port());
    let _proxy = Proxy::start(&json!({"egress": [plain(own.port(), own)]})).await;
    let answer = exchange(
        own,
        b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(answer.contains(": loop: the target 127.0.0.1:"), "{answer}");
}

#[tokio::test]
async fn redirect_to_https_answers_with_the_location() {
    let (upstream, heads) = stub::echo_heads().await;
    let port = free_port();
    let mut route = plain(port, upstream);
    route["redirectToHttps"] = json!(true);
    route["targetPort"] = json!(443);
    let _proxy = Proxy::start(&json!({"egress": [route]})).await;
    let answer = exchange(
        local(port),
        b"GET /p?q=1 HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
    )
    .await;
    assert!(answer.starts_with("HTTP/1.1 308 "), "{answer}");
    assert!(
        answer.contains("\r\nlocation: https://a.example/p?q=1\r\n"),
        "{answer}"
    );
    assert!(heads.lock().unwrap().is_empty());
}
