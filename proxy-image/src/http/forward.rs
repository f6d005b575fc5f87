//! One request: find its route, send it on, send the answer back.
//!
//! In: a request as it came. Out: an answer, the upstream's or a refusal; and the record of both.

use std::sync::Arc;

use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;

use super::Session;
use super::body::{Progress, ReplyBody, RequestBody, Trailers};
use super::client::{Errand, Lease};
use super::elsewhere::Elsewhere;
use super::refusal::Refusal;
use super::{headers, upgrade};
use crate::config::RequestHead;
use crate::record::RequestRecord;
use crate::route::Route;

/// Why a request is answered here and not by the upstream.
enum Unsent {
    Refused(Refusal),
    Elsewhere(Elsewhere),
}

impl From<Refusal> for Unsent {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// What came back from the upstream.
struct Reply {
    response: Response<Incoming>,
    lease: Lease,
    progress: Option<Arc<Progress>>,
    /// The client's side of a switch of protocols that was asked for.
    switching: Option<OnUpgrade>,
    /// Whether a switch was asked for, even one that is not made.
    asked: bool,
    came_by: Version,
}

/// Answers one request; never fails, because a refusal is an answer too.
pub(super) async fn answer(
    session: Arc<Session>,
    request: Request<Incoming>,
) -> Response<ReplyBody> {
    let (method, path) = (request.method().clone(), request.uri().path());
    let mut record = Box::new(RequestRecord::open(&session.peer, method, path));
    match forward(&session, request, &mut record).await {
        Ok(reply) => reply.pass_on(session, record),
        Err(Unsent::Elsewhere(elsewhere)) => elsewhere.reply(record),
        Err(Unsent::Refused(refusal)) => refusal.reply(record),
    }
}

async fn forward(
    session: &Session,
    mut request: Request<Incoming>,
    record: &mut RequestRecord,
) -> Result<Reply, Unsent> {
    if let Some(refused) = &session.refused {
        return Err(Refusal::NotAllowed(refused.clone()).into());
    }
    let authority = headers::authority_of(&request)?;
    let host = headers::without_port(&authority);
    let route = choose(session, &mut request, &authority, record)?;
    let asked = request.headers().contains_key(UPGRADE);
    let protocol = headers::upgrade_of(request.headers());
    let switching = protocol.is_some().then(|| hyper::upgrade::on(&mut request));
    let (offer, came_by) = (headers::offer_for(&request), request.version());
    headers::for_upstream(&mut request, &route, &authority, protocol);
    if let Some(client) = &session.client {
        client.apply(request.headers_mut());
    }
    let trailers = match &session.client {
        Some(_) => Trailers::WithoutIdentity,
        None => Trailers::AsSent,
    };
    let request = request.map(|body| RequestBody::new(body, trailers));
    let progress = request.body().progress();
    let errand = Errand {
        route: &route,
        worker: &session.worker,
        host,
        headed_to: session.headed_to,
        offer,
        progress: progress.as_deref(),
    };
    let (response, lease) = errand.send(request).await?;
    Ok(Reply {
        response,
        lease,
        progress,
        switching,
        asked,
        came_by,
    })
}

/// Finds the route of a request, and changes the request's target where the route says so.
fn choose(
    session: &Session,
    request: &mut Request<Incoming>,
    authority: &str,
    record: &mut RequestRecord,
) -> Result<Arc<Route>, Unsent> {
    let host = headers::without_port(authority);
    let service = session.entry.service();
    let head = RequestHead {
        method: request.method(),
        path: request.uri().path(),
        authority,
        headers: request.headers(),
    };
    let route = service.table.find(host, &head);
    let route = Arc::clone(route.ok_or_else(|| Refusal::NoRoute(host.to_owned()))?);
    record.route = Some(Arc::clone(&route));
    if let Some(redirect) = &route.redirect {
        let scheme = service.scheme();
        let elsewhere = Elsewhere::new(redirect, scheme, authority, request.uri())?;
        return Err(Unsent::Elsewhere(elsewhere));
    }
    let target = headers::path_and_query(request.uri());
    let rewritten = route.rewritten(&head, target.as_str());
    if let Some(rewritten) = rewritten {
        *request.uri_mut() = Uri::from(rewritten);
    }
    Ok(route)
}

impl Reply {
    fn pass_on(self, session: Arc<Session>, mut record: Box<RequestRecord>) -> Response<ReplyBody> {
        let Self {
            mut response,
            lease,
            progress,
            switching,
            asked,
            came_by,
        } = self;
        // RFC 9110 section 15: there are no others, and clients disagree on what they would mean.
        if response.status().as_u16() > 599 {
            return Refusal::MalformedAnswer.reply(record);
        }
        record.status = Some(response.status());
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let Some(client) = switching else {
                return Refusal::UnaskedSwitch.reply(record);
            };
            return upgrade::start(client, response, session, record);
        }
        headers::for_downstream(response.headers_mut(), None);
        if session.is_unwelcome() && came_by != Version::HTTP_2 {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        if asked {
            // What the client may already have sent is of the other protocol.
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        // An upstream of HTTP/1.0 is no reason to close on a client that can do better.
        *response.version_mut() = Version::HTTP_11;
        response.map(|body| ReplyBody::upstream(body, lease, record, progress))
    }
}
