//! The modes of an inbound port: what each takes, and that in none of them a client says who it is.

use std::path::Path;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{Proxy, curl, exchange, folder, local, text};
use crate::inbound::{as_client, credentials, port};
use crate::pki::Ca;
use crate::ports::free_port;
use crate::stub;

/// Names under which an application looks for the client, and as which some servers read them.
const SPOOFS: [&str; 7] = [
    "X-Forwarded-Client-Cert: Hash=spoofed;Subject=\"CN=spoofed\"",
    "x_forwarded_client_cert: Hash=spoofed",
    "X-Client-Cert-Subject: CN=spoofed",
    "X_Client_Cert_Issuer: CN=spoofed",
    "x-client-cert-serial: spoofed",
    "X-CLIENT-CERT-NOT-AFTER: spoofed",
    "x-client-cert-anything: spoofed",
];

/// How a client calls: with a certificate, with TLS alone, in plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Caller {
    Mutual,
    Tls,
    Plain,
}

/// Who gets in at all.
fn callers(mode: &str) -> &'static [Caller] {
    match mode {
        "STRICT" => &[Caller::Mutual],
        "PERMISSIVE" => &[Caller::Mutual, Caller::Plain],
        "OPTIONAL_MUTUAL" => &[Caller::Mutual, Caller::Tls],
        "SIMPLE" => &[Caller::Tls],
        _ => &[Caller::Plain],
    }
}

/// The fast path, the general path, and HTTP/2.
const WAYS: [&[&str]; 3] = [
    &["--http1.1"],
    &["--http1.1", "-H", "TE: trailers"],
    &["--http2"],
];

#[tokio::test]
async fn no_client_says_who_it_is_in_any_mode() {
    let (_folder, folder) = folder();
    credentials(&folder, &Ca::new("ca"));
    let (app, heads) = stub::echo_heads().await;
    let mut ports = Vec::new();
    for mode in [
        "STRICT",
        "PERMISSIVE",
        "OPTIONAL_MUTUAL",
        "SIMPLE",
        "DISABLE",
    ] {
        for setting in ["SANITIZE_SET", "SANITIZE", "APPEND_FORWARD", "FORWARD_ONLY"] {
            let mut port = port(free_port(), app.port(), mode, &folder);
            port["forwardClientCert"] = json!(setting);
            ports.push(port);
        }
    }
    let _proxy = Proxy::start(&json!({"inbound": ports})).await;
    for port in &ports {
        let mode = port["mode"].as_str().unwrap();
        let forwards = port["forwardClientCert"]
            .as_str()
            .unwrap()
            .contains("FORWARD");
        for caller in callers(mode) {
            for way in WAYS {
                let answer = pretend(&folder, &port["port"], *caller, way).await;
                let case = format!("{port} {caller:?} {way:?}");
                let right = answer.starts_with("HTTP/") && answer.contains(" 200");
                assert!(right, "{case}: {answer}");
                let head = heads.lock().unwrap().pop().unwrap();
                is_not_believed(&head, forwards && *caller == Caller::Mutual, &case);
            }
        }
    }
}

/// Calls with every spoof.
async fn pretend(folder: &Path, port: &Value, caller: Caller, way: &[&str]) -> String {
    let spoofs: Vec<_> = SPOOFS.iter().flat_map(|spoof| ["-H", spoof]).collect();
    let client = folder.join("client");
    let (cert, key) = (text(&client.join("cert")), text(&client.join("key")));
    let ca = text(&folder.join("server/cacert"));
    let scheme = if caller == Caller::Plain {
        "http"
    } else {
        "https"
    };
    let url = format!("{scheme}://localhost:{port}/");
    let own: &[&str] = match caller {
        Caller::Mutual => &["--cert", &cert, "--key", &key],
        Caller::Tls | Caller::Plain => &[],
    };
    curl(&[&["-i", "--ipv4", "--cacert", &ca, &url], own, way, &spoofs].concat()).await
}

