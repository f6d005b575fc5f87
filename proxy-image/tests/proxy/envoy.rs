//! Envoy on both sides: as the external system that demands a client certificate, and as the client
//! of an inbound port; over HTTP/1.1, HTTP/2 and tcp.

mod config;

use std::path::{Path, PathBuf};

use rcgen::ExtendedKeyUsagePurpose::ClientAuth;
use serde_json::json;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use config::{Envoy, Wire, cluster, http_filter, listener, server, tcp_filter};

use crate::egress::{self, HOST};
use crate::harness::{Proxy, curl, eventually, folder, get, local};
use crate::inbound::{self, port};
use crate::peers::find;
use crate::pki::{Ca, Leaf};
use crate::ports::free_port;
use crate::stub;

/// Makes credentials of a CA that nobody trusts.
fn stranger(folder: &Path, ca: &Ca) -> PathBuf {
    let stranger = Leaf {
        common_name: "stranger",
        usage: Some(ClientAuth),
        ..Leaf::default()
    };
    let issued = Ca::new("other").issue(&stranger);
    issued.write(&folder.join("stranger"), ca)
}

/// Starts an Envoy that answers HTTP with what it saw of the client, and echoes tcp.
async fn external_system(program: &Path, credentials: &Path) -> (Envoy, u16, u16) {
    let (web, raw, echo) = (free_port(), free_port(), stub::echo().await);
    let answer = json!({
        "match": {"prefix": "/"},
        "direct_response": {"status": 200, "body": {"inline_string": "from envoy"}},
    });
    let headers = json!([{"header": {
        "key": "x-seen", "value": "%PROTOCOL% %DOWNSTREAM_PEER_SUBJECT% %DOWNSTREAM_TLS_VERSION%",
    }}]);
    let listeners = [
        server(web, credentials, &http_filter(&answer, &headers)),
        server(raw, credentials, &tcp_filter("echo")),
    ];
    let clusters = [cluster("echo", echo.port(), Wire::Tcp, None)];
    let envoy = Envoy::start(program, &listeners, &clusters, &[web, raw]).await;
    (envoy, web, raw)
}

#[tokio::test]
async fn envoy_is_the_external_system() {
    let Some(program) = find("envoy") else {
        return;
    };
    let (_folder, folder) = folder();
    let ca = Ca::new("ca");
    egress::credentials(&folder, &ca);
    let (_envoy, web, raw) = external_system(&program, &folder.join("server")).await;
    let [http, tcp, wrong] = [(); 3].map(|()| free_port());
    let client = folder.join("client");
    let mut stream = egress::route(tcp, raw, &client);
    stream["protocol"] = json!("tcp");
    let _proxy = Proxy::start(&json!({"egress": [
        egress::route(http, web, &client),
        stream,
        egress::route(wrong, web, &stranger(&folder, &ca)),
    ]}))
    .await;
    let url = format!("http://127.0.0.1:{http}/");
    for (flag, version) in [
        ("--http1.1", "HTTP/1.1"),
        ("--http2-prior-knowledge", "HTTP/2"),
    ] {
        let answer = curl(&["-i", flag, &url]).await;
        let seen = format!("x-seen: {version} CN=the-app TLSv1.3\r\n");
        assert!(answer.contains(&seen), "{answer}");
        assert!(answer.ends_with("from envoy"), "{answer}");
    }
    over_and_back(tcp).await;
    let answer = get(local(wrong), "/").await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    let error = format!("x-mtls-proxy-error: {HOST}:{wrong}: refused_by_peer: ");
    assert!(answer.contains(&error), "{answer}");
}

/// Starts an Envoy that calls two ports of the proxy with mutual TLS, and one of them as a stranger.
/// Returns where it takes calls in plaintext: for HTTP/1.1, HTTP/2, tcp, and as the stranger.
async fn client(
    program: &Path,
    (web, raw): (u16, u16),
    (own, strange): (&Path, &Path),
) -> (Envoy, [u16; 4]) {
    let ports @ [old, new, tcp, wrong] = [(); 4].map(|()| free_port());
    let to = |cluster: &str| {
        let route = json!({"match": {"prefix": "/"}, "route": {"cluster": cluster}});
        http_filter(&route, &json!([]))
    };
    let listeners = [
        listener(old, &to("old")),
        listener(new, &to("new")),
        listener(tcp, &tcp_filter("raw")),
        listener(wrong, &to("wrong")),
    ];
    let clusters = [
        cluster("old", web, Wire::Http1, Some(own)),
        cluster("new", web, Wire::Http2, Some(own)),
        cluster("raw", raw, Wire::Tcp, Some(own)),
        cluster("wrong", web, Wire::Http1, Some(strange)),
    ];
    let envoy = Envoy::start(program, &listeners, &clusters, &ports).await;
    (envoy, ports)
}

#[tokio::test]
async fn envoy_is_the_client() {
    let Some(program) = find("envoy") else {
        return;
    };
    let (_folder, folder) = folder();
    let ca = Ca::new("ca");
    inbound::credentials(&folder, &ca);
    let ((app, heads), echo) = (stub::echo_heads().await, stub::echo().await);
    let (web, raw) = (free_port(), free_port());
    let mut stream = port(raw, echo.port(), "STRICT", &folder);
    stream["protocol"] = json!("tcp");
    let ports = json!([port(web, app.port(), "STRICT", &folder), stream]);
    let proxy = Proxy::start(&json!({"inbound": ports})).await;
    let both = (folder.join("client"), stranger(&folder, &ca));
    let (_envoy, [old, new, tcp, wrong]) = client(&program, (web, raw), (&both.0, &both.1)).await;
    for port in [old, new] {
        let spoof = "x-client-cert-subject: CN=root";
        let url = format!("http://127.0.0.1:{port}/hello");
        let answer = curl(&["-i", "-H", spoof, &url]).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        let head = heads.lock().unwrap().pop().unwrap().to_lowercase();
        assert!(head.starts_with("get /hello http/1.1\r\n"), "{head}");
        let told = "x-client-cert-subject: cn=inventory-service\r\n";
        assert!(head.contains(told) && !head.contains("cn=root"), "{head}");
    }
    over_and_back(tcp).await;
    let refused =
        r#"mtls_proxy_handshakes_total{direction="inbound",outcome="failed",reason="unknown_ca"}"#;
    assert_eq!(proxy.metric(refused).await, 0);
    let answer = get(local(wrong), "/").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    eventually("it is counted", async || proxy.metric(refused).await >= 1).await;
    let got_through = heads.lock().unwrap().len();
    assert_eq!(got_through, 0, "a stranger's request got through");
}

/// Sends bytes both ways and keeps the half-close.
async fn over_and_back(port: u16) {
    let mut tcp = TcpStream::connect(local(port)).await.unwrap();
    tcp.write_all(b"over and back").await.unwrap();
    tcp.shutdown().await.unwrap();
    let mut echoed = String::new();
    tcp.read_to_string(&mut echoed).await.unwrap();
    assert_eq!(echoed, "over and back");
}
