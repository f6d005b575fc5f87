//! Plain in, mutual TLS out; and what the application is told when that is not possible.

use std::path::Path;
use std::sync::{Arc, Mutex};

use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use crate::harness::{Proxy, curl, eventually, folder, get, local, text};
use crate::nginx::Nginx;
use crate::pki::{Ca, Leaf, Valid};
use crate::ports::free_port;
use crate::stub;

pub(crate) const HOST: &str = "external.system.com";

/// Makes a server's and a client's credentials in two folders below one.
pub(crate) fn credentials(folder: &Path, ca: &Ca) {
    let server = Leaf {
        common_name: HOST,
        dns: &[HOST],
        usage: Some(ServerAuth),
        ..Leaf::default()
    };
    let client = Leaf {
        common_name: "the-app",
        usage: Some(ClientAuth),
        ..Leaf::default()
    };
    ca.issue(&server).write(&folder.join("server"), ca);
    ca.issue(&client).write(&folder.join("client"), ca);
}

pub(crate) fn route(port: u16, target: u16, credentials: &Path) -> Value {
    json!({
        "host": HOST, "port": port, "targetPort": target, "address": "127.0.0.1",
        "tls": {"credentialDirectory": text(credentials)},
    })
}

#[tokio::test]
async fn a_plain_call_becomes_mutual_tls() {
    let (_folder, folder) = folder();
    credentials(&folder, &Ca::new("ca"));
    let nginx = Nginx::start(&folder.join("server")).await;
    let port = free_port();
    let config = json!({"egress": [route(port, nginx.port, &folder.join("client"))]});
    let proxy = Proxy::start(&config).await;
    let url = format!("http://127.0.0.1:{port}/path?q=1");
    let host = format!("Host: {HOST}:{port}");
    let answer = curl(&["-i", "-H", &host, &url]).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let expected = format!("client=CN=the-app host={HOST}:{port} uri=/path?q=1 ");
    assert!(answer.contains(&expected), "{answer}");
    // Another name than the route's is not told to the upstream.
    let answer = curl(&[&url]).await;
    assert!(
        answer.contains(&format!(" host={HOST}:{port} ")),
        "{answer}"
    );
    let series = r#"mtls_proxy_handshakes_total{direction="egress",outcome="ok",reason=""}"#;
    assert!(proxy.metric(series).await >= 1);
    let path = r#""http.path":"/path""#;
    eventually("it is logged", async || proxy.log().contains(path)).await;
    let log = proxy.log();
    assert!(!log.contains("q=1"), "a query is not logged: {log}");
}

#[tokio::test]
async fn upstream_connections_are_reused_and_the_application_is_kept_alive() {
    let (_folder, folder) = folder();
    credentials(&folder, &Ca::new("ca"));
    let nginx = Nginx::start(&folder.join("server")).await;
    let port = free_port();
    let config = json!({"egress": [route(port, nginx.port, &folder.join("client"))]});
    let _proxy = Proxy::start(&config).await;
    let url = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let count = "-w%{num_connects} ";
    let kept = curl(&[count, &url("/"), &url("/"), &url("/")]).await;
    let numbers: Vec<_> = kept
        .lines()
        .filter_map(|line| line.split("connection=").nth(1))
        .collect();
    assert_eq!(numbers.len(), 3, "{kept}");
    assert!(numbers.iter().all(|number| *number == numbers[0]), "{kept}");
    // The upstream closes after each answer; the application's connection stays.
    let closed = curl(&[count, &url("/closes"), &url("/closes")]).await;
    let connects: Vec<_> = closed
        .lines()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| matches!(*word, "0" | "1"))
        .collect();
    assert!(closed.contains("\n1 ") || closed.starts_with("1 ") || connects.len() <= 2);
    assert!(closed.trim_end().ends_with('0'), "one connection: {closed}");
}

/// What a wrong upstream leads to: a 502 that says why, and never a byte of the request in plaintext.
#[tokio::test]
async fn an_upstream_that_cannot_be_verified_is_a_502_with_the_reason() {
    let right = || Leaf {
        common_name: HOST,
        dns: &[HOST],
        usage: Some(ServerAuth),
        ..Leaf::default()
    };
    let past = Leaf {
        valid: Valid::Past,
        ..right()
    };
    let future = Leaf {
        valid: Valid::Future,
        ..right()
    };
    let other_name = Leaf {
        dns: &["other.example"],
        ..right()
    };
    let other_usage = Leaf {
        usage: Some(ClientAuth),
        ..right()
    };
    check_refusal(&right(), "other", "unknown_ca").await;
    check_refusal(&past, "ca", "expired").await;
    check_refusal(&future, "ca", "not_yet_valid").await;
    check_refusal(&other_name, "ca", "wrong_name").await;
    check_refusal(&other_usage, "ca", "wrong_usage").await;
}