/// Who is verified may pass on what it was told, where the port says so, and that alone.
fn is_not_believed(head: &str, may_forward: bool, case: &str) {
    for line in head.lines().filter(|line| line.contains("spoofed")) {
        let forwarded = line.to_lowercase().starts_with("x-forwarded-client-cert: ");
        assert!(may_forward && forwarded, "{case}: {line}");
    }
}

#[tokio::test]
async fn no_client_says_who_it_is_behind_its_body() {
    let (_folder, folder) = folder();
    credentials(&folder, &Ca::new("ca"));
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let app = stub::listen(move |mut tcp| {
        let sender = sender.clone();
        async move {
            let mut all = Vec::new();
            while !all.ends_with(b"x-sum: 7\r\n\r\n") {
                if tcp.read_buf(&mut all).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            let _closed = tcp.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await;
            sender.send(String::from_utf8(all).unwrap()).await.unwrap();
        }
    })
    .await;
    let listen = free_port();
    let config = json!({"inbound": [port(listen, app.port(), "DISABLE", &folder)]});
    let _proxy = Proxy::start(&config).await;
    let request = "POST / HTTP/1.1\r\nHost: a\r\nTrailer: x-client-cert-subject, x-sum\r\n\
                   Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n2\r\nok\r\n0\r\n\
                   X-Client-Cert-Subject: CN=spoofed\r\nX-Sum: 7\r\n\r\n";
    let answer = exchange(local(listen), request.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 204 "), "{answer}");
    let seen = receiver.recv().await.unwrap();
    assert!(seen.contains("x-sum: 7"), "{seen}");
    assert!(!seen.contains("spoofed"), "{seen}");
}

#[tokio::test]
async fn permissive_takes_either_however_slowly_it_comes() {
    let (_folder, folder) = folder();
    credentials(&folder, &Ca::new("ca"));
    let (app, _) = stub::echo_heads().await;
    let listen = free_port();
    let config = json!({"inbound": [port(listen, app.port(), "PERMISSIVE", &folder)]});
    let proxy = Proxy::start(&config).await;
    // A wire between client and proxy that carries the first bytes one by one.
    let slow = stub::listen(move |mut client| async move {
        let mut proxy = TcpStream::connect(local(listen)).await.unwrap();
        proxy.set_nodelay(true).unwrap();
        for _ in 0..16 {
            let byte = client.read_u8().await.unwrap();
            proxy.write_all(&[byte]).await.unwrap();
            tokio::task::yield_now().await;
        }
        let _closed = tokio::io::copy_bidirectional(&mut client, &mut proxy).await;
    })
    .await;
    let answer = as_client(&folder, slow.port(), &[]).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let answer = curl(&["-i", &format!("http://127.0.0.1:{}/", slow.port())]).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let series = format!(r#"mtls_proxy_plaintext_connections_total{{route="inbound:{listen}"}}"#);
    proxy.counts(&series, 1).await;
}

#[tokio::test]
async fn a_port_with_a_minimum_of_1_3_takes_no_1_2() {
    let (_folder, folder) = folder();
    credentials(&folder, &Ca::new("ca"));
    let (app, _) = stub::echo_heads().await;
    let [both, new] = [(); 2].map(|()| free_port());
    let mut only_new = port(new, app.port(), "STRICT", &folder);
    only_new["tls"]["minProtocolVersion"] = json!("TLSV1_3");
    let ports = json!([port(both, app.port(), "STRICT", &folder), only_new]);
    let proxy = Proxy::start(&json!({"inbound": ports})).await;
    for (listen, flag, right) in [
        (both, "--tls-max=1.2", true),
        (both, "--tlsv1.3", true),
        (new, "--tls-max=1.2", false),
        (new, "--tlsv1.3", true),
    ] {
        let flag: Vec<_> = flag.split('=').collect();
        let answer = as_client(&folder, listen, &flag).await;
        assert_eq!(
            answer.starts_with("HTTP/1.1 200 "),
            right,
            "{flag:?}: {answer}"
        );
    }
    let refused =
        r#"mtls_proxy_handshakes_total{direction="inbound",outcome="failed",reason="protocol"}"#;
    proxy.counts(refused, 1).await;
}
