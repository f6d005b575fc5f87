//! Reads the body of a review. In: a request. Out: its bytes, bounded in length, time and memory.

use std::sync::Arc;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::Request;
use http_body_util::BodyExt;
use hyper::body::Body as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use super::refusal::Refusal;

/// The longest body that is read. The API server's own limit for an object is 3 MiB, and an update
/// carries two.
pub(super) const BODY_LIMIT: u64 = 8 << 20;

/// How much of an overlong body is thrown away before the answer: a client that is still sending
/// would otherwise see a reset connection instead.
const DRAIN_LIMIT: u64 = 4 * BODY_LIMIT;

/// A body, with the memory it is allowed to take until it is dropped.
#[derive(Debug)]
pub(super) struct Review {
    pub(super) bytes: Bytes,
    _memory: OwnedSemaphorePermit,
}

/// Reads a whole body until `deadline`.
pub(super) async fn read(
    request: Request<Body>,
    memory: &Arc<Semaphore>,
    deadline: Instant,
) -> Result<Review, Refusal> {
    let mut body = request.into_body();
    let announced = body.size_hint();
    if announced.lower() > BODY_LIMIT {
        let _sent = timeout_at(deadline, discard(&mut body)).await;
        return Err(Refusal::TooLarge);
    }
    let most = announced
        .upper()
        .map_or(BODY_LIMIT, |upper| upper.min(BODY_LIMIT));
    let kib = u32::try_from(most.div_ceil(1024)).unwrap_or(u32::MAX);
    let permit = timeout_at(deadline, Arc::clone(memory).acquire_many_owned(kib));
    let Ok(Ok(_memory)) = permit.await else {
        return Err(Refusal::Overloaded);
    };
    let bytes = timeout_at(deadline, collect(&mut body, announced.lower())).await;
    let bytes = bytes.map_err(|_elapsed| Refusal::TooSlow)??;
    Ok(Review { bytes, _memory })
}

async fn collect(body: &mut Body, expected: u64) -> Result<Bytes, Refusal> {
    let mut bytes = BytesMut::with_capacity(usize::try_from(expected).unwrap_or_default());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_broken| Refusal::Interrupted)?.into_data() else {
            continue;
        };
        if (bytes.len() + data.len()) as u64 > BODY_LIMIT {
            discard(body).await;
            return Err(Refusal::TooLarge);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(bytes.freeze())
}

async fn discard(body: &mut Body) {
    let mut discarded = 0;
    while let Some(Ok(frame)) = body.frame().await {
        discarded += frame.data_ref().map_or(0, |data| data.len() as u64);
        if discarded > DRAIN_LIMIT {
            return;
        }
    }
}
