//! Envoy with a configuration of ours: listeners, filters and clusters as JSON.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::process::Command;

use crate::harness::{folder, text};
use crate::peers::Peer;

/// A protocol on the wire between Envoy and the proxy.
#[derive(Clone, Copy)]
pub(super) enum Wire {
    Http1,
    Http2,
    Tcp,
}

fn typed(kind: &str, fields: &Value) -> Value {
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

pub(super) fn http_filter(route: &Value, headers: &Value) -> Value {
    let router = typed("extensions.filters.http.router.v3.Router", &json!({}));
    let kind = "extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
    let filter = typed(
        kind,
        &json!({
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

pub(super) fn tcp_filter(cluster: &str) -> Value {
    let kind = "extensions.filters.network.tcp_proxy.v3.TcpProxy";
    let filter = typed(kind, &json!({"stat_prefix": "tcp", "cluster": cluster}));
    json!({"name": "tcp", "typed_config": filter})
}

/// A listener that demands a certificate of the CA.
pub(super) fn server(port: u16, credentials: &Path, filter: &Value) -> Value {
    let mut common = tls(credentials, &[]);
    common["alpn_protocols"] = json!(["h2", "http/1.1"]);
    let context = typed(
        "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        &json!({"common_tls_context": common, "require_client_certificate": true}),
    );
    json!({"address": address(port), "filter_chains": [{
        "filters": [filter], "transport_socket": {"name": "tls", "typed_config": context},
    }]})
}

pub(super) fn listener(port: u16, filter: &Value) -> Value {
    json!({"address": address(port), "filter_chains": [{"filters": [filter]}]})
}

/// Where a listener leads to; with credentials, over TLS.
pub(super) fn cluster(name: &str, port: u16, wire: Wire, credentials: Option<&Path>) -> Value {
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
            &json!({"common_tls_context": common, "sni": "localhost"}),
        );
        cluster["transport_socket"] = json!({"name": "tls", "typed_config": context});
    }
    if matches!(wire, Wire::Http2) {
        let kind = "extensions.upstreams.http.v3.HttpProtocolOptions";
        let options = typed(
            kind,
            &json!({"explicit_http_config": {"http2_protocol_options": {}}}),
        );
        let name = format!("envoy.{kind}");
        cluster["typed_extension_protocol_options"] = json!({name: options});
    }
    cluster
}

/// A running Envoy.
pub(super) struct Envoy {
    _peer: Peer,
    _folder: TempDir,
}

impl Envoy {
    pub(super) async fn start(
        program: &Path,
        listeners: &[Value],
        clusters: &[Value],
        ports: &[u16],
    ) -> Self {
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
