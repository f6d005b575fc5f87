//! Both directions at once: an application calls in plaintext, the proxy originates mutual TLS, takes
//! it in again at its own inbound port, and hands it to a server in plaintext.

use serde_json::json;
use tempfile::TempDir;
use tokio::process::Command;

use crate::egress;
use crate::harness::{Proxy, eventually, folder, text};
use crate::inbound;
use crate::peers::{Peer, find, output_of, python_with, script};
use crate::pki::Ca;
use crate::ports::free_port;
use crate::stub;

/// A proxy whose egress route leads to its inbound port.
pub(crate) struct Chain {
    pub(crate) proxy: Proxy,
    /// Where the application calls.
    pub(crate) port: u16,
    _folder: TempDir,
}

impl Chain {
    pub(crate) async fn to(server: u16) -> Self {
        Self::of("http", server).await
    }

    pub(crate) async fn of(protocol: &str, server: u16) -> Self {
        let (kept, folder) = folder();
        egress::credentials(&folder, &Ca::new("ca"));
        let (port, inner) = (free_port(), free_port());
        let mut out = egress::route(port, inner, &folder.join("client"));
        let mut into = inbound::port(inner, server, "STRICT", &folder);
        out["protocol"] = protocol.into();
        into["protocol"] = protocol.into();
        let proxy = Proxy::start(&json!({"egress": [out], "inbound": [into]})).await;
        Self {
            proxy,
            port,
            _folder: kept,
        }
    }
}

/// Starts a server of Python behind the chain, and returns what its client printed before it.
async fn talk(python: &std::path::Path, server: &str, client: &str) -> (Chain, String) {
    let port = free_port();
    let mut command = Command::new(python);
    let command = command.arg(script(server)).arg(port.to_string());
    let _server = Peer::start(command, &[port]).await;
    let chain = Chain::to(port).await;
    let mut command = Command::new(python);
    let command = command.arg(script(client)).arg(chain.port.to_string());
    let said = output_of(command).await;
    (chain, said)
}

#[tokio::test]
async fn grpc_of_python_calls_in_every_way() {
    let Some(python) = python_with("grpc") else {
        return;
    };
    let (chain, said) = talk(&python, "grpc_server.py", "grpc_client.py").await;
    let expected = "unary True 3145728\n\
                    refused NOT_FOUND no such item: 7 gone\n\
                    down True\n\
                    up 100000\n\
                    both ['ONE', 'TWO', 'THREE'] []\n";
    assert_eq!(said, expected);
    let series = r#"mtls_proxy_handshakes_total{direction="inbound",outcome="ok",reason=""}"#;
    // One connection for all calls.
    chain.proxy.counts(series, 1).await;
}

#[tokio::test]
async fn websockets_of_python_talk_both_ways_and_close_as_they_wish() {
    let Some(python) = python_with("websockets") else {
        return;
    };
    let (chain, said) = talk(&python, "websocket_server.py", "websocket_client.py").await;
    let expected = "protocol shop.v1\nbinary True\npong True\nclosed 4001 as you wish\n";
    assert_eq!(said, expected);
    eventually("both ends are logged", async || {
        chain.proxy.log().matches(r#""http.status":101"#).count() == 2
    })
    .await;
}

#[tokio::test]
async fn h2load_gets_an_answer_to_every_request() {
    let Some(h2load) = find("h2load") else {
        return;
    };
    let (server, _) = stub::echo_heads().await;
    let chain = Chain::to(server.port()).await;
    let url = format!("http://127.0.0.1:{}/", chain.port);
    for versions in ["--h1", "--no-tls-proto=h2c"] {
        let mut command = Command::new(&h2load);
        let command = command.args([
            "-n", "2000", "-c", "8", "-m", "8", "-T", "20", versions, &url,
        ]);
        let said = output_of(command).await;
        let expected = "requests: 2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, \
                        0 errored, 0 timeout";
        assert!(said.contains(expected), "{versions}: {said}");
    }
    let series = format!(
        r#"mtls_proxy_requests_total{{code="200",direction="egress",route="{}:{}"}}"#,
        egress::HOST,
        chain.port
    );
    chain.proxy.counts(&series, 4000).await;
}

/// Nothing that is weak by today's measure is offered, to whoever asks for it.
#[tokio::test]
async fn sslscan_finds_nothing_weak() {
    let Some(sslscan) = find("sslscan") else {
        return;
    };
    let (_folder, folder) = folder();
    inbound::credentials(&folder, &Ca::new("ca"));
    let listen = free_port();
    let config = json!({"inbound": [inbound::port(listen, free_port(), "STRICT", &folder)]});
    let _proxy = Proxy::start(&config).await;
    let client = folder.join("client");
    let mut command = Command::new(sslscan);
    let command = command
        .args(["--no-colour", "--xml=-", "--connect-timeout=20"])
        .arg(format!("--certs={}", text(&client.join("cert"))))
        .arg(format!("--pk={}", text(&client.join("key"))))
        .arg(format!("127.0.0.1:{listen}"));
    let found = output_of(command).await;
    for version in [
        "ssl\" version=\"2",
        "ssl\" version=\"3",
        "tls\" version=\"1.0",
        "tls\" version=\"1.1",
    ] {
        let off = format!("<protocol type=\"{version}\" enabled=\"0\" />");
        assert!(found.contains(&off), "{off} in {found}");
    }
    for version in ["1.2", "1.3"] {
        let on = format!("<protocol type=\"tls\" version=\"{version}\" enabled=\"1\" />");
        assert!(found.contains(&on), "{on} in {found}");
    }
    assert!(!found.contains("vulnerable=\"1\""), "{found}");
    assert!(!found.contains("<renegotiation supported=\"1\""), "{found}");
    let ciphers: Vec<_> = found
        .lines()
        .filter(|line| line.contains("<cipher "))
        .collect();
    assert!(ciphers.len() >= 5, "{found}");
    for cipher in ciphers {
        let ephemeral = cipher.contains("cipher=\"TLS_") || cipher.contains("cipher=\"ECDHE-");
        let authenticated = cipher.contains("GCM") || cipher.contains("POLY1305");
        assert!(ephemeral && authenticated, "{cipher}");
        let strength = ["strong", "acceptable"].map(|word| format!("strength=\"{word}\""));
        assert!(
            strength.iter().any(|word| cipher.contains(word)),
            "{cipher}"
        );
    }
}
