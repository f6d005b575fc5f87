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
mod head;
pub(crate) mod idle;
mod patience;
mod request;

use std::future::poll_fn;
use std::io;
use std::pin::pin;

use tokio::io::AsyncWriteExt;

use super::Session;
use super::{HEAD_TIMEOUT, LARGEST_HEAD};
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

/// Waits for a whole request.
async fn next(stream: &mut Stream, read: &mut Vec<u8>, session: &Session) -> Next {
    loop {
        if !read.is_empty() {
            match request::prepare(read, session) {
                Prepared::Whole(request) => return Next::Request(request),
                Prepared::Unusual => return Next::Unusual,
                Prepared::Partial if read.len() >= LARGEST_HEAD => return Next::Unusual,
                Prepared::Partial => {}
            }
        } else if session.ends() {
            return Next::End;
        }
        match read_more(stream, read).await {
            Ok(0) if read.is_empty() => return Next::End,
            // Half a request: the general path knows what to say.
            Ok(0) => return Next::Unusual,
            Ok(_) => {}
            Err(_) => return Next::End,
        }
    }
}

/// Reads once, into a buffer that is made when there is something to put into it.
async fn read_more(stream: &mut Stream, into: &mut Vec<u8>) -> io::Result<usize> {
    poll_fn(|cx| {
        scratch::read(cx, stream, |_, bytes| {
            into.extend_from_slice(bytes);
            bytes.len()
        })
    })
    .await
}
