//! `POST /mutate`: one review in, one review out. In: HTTP. Out: HTTP, a log line and a count.
//! What is decided, is decided by [`crate::admit`]; pods and reviews are never logged.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::{HeaderValue, Request, header};
use tokio::time::{Instant, timeout_at};
use tracing::{error, info, warn};

use super::body;
use super::connection::Peer;
use super::refusal::Refusal;
use super::{Limits, Webhook};
use crate::admit::{self, Admission, Unreadable};
use crate::review;

/// The longest review, in bytes, that is decided between two others on the same thread: half a
/// millisecond of work, less than what waking another thread can take on a busy node.
const SMALL: usize = 64 << 10;

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
        let small = review.bytes.len() <= SMALL;
        let read = move || (review::Request::read(&review.bytes), review);
        let (request, review) = run(small, deadline, read).await?;
        let request = request
            .map_err(|malformed| Refusal::Unreadable(Unreadable::from(malformed).to_string()))?;
        let here = small && self.namespaces.answers_at_once(&request.namespace);
        let webhook = Arc::clone(self);
        let decide = move || {
            // Its memory stays counted even if nobody waits for the answer any more.
            let _counted = review;
            let config = webhook.config.load();
            admit::answer(&config, webhook.namespaces.as_ref(), request)
        };
        run(here, deadline, decide).await
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

/// Does something here, or on a thread of its own if it may take long: then nobody else waits for it.
/// A panic, which would be a defect, costs one review and not the connection.
async fn run<T: Send + 'static>(
    here: bool,
    deadline: Instant,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Refusal> {
    if here {
        return catch_unwind(AssertUnwindSafe(work)).map_err(|_panicked| Refusal::Failed);
    }
    match timeout_at(deadline, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_panicked)) => Err(Refusal::Failed),
        Err(_elapsed) => Err(Refusal::Overloaded),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_costs_one_review_wherever_it_is_decided() {
        for here in [true, false] {
            let defect = || std::panic::resume_unwind(Box::new("a defect"));
            let answer: Result<(), _> = run(here, Instant::now() + Limits::REVIEW, defect).await;
            assert_eq!(answer, Err(Refusal::Failed));
        }
    }
}
