//! TLS in, plain to the application: who gets in, and what the application is told of them.

use std::path::Path;
use std::process::Stdio;

use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use crate::harness::{PATIENCE, Proxy, curl, eventually, folder, text};
use crate::pki::{Ca, Leaf};
use crate::ports::free_port;
use crate::stub;

/// Makes a server's and a client's credentials in two folders below one.
pub(crate) fn credentials(folder: &Path, ca: &Ca) {
    let server = Leaf {
        common_name: "pod",
        dns: &["localhost"],
        usage: Some(ServerAuth),
        ..Leaf::default()
    };
    let client = Leaf {
        common_name: "inventory-service",
        dns: &["client.example.com"],
        uris: &["spiffe://cluster.local/ns/shop/sa/web"],
        usage: Some(ClientAuth),
        ..Leaf::default()
    };
    ca.issue(&server).write(&folder.join("server"), ca);
    ca.issue(&client).write(&folder.join("client"), ca);
}

pub(crate) fn port(listen: u16, target: u16, mode: &str, folder: &Path) -> Value {
    let directory = text(&folder.join("server"));
    json!({
        "port": listen, "targetPort": target, "mode": mode,
        "tls": {"credentialDirectory": directory},
    })
}

/// Calls with the client's certificate.
pub(crate) async fn as_client(folder: &Path, listen: u16, arguments: &[&str]) -> String {
    let client = folder.join("client");
    let (cert, key) = (text(&client.join("cert")), text(&client.join("key")));
    let url = format!("https://localhost:{listen}/hello");
    let mut all = vec!["--cert", &cert, "--key", &key, "-i", &url];
    all.extend(arguments);
    trusting(folder, &all).await
}

async fn trusting(folder: &Path, arguments: &[&str]) -> String {
    let ca = text(&folder.join("server").join("cacert"));
    let mut all = vec!["--cacert", &ca, "--ipv4", "--http1.1"];
    all.extend(arguments);
    curl(&all).await
}

#[tokio::test]
async fn a_verified_client_is_told_to_the_application_and_cannot_pretend() {
    let (_folder, folder) = folder();
    credentials(&folder, &Ca::new("ca"));
    let (app, heads) = stub::echo_heads().await;
    let listen = free_port();
    let config = json!({"inbound": [port(listen, app.port(), "STRICT", &folder)]});
    let proxy = Proxy::start(&config).await;
    let spoofed = [
        "-H",
        "X-Client-Cert-Subject: CN=root",
        "-H",
        "x_forwarded_client_cert: Hash=spoofed",
        "-H",
        "X-Forwarded-Client-Cert: Hash=spoofed",
    ];
    let answer = as_client(&folder, listen, &spoofed).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    let head = heads.lock().unwrap()[0].clone();
    assert!(head.starts_with("GET /hello HTTP/1.1\r\n"), "{head}");
    assert!(
        !head.contains("root") && !head.contains("spoofed"),
        "{head}"
    );
    assert!(
        head.contains("x-client-cert-subject: CN=inventory-service\r\n"),
        "{head}"
    );
    assert!(head.contains("x-client-cert-issuer: CN=ca\r\n"), "{head}");
    assert!(head.contains("x-client-cert-not-after: 20"), "{head}");
    assert!(head.contains("x-forwarded-client-cert: Hash="), "{head}");
    let names = "URI=spiffe://cluster.local/ns/shop/sa/web;DNS=client.example.com";
    assert!(head.contains(names), "{head}");
    let host = format!("Host: localhost:{listen}\r\n");
    assert!(
        head.contains(&host),
        "the host stays as it was sent: {head}"
    );
    let identity = r#""peer.identity":"spiffe://cluster.local/ns/shop/sa/web""#;
    eventually("it is logged", async || proxy.log().contains(identity)).await;
}

#[tokio::test]
async fn strict_lets_nobody_in_without_a_certificate_of_the_ca() {
    let (_folder, folder) = folder();
    let ca = Ca::new("ca");
    credentials(&folder, &ca);
    let (app, heads) = stub::echo_heads().await;
    let listen = free_port();
    let config = json!({"inbound": [port(listen, app.port(), "STRICT", &folder)]});
    let proxy = Proxy::start(&config).await;
    let url = format!("https://localhost:{listen}/");
    let answer = trusting(&folder, &[&url]).await;
    assert!(answer.contains("curl: ("), "{answer}");
    let plain = curl(&[&format!("http://127.0.0.1:{listen}/")]).await;
    assert!(plain.contains("curl: ("), "{plain}");
    let stranger = Leaf {
        usage: Some(ClientAuth),
        ..Leaf::default()
    };
    Ca::new("other")
        .issue(&stranger)
        .write(&folder.join("client"), &ca);
    let answer = as_client(&folder, listen, &[]).await;
    assert!(answer.contains("curl: ("), "{answer}");
    assert!(heads.lock().unwrap().is_empty());
    for reason in ["no_certificate", "unknown_ca", "protocol"] {
        let series = format!(
            r#"mtls_proxy_handshakes_total{{direction="inbound",outcome="failed",reason="{reason}"}}"#
        );
        proxy.counts(&series, 1).await;
    }
}

