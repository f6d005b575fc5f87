//! Relays a connection byte by byte. In: a connection and its service. Out: the same bytes to and
//! from the route's upstream, and one line in the log.

use crate::connection::Downstream;
use crate::plan::Service;
use crate::record::{ConnectionRecord, Outcome};
use crate::relay;
use crate::route::Route;
use crate::stream::Stream;
use crate::upstream::failure::ConnectFailure;
use crate::upstream::{self, Offer, Wanted};
use crate::worker::Worker;

/// Serves one connection with protocol tcp.
#[expect(
    clippy::manual_async_fn,
    reason = "the future of an async fn owns its arguments a second time"
)]
pub(crate) fn serve(
    mut downstream: Downstream,
    service: &Service,
    worker: &Worker,
) -> impl Future<Output = ()> {
    async move {
        let Some(route) = service.table.only() else {
            return;
        };
        let mut record = ConnectionRecord::of(route, &downstream);
        if let Some(refused) = &downstream.parts.client.refused {
            return record.close(Outcome::Refused, Some(refused));
        }
        let mut upstream = match Box::pin(connect(&downstream, route, worker)).await {
            Ok(upstream) => upstream,
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
}

async fn connect(
    downstream: &Downstream,
    route: &Route,
    worker: &Worker,
) -> Result<Stream, ConnectFailure> {
    let wanted = Wanted {
        route,
        shared: &worker.shared,
        dialled: None,
        headed_to: downstream.parts.headed_to,
        offer: Offer::Http1,
    };
    Ok(upstream::connect(&wanted).await?.stream)
}
