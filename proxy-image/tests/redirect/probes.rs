//! Probes of the application that kubelet sends to the admin port: nginx and stubs as applications.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;

use serde_json::{Value, json};

use crate::net::{Families, Net, Pod, within};
use crate::programs::{Proxy, Stage, nginx};

fn probe(name: &str, kind: &str, port: u16, more: &Value) -> Value {
    let mut probe =
        json!({"path": format!("/app-health/{name}/livez"), "kind": kind, "port": port});
    for (key, value) in more.as_object().unwrap() {
        probe[key] = value.clone();
    }
    probe
}

fn ask(proxy: &Proxy, name: &str) -> String {
    proxy.admin(&format!("/app-health/{name}/livez"))
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_pass_where_kubelet_itself_would_be_refused() {
    let Some(mut net) = Net::new(Families::Both) else {
        return;
    };
    let (stage, pod) = (Stage::new(&[]), net.pod("one", ""));
    let config = json!({
        "redirect": {"proxyUid": 15100},
        "inbound": [{"port": 8443, "targetPort": 8080, "tls": {"credentialDirectory": stage.server}}],
        "probes": [
            probe("web", "http", 8080, &json!({"target": "/healthz?full=1"})),
            probe("port", "tcp", 8080, &json!({})),
            probe("tls", "https", 443, &json!({})),
            probe("none", "http", 8099, &json!({})),
            probe("shut", "tcp", 8099, &json!({})),
        ],
    });
    stage.redirect(&pod, &config);
    let _nginx = nginx(&stage, &pod);
    let proxy = Proxy::start(&stage, &pod, &config);
    assert!(
        ask(&proxy, "web").contains(" 200 OK"),
        "{}",
        ask(&proxy, "web")
    );
    assert!(ask(&proxy, "port").contains(" 200 OK"));
    // nginx answers 400 to whom shows no certificate: the status is passed on.
    assert!(
        ask(&proxy, "tls").contains(" 400 "),
        "{}",
        ask(&proxy, "tls")
    );
    for gone in ["none", "shut"] {
        let answer = ask(&proxy, gone);
        assert!(
            answer.contains(" 503 ") && answer.contains("cannot connect to port 8099"),
            "{answer}"
        );
    }
    assert!(ask(&proxy, "unknown").contains(" 404 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kubelet_sends_reaches_the_application() {
    let Some(mut net) = Net::new(Families::Both) else {
        return;
    };
    let (stage, pod) = (Stage::new(&[]), net.pod("one", ""));
    let config = json!({"probes": [
        probe("web", "http", 8080, &json!({"target": "/healthz?full=1"})),
        probe("slow", "http", 8082, &json!({"timeout": "200ms"})),
    ]});
    let heard = stub(
        &pod,
        8080,
        "HTTP/1.1 302 Found\r\nlocation: /login\r\ncontent-length: 0\r\n\r\n",
    );
    let _silent = within(&pod.namespace, || {
        TcpListener::bind("0.0.0.0:8082").unwrap()
    });
    let proxy = Proxy::start(&stage, &pod, &config);
    let answer = ask(&proxy, "web");
    assert!(answer.contains(" 200 OK"), "{answer}");
    let request = heard.join().unwrap();
    assert!(
        request.starts_with("GET /healthz?full=1 HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.to_ascii_lowercase().contains("host: pod:8080\r\n"),
        "{request}"
    );
    let slow = ask(&proxy, "slow");
    assert!(
        slow.contains(" 503 ") && slow.contains("no answer within 200 ms"),
        "{slow}"
    );
}

/// Takes one request in a pod, answers it, and returns what it was.
fn stub(pod: &Pod, port: u16, answer: &'static str) -> std::thread::JoinHandle<String> {
    let listener = within(&pod.namespace, || {
        TcpListener::bind(("0.0.0.0", port)).unwrap()
    });
    std::thread::spawn(move || {
        let (mut tcp, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            tcp.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        tcp.write_all(answer.as_bytes()).unwrap();
        String::from_utf8(request).unwrap()
    })
}

/// Serves the health protocol: `well` is SERVING, `ill` is not, others are unknown (gRPC status 5).
fn health_server(pod: &Pod, port: u16) {
    use http_body_util::{BodyExt as _, Full};
    use hyper::body::{Bytes, Incoming};
    use hyper::{HeaderMap, Request, Response};
    use hyper_util::rt::{TokioExecutor, TokioIo};

    async fn answer(
        request: Request<Incoming>,
    ) -> Result<
        Response<impl hyper::body::Body<Data = Bytes, Error = std::convert::Infallible>>,
        hyper::Error,
    > {
        assert_eq!(request.uri().path(), "/grpc.health.v1.Health/Check");
        let asked = request.into_body().collect().await?.to_bytes();
        let (message, status): (&'static [u8], _) = match asked.get(7..) {
            Some(b"well") => (&[0, 0, 0, 0, 2, 8, 1], "0"),
            Some(b"ill") => (&[0, 0, 0, 0, 2, 8, 2], "0"),
            _ => (&[], "5"),
        };
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", status.parse().unwrap());
        let body = Full::new(Bytes::from_static(message))
            .with_trailers(std::future::ready(Some(Ok(trailers))));
        let response = Response::builder().header("content-type", "application/grpc");
        Ok(response.body(body).unwrap())
    }

    let listener = within(&pod.namespace, || {
        TcpListener::bind(("127.0.0.1", port)).unwrap()
    });
    listener.set_nonblocking(true).unwrap();
    let listener = tokio::net::TcpListener::from_std(listener).unwrap();
    #[expect(clippy::disallowed_methods, reason = "ends with the test's runtime")]
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let service = hyper::service::service_fn(answer);
            let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
            let _ended = serving.serve_connection(TokioIo::new(tcp), service).await;
        }
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_probes_ask_for_the_health_of_a_service() {
    let Some(mut net) = Net::new(Families::Both) else {
        return;
    };
    let (stage, pod) = (Stage::new(&[]), net.pod("one", ""));
    let named = |name: &str| probe(name, "grpc", 8083, &json!({"service": name}));
    let config = json!({"probes": [
        named("well"), named("ill"), named("unknown"), probe("whole", "grpc", 8083, &json!({})),
        probe("gone", "grpc", 8084, &json!({})),
    ]});
    health_server(&pod, 8083);
    let proxy = Proxy::start(&stage, &pod, &config);
    let check = |name: &str, expected: [&str; 2]| {
        let answer = ask(&proxy, name);
        assert!(
            expected.iter().all(|text| answer.contains(text)),
            "{name}: {answer}"
        );
    };
    check("well", [" 200 OK", "ok"]);
    check("ill", [" 503 ", "not SERVING"]);
    check("unknown", [" 503 ", "grpc-status 5"]);
    check("whole", [" 503 ", "grpc-status 5"]);
    check("gone", [" 503 ", "cannot connect to port 8084"]);
}
