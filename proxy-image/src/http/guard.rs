//! Lets only HTTP/1 through that has one reading (RFC 9112 sections 2.2, 5, 6.1, 6.3 and 11.2): a
//! request that another recipient could split differently is refused, not repaired.
//!
//! In: a client's bytes. Out: the same bytes up to the first message that is ambiguous, then the
//! end; and a 400 that says why, if nothing else was being answered. Forwards nothing itself.

mod framing;

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use framing::{Framing, Step};

/// Why a connection was ended, once it was.
pub(super) type Verdict = Arc<OnceLock<&'static str>>;

/// A connection whose requests are looked at before they are read.
pub(super) struct Guarded<S> {
    inner: S,
    framing: Framing,
    /// Read from the client and not looked at yet.
    waiting: Vec<u8>,
    /// Looked at, and not read yet.
    passed: Vec<u8>,
    verdict: Verdict,
    /// Of the 400, how much has been sent.
    told: usize,
}

impl<S> Guarded<S> {
    pub(super) fn new(inner: S) -> Self {
        Self {
            inner,
            framing: Framing::default(),
            waiting: Vec::new(),
            passed: Vec::new(),
            verdict: Verdict::default(),
            told: 0,
        }
    }

    pub(super) fn verdict(&self) -> Verdict {
        Arc::clone(&self.verdict)
    }

    /// Looks at what waits, and hands on what is right.
    fn look(&mut self) {
        while !self.waiting.is_empty() && self.verdict.get().is_none() {
            match self.framing.follow(&self.waiting) {
                Step::Pass(0) => return,
                Step::Pass(bytes) => self.passed.extend(self.waiting.drain(..bytes)),
                Step::Skip(bytes) => drop(self.waiting.drain(..bytes)),
                Step::Refuse(why) => {
                    let _first = self.verdict.set(why);
                }
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !this.passed.is_empty() {
                let taken = this.passed.len().min(buffer.remaining());
                let rest = this.passed.split_off(taken);
                buffer.put_slice(&std::mem::replace(&mut this.passed, rest));
                return Poll::Ready(Ok(()));
            }
            if this.verdict.get().is_some() {
                return Poll::Ready(Ok(()));
            }
            let before = buffer.filled().len();
            ready!(Pin::new(&mut this.inner).poll_read(cx, buffer))?;
            let read = buffer.filled().get(before..).unwrap_or_default();
            if read.is_empty() {
                return Poll::Ready(Ok(()));
            }
            this.waiting.extend_from_slice(read);
            buffer.set_filled(before);
            this.look();
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if let Some(why) = this.verdict.get().filter(|_| this.framing.is_between()) {
            let answer = refusal(why);
            while let Some(rest) = answer.get(this.told..).filter(|rest| !rest.is_empty()) {
                match ready!(Pin::new(&mut this.inner).poll_write(cx, rest))? {
                    0 => break,
                    written => this.told += written,
                }
            }
        }
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

fn refusal(why: &str) -> Vec<u8> {
    let body = format!("mtls-proxy: no route: malformed_request: {why}\n");
    let length = body.len();
    format!(
        "HTTP/1.1 400 Bad Request\r\nx-mtls-proxy-error: no route: malformed_request: {why}\r\n\
         content-type: text/plain; charset=utf-8\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    )
    .into_bytes()
}