#[tokio::test]
async fn a_client_that_no_rule_names_is_told_403() {
    let (_folder, folder) = folder();
    credentials(&folder, &Ca::new("ca"));
    let (app, heads) = stub::echo_heads().await;
    let (open, shut) = (free_port(), free_port());
    let mut allowed = port(open, app.port(), "STRICT", &folder);
    allowed["allow"] = json!(["spiffe://cluster.local/ns/shop/sa/*"]);
    let mut refused = port(shut, app.port(), "STRICT", &folder);
    refused["allow"] = json!(["dns:other.example.com"]);
    let proxy = Proxy::start(&json!({"inbound": [allowed, refused]})).await;
    let answer = as_client(&folder, open, &[]).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let answer = as_client(&folder, shut, &[]).await;
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert!(
        answer.contains("not_allowed: the client is not allowed"),
        "{answer}"
    );
    assert_eq!(heads.lock().unwrap().len(), 1);
    let series = r#"mtls_proxy_handshakes_total{direction="inbound",outcome="refused",reason="not_allowed"}"#;
    proxy.counts(series, 1).await;
}

#[tokio::test]
async fn permissive_takes_both_and_counts_plaintext() {
    let (_folder, folder) = folder();
    credentials(&folder, &Ca::new("ca"));
    let (app, heads) = stub::echo_heads().await;
    let listen = free_port();
    let config = json!({"inbound": [port(listen, app.port(), "PERMISSIVE", &folder)]});
    let proxy = Proxy::start(&config).await;
    let answer = as_client(&folder, listen, &[]).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let url = format!("http://127.0.0.1:{listen}/");
    let spoof = "X-Client-Cert-Subject: CN=root";
    let answer = curl(&["-i", "-H", spoof, &url]).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let head = heads.lock().unwrap()[1].clone();
    assert!(!head.contains("x-client-cert"), "{head}");
    let series = format!(r#"mtls_proxy_plaintext_connections_total{{route="inbound:{listen}"}}"#);
    proxy.counts(&series, 1).await;
}

#[tokio::test]
async fn optional_mutual_and_simple_serve_clients_without_a_certificate() {
    let (_folder, folder) = folder();
    credentials(&folder, &Ca::new("ca"));
    let (app, heads) = stub::echo_heads().await;
    let (optional, simple) = (free_port(), free_port());
    let config = json!({"inbound": [
        port(optional, app.port(), "OPTIONAL_MUTUAL", &folder),
        port(simple, app.port(), "SIMPLE", &folder),
    ]});
    let _proxy = Proxy::start(&config).await;
    for listen in [optional, simple] {
        let url = format!("https://localhost:{listen}/");
        let answer = trusting(&folder, &["-i", &url]).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    let answer = as_client(&folder, optional, &[]).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let told: Vec<bool> = heads
        .lock()
        .unwrap()
        .iter()
        .map(|head| head.contains("x-client-cert-subject"))
        .collect();
    assert_eq!(told, [false, false, true]);
}

#[tokio::test]
async fn openssl_reaches_a_tcp_application() {
    let (_folder, folder) = folder();
    credentials(&folder, &Ca::new("ca"));
    let app = stub::echo().await;
    let listen = free_port();
    let mut inbound = port(listen, app.port(), "STRICT", &folder);
    inbound["protocol"] = json!("tcp");
    let proxy = Proxy::start(&json!({"inbound": [inbound]})).await;
    let client = folder.join("client");
    let mut openssl = Command::new("openssl")
        .args(["s_client", "-quiet", "-no_ign_eof", "-verify_return_error"])
        .args(["-connect", &format!("127.0.0.1:{listen}")])
        .arg("-CAfile")
        .arg(client.join("cacert"))
        .arg("-cert")
        .arg(client.join("cert"))
        .arg("-key")
        .arg(client.join("key"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = openssl.stdin.take().unwrap();
    input.write_all(b"over and back\n").await.unwrap();
    let mut output = openssl.stdout.take().unwrap();
    let mut line = vec![0; 14];
    let read = tokio::io::AsyncReadExt::read_exact(&mut output, &mut line);
    tokio::time::timeout(PATIENCE, read).await.unwrap().unwrap();
    assert_eq!(line, b"over and back\n");
    drop(input);
    openssl.wait().await.unwrap();
    eventually("the connection is logged", async || {
        proxy.log().contains(r#""outcome":"closed""#)
    })
    .await;
}
