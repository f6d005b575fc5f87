//! `POST /mutate`: one review in, one review out. In: HTTP. Out: HTTP, a log line and a count.
//! What is decided, is decided by [`crate::admit`]; pods and reviews are never logged.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{HeaderValue, Request, header};
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

use super::body::{self, Review};
use super::connection::Peer;
use super::refusal::Refusal;
use super::{Limits, Webhook};
use crate::admit::{Admission, admit};

pub(super) fn routes(webhook: Webhook) -> Router {
    Router::new()
        .route("/mutate", post(mutate))
        .with_state(Arc::new(webhook))
}

async fn mutate(State(webhook): State<Arc<Webhook>>, request: Request<Body>) -> Response {
    let started = Instant::now();
    let peer = request.extensions().get::<Peer>().copied();
    let answer = webhook.answer(request, started + Limits::REVIEW).await;
    webhook.record(&answer, started, peer);
    match answer {
        Ok(admission) => {
            let json = HeaderValue::from_static("application/json");
            ([(header::CONTENT_TYPE, json)], admission.reply).into_response()
        }
        Err(refusal) => refusal.into_response(),
    }
}

impl Webhook {
    async fn answer(
        self: &Arc<Self>,
        request: Request<Body>,
        deadline: Instant,
    ) -> Result<Admission, Refusal> {
        if !is_json(&request) {
            return Err(Refusal::NotJson);
        }
        let review = body::read(request, &self.memory, deadline).await?;
        let webhook = Arc::clone(self);
        // A thread of its own: a large review delays nobody's handshake, and a panic, which would be
        // a defect, costs one review.
        let decided = tokio::task::spawn_blocking(move || webhook.decide(&review));
        match timeout_at(deadline, decided).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_panicked)) => Err(Refusal::Failed),
            Err(_elapsed) => Err(Refusal::Overloaded),
        }
    }

    fn decide(&self, review: &Review) -> Result<Admission, Refusal> {
        let config = self.config.load();
        admit(&config, self.namespaces.as_ref(), &review.bytes)
            .map_err(|unreadable| Refusal::Unreadable(unreadable.to_string()))
    }

    fn record(&self, answer: &Result<Admission, Refusal>, started: Instant, peer: Option<Peer>) {
        let duration = started.elapsed();
        let duration_ms = duration.as_micros() as f64 / 1e3;
        match answer {
            Ok(admission) => {
                (self.tell)(admission);
                let (decision, reason) = (admission.decision.label(), admission.decision.reason());
                self.metrics.record_admission(decision, reason, duration);
                info!(
                    pod.namespace = admission.namespace,
                    pod.name = admission.name,
                    uid = admission.uid,
                    decision,
                    reason,
                    dry_run = admission.dry_run,
                    duration_ms,
                    "admission decided"
                );
            }
            Err(refusal) => {
                self.metrics
                    .record_admission("error", refusal.label(), duration);
                let peer = peer.map(|peer| peer.0.to_string());
                let status = refusal.status().as_u16();
                if status == 500 {
                    error!(peer.address = peer, duration_ms, "review failed");
                } else {
                    warn!(peer.address = peer, duration_ms, status, %refusal, "review refused");
                }
            }
        }
    }
}

/// `application/json`, whatever its parameters (RFC 9110 section 8.3.1).
fn is_json(request: &Request<Body>) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let media_type = content_type
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next());
    media_type.is_some_and(|media_type| media_type.trim().eq_ignore_ascii_case("application/json"))
}
