//! The way back: the answer's body from the upstream to the client.
//!
//! In: the rewritten head with what came behind it, and how the body ends. Out: the body on the
//! client's connection, and whether the upstream's can serve another request. Nothing is kept in
//! memory but what a slow client has not taken.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};

use super::chunks::{Chunks, Malformed};
use super::head::Ending;
use super::head::write::Framing;
use crate::leftover::Leftover;
use crate::scratch;

/// Why an answer was not passed on to its end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Broken {
    /// The upstream's connection failed.
    #[error("the upstream broke off: {0}")]
    Upstream(#[source] io::Error),
    /// The upstream ended before the answer did.
    #[error("the upstream closed in the middle of its answer")]
    Truncated,
    /// The chunks cannot be told apart.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// Nothing moved for the route's idle timeout.
    #[error("nothing moved for the idle timeout")]
    Idle,
    /// The client's connection failed.
    #[error("the client broke off: {0}")]
    Client(#[source] io::Error),
}

/// What is left of a body.
#[derive(Debug)]
enum Left {
    Length(u64),
    Chunks(Chunks),
    UntilClose,
    Nothing,
}

/// An answer on its way.
#[derive(Debug)]
pub(crate) struct Answer {
    left: Left,
    framing: Framing,
    /// Not yet taken by the client.
    leftover: Leftover,
    /// Bytes of body that were passed on.
    pub(crate) body: u64,
    /// Whether the upstream said more than it had announced, so that its connection is spoiled.
    pub(crate) excess: bool,
}

impl Answer {
    /// Begins with `head`, which is already rewritten, and the bytes that came behind it.
    ///
    /// # Errors
    /// These bytes are no chunks.
    pub(crate) fn begin(
        head: Vec<u8>,
        ending: Ending,
        framing: Framing,
        behind: &[u8],
    ) -> Result<Self, Malformed> {
        let left = match ending {
            Ending::Length(0) => Left::Nothing,
            Ending::Length(length) => Left::Length(length),
            Ending::Chunked => Left::Chunks(Chunks::new()),
            Ending::Close => Left::UntilClose,
        };
        let mut answer = Self {
            left,
            framing,
            leftover: Leftover::of(head),
            body: 0,
            excess: false,
        };
        if !behind.is_empty() {
            let taken = answer.take(behind)?;
            answer.frame(behind.get(..taken).unwrap_or_default());
        }
        Ok(answer)
    }

    /// Passes the answer on to its end.
    ///
    /// # Errors
    /// Either side broke off, or the upstream's answer is not one.
    pub(crate) async fn pass_on<U, D>(&mut self, up: &mut U, down: &mut D) -> Result<(), Broken>
    where
        U: AsyncRead + Unpin,
        D: AsyncWrite + Unpin,
    {
        poll_fn(|cx| self.poll(cx, up, down)).await
    }

    fn poll<U, D>(
        &mut self,
        cx: &mut Context<'_>,
        up: &mut U,
        down: &mut D,
    ) -> Poll<Result<(), Broken>>
    where
        U: AsyncRead + Unpin,
        D: AsyncWrite + Unpin,
    {
        /// After so many buffers the other tasks of the thread have their turn.
        const TURN: usize = 16;
        for _ in 0..TURN {
            ready!(self.leftover.poll_write(cx, down)).map_err(Broken::Client)?;
            if matches!(self.left, Left::Nothing) {
                return Pin::new(down).poll_flush(cx).map_err(Broken::Client);
            }
            if self.poll_copy(cx, up, down)?.is_pending() {
                let _later = Pin::new(down).poll_flush(cx).map_err(Broken::Client)?;
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads once and writes as much as is taken at once; the rest waits.
    fn poll_copy<U, D>(
        &mut self,
        cx: &mut Context<'_>,
        up: &mut U,
        down: &mut D,
    ) -> Result<Poll<()>, Broken>
    where
        U: AsyncRead + Unpin,
        D: AsyncWrite + Unpin,
    {
        let polled = scratch::read(cx, up, |cx, bytes| {
            if bytes.is_empty() {
                return self.upstream_ended();
            }
            let taken = self.take(bytes)?;
            let body = bytes.get(..taken).unwrap_or_default();
            if self.framing == Framing::Chunked {
                self.frame(body);
                return Ok(());
            }
            let written = self.leftover.write_now(cx, down, body);
            written.map_err(Broken::Client)
        });
        match polled {
            Poll::Pending => Ok(Poll::Pending),
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                // TLS without close_notify: an attacker may have cut the answer short.
                Err(Broken::Truncated)
            }
            Poll::Ready(Err(error)) => Err(Broken::Upstream(error)),
            Poll::Ready(Ok(outcome)) => outcome.map(Poll::Ready),
        }
    }

    /// Counts bytes into the body and returns how many belong to it.
    fn take(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let taken = match &mut self.left {
            Left::Nothing => 0,
            Left::UntilClose => bytes.len(),
            Left::Length(left) => {
                let taken =
                    usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= taken as u64;
                if *left == 0 {
                    self.left = Left::Nothing;
                }
                taken
            }
            Left::Chunks(chunks) => {
                let taken = chunks.follow(bytes)?;
                if chunks.ended() {
                    self.left = Left::Nothing;
                }
                taken
            }
        };
        self.excess |= taken < bytes.len();
        self.body += taken as u64;
        Ok(taken)
    }

    /// Keeps bytes of the body for the client, in a chunk of their own where that is the framing.
    fn frame(&mut self, body: &[u8]) {
        if self.framing == Framing::Kept {
            self.leftover.add(body);
        } else if !body.is_empty() {
            self.leftover
                .add(format!("{:x}\r\n", body.len()).as_bytes());
            self.leftover.add(body);
            self.leftover.add(b"\r\n");
        }
    }

    fn upstream_ended(&mut self) -> Result<(), Broken> {
        if !matches!(self.left, Left::UntilClose) {
            return Err(Broken::Truncated);
        }
        self.left = Left::Nothing;
        if self.framing == Framing::Chunked {
            self.leftover.add(b"0\r\n\r\n");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// Passes on an answer that comes in small portions to a client that reads in small portions.
    async fn passed(
        ending: Ending,
        framing: Framing,
        upstream: &'static [u8],
    ) -> (String, Result<bool, String>) {
        let (mut server, mut up) = duplex(3);
        let (mut down, mut client) = duplex(5);
        let sending = async move {
            server.write_all(upstream).await.ok();
            drop(server);
        };
        let passing = async move {
            let mut answer = Answer::begin(b"HEAD ".to_vec(), ending, framing, b"").unwrap();
            let outcome = answer.pass_on(&mut up, &mut down).await;
            outcome
                .map(|()| answer.excess)
                .map_err(|error| error.to_string())
        };
        let reading = async move {
            let mut text = String::new();
            client.read_to_string(&mut text).await.unwrap();
            text
        };
        let ((), outcome, text) = tokio::join!(sending, passing, reading);
        (text, outcome)
    }

    #[tokio::test]
    async fn a_body_ends_at_its_length() {
        let (text, outcome) = passed(Ending::Length(11), Framing::Kept, b"hello world").await;
        assert_eq!((text.as_str(), outcome), ("HEAD hello world", Ok(false)));
    }

    #[tokio::test]
    async fn what_comes_after_the_end_is_not_passed_on() {
        let (text, outcome) = passed(Ending::Length(4), Framing::Kept, b"hello world").await;
        assert_eq!((text.as_str(), outcome), ("HEAD hell", Ok(true)));
        let body = b"6\r\nhello!\r\n0\r\n\r\nHTTP/1.1 200 OK";
        let (text, outcome) = passed(Ending::Chunked, Framing::Kept, body).await;
        assert_eq!(
            (text.as_str(), outcome),
            ("HEAD 6\r\nhello!\r\n0\r\n\r\n", Ok(true))
        );
    }

    #[tokio::test]
    async fn an_answer_without_a_length_gets_chunks() {
        let (text, outcome) = passed(Ending::Close, Framing::Chunked, b"hello").await;
        assert_eq!(
            (text.as_str(), outcome),
            ("HEAD 3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", Ok(false))
        );
    }

    #[tokio::test]
    async fn a_cut_answer_is_told_from_a_whole_one() {
        let truncated = Err("the upstream closed in the middle of its answer".to_owned());
        let (text, outcome) = passed(Ending::Length(11), Framing::Kept, b"hello").await;
        assert_eq!((text.as_str(), outcome), ("HEAD hello", truncated.clone()));
        let (_, outcome) = passed(Ending::Chunked, Framing::Kept, b"5\r\nhello\r\n").await;
        assert_eq!(outcome, truncated);
    }
}
