//! Relays a connection byte by byte. In: a connection and its service. Out: the same bytes to and
//! from the route's upstream, and one line in the log.

use crate::connection::Downstream;
use crate::plan::Service;
use crate::record::{ConnectionRecord, Outcome};
use crate::relay;
use crate::upstream::{self, Offer, Wanted};
use crate::worker::Worker;

/// Serves one connection with protocol tcp.
pub(crate) async fn serve(mut downstream: Downstream, service: &Service, worker: &Worker) {
    let Some(route) = service.table.only() else {
        return;
    };
    let mut record = ConnectionRecord::of(route, &downstream);
    if let Some(refused) = &downstream.parts.client.refused {
        return record.close(Outcome::Refused, Some(refused));
    }
    let connected = upstream::connect(&Wanted {
        route,
        shared: &worker.shared,
        dialled: None,
        headed_to: downstream.parts.headed_to,
        offer: Offer::Http1,
    })
    .await;
    let mut upstream = match connected {
        Ok(connected) => connected.stream,
        Err(failure) => return record.close(Outcome::UpstreamFailed, Some(&failure)),
    };
    let meter = downstream.stream.meter();
    let (outcome, error) = tokio::select! {
        biased;
        relayed = relay::run(&mut downstream.stream, &mut upstream) => match relayed {
            Ok(()) => (Outcome::Closed, None),
            Err(error) => (Outcome::Reset, Some(error)),
        },
        () = meter.end_when_idle(route.timeouts.idle.limit()) => (Outcome::Idle, None),
        () = worker.shared.drain.aborted() => (Outcome::Cut, None),
    };
    match error {
        Some(error) => record.close(outcome, Some(&error)),
        None => record.close(outcome, None),
    }
}
