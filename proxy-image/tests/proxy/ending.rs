//! The end of a proxy whose application has ended: how a Job with an ordinary container for a proxy
//! comes to its end.

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

use crate::harness::{Proxy, eventually, local};
use crate::ports::free_port;
use crate::stub;

fn config(port: u16, target: u16, ended: bool) -> Value {
    json!({
        "terminationDrainDuration": "1s", "applicationEnded": ended,
        "egress": [{
            "host": "a.example", "port": port, "targetPort": target, "address": "127.0.0.1",
            "protocol": "tcp", "tls": {"mode": "DISABLE"},
        }],
    })
}

#[tokio::test]
async fn the_proxy_ends_with_0_when_it_hears_that_the_application_has_ended() {
    let (upstream, _) = stub::echo_heads().await;
    let port = free_port();
    let mut proxy = Proxy::start(&config(port, upstream.port(), false)).await;
    proxy.reconfigure(&config(port, upstream.port(), true).to_string());
    assert_eq!(proxy.ended().await.code(), Some(0));
    let log = proxy.log();
    assert!(log.contains("the application has ended"), "{log}");
}

#[tokio::test]
async fn what_is_still_open_then_makes_no_failure_of_it() {
    let upstream = stub::listen(|tcp| async move {
        std::future::pending::<()>().await;
        drop(tcp);
    })
    .await;
    let port = free_port();
    let mut proxy = Proxy::start(&config(port, upstream.port(), false)).await;
    let mut open = TcpStream::connect(local(port)).await.unwrap();
    open.write_all(b"left open").await.unwrap();
    eventually("it is open", async || {
        proxy.metric("mtls_proxy_open_connections").await == 1
    })
    .await;
    proxy.reconfigure(&config(port, upstream.port(), true).to_string());
    assert_eq!(proxy.ended().await.code(), Some(0));
}

/// Kubelet starts a container anew when it ended otherwise than it should.
#[tokio::test]
async fn a_proxy_that_starts_after_the_end_ends_at_once() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = config(free_port(), 1, true).to_string();
    tokio::fs::write(file.path(), text).await.unwrap();
    let anywhere = "127.0.0.1:0";
    let run = tokio::process::Command::new(crate::program::mtls_proxy())
        .args([
            "run",
            "--admin-listen",
            anywhere,
            "--control-listen",
            anywhere,
        ])
        .arg("--config")
        .arg(file.path())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(crate::harness::PATIENCE, run).await;
    let output = output.expect("the proxy ends").unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
}
