//! Envoy on both sides: as the external system that demands a client certificate, and as the client
//! of an inbound port; over HTTP/1.1, HTTP/2 and tcp.

use std::path::Path;

use rcgen::ExtendedKeyUsagePurpose::ClientAuth;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::Command;

use crate::egress::{self, HOST};
use crate::harness::{Proxy, curl, folder, free_port, get, local, text};
use crate::inbound::port;
use crate::peers::{Peer, find};
use crate::pki::{Ca, Leaf};
use crate::stub;

/// A protocol on the wire between Envoy and the proxy.
#[derive(Clone, Copy)]
enum Wire {
    Http1,
    Http2,
    Tcp,
}

fn typed(kind: &str, fields: Value) -> Value {
    let mut value = json!({"@type": format!("type.googleapis.com/envoy.{kind}")});
    value
        .as_object_mut()
        .unwrap()
        .extend(fields.as_object().unwrap().clone());
    value
}

fn address(port: u16) -> Value {
    json!({"socket_address": {"address": "127.0.0.1", "port_value": port}})
}

fn file(path: &Path) -> Value {
    json!({"filename": text(path)})
}

/// What both kinds of TLS context have in common.
fn tls(credentials: &Path, names: &[&str]) -> Value {
    let names: Vec<_> = names
        .iter()
        .map(|name| json!({"san_type": "DNS", "matcher": {"exact": name}}))
        .collect();
    json!({
        "tls_certificates": [{
            "certificate_chain": file(&credentials.join("cert")), "private_key": file(&credentials.join("key")),
        }],
        "validation_context": {
            "trusted_ca": file(&credentials.join("cacert")), "match_typed_subject_alt_names": names,
        },
    })
}

fn http_filter(route: &Value, headers: &Value) -> Value {
    let router = typed("extensions.filters.http.router.v3.Router", json!({}));
    let kind = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let filter = typed(
        kind,
        json!({
            "stat_prefix": "http",
            "http_filters": [{"name": "router", "typed_config": router}],
            "route_config": {
                "response_headers_to_add": headers,
                "virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}],
            },
        }),
    );
    json!({"name": "http", "typed_config": filter})
}

fn tcp_filter(cluster: &str) -> Value {
    let kind = "extensions.filters.network.tcp_proxy.v3.TcpProxy";
    let filter = typed(kind, json!({"stat_prefix": "tcp", "cluster": cluster}));
    json!({"name": "tcp", "typed_config": filter})
}

/// A listener that demands a certificate of the CA.
fn server(port: u16, credentials: &Path, filter: &Value) -> Value {
    let mut common = tls(credentials, &[]);
    common["alpn_protocols"] = json!(["h2", "http/1.1"]);
    let context = typed(
        "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        json!({"common_tls_context": common, "require_client_certificate": true}),
    );
    json!({"address": address(port), "filter_chains": [{
        "filters": [filter], "transport_socket": {"name": "tls", "typed_config": context},
    }]})
}

fn listener(port: u16, filter: &Value) -> Value {
    json!({"address": address(port), "filter_chains": [{"filters": [filter]}]})
}

/// Where a listener leads to; with credentials, over TLS.
fn cluster(name: &str, port: u16, wire: Wire, credentials: Option<&Path>) -> Value {
    let mut cluster = json!({
        "name": name,
        "load_assignment": {"cluster_name": name, "endpoints": [
            {"lb_endpoints": [{"endpoint": {"address": address(port)}}]},
        ]},
    });
    if let Some(credentials) = credentials {
        let mut common = tls(credentials, &["localhost"]);
        if matches!(wire, Wire::Http2) {
            common["alpn_protocols"] = json!(["h2"]);
        }
        let kind = "extensions.transport_sockets.tls.v3.UpstreamTlsContext";
        let context = typed(
            kind,
            json!({"common_tls_context": common, "sni": "localhost"}),
        );
        cluster["transport_socket"] = json!({"name": "tls", "typed_config": context});
    }
    if matches!(wire, Wire::Http2) {
        let kind = "extensions.upstreams.http.v3.HttpProtocolOptions";
        let options = typed(
            kind,
            json!({"explicit_http_config": {"http2_protocol_options": {}}}),
        );
        let name = format!("envoy.{kind}");
        cluster["typed_extension_protocol_options"] = json!({name: options});
    }
    cluster
}

/// A running Envoy.
struct Envoy {
    _peer: Peer,
    _folder: TempDir,
}

