//! What a monitoring system is told: every metric that is promised, and certificates that end soon.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::json;

use crate::harness::{Proxy, curl, eventually, folder, get, text};
use crate::inbound::{as_client, credentials, port};
use crate::pki::Ca;
use crate::ports::free_port;
use crate::stub;

/// The names that dashboards and alerts are built on.
const PROMISED: [&str; 11] = [
    "mtls_proxy_connections_total{direction=\"inbound\",outcome=\"refused\",route=\"inbound:PORT\"} 1",
    "mtls_proxy_handshakes_total{direction=\"inbound\",outcome=\"ok\",reason=\"\"} 1",
    "mtls_proxy_handshakes_total{direction=\"inbound\",outcome=\"failed\",reason=\"no_certificate\"} 1",
    "mtls_proxy_handshake_duration_seconds_count{direction=\"inbound\"} 1",
    "mtls_proxy_connection_duration_seconds_count{direction=\"inbound\",route=\"inbound:PORT\"} 1",
    "mtls_proxy_bytes_total{direction=\"inbound\",flow=\"sent\",route=\"inbound:PORT\"} ",
    "mtls_proxy_requests_total{code=\"200\",direction=\"inbound\",route=\"inbound:PORT\"} 2",
    "mtls_proxy_request_duration_seconds_count{direction=\"inbound\",route=\"inbound:PORT\"} 2",
    "mtls_proxy_certificate_not_after_seconds{file=\"FOLDER/server/cert\"} ",
    "mtls_proxy_reloads_total{outcome=\"loaded\"} 1",
    "mtls_proxy_plaintext_connections_total{route=\"inbound:PORT\"} 1",
];

#[tokio::test]
async fn every_metric_that_is_promised_is_counted() {
    let (_folder, folder) = folder();
    credentials(&folder, &Ca::new("ca"));
    let (app, _) = stub::echo_heads().await;
    let listen = free_port();
    let config = json!({"inbound": [port(listen, app.port(), "PERMISSIVE", &folder)]});
    let proxy = Proxy::start(&config).await;
    let answer = as_client(&folder, listen, &[]).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let answer = curl(&["-i", &format!("http://127.0.0.1:{listen}/")]).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let nobody = curl(&["-k", "--ipv4", &format!("https://localhost:{listen}/")]).await;
    assert!(nobody.starts_with("curl: "), "{nobody}");
    eventually("all are counted", async || {
        let shown = get(proxy.admin, "/metrics").await;
        let shown = shown.replace(&text(&folder), "FOLDER");
        let shown = shown.replace(&format!("inbound:{listen}"), "inbound:PORT");
        let missing = PROMISED.iter().find(|series| !shown.contains(*series));
        missing
            .inspect(|series| eprintln!("not yet: {series}"))
            .is_none()
    })
    .await;
}

/// A certificate that is its own CA and ends in two days.
fn ends_soon(folder: &Path) {
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
        ])
        .args(["-nodes", "-days", "2", "-subj", "/CN=pod"])
        .args(["-addext", "subjectAltName=DNS:localhost"])
        .args(["-keyout", "key", "-out", "cert"])
        .current_dir(folder)
        .output();
    assert!(made.unwrap().status.success());
    std::fs::copy(folder.join("cert"), folder.join("cacert")).unwrap();
}

#[tokio::test]
async fn a_certificate_that_ends_soon_is_warned_of_and_shown() {
    let (_folder, folder) = folder();
    let server = folder.join("server");
    std::fs::create_dir(&server).unwrap();
    ends_soon(&server);
    let config = json!({"inbound": [port(free_port(), free_port(), "STRICT", &folder)]});
    let proxy = Proxy::start(&config).await;
    let file = text(&server.join("cert"));
    let warning = format!(r#""message":"credentials expire soon","file":"{file}""#);
    eventually("it is warned of", async || proxy.log().contains(&warning)).await;
    let log = proxy.log();
    let lines: Vec<_> = log.lines().filter(|line| line.contains(&warning)).collect();
    assert_eq!(lines.len(), 1, "{log}");
    assert!(lines[0].contains(r#""level":"WARN""#), "{}", lines[0]);
    assert!(lines[0].contains(r#""days_left":7"#), "{}", lines[0]);
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    let series = format!(r#"mtls_proxy_certificate_not_after_seconds{{file="{file}"}}"#);
    let expected = now + 172_000..=now + 172_800;
    eventually("its end is shown", async || {
        expected.contains(&proxy.metric(&series).await)
    })
    .await;
}
