//! Opens upstream connections: for a request that waits for one, or for those to come.
//!
//! In: a request, for its route and where it goes. Out: a connection to send it on, or one more among
//! the idle.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::idle::{Idle, Waiting};
use super::request::Request;
use crate::http::Session;
use crate::http::refusal::Refusal;
use crate::route::Route;
use crate::upstream::{self, Connected, Offer, Wanted};
use crate::worker::Worker;

/// Opens a connection for a request.
pub(super) async fn open(request: &Request, session: &Session) -> Result<Waiting, Refusal> {
    let dialled = request.dialled.clone();
    let wanted = wanted(
        &request.route,
        &session.worker,
        dialled.as_deref(),
        session.headed_to,
    );
    let mut attempts = request.route.retries.attempts;
    let connected = upstream::connect_with_retries(&wanted, &mut attempts).await;
    Ok(fresh(connected.map_err(Refusal::Connect)?, dialled))
}

/// Opens a connection with the credentials of today, for the requests to come. One at a time, so
/// that the handshakes are no burden to the requests of now.
pub(super) fn renew(request: &Request, session: &Session) {
    let (route, worker) = (Arc::clone(&request.route), Arc::clone(&session.worker));
    let (dialled, headed_to) = (request.dialled.clone(), session.headed_to);
    if !route.idle(worker.index).is_some_and(Idle::begins_renewal) {
        return;
    }
    let upstreams = worker.upstreams.clone();
    upstreams.spawn(async move {
        let wanted = wanted(&route, &worker, dialled.as_deref(), headed_to);
        let connected = upstream::connect(&wanted).await;
        route.idle(worker.index).inspect(|idle| idle.renewed());
        // A failure will meet the next request that needs a connection, and be told there.
        if let Ok(connected) = connected {
            Idle::put(&route, &worker, fresh(connected, dialled));
        }
    });
}

fn wanted<'a>(
    route: &'a Route,
    worker: &'a Worker,
    dialled: Option<&'a str>,
    headed_to: SocketAddr,
) -> Wanted<'a> {
    Wanted {
        route,
        shared: &worker.shared,
        dialled,
        headed_to,
        offer: Offer::Http1,
    }
}

fn fresh(connected: Connected, dialled: Option<Box<str>>) -> Waiting {
    Waiting {
        stream: connected.stream,
        generation: connected.generation,
        dialled,
        since: Instant::now(),
    }
}
