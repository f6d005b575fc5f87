//! Copies bytes both ways between two connections until both directions have ended.
//!
//! In: two streams. Out: the bytes, unchanged, and each half-close at its place. A direction that
//! waits owns no memory: reads go to one buffer per thread, and only what a slow receiver has not
//! taken is kept, up to the size of that buffer.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::leftover::Leftover;
use crate::scratch;

/// Relays until both sides have closed.
///
/// # Errors
/// The first error of either side; the other direction ends with it.
pub(crate) async fn run<A, B>(a: &mut A, b: &mut B) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    let mut onward = Half::default();
    let mut back = Half::default();
    poll_fn(|cx| {
        let there = onward.poll(cx, a, b)?;
        let here = back.poll(cx, b, a)?;
        ready!(there);
        ready!(here);
        Poll::Ready(Ok(()))
    })
    .await
}

/// One direction.
#[derive(Default)]
struct Half {
    /// Read, but not yet taken by the receiver.
    leftover: Leftover,
    stage: Stage,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Copying,
    Closing,
    Closed,
}

impl Half {
    fn poll<R, W>(&mut self, cx: &mut Context<'_>, from: &mut R, to: &mut W) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        /// After so many buffers the other tasks of the thread have their turn.
        const TURN: usize = 16;
        for _ in 0..TURN {
            ready!(self.leftover.poll_write(cx, to))?;
            match self.stage {
                Stage::Closed => return Poll::Ready(Ok(())),
                Stage::Closing => {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.stage = Stage::Closed;
                }
                Stage::Copying => match self.poll_copy(cx, from, to) {
                    Poll::Ready(outcome) => outcome?,
                    Poll::Pending => {
                        // A receiver with a buffer of its own, such as TLS, sends what it has.
                        let _later = Pin::new(&mut *to).poll_flush(cx)?;
                        return Poll::Pending;
                    }
                },
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads once, and writes as much as is taken at once.
    fn poll_copy<R, W>(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut R,
        to: &mut W,
    ) -> Poll<io::Result<()>>
    where
        R: AsyncRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        let copied = scratch::read(cx, from, |cx, read| {
            if read.is_empty() {
                self.stage = Stage::Closing;
                return Ok(());
            }
            self.leftover.write_now(cx, to, read)
        });
        match ready!(copied) {
            // Many peers leave without TLS's close_notify. What came is passed on; the access line
            // says that the end was not vouched for.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                self.stage = Stage::Closing;
                Poll::Ready(Ok(()))
            }
            copied => Poll::Ready(copied.and_then(|outcome| outcome)),
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    #[tokio::test]
    async fn keeps_a_half_close_with_much_the_other_way() {
        const MUCH: usize = 3 * 1024 * 1024;
        let (mut app, mut near) = duplex(1000);
        let (mut far, mut server) = duplex(777);
        let relay = async { run(&mut near, &mut far).await.unwrap() };
        let client = async {
            app.write_all(b"question").await.unwrap();
            app.shutdown().await.unwrap();
            let mut answer = Vec::new();
            app.read_to_end(&mut answer).await.unwrap();
            assert_eq!(answer.len(), MUCH);
        };
        let upstream = async {
            let mut question = Vec::new();
            server.read_to_end(&mut question).await.unwrap();
            assert_eq!(question, b"question");
            server.write_all(&vec![7; MUCH]).await.unwrap();
            server.shutdown().await.unwrap();
        };
        tokio::join!(relay, client, upstream);
    }
}
