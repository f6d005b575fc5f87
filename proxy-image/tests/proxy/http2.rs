//! HTTP/2: prior knowledge from the application, ALPN from clients, and gRPC's trailers.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Version};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpStream;

use crate::egress;
use crate::harness::{Proxy, curl, folder, local};
use crate::inbound::{as_client, credentials, port};
use crate::nginx::Nginx;
use crate::pki::Ca;
use crate::ports::free_port;
use crate::stub;

type Heads = Arc<Mutex<Vec<http::request::Parts>>>;

/// A gRPC server as far as HTTP knows it: it answers with its request's body, and with trailers.
async fn grpc_server() -> (SocketAddr, Heads) {
    let heads = Heads::default();
    let remembered = Arc::clone(&heads);
    let address = stub::listen(move |tcp| {
        let heads = Arc::clone(&remembered);
        async move {
            let service = service_fn(move |request: Request<Incoming>| {
                let heads = Arc::clone(&heads);
                async move {
                    let (head, body) = request.into_parts();
                    heads.lock().unwrap().push(head);
                    let body = body.collect().await.unwrap().to_bytes();
                    let mut trailers = HeaderMap::new();
                    trailers.insert("grpc-status", HeaderValue::from_static("0"));
                    let frames = [
                        Ok::<_, Infallible>(Frame::data(body)),
                        Ok(Frame::trailers(trailers)),
                    ];
                    let stream = StreamBody::new(Frames(frames.into_iter()));
                    Ok::<_, Infallible>(Response::new(stream))
                }
            });
            let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                .serve_connection(TokioIo::new(tcp), service);
            let _closed = connection.await;
        }
    })
    .await;
    (address, heads)
}

/// Frames that are all there.
struct Frames<I>(I);

impl<I: Iterator + Unpin> futures_core::Stream for Frames<I> {
    type Item = I::Item;

    fn poll_next(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<I::Item>> {
        std::task::Poll::Ready(self.0.next())
    }
}

#[tokio::test]
async fn grpc_goes_through_with_its_trailers() {
    let (upstream, heads) = grpc_server().await;
    let listen = free_port();
    let config = json!({"egress": [{
        "host": "grpc.example", "port": listen, "targetPort": upstream.port(),
        "address": "127.0.0.1", "tls": {"mode": "DISABLE"},
    }]});
    let proxy = Proxy::start(&config).await;
    let tcp = TcpStream::connect(local(listen)).await.unwrap();
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(tcp));
    let (mut sender, connection) = handshake.await.unwrap();
    let mut driver = tokio::task::JoinSet::new();
    driver.spawn(connection);
    for _ in 0..3 {
        let request = Request::post(format!("http://grpc.example:{listen}/shop.Stock/Count"))
            .version(Version::HTTP_2)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(Full::new(Bytes::from_static(b"\0\0\0\0\x02hi")))
            .unwrap();
        let response = sender.send_request(request).await.unwrap();
        assert_eq!(response.status(), 200);
        let body = response.into_body().collect().await.unwrap();
        let trailers = body.trailers().expect("trailers").clone();
        assert_eq!(trailers["grpc-status"], "0");
        assert_eq!(body.to_bytes(), &b"\0\0\0\0\x02hi"[..]);
    }
    let heads = std::mem::take(&mut *heads.lock().unwrap());
    assert_eq!(heads.len(), 3);
    let head = heads.first().unwrap();
    assert_eq!(head.version, Version::HTTP_2);
    assert_eq!(head.headers["te"], "trailers");
    let authority = head.uri.authority().unwrap();
    assert_eq!(authority.as_str(), format!("grpc.example:{listen}"));
    let series = format!(
        r#"mtls_proxy_requests_total{{code="200",direction="egress",route="grpc.example:{listen}"}}"#
    );
    proxy.counts(&series, 3).await;
}

#[tokio::test]
async fn clients_may_speak_http_2_to_an_application_that_does_not() {
    let (_folder, folder) = folder();
    credentials(&folder, &Ca::new("ca"));
    let (app, heads) = stub::echo_heads().await;
    let listen = free_port();
    let config = json!({"inbound": [port(listen, app.port(), "STRICT", &folder)]});
    let _proxy = Proxy::start(&config).await;
    let answer = as_client(
        &folder,
        listen,
        &["--http2", "-H", "Cookie: a=1", "-H", "Cookie: b=2"],
    )
    .await;
    assert!(answer.starts_with("HTTP/2 200"), "{answer}");
    let head = heads.lock().unwrap()[0].to_lowercase();
    assert!(head.starts_with("get /hello http/1.1\r\n"), "{head}");
    assert!(
        head.contains(&format!("\r\nhost: localhost:{listen}\r\n")),
        "{head}"
    );
    assert!(head.contains("\r\ncookie: a=1; b=2\r\n"), "{head}");
    assert!(
        head.contains("x-client-cert-subject: cn=inventory-service\r\n"),
        "{head}"
    );
}

#[tokio::test]
async fn an_application_with_prior_knowledge_reaches_an_upstream_without_http_2() {
    let (upstream, heads) = stub::echo_heads().await;
    let listen = free_port();
    let config = json!({"egress": [{
        "host": "a.example", "port": listen, "targetPort": upstream.port(),
        "address": "127.0.0.1", "tls": {"mode": "DISABLE"},
    }]});
    let _proxy = Proxy::start(&config).await;
    let url = format!("http://127.0.0.1:{listen}/x");
    let answer = curl(&["-i", "--http2-prior-knowledge", &url]).await;
    assert!(answer.starts_with("HTTP/2 200"), "{answer}");
    assert!(heads.lock().unwrap()[0].starts_with("GET /x HTTP/1.1\r\n"));
}

#[tokio::test]
async fn an_upstream_is_spoken_to_in_the_version_of_the_request() {
    let (_folder, folder) = folder();
    egress::credentials(&folder, &Ca::new("ca"));
    let nginx = Nginx::start(&folder.join("server")).await;
    let listen = free_port();
    let route = egress::route(listen, nginx.port, &folder.join("client"));
    let _proxy = Proxy::start(&json!({"egress": [route]})).await;
    let url = format!("http://127.0.0.1:{listen}/x");
    // In turn, so that neither takes the other's pooled connection.
    for (flag, protocol) in [
        ("--http2-prior-knowledge", "HTTP/2.0"),
        ("--http1.1", "HTTP/1.1"),
        ("--http2-prior-knowledge", "HTTP/2.0"),
        ("--http1.1", "HTTP/1.1"),
    ] {
        let answer = curl(&[flag, &url]).await;
        let expected = format!("uri=/x protocol={protocol} ");
        assert!(answer.starts_with("client=CN=the-app"), "{answer}");
        assert!(answer.contains(&expected), "{flag}: {answer}");
    }
}
