//! A switch of protocols (RFC 9110 section 7.8), such as to WebSocket: after the 101 the two
//! connections are relayed byte by byte.

use std::sync::Arc;

use http::{Response, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use super::body::ReplyBody;
use super::{Session, headers};
use crate::record::RequestRecord;
use crate::relay;
use crate::stream::Metered;

/// Passes the upstream's 101 on, and relays as soon as it has been sent.
pub(super) fn start(
    client: OnUpgrade,
    mut response: Response<Incoming>,
    session: Arc<Session>,
    record: Box<RequestRecord>,
) -> Response<ReplyBody> {
    let upstream = hyper::upgrade::on(&mut response);
    let (mut head, _no_body) = response.into_parts();
    let protocol = headers::upgrade_of(&head.headers);
    headers::for_downstream(&mut head.headers, protocol);
    let tasks = session.worker.tasks.clone();
    tasks.spawn(relay_upgraded(client, upstream, session, record));
    let mut switched = Response::new(ReplyBody::empty());
    *switched.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    *switched.headers_mut() = head.headers;
    switched
}

async fn relay_upgraded(
    client: OnUpgrade,
    upstream: OnUpgrade,
    session: Arc<Session>,
    mut record: Box<RequestRecord>,
) {
    let (Ok(client), Ok(upstream)) = (client.await, upstream.await) else {
        record.error = Some("upgrade_failed: a side left before the switch".to_owned());
        return;
    };
    let mut client = Metered::new(TokioIo::new(client));
    let mut upstream = TokioIo::new(upstream);
    let meter = client.meter();
    let limit = record
        .route
        .as_ref()
        .and_then(|route| route.timeouts.idle.limit());
    let watch = Arc::clone(&meter);
    let error = tokio::select! {
        relayed = relay::run(&mut client, &mut upstream) => {
            relayed.err().map(|error| format!("reset: {error}"))
        }
        () = watch.end_when_idle(limit) => Some("idle_timeout: nothing moved".to_owned()),
        () = session.worker.shared.drain.aborted() => Some("cut by the drain".to_owned()),
    };
    record.complete = error.is_none();
    record.error = error;
    record.received = meter.received();
    record.sent = meter.sent();
}
