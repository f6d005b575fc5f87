//! The admin ports: probes and metrics for the cluster, control for the pod alone.
//!
//! In: HTTP/1.1 requests. Out: `/livez`, `/readyz`, `/metrics` on the one; `/quitquitquit` and
//! `/config`, redacted, on the other. Knows nothing of routes.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::app_probe::{self, Asked};
use crate::config::Config;
use crate::drain::Drain;
use crate::listener;
use crate::metrics::Metrics;
use crate::readiness::Readiness;
use crate::telemetry::stdout;

/// What the admin ports show and do.
#[derive(Clone)]
pub(crate) struct Admin {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) config: Arc<ArcSwap<Config>>,
    pub(crate) drain: Drain,
}

#[derive(Clone, Copy, Debug)]
enum Port {
    Admin,
    Control,
}

/// Binds both ports and serves them until the process ends.
///
/// # Errors
/// A port cannot be bound.
pub(crate) fn start(
    admin: &Admin,
    public: SocketAddr,
    control: SocketAddr,
    tasks: &TaskTracker,
) -> anyhow::Result<()> {
    for (address, port) in [(public, Port::Admin), (control, Port::Control)] {
        let bound = listener::bind_admin(address).and_then(TcpListener::from_std);
        let socket = bound.with_context(|| format!("cannot listen on {address}"))?;
        tasks.spawn(accept(socket, port, admin.clone(), tasks.clone()));
    }
    Ok(())
}

async fn accept(socket: TcpListener, port: Port, admin: Admin, tasks: TaskTracker) {
    const MOST: usize = 64;
    const PAUSE: Duration = Duration::from_millis(100);
    let permits = Arc::new(Semaphore::new(MOST));
    loop {
        let permit = Arc::clone(&permits).acquire_owned().await;
        let Ok((tcp, _peer)) = socket.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let admin = admin.clone();
        tasks.spawn(async move {
            serve(tcp, port, &admin).await;
            drop(permit);
        });
    }
}

async fn serve(tcp: TcpStream, port: Port, admin: &Admin) {
    const HEAD: Duration = Duration::from_secs(10);
    const LONGEST: Duration = Duration::from_secs(300);
    let at = tcp.local_addr().ok();
    let handler = service_fn(|request: Request<Incoming>| async move {
        Ok::<_, Infallible>(match port {
            Port::Admin => admin.answer(&request, at).await,
            Port::Control => admin.control(&request),
        })
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .serve_connection(TokioIo::new(tcp), handler);
    // What the peer did wrong concerns nobody else.
    let _ended = tokio::time::timeout(LONGEST, connection).await;
}

impl Admin {
    async fn answer(
        &self,
        request: &Request<Incoming>,
        at: Option<SocketAddr>,
    ) -> Response<Full<Bytes>> {
        let config = self.config.load_full();
        let path = request.uri().path();
        let mut probes = config.probes.iter();
        let probe = probes.find(|probe| probe.path.as_str() == path);
        let (Some(probe), Some(at)) = (probe, at) else {
            return self.probe(request);
        };
        if request.method() != Method::GET {
            return not_allowed("GET");
        }
        let headers = request.headers();
        let (status, line) = app_probe::ask(probe, Asked { headers, at }).await;
        text(status, line)
    }

    fn probe(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/livez") => text(StatusCode::OK, "ok\n"),
            (&Method::GET | &Method::HEAD, "/readyz") => self.ready(),
            (&Method::GET | &Method::HEAD, "/metrics") => {
                // Who compares the counters with the log finds each counted request there.
                stdout::flush();
                let mut response = text(StatusCode::OK, self.metrics.encode());
                let kind = HeaderValue::from_static("text/plain; version=0.0.4");
                response.headers_mut().insert(CONTENT_TYPE, kind);
                response
            }
            (_, "/livez" | "/readyz" | "/metrics") => not_allowed("GET, HEAD"),
            _ => text(StatusCode::NOT_FOUND, "here are /livez /readyz /metrics\n"),
        }
    }

    fn ready(&self) -> Response<Full<Bytes>> {
        let mut missing = self.readiness.missing();
        if self.drain.has_started() {
            missing.push("draining".to_owned());
        }
        if missing.is_empty() {
            return text(StatusCode::OK, "ready\n");
        }
        text(StatusCode::SERVICE_UNAVAILABLE, missing.join("\n") + "\n")
    }

    fn control(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        match (request.method(), request.uri().path()) {
            (&Method::POST, "/quitquitquit") => {
                self.drain.start();
                text(StatusCode::OK, "draining\n")
            }
            (&Method::GET | &Method::HEAD, "/config") => {
                let mut response = text(StatusCode::OK, redacted(&self.config.load()));
                let kind = HeaderValue::from_static("application/json");
                response.headers_mut().insert(CONTENT_TYPE, kind);
                response
            }
            (_, "/quitquitquit") => not_allowed("POST"),
            (_, "/config") => not_allowed("GET, HEAD"),
            _ => text(
                StatusCode::NOT_FOUND,
                "here are /config and POST /quitquitquit\n",
            ),
        }
    }
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn not_allowed(allowed: &'static str) -> Response<Full<Bytes>> {
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, format!("use {allowed}\n"));
    let allowed = HeaderValue::from_static(allowed);
    response.headers_mut().insert(ALLOW, allowed);
    response
}

/// Renders the configuration without saying where keys and passwords lie.
fn redacted(config: &Config) -> String {
    let mut value = serde_json::to_value(config).unwrap_or_default();
    redact(&mut value);
    format!("{value:#}\n")
}

fn redact(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                if matches!(name.as_str(), "privateKey" | "passwordFile") {
                    *field = Value::from("[redacted]");
                } else {
                    redact(field);
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(redact),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shown_configuration_says_nothing_of_keys() {
        let config = Config::parse(
            "egress: [{host: a.example, tls: {clientCertificate: /c, privateKey: /secret-place}}]",
        );
        let shown = redacted(&config.unwrap());
        assert!(shown.contains("\"privateKey\": \"[redacted]\""), "{shown}");
        assert!(!shown.contains("secret-place"), "{shown}");
    }
}
