//! At trace level, with everything going on that can go on: no key, password, header value, query or
//! body is in the log, in `/config` or in `/metrics`.

use std::path::Path;
use std::process::Command as Blocking;

use rcgen::ExtendedKeyUsagePurpose::{ClientAuth, ServerAuth};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::egress::{self, HOST};
use crate::harness::{Proxy, curl, eventually, exchange, folder, get, local, text};
use crate::inbound;
use crate::pki::{Ca, Leaf};
use crate::ports::free_port;
use crate::stub;

const PASSWORD: &str = "open-sesame-4711";
/// Values that an application, a client or a server might send.
const SAID: [&str; 7] = [
    "Bearer-eyJhbGciOi",
    "session-5f3a9c",
    "query-77aa01",
    "body-of-the-request-9d",
    "body-of-the-answer-3e",
    "set-by-the-server-b2",
    "bytes-of-a-stream-c4",
];

/// Puts a client's certificate and key into a store with a password.
fn key_store(folder: &Path) {
    let client = folder.join("client");
    let export = Blocking::new("openssl")
        .args(["pkcs12", "-export", "-passout"])
        .arg(format!("pass:{PASSWORD}"))
        .arg("-inkey")
        .arg(client.join("key"))
        .arg("-in")
        .arg(client.join("cert"))
        .arg("-out")
        .arg(folder.join("store.p12"))
        .output();
    assert!(export.unwrap().status.success());
    std::fs::write(folder.join("password"), PASSWORD).unwrap();
}

/// A key as a log might show it: lines of its PEM, and its bytes as hexadecimal or decimal numbers.
fn shapes_of_a_key(file: &Path) -> Vec<String> {
    let pem = std::fs::read_to_string(file).unwrap();
    let lines: Vec<_> = pem
        .lines()
        .filter(|line| !line.starts_with("-----"))
        .map(str::to_owned)
        .collect();
    let der = Blocking::new("openssl")
        .args(["pkey", "-outform", "DER", "-in"])
        .arg(file)
        .output();
    let der = der.unwrap().stdout;
    // The middle: what surrounds it is alike in all keys.
    let middle = &der[der.len() / 2 - 8..der.len() / 2 + 8];
    let each = |as_text: &dyn Fn(&u8) -> String, between: &str| {
        middle.iter().map(as_text).collect::<Vec<_>>().join(between)
    };
    let numbers = [
        each(&|byte| format!("{byte:02x}"), ""),
        each(&|byte| format!("{byte:02X}"), ":"),
        each(&|byte| byte.to_string(), ", "),
        each(&|byte| byte.to_string(), ","),
    ];
    lines.into_iter().chain(numbers).collect()
}

/// A server that answers with fields and a body that nobody else may see.
async fn server() -> u16 {
    let address = stub::listen(|mut tcp| async move {
        while !stub::read_head(&mut tcp).await.is_empty() {
            let answer = format!(
                "HTTP/1.1 200 OK\r\nset-cookie: {}\r\ncontent-length: {}\r\n\r\n{}",
                SAID[5],
                SAID[4].len(),
                SAID[4]
            );
            if tcp.write_all(answer.as_bytes()).await.is_err() {
                return;
            }
        }
    })
    .await;
    address.port()
}

struct Ports {
    /// Out and in again, over HTTP and tcp.
    http: u16,
    tcp: u16,
    /// Towards a server that is not the one it should be, and one that does not speak TLS.
    wrong: u16,
    plain: u16,
}

async fn config(folder: &Path, ports: &Ports) -> Value {
    let [inner_http, inner_tcp] = [(); 2].map(|()| free_port());
    let (server, echo) = (server().await, stub::echo().await.port());
    let client = folder.join("client");
    let mut http = egress::route(ports.http, inner_http, &client);
    http["tls"] = json!({
        "keyStore": {"file": text(&folder.join("store.p12")), "passwordFile": text(&folder.join("password"))},
        "caCertificates": text(&client.join("cacert")),
    });
    let mut tcp = egress::route(ports.tcp, inner_tcp, &client);
    tcp["protocol"] = json!("tcp");
    let mut wrong = egress::route(ports.wrong, inner_http, &client);
    wrong["tls"]["subjectAltNames"] = json!(["other.example"]);
    let mut inbound_tcp = inbound::port(inner_tcp, echo, "STRICT", folder);
    inbound_tcp["protocol"] = json!("tcp");
    json!({
        "logLevel": "trace",
        "egress": [http, tcp, wrong, egress::route(ports.plain, echo, &client)],
        "inbound": [inbound::port(inner_http, server, "STRICT", folder), inbound_tcp],
    })
}

