//! The life of a redirected pod: the proxy restarts while the rules stay, drains, and bears a crowd.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::json;

use crate::capture::Scene;
use crate::net::{Families, within};
use crate::programs::{Proxy, curl, eventually};

const CALL: &str = "http://external.system.com/";

#[tokio::test(flavor = "multi_thread")]
async fn without_its_proxy_a_redirected_pod_sends_nothing() {
    let Some(scene) = Scene::new(Families::Both, "") else {
        return;
    };
    let config = json!({"redirect": {"proxyUid": 15100}, "egress": [scene.route()]});
    scene.stage.redirect(&scene.app, &config);
    let refused = curl(&scene.app, &[CALL]);
    assert!(
        refused.contains("Failed to connect") || refused.contains("refused"),
        "{refused}"
    );
    for _ in 0..3 {
        let mut proxy = Proxy::start(&scene.stage, &scene.app, &config);
        let answer = curl(&scene.app, &[CALL]);
        assert!(answer.contains("mutual client=CN=client"), "{answer}");
        proxy.signal("TERM");
        assert!(proxy.ended().success());
        assert!(
            !curl(&scene.app, &[CALL]).contains("port="),
            "escaped in plaintext"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_connections_at_once_are_served() {
    const MANY: usize = 1000;
    let Some(scene) = Scene::new(Families::Both, "") else {
        return;
    };
    let mut route = scene.route();
    // So many handshakes at once take their time where the processors are few.
    route["timeouts"] = json!({"connect": "60s"});
    let proxy = scene.redirected(json!({"egress": [route]}));
    let to = scene.external.address(80);
    let mut open: Vec<TcpStream> = within(&scene.app.namespace, || {
        (0..MANY).map(|_| TcpStream::connect(to).unwrap()).collect()
    });
    let request = b"GET /many HTTP/1.1\r\nhost: external.system.com\r\nconnection: close\r\n\r\n";
    for tcp in &mut open {
        tcp.write_all(request).unwrap();
    }
    for mut tcp in open {
        let mut answer = String::new();
        tcp.read_to_string(&mut answer).unwrap();
        assert!(answer.contains("mutual client=CN=client"), "{answer}");
    }
    let served = "mtls_proxy_requests_total{code=\"200\",direction=\"egress\",route=\"external.system.com:80\"}";
    proxy.counts(served, MANY as u64);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_lets_redirected_connections_finish() {
    let Some(scene) = Scene::new(Families::Both, "") else {
        return;
    };
    let mut proxy = scene.redirected(json!({"egress": [scene.route()]}));
    // 100 kB at 40 kB/s, through the proxy although no route is for it.
    let mut tcp = scene.app.connect(scene.other.address(80)).unwrap();
    let request = b"GET /slow HTTP/1.1\r\nhost: other.example\r\nconnection: close\r\n\r\n";
    tcp.write_all(request).unwrap();
    let mut first = [0; 1000];
    tcp.read_exact(&mut first).unwrap();
    proxy.signal("TERM");
    eventually("the drain begins", || {
        scene.app.connect(scene.other.address(80)).is_err()
    });
    let mut rest = Vec::new();
    tcp.read_to_end(&mut rest).unwrap();
    drop(tcp);
    let body = [&first[..], &rest].concat();
    assert!(body.ends_with(&[b'x'; 100_000]), "{} bytes", body.len());
    assert!(proxy.ended().success());
    // What was translated for the old proxy does not keep the next one from its connections.
    let config = json!({"redirect": {"proxyUid": 15100}, "egress": [scene.route()]});
    let _next = Proxy::start(&scene.stage, &scene.app, &config);
    let answer = curl(&scene.app, &[CALL]);
    assert!(answer.contains("mutual client=CN=client"), "{answer}");
}
