//! HTTP/2 when the process ends, and attempts that are made again.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use socket2::SockRef;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpListener, TcpStream};

use crate::harness::{PATIENCE, Proxy, eventually, get, local};
use crate::ports::free_port;
use crate::stub;

fn plain(port: u16, target: u16) -> Value {
    json!({
        "host": "a.example", "port": port, "targetPort": target, "address": "127.0.0.1",
        "tls": {"mode": "DISABLE"},
    })
}

#[tokio::test]
async fn a_drain_lets_streams_end_and_begins_no_other() {
    let upstream = stub::Patient::start().await;
    let port = free_port();
    let route = plain(port, upstream.address.port());
    let mut proxy = Proxy::start(&json!({"egress": [route]})).await;
    let [mut busy, mut idle] = [connect(port).await, connect(port).await];
    // Who was answered was accepted: a drain resets what still waits in the kernel's queue.
    let first = idle.sender.send_request(request("/"));
    assert_eq!(first.await.unwrap().status(), 204);
    let answered = busy.sender.send_request(request("/long"));
    let drained = async {
        upstream.asked().await;
        proxy.signal("TERM");
        // GOAWAY: who has nothing to wait for is let go, and nobody begins anything new.
        let ended = tokio::time::timeout(PATIENCE, idle.driver.join_next()).await;
        ended
            .expect("the idle connection ends")
            .unwrap()
            .unwrap()
            .unwrap();
        // The worker of the other connection may be later; what comes before GOAWAY is served.
        eventually("a request is refused", async || {
            busy.sender.send_request(request("/late")).await.is_err()
        })
        .await;
        upstream.answer();
    };
    let (answered, ()) = tokio::join!(answered, drained);
    let body = answered.unwrap().into_body().collect().await.unwrap();
    assert_eq!(body.to_bytes(), "done");
    let late = busy.sender.send_request(request("/late")).await;
    assert!(late.is_err(), "a request after GOAWAY: {late:?}");
    assert_eq!(proxy.ended().await.code(), Some(0));
}

fn request(path: &str) -> Request<Empty<Bytes>> {
    let request = Request::get(format!("http://a.example{path}"));
    request.body(Empty::new()).unwrap()
}

/// A connection of HTTP/2.
struct Http2 {
    sender: hyper::client::conn::http2::SendRequest<Empty<Bytes>>,
    driver: tokio::task::JoinSet<hyper::Result<()>>,
}

async fn connect(port: u16) -> Http2 {
    let tcp = TcpStream::connect(local(port)).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tcp));
    let (mut sender, connection) = handshake.await.unwrap();
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(connection);
    sender.ready().await.unwrap();
    Http2 { sender, driver }
}

#[tokio::test]
async fn a_connection_that_fails_is_tried_again_as_often_as_the_route_says() {
    let (never, again, backend) = (free_port(), free_port(), free_port());
    let mut once = plain(never, backend);
    once["retries"] = json!({"attempts": 0});
    let mut patient = plain(again, backend);
    patient["retries"] = json!({"attempts": 9, "on": ["connect-failure"]});
    let proxy = Proxy::start(&json!({"egress": [once, patient]})).await;
    let answer = get(local(never), "/").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let backend_comes = async {
        // The patient request is being served, and has found nobody yet.
        let open = "mtls_proxy_open_connections";
        eventually("it waits", async || proxy.metric(open).await == 1).await;
        let socket = TcpListener::bind(local(backend)).await.unwrap();
        let (mut tcp, _) = socket.accept().await.unwrap();
        stub::read_head(&mut tcp).await;
        tcp.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nagain")
            .await
            .unwrap();
    };
    let (answer, ()) = tokio::join!(get(local(again), "/"), backend_comes);
    assert!(answer.ends_with("again"), "{answer}");
}

#[tokio::test]
async fn a_request_that_may_have_arrived_is_not_sent_twice() {
    let port = free_port();
    let socket = TcpListener::bind(local(0)).await.unwrap();
    let mut route = plain(port, socket.local_addr().unwrap().port());
    route["retries"] = json!({"attempts": 5, "on": ["connect-failure", "reset-before-request"]});
    let _proxy = Proxy::start(&json!({"egress": [route]})).await;
    let request =
        "POST /pay HTTP/1.1\r\nHost: a.example\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    let resets = async {
        let (mut tcp, _) = socket.accept().await.unwrap();
        let head = stub::read_head(&mut tcp).await;
        assert!(head.starts_with("POST /pay "), "{head}");
        SockRef::from(&tcp)
            .set_linger(Some(Duration::ZERO))
            .unwrap();
        drop(tcp);
        // Whoever asks again comes at once; nobody does.
        tokio::time::timeout(Duration::from_secs(1), socket.accept())
            .await
            .is_err()
    };
    let exchanged = crate::harness::exchange(local(port), request.as_bytes());
    let (answer, alone) = tokio::join!(exchanged, resets);
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(alone, "the request was sent again");
}
