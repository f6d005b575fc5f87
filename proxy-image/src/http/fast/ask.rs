//! The way there: sends a request on one upstream connection and waits for the answer's head.

use std::future::poll_fn;
use std::io;

use tokio::io::AsyncWriteExt;

use super::answer::Answer;
use super::head::fields::{Fields, Slots};
use super::head::write::{Framing, write_response};
use super::head::{self, Ending, Read, ResponseHead};
use super::patience::{Over, Patience};
use super::request::Request;
use crate::http::{LARGEST_HEAD, Session};
use crate::scratch;
use crate::stream::Stream;

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NoAnswer {
    /// The connection ended before anything came back. A pooled one may just have been too old.
    Nothing(Option<io::Error>),
    /// The connection ended in the middle of the head.
    Cut(Option<io::Error>),
    /// What came is not an answer that has one reading.
    Malformed,
    /// The upstream switched protocols, which nobody had asked for.
    Switched,
    /// It took too long.
    Over,
}

/// An answer that has begun: its head, rewritten for the client, and what came behind it.
pub(super) struct Head {
    pub(super) status: u16,
    pub(super) keep_alive: bool,
    /// Whether the client is told that its connection ends.
    pub(super) close: bool,
    pub(super) answer: Answer,
}

/// Sends the request and reads the head of its answer. Whether the client's connection ends is asked
/// when that head is there: a drain may have begun since.
pub(super) async fn ask(
    up: &mut Stream,
    request: &Request,
    patience: &mut Patience,
    session: &Session,
) -> Result<Head, NoAnswer> {
    let close = || request.close || session.says_farewell();
    let idle = request.route.timeouts.idle.limit();
    let sent = patience.at_most(idle, send(up, &request.bytes)).await;
    sent.map_err(|Over| NoAnswer::Over)?
        .map_err(|error| NoAnswer::Nothing(Some(error)))?;
    let limit = match (request.route.timeouts.request.limit(), idle) {
        (Some(request), Some(idle)) => Some(request.min(idle)),
        (request, idle) => request.or(idle),
    };
    let answered = patience
        .at_most(limit, read_head(up, request.is_head, close))
        .await;
    answered.map_err(|Over| NoAnswer::Over)?
}

async fn send(up: &mut Stream, bytes: &[u8]) -> io::Result<()> {
    up.write_all(bytes).await?;
    up.flush().await
}

async fn read_head(
    up: &mut Stream,
    to_head: bool,
    close: impl Fn() -> bool,
) -> Result<Head, NoAnswer> {
    let mut read = Vec::new();
    loop {
        // Nearly always the head comes in one piece and is read where it lies.
        let polled = poll_fn(|cx| {
            scratch::read(cx, up, |_, bytes| {
                if bytes.is_empty() {
                    return Step::Ended;
                }
                if read.is_empty() {
                    return step(bytes, &mut read, to_head, &close);
                }
                let mut whole = std::mem::take(&mut read);
                whole.extend_from_slice(bytes);
                step(&whole, &mut read, to_head, &close)
            })
        })
        .await;
        match polled {
            Ok(Step::Whole(head)) => return Ok(*head),
            Ok(Step::Partial) => {}
            Ok(Step::Wrong(wrong)) => return Err(wrong),
            Ok(Step::Ended) if read.is_empty() => return Err(NoAnswer::Nothing(None)),
            Ok(Step::Ended) => return Err(NoAnswer::Cut(None)),
            Err(error) if read.is_empty() => return Err(NoAnswer::Nothing(Some(error))),
            Err(error) => return Err(NoAnswer::Cut(Some(error))),
        }
    }
}

enum Step {
    Whole(Box<Head>),
    Partial,
    Wrong(NoAnswer),
    Ended,
}

/// Reads what has come so far; what is not whole is kept.
fn step(bytes: &[u8], kept: &mut Vec<u8>, to_head: bool, close: &impl Fn() -> bool) -> Step {
    let mut bytes = bytes;
    loop {
        let mut slots = Slots::new();
        let (head, fields) = match head::read_response(bytes, to_head, &mut slots) {
            Read::Whole(whole) => whole,
            Read::Partial if bytes.len() < LARGEST_HEAD => {
                kept.extend_from_slice(bytes);
                return Step::Partial;
            }
            Read::Partial | Read::Unusual => return Step::Wrong(NoAnswer::Malformed),
        };
        match head.status {
            101 => return Step::Wrong(NoAnswer::Switched),
            // Nobody here waits for an interim answer (RFC 9110 section 15.2).
            100..=199 => bytes = bytes.get(head.length..).unwrap_or_default(),
            _ => return begun(&head, &fields, bytes, close()),
        }
    }
}

fn begun(head: &ResponseHead, fields: &Fields<'_, '_>, bytes: &[u8], close: bool) -> Step {
    let framing = match head.ending {
        Ending::Close => Framing::Chunked,
        Ending::Length(_) | Ending::Chunked => Framing::Kept,
    };
    let behind = bytes.get(head.length..).unwrap_or_default();
    // Head and the beginning of the body leave in one piece.
    let mut out = Vec::with_capacity(head.length + behind.len() + 64);
    write_response(&mut out, bytes, fields, framing, close);
    let Ok(answer) = Answer::begin(out, head.ending, framing, behind) else {
        return Step::Wrong(NoAnswer::Malformed);
    };
    Step::Whole(Box::new(Head {
        status: head.status,
        keep_alive: head.keep_alive,
        close,
        answer,
    }))
}