impl Envoy {
    async fn start(program: &Path, listeners: &[Value], clusters: &[Value], ports: &[u16]) -> Self {
        let (kept, folder) = folder();
        let file = folder.join("envoy.json");
        let config = json!({"static_resources": {"listeners": listeners, "clusters": clusters}});
        std::fs::write(&file, config.to_string()).unwrap();
        let mut command = Command::new(program);
        let command = command.arg("-c").arg(&file).args([
            "--concurrency",
            "1",
            "--disable-hot-restart",
            "-l",
            "warning",
        ]);
        Self {
            _peer: Peer::start(command, ports).await,
            _folder: kept,
        }
    }
}

#[tokio::test]
async fn envoy_is_the_external_system() {
    let Some(program) = find("envoy") else {
        return;
    };
    let (_folder, folder) = folder();
    let ca = Ca::new("ca");
    egress::credentials(&folder, &ca);
    let stranger = Leaf {
        common_name: "stranger",
        usage: Some(ClientAuth),
        ..Leaf::default()
    };
    Ca::new("other")
        .issue(&stranger)
        .write(&folder.join("stranger"), &ca);
    let (web, raw, echo) = (free_port(), free_port(), stub::echo().await);
    let answer = json!({
        "match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "from envoy"}},
    });
    let headers = json!([{"header": {
        "key": "x-seen", "value": "%PROTOCOL% %DOWNSTREAM_PEER_SUBJECT% %DOWNSTREAM_TLS_VERSION%",
    }}]);
    let _envoy = Envoy::start(
        &program,
        &[
            server(web, &folder.join("server"), &http_filter(&answer, &headers)),
            server(raw, &folder.join("server"), &tcp_filter("echo")),
        ],
        &[cluster("echo", echo.port(), Wire::Tcp, None)],
        &[web, raw],
    )
    .await;
    let (http, tcp, wrong) = (free_port(), free_port(), free_port());
    let client = folder.join("client");
    let mut stream = egress::route(tcp, raw, &client);
    stream["protocol"] = json!("tcp");
    let routes = [
        egress::route(http, web, &client),
        stream,
        egress::route(wrong, web, &folder.join("stranger")),
    ];
    let _proxy = Proxy::start(&json!({"egress": routes})).await;
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
    assert!(
        answer.contains(&format!(
            "x-mtls-proxy-error: {HOST}:{wrong}: refused_by_peer: "
        )),
        "{answer}"
    );
}

#[tokio::test]
async fn envoy_is_the_client() {
    let Some(program) = find("envoy") else {
        return;
    };
    let (_folder, folder) = folder();
    let ca = Ca::new("ca");
    crate::inbound::credentials(&folder, &ca);
    let stranger = Leaf {
        common_name: "stranger",
        usage: Some(ClientAuth),
        ..Leaf::default()
    };
    Ca::new("other")
        .issue(&stranger)
        .write(&folder.join("stranger"), &ca);
    let ((app, heads), echo) = (stub::echo_heads().await, stub::echo().await);
    let (web, raw) = (free_port(), free_port());
    let mut stream = port(raw, echo.port(), "STRICT", &folder);
    stream["protocol"] = json!("tcp");
    let proxy =
        Proxy::start(&json!({"inbound": [port(web, app.port(), "STRICT", &folder), stream]})).await;
    let (client, stranger) = (folder.join("client"), folder.join("stranger"));
    let [old, new, tcp, wrong] = [(); 4].map(|()| free_port());
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
        cluster("old", web, Wire::Http1, Some(&client)),
        cluster("new", web, Wire::Http2, Some(&client)),
        cluster("raw", raw, Wire::Tcp, Some(&client)),
        cluster("wrong", web, Wire::Http1, Some(&stranger)),
    ];
    let _envoy = Envoy::start(&program, &listeners, &clusters, &[old, new, tcp, wrong]).await;
    for port in [old, new] {
        let spoof = "x-client-cert-subject: CN=root";
        let answer = curl(&["-i", "-H", spoof, &format!("http://127.0.0.1:{port}/hello")]).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        let head = heads.lock().unwrap().pop().unwrap().to_lowercase();
        assert!(head.starts_with("get /hello http/1.1\r\n"), "{head}");
        assert!(
            head.contains("x-client-cert-subject: cn=inventory-service\r\n"),
            "{head}"
        );
        assert!(!head.contains("cn=root"), "{head}");
    }
    over_and_back(tcp).await;
    let refused =
        r#"mtls_proxy_handshakes_total{direction="inbound",outcome="failed",reason="unknown_ca"}"#;
    assert_eq!(proxy.metric(refused).await, 0);
    let answer = get(local(wrong), "/").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(proxy.metric(refused).await >= 1);
    assert!(
        heads.lock().unwrap().is_empty(),
        "a stranger's request got through"
    );
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