async fn check_refusal(leaf: &Leaf<'_>, issuer: &str, label: &str) {
    let (_folder, folder) = folder();
    let ca = Ca::new("ca");
    credentials(&folder, &ca);
    let other = Ca::new("other");
    let issuer = if issuer == "ca" { &ca } else { &other };
    issuer.issue(leaf).write(&folder.join("server"), &ca);
    let nginx = Nginx::start(&folder.join("server")).await;
    let port = free_port();
    let config = json!({"egress": [route(port, nginx.port, &folder.join("client"))]});
    let proxy = Proxy::start(&config).await;
    let answer = get(local(port), "/").await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{label}: {answer}");
    let header = format!("x-mtls-proxy-error: {HOST}:{port}: {label}: the upstream ");
    assert!(answer.contains(&header), "{label}: {answer}");
    let series = format!(
        r#"mtls_proxy_handshakes_total{{direction="egress",outcome="failed",reason="{label}"}}"#
    );
    proxy.counts(&series, 1).await;
}

#[tokio::test]
async fn a_client_certificate_that_the_upstream_refuses_is_a_502_or_its_own_400() {
    let (_folder, folder) = folder();
    let ca = Ca::new("ca");
    credentials(&folder, &ca);
    let other = Ca::new("other");
    let stranger = Leaf {
        common_name: "stranger",
        usage: Some(ClientAuth),
        ..Leaf::default()
    };
    other.issue(&stranger).write(&folder.join("client"), &ca);
    let nginx = Nginx::start(&folder.join("server")).await;
    let port = free_port();
    let config = json!({"egress": [route(port, nginx.port, &folder.join("client"))]});
    let _proxy = Proxy::start(&config).await;
    // nginx finishes the handshake and refuses in HTTP.
    let answer = get(local(port), "/").await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert!(answer.contains("The SSL certificate error"), "{answer}");
}

#[tokio::test]
async fn nothing_leaves_in_plaintext_when_the_upstream_speaks_no_tls() {
    let (_folder, folder) = folder();
    credentials(&folder, &Ca::new("ca"));
    let seen = Arc::new(Mutex::new(Vec::new()));
    let remembered = Arc::clone(&seen);
    let upstream = stub::listen(move |mut tcp| {
        let seen = Arc::clone(&remembered);
        async move {
            let mut bytes = vec![0; 4096];
            let read = tcp.read(&mut bytes).await.unwrap();
            seen.lock().unwrap().extend_from_slice(&bytes[..read]);
            let _closed =
                tokio::io::AsyncWriteExt::write_all(&mut tcp, b"HTTP/1.1 200 OK\r\n\r\n").await;
        }
    })
    .await;
    let port = free_port();
    let config = json!({"egress": [route(port, upstream.port(), &folder.join("client"))]});
    let _proxy = Proxy::start(&config).await;
    let answer = get(local(port), "/a-secret-path").await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(answer.contains(": protocol: "), "{answer}");
    let seen = seen.lock().unwrap();
    assert_eq!(seen[..2], [22, 3], "a handshake record");
    let text = String::from_utf8_lossy(&seen);
    assert!(!text.contains("a-secret-path"));
}

#[tokio::test]
async fn missing_credentials_fail_their_route_alone_and_are_named() {
    let (_folder, folder) = folder();
    credentials(&folder, &Ca::new("ca"));
    let nginx = Nginx::start(&folder.join("server")).await;
    let (good, bad) = (free_port(), free_port());
    let missing = folder.join("not-there");
    let config = json!({"egress": [
        route(good, nginx.port, &folder.join("client")),
        route(bad, nginx.port, &missing),
    ]});
    let proxy = Proxy::spawn(&config, &[]).await;
    let answer = get(local(bad), "/").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(answer.contains("credentials_missing"), "{answer}");
    assert!(answer.contains(&text(&missing)), "{answer}");
    let answer = get(local(good), "/").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let ready = get(proxy.admin, "/readyz").await;
    assert!(ready.starts_with("HTTP/1.1 503 "), "{ready}");
    assert!(ready.contains(&format!("{HOST}:{bad}: ")), "{ready}");
    assert!(ready.contains(&text(&missing)), "{ready}");
    credentials_appear(&folder, &missing);
    proxy.wait_ready().await;
    let answer = get(local(bad), "/").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
}

fn credentials_appear(folder: &Path, missing: &Path) {
    std::fs::rename(folder.join("client"), missing).unwrap();
}

#[tokio::test]
async fn a_host_that_cannot_be_reached_is_a_503_and_a_silent_one_a_504() {
    let (_folder, folder) = folder();
    credentials(&folder, &Ca::new("ca"));
    // It accepts, and never says a word.
    let silent = stub::listen(|tcp| async move {
        std::future::pending::<()>().await;
        drop(tcp);
    })
    .await;
    let (refused, slow) = (free_port(), free_port());
    let client = folder.join("client");
    let mut silent_route = route(slow, silent.port(), &client);
    silent_route["timeouts"] = json!({"connect": "300ms"});
    let config = json!({"egress": [route(refused, free_port(), &client), silent_route]});
    let _proxy = Proxy::start(&config).await;
    let answer = get(local(refused), "/").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(
        answer.contains("connect_failure: cannot connect to 127.0.0.1:"),
        "{answer}"
    );
    let answer = get(local(slow), "/").await;
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
}
