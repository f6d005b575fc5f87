//! The admin port: `/livez`, `/readyz` and `/metrics` over plain HTTP. In: readiness and metrics.
//! Out: answers for kubelet and Prometheus.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};
use tokio::net::TcpListener;

use super::{Phase, Shutdown};
use crate::metrics::Metrics;
use crate::readiness::Readiness;

#[derive(Clone)]
pub(super) struct Admin {
    pub(super) readiness: Readiness,
    pub(super) metrics: Arc<Metrics>,
}

impl Admin {
    /// Answers until the server is gone: also while it drains, when kubelet asks most.
    pub(super) async fn serve(self, listener: TcpListener, shutdown: Shutdown) {
        let routes = Router::new()
            .route("/livez", get(async || "ok\n"))
            .route("/readyz", get(ready))
            .route("/metrics", get(metrics))
            .with_state(self);
        let gone = async move { shutdown.reached(Phase::Aborted).await };
        let served = axum::serve(listener, routes).with_graceful_shutdown(gone);
        if let Err(error) = served.await {
            tracing::error!(%error, "admin port failed");
        }
    }
}

async fn ready(State(admin): State<Admin>) -> Response {
    match admin.readiness.check() {
        Ok(()) => "ok\n".into_response(),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let format = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    ([(header::CONTENT_TYPE, format)], admin.metrics.render()).into_response()
}
