//! A request that was read as a whole: routed, rewritten and ready to be sent, as often as need be.
//!
//! In: the bytes of a connection. Out: a [`Request`], which owns what it needs.

use std::sync::Arc;

use http::{HeaderMap, Method};

use super::head::fields::{Fields, Slots};
use super::head::write::{Changes, HostField, write_request};
use super::head::{self, Read, RequestHead, Target};
use crate::config;
use crate::http::{LARGEST_HEAD, Session, headers};
use crate::record::RequestRecord;
use crate::route::{self, Route};

/// A request that can be sent.
pub(super) struct Request {
    pub(super) route: Arc<Route>,
    pub(super) record: RequestRecord,
    /// The rewritten head and the body.
    pub(super) bytes: Vec<u8>,
    /// The name that the application dialled, on a route with a wildcard.
    pub(super) dialled: Option<Box<str>>,
    pub(super) is_head: bool,
    /// Whether the client wants the connection to end.
    pub(super) close: bool,
    /// Whether it may be sent again when its fate is unknown (RFC 9110 section 9.2.2).
    pub(super) idempotent: bool,
}

/// What the bytes of a connection came to.
pub(super) enum Prepared {
    /// A request, and how many bytes it took.
    Whole(Box<Request>, usize),
    Partial,
    Unusual,
}

/// Reads a request from the front of what has come, if it is whole and usual.
pub(super) fn prepare(bytes: &[u8], session: &Session) -> Prepared {
    let mut slots = Slots::new();
    let (head, target, fields) = match head::read_request(bytes, &mut slots) {
        Read::Whole(whole) => whole,
        Read::Partial if bytes.len() < LARGEST_HEAD => return Prepared::Partial,
        Read::Partial | Read::Unusual => return Prepared::Unusual,
    };
    let end = head.length.saturating_add(head.body);
    if end > LARGEST_HEAD {
        return Prepared::Unusual;
    }
    let Some(body) = bytes.get(head.length..end) else {
        return Prepared::Partial;
    };
    match routed(&head, target, &fields, body, session) {
        Some(request) => Prepared::Whole(request, end),
        None => Prepared::Unusual,
    }
}

fn routed(
    head: &RequestHead,
    target: Target<'_>,
    fields: &Fields<'_, '_>,
    body: &[u8],
    session: &Session,
) -> Option<Box<Request>> {
    let told = session
        .told
        .as_ref()
        .filter(|_| session.refused.is_none())?;
    let method = Method::from_bytes(target.method.as_bytes()).ok()?;
    let host = headers::without_port(target.host);
    let path = target.path_and_query.split('?').next().unwrap_or_default();
    let service = session.entry.service();
    if !service.table.usual {
        return None;
    }
    let asked = config::RequestHead {
        method: &method,
        path,
        authority: target.host,
        // Not looked at: no route of a usual table asks for fields.
        headers: &HeaderMap::new(),
    };
    let route = service.table.find(host, &asked)?;
    // Upstream connections of such a route are not alike; the general path tells them apart.
    if matches!(route.target, route::Target::Original) {
        return None;
    }
    let mut record = RequestRecord::open(&session.peer, method, path);
    record.route = Some(Arc::clone(route));
    record.received = body.len() as u64;
    let host_field = match headers::replaced_host(route, host) {
        Some(replaced) => HostField::Replaced(replaced.as_bytes()),
        None => HostField::AsSent,
    };
    let changes = Changes {
        host: host_field,
        drop_identity: session.client.is_some(),
        added: told,
    };
    let mut bytes = Vec::with_capacity(head.length + told.len() + body.len() + 64);
    write_request(&mut bytes, &target, fields, changes);
    bytes.extend_from_slice(body);
    Some(Box::new(Request {
        idempotent: record.method.is_idempotent(),
        record,
        bytes,
        dialled: route.is_wildcard().then(|| host.into()),
        is_head: head.is_head,
        close: head.close,
        route: Arc::clone(route),
    }))
}