/// Everything that an application may do, each with values of its own.
async fn go_on(ports: &Ports) {
    let url = |port: u16| format!("http://127.0.0.1:{port}/path?token={}", SAID[2]);
    let bearer = format!("Authorization: {}", SAID[0]);
    let cookie = format!("Cookie: id={}", SAID[1]);
    let chunked = "Transfer-Encoding: chunked";
    for flags in [
        &["-H", "X: y"][..],
        &["--http2-prior-knowledge"],
        &["-H", chunked, "-d", SAID[3]],
        &["-H", "Connection: upgrade", "-H", "Upgrade: websocket"],
    ] {
        let url = url(ports.http);
        let fields = ["-i", "-H", &bearer, "-H", &cookie, &url];
        let answer = curl(&[flags, &fields].concat()).await;
        assert!(
            answer.contains(SAID[4]) && answer.contains(SAID[5]),
            "{flags:?}: {answer}"
        );
    }
    for port in [ports.wrong, ports.plain] {
        let answer = curl(&["-i", "-H", &bearer, "-d", SAID[3], &url(port)]).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    }
    let bad = format!(
        "GET /?{} HTTP/1.1\r\nHost: a\r\n{bearer}\n{cookie}\r\n\r\n",
        SAID[2]
    );
    let answer = exchange(local(ports.http), bad.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    let mut tcp = TcpStream::connect(local(ports.tcp)).await.unwrap();
    tcp.write_all(SAID[6].as_bytes()).await.unwrap();
    tcp.shutdown().await.unwrap();
    let mut echoed = String::new();
    tcp.read_to_string(&mut echoed).await.unwrap();
    assert_eq!(echoed, SAID[6]);
}

/// Replaces a key by one that does not fit, and then by half a file.
async fn break_files(folder: &Path, proxy: &Proxy) {
    let (key, right) = (folder.join("client/key"), folder.join("right"));
    std::fs::rename(&key, &right).unwrap();
    std::fs::copy(folder.join("server/key"), &key).unwrap();
    let failed = r#"mtls_proxy_reloads_total{outcome="failed"}"#;
    eventually("the wrong key is noticed", async || {
        proxy.metric(failed).await >= 1
    })
    .await;
    let before = proxy.metric(failed).await;
    let half = std::fs::read_to_string(&right).unwrap();
    std::fs::write(&key, &half[..half.len() / 2]).unwrap();
    eventually("half a key is noticed", async || {
        proxy.metric(failed).await > before
    })
    .await;
    std::fs::write(&key, half).unwrap();
    std::fs::write(folder.join("password"), format!("{PASSWORD}-not")).unwrap();
    let before = proxy.metric(failed).await;
    eventually("the wrong password is noticed", async || {
        proxy.metric(failed).await > before
    })
    .await;
}

async fn check(format: &str) {
    let (_folder, folder) = folder();
    let ca = Ca::new("ca");
    let both = Leaf {
        common_name: "pod",
        dns: &[HOST],
        usage: Some(ServerAuth),
        ..Leaf::default()
    };
    let client = Leaf {
        usage: Some(ClientAuth),
        ..Leaf::default()
    };
    ca.issue(&both).write(&folder.join("server"), &ca);
    ca.issue(&client).write(&folder.join("client"), &ca);
    key_store(&folder);
    let mut secrets: Vec<_> = SAID.iter().map(|said| (*said).to_owned()).collect();
    for side in ["server", "client"] {
        secrets.extend(shapes_of_a_key(&folder.join(side).join("key")));
    }
    secrets.push(PASSWORD.to_owned());
    let [http, tcp, wrong, plain] = [(); 4].map(|()| free_port());
    let ports = Ports {
        http,
        tcp,
        wrong,
        plain,
    };
    let config = config(&folder, &ports).await;
    let proxy = Proxy::spawn(&config, &["--log-format", format]).await;
    proxy.wait_ready().await;
    go_on(&ports).await;
    break_files(&folder, &proxy).await;
    let log = proxy.log();
    for there in ["/path", "400", "wrong_name", "protocol: ", "client/key"] {
        assert!(log.contains(there), "{there} is not in {log}");
    }
    let shown = [
        log,
        get(proxy.control, "/config").await,
        get(proxy.admin, "/metrics").await,
    ];
    for secret in &secrets {
        let told = shown.iter().find(|text| text.contains(secret.as_str()));
        assert!(told.is_none(), "{secret} is in {}", told.unwrap());
    }
}

#[tokio::test]
async fn no_secret_is_told_at_trace_level_in_json() {
    check("json").await;
}

#[tokio::test]
async fn no_secret_is_told_at_trace_level_in_text() {
    check("text").await;
}
