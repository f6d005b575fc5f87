//! One request and its answer.
//!
//! In: a prepared request. Out: the answer on the client's connection, the upstream's connection
//! back among the idle ones, and the record.

use std::io;
use std::time::Instant;

use http::StatusCode;
use tokio::io::AsyncWriteExt;

use super::Afterwards;
use super::answer::Broken;
use super::ask::{Head, NoAnswer, ask};
use super::idle::{Idle, Waiting};
use super::open;
use super::patience::{Over, Patience};
use super::request::Request;
use crate::http::Session;
use crate::http::refusal::Refusal;
use crate::stream::Stream;

/// Serves one request.
pub(super) async fn run(
    down: &mut Stream,
    mut request: Box<Request>,
    patience: &mut Patience,
    session: &Session,
) -> Afterwards {
    match answered(&request, patience, session).await {
        Ok(begun) => pass_on(down, begun, request, patience, session).await,
        Err(refusal) => {
            let close = request.close || session.says_farewell();
            let text = refusal.write(&mut request.record, request.is_head, close);
            let idle = request.route.timeouts.idle.limit();
            let written = patience.at_most(idle, write(down, &text)).await;
            if close || !matches!(written, Ok(Ok(()))) {
                Afterwards::Closed
            } else {
                Afterwards::Open
            }
        }
    }
}

/// Asks until there is an answer, or no sense in asking again.
async fn answered(
    request: &Request,
    patience: &mut Patience,
    session: &Session,
) -> Result<(Head, Waiting), Refusal> {
    let route = &request.route;
    let dialled = request.dialled.as_deref();
    let generation = route.generation();
    let generation = generation.map_err(|missing| Refusal::Connect(missing.into()))?;
    if let Some(idle) = route.idle(session.worker.index)
        && let Some(mut up) = idle.take(dialled, generation).await
    {
        if up.generation != generation {
            open::renew(request, session);
        }
        match ask(&mut up.stream, request, patience, session).await {
            Ok(head) => return Ok((head, up)),
            // The upstream closed it while the request was on its way.
            Err(NoAnswer::Nothing(_)) if request.idempotent => {}
            Err(no) => return Err(refused(no, request)),
        }
    }
    let mut up = open::open(request, session).await?;
    let head = ask(&mut up.stream, request, patience, session).await;
    head.map(|head| (head, up))
        .map_err(|no| refused(no, request))
}

fn refused(no: NoAnswer, request: &Request) -> Refusal {
    match no {
        NoAnswer::Nothing(Some(error)) | NoAnswer::Cut(Some(error)) => Refusal::lost(error),
        NoAnswer::Nothing(None) | NoAnswer::Cut(None) => {
            Refusal::lost(io::ErrorKind::UnexpectedEof.into())
        }
        NoAnswer::Malformed => Refusal::MalformedAnswer,
        NoAnswer::Switched => Refusal::UnaskedSwitch,
        NoAnswer::Over => {
            let timeouts = &request.route.timeouts;
            match (timeouts.request.limit(), timeouts.idle.limit()) {
                (Some(limit), idle) if idle.is_none_or(|idle| limit <= idle) => {
                    Refusal::Timeout(limit)
                }
                (_, idle) => Refusal::Idle(idle.unwrap_or_default()),
            }
        }
    }
}

async fn pass_on(
    down: &mut Stream,
    (head, mut up): (Head, Waiting),
    mut request: Box<Request>,
    patience: &mut Patience,
    session: &Session,
) -> Afterwards {
    let close = head.close;
    request.record.status = StatusCode::from_u16(head.status).ok();
    let moved = {
        let (from, to) = (up.stream.meter(), down.meter());
        move || from.received().wrapping_add(to.sent())
    };
    let mut answer = head.answer;
    let idle = request.route.timeouts.idle.limit();
    let passing = answer.pass_on(&mut up.stream, down);
    let passed = patience.while_moving(idle, moved, passing).await;
    let record = &mut request.record;
    record.sent = answer.body;
    match passed {
        Ok(Ok(())) => {
            record.complete = true;
            if head.keep_alive && !answer.excess && !session.ends() {
                up.since = Instant::now();
                Idle::put(&request.route, &session.worker, up);
            }
            if close {
                Afterwards::Closed
            } else {
                Afterwards::Open
            }
        }
        Ok(Err(broken)) => {
            record.error = Some(broken.to_string());
            Afterwards::Closed
        }
        Err(Over) => {
            record.error = Some(Broken::Idle.to_string());
            Afterwards::Closed
        }
    }
}

async fn write(down: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    down.write_all(bytes).await?;
    down.flush().await
}
