//! What a connection may take up, and what the process may do.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::egress;
use crate::harness::{PATIENCE, Proxy, eventually, exchange, folder, get, local};
use crate::pki::Ca;
use crate::ports::free_port;
use crate::stub;

fn plain(port: u16, target: u16, protocol: &str) -> Value {
    json!({
        "host": "a.example", "port": port, "targetPort": target, "address": "127.0.0.1",
        "protocol": protocol, "tls": {"mode": "DISABLE"},
    })
}

/// Says a word and returns whether it comes back.
async fn echoes(tcp: &mut TcpStream) -> bool {
    let mut echoed = [0; 4];
    let echo = async {
        tcp.write_all(b"echo").await?;
        tcp.read_exact(&mut echoed).await
    };
    tokio::time::timeout(PATIENCE, echo)
        .await
        .is_ok_and(|echo| echo.is_ok())
}

#[tokio::test]
async fn connections_beyond_the_limit_wait_for_one_to_end() {
    const LIMIT: &str = "4";
    let port = free_port();
    let config = json!({"egress": [plain(port, stub::echo().await.port(), "tcp")]});
    let proxy = Proxy::spawn(&config, &["--max-connections", LIMIT]).await;
    proxy.wait_ready().await;
    let mut waiting = Vec::new();
    for _ in 0..16 {
        let mut tcp = TcpStream::connect(local(port)).await.unwrap();
        tcp.write_all(b"echo").await.unwrap();
        waiting.push(tcp);
    }
    while !waiting.is_empty() {
        let mut served = Vec::new();
        eventually("some are served", async || {
            served = waiting
                .extract_if(.., |tcp| tcp.try_read(&mut [0; 4]).is_ok())
                .collect();
            !served.is_empty()
        })
        .await;
        let open = proxy.metric("mtls_proxy_open_connections").await;
        assert!(open <= 4 && served.len() <= 4, "{open} are open");
        for tcp in &mut served {
            assert!(echoes(tcp).await);
        }
    }
}

#[tokio::test]
async fn a_client_that_vanishes_is_noticed() {
    let port = free_port();
    let config = json!({"egress": [plain(port, stub::echo().await.port(), "tcp")]});
    let _proxy = Proxy::start(&config).await;
    let mut tcp = TcpStream::connect(local(port)).await.unwrap();
    assert!(echoes(&mut tcp).await);
    let filter = format!("sport = :{port}");
    let list = Command::new("ss")
        .args(["-Htno", "state", "established", &filter])
        .output()
        .expect("ss is installed");
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert_eq!(list.matches("timer:(keepalive,").count(), 1, "{list}");
}

#[tokio::test]
async fn a_head_that_is_too_large_goes_nowhere() {
    let (upstream, heads) = stub::echo_heads().await;
    let port = free_port();
    let config = json!({"egress": [plain(port, upstream.port(), "http")]});
    let _proxy = Proxy::start(&config).await;
    let head = |size: usize| {
        let field = "x".repeat(size);
        format!("GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\nX: {field}\r\n\r\n")
    };
    let answer = exchange(local(port), head(32 << 10).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let answer = exchange(local(port), head(96 << 10).as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(
        answer.contains("malformed_request: the head is too large"),
        "{answer}"
    );
    let many = "X: y\r\n".repeat(150);
    let many = format!("GET / HTTP/1.1\r\nHost: a.example\r\n{many}\r\n");
    let answer = exchange(local(port), many.as_bytes()).await;
    assert!(
        answer.contains("malformed_request: the head has more than 100 fields"),
        "{answer}"
    );
    assert_eq!(heads.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_tcp_route_that_leads_to_the_proxy_itself_is_refused_at_once() {
    let port = free_port();
    let proxy = Proxy::start(&json!({"egress": [plain(port, port, "tcp")]})).await;
    let answer = exchange(local(port), b"round and round").await;
    assert_eq!(answer, "");
    let refused = "is this proxy itself; name the system behind it as address";
    eventually("it is logged", async || proxy.log().contains(refused)).await;
    let total = r#"mtls_proxy_connections_total{direction="egress",outcome="upstream_failed""#;
    let text = get(proxy.admin, "/metrics").await;
    assert!(text.contains(total), "{text}");
    eventually("it is not counted as open", async || {
        proxy.metric("mtls_proxy_open_connections").await == 0
    })
    .await;
}

#[tokio::test]
async fn the_process_has_given_up_what_it_does_not_need() {
    let (_folder, folder) = folder();
    egress::credentials(&folder, &Ca::new("ca"));
    let (port, other) = (free_port(), free_port());
    let route = egress::route(port, free_port(), &folder.join("client"));
    let proxy = Proxy::start(&json!({"egress": [route.clone()]})).await;
    let status = fs::read_to_string(format!("/proc/{}/status", proxy.pid())).unwrap();
    assert!(status.contains("NoNewPrivs:\t1\n"), "{status}");
    let limits = fs::read_to_string(format!("/proc/{}/limits", proxy.pid())).unwrap();
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let words: Vec<_> = core.unwrap().split_whitespace().collect();
    assert_eq!(words[4..6], ["0", "0"], "{limits}");
    // Only root may see this of a process that cannot be dumped.
    match fs::read_to_string(format!("/proc/{}/maps", proxy.pid())) {
        Ok(maps) => assert!(!maps.contains(" rwx"), "{maps}"),
        Err(error) => eprintln!("SKIPPED what is both writable and executable: {error}"),
    }
    if !proxy.log().contains(r#""landlock":"fully""#) {
        eprintln!(
            "SKIPPED what Landlock forbids: this kernel has none: {}",
            proxy.log()
        );
        return;
    }
    // What was no place of its own at the start cannot be read later, and is named.
    let (_elsewhere, elsewhere) = crate::harness::folder();
    egress::credentials(&elsewhere, &Ca::new("ca"));
    let outside = egress::route(other, free_port(), &elsewhere.join("client"));
    proxy.reconfigure(&json!({"egress": [route, outside]}).to_string());
    eventually("the other directory cannot be read", async || {
        let ready = get(proxy.admin, "/readyz").await;
        ready.contains(elsewhere.to_str().unwrap()) && ready.contains("ermission denied")
    })
    .await;
}
