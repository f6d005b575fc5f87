//! The fast path: usual HTTP/1.1 requests, from buffer to buffer.
//!
//! In: a connection of plain bytes. Out: each usual request sent to its route's upstream and its
//! answer sent back; and, at the first request that is not usual, the connection itself with what
//! was read of it, for the general path. So everything rare (uploads, upgrades, HTTP/1.0, HTTP/2,
//! refusals) is in one place, and what is common costs little more than copying its bytes.
//!
//! A connection that waits owns no buffer and one timer.

mod answer;
mod ask;
pub(super) mod chunks;
mod exchange;
pub(crate) mod head;
pub(crate) mod idle;
mod open;
mod patience;
mod request;

use std::future::poll_fn;
use std::pin::pin;

use tokio::io::AsyncWriteExt;

use super::{HEAD_TIMEOUT, Session};
use crate::scratch;
use crate::stream::Stream;
use patience::Patience;
use request::{Prepared, Request};

/// What a connection does next.
enum Next {
    Request(Box<Request>),
    Unusual,
    End,
}

/// Whether a connection can serve another request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Afterwards {
    Open,
    Closed,
}

/// Serves the usual requests of a connection. Returns it at the first that is not.
pub(super) async fn serve(mut stream: Stream, session: &Session) -> Option<Stream> {
    let mut patience = Patience::new();
    let mut read = Vec::new();
    // Asked once, not once a request: whoever waits for the end is on a list that all share.
    let mut end = pin!(session.asked_to_end());
    loop {
        let whole = next(&mut stream, &mut read, session);
        let next = tokio::select! {
            biased;
            next = patience.at_most(Some(HEAD_TIMEOUT), whole) => next.unwrap_or(Next::End),
            () = end.as_mut() => Next::End,
        };
        match next {
            Next::Request(request) => {
                // Boxed, so that a connection that waits does not own the room of one that works.
                let serving = exchange::run(&mut stream, request, &mut patience, session);
                if Box::pin(serving).await == Afterwards::Closed {
                    break;
                }
            }
            Next::Unusual => {
                stream.unread(read);
                return Some(stream);
            }
            Next::End => break,
        }
    }
    let _the_client_may_be_gone = patience.at_most(Some(LAST_WORDS), stream.shutdown()).await;
    None
}

/// How long a client may take to accept the end.
const LAST_WORDS: std::time::Duration = std::time::Duration::from_secs(5);

/// Waits for a whole request. `read` holds what has come of it, or came behind the one before.
async fn next(stream: &mut Stream, read: &mut Vec<u8>, session: &Session) -> Next {
    if read.is_empty() {
        if session.ends() {
            return Next::End;
        }
    } else if let Some(next) = look(None, read, session) {
        return next;
    }
    loop {
        // Nearly always a request comes in one piece and is read where it lies.
        let arrived = poll_fn(|cx| {
            scratch::read(cx, stream, |_, bytes| match bytes {
                // Half a request: the general path knows what to say.
                [] if !read.is_empty() => Some(Next::Unusual),
                [] => Some(Next::End),
                bytes => look(Some(bytes), read, session),
            })
        });
        match arrived.await {
            Ok(Some(next)) => return next,
            Ok(None) => {}
            Err(_) => return Next::End,
        }
    }
}

/// Looks for a request in what has come, first before and then now. What is no part of it is kept.
fn look(now: Option<&[u8]>, before: &mut Vec<u8>, session: &Session) -> Option<Next> {
    let (mut whole, now) = (std::mem::take(before), now.unwrap_or_default());
    let bytes = if whole.is_empty() {
        now
    } else {
        whole.extend_from_slice(now);
        &whole
    };
    let (next, used) = match request::prepare(bytes, session) {
        Prepared::Whole(request, used) => (Some(Next::Request(request)), used),
        Prepared::Unusual => (Some(Next::Unusual), 0),
        Prepared::Partial => (None, 0),
    };
    // A connection that waits owns no buffer.
    if let Some(rest) = bytes.get(used..).filter(|rest| !rest.is_empty()) {
        *before = rest.to_vec();
    }
    next
}
