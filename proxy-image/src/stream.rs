//! One connection, to whichever side, with or without TLS; counts the bytes that pass.
//!
//! In: a connected socket. Out: `AsyncRead` and `AsyncWrite` over plain bytes. Knows no HTTP.

pub(crate) mod secured;

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use rustls::client::UnbufferedClientConnection;
use rustls::server::UnbufferedServerConnection;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use secured::Secured;

/// A connection to whichever side: an application, a client or an upstream.
pub(crate) type Stream = Metered<Layer>;

/// What lies between the socket and the plain bytes.
#[derive(Debug)]
pub(crate) enum Layer {
    /// Nothing.
    Plain(TcpStream),
    /// TLS that we began.
    Originated(Box<Secured<UnbufferedClientConnection>>),
    /// TLS that the peer began.
    Terminated(Box<Secured<UnbufferedServerConnection>>),
}

macro_rules! on_layer {
    ($self:ident, $io:ident => $call:expr) => {
        match $self.get_mut() {
            Layer::Plain($io) => $call,
            Layer::Originated($io) => $call,
            Layer::Terminated($io) => $call,
        }
    };
}

impl AsyncRead for Layer {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        on_layer!(self, io => Pin::new(io).poll_read(cx, buffer))
    }
}

impl AsyncWrite for Layer {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        on_layer!(self, io => Pin::new(io).poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        on_layer!(self, io => Pin::new(io).poll_write_vectored(cx, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(io) => io.is_write_vectored(),
            Self::Originated(io) => io.is_write_vectored(),
            Self::Terminated(io) => io.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_layer!(self, io => Pin::new(io).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        on_layer!(self, io => Pin::new(io).poll_shutdown(cx))
    }
}

impl Stream {
    /// Returns whether the peer speaks without TLS.
    pub(crate) const fn is_plain(&self) -> bool {
        matches!(self.inner, Layer::Plain(_))
    }
}

/// Counts the bytes that pass.
#[derive(Debug)]
pub(crate) struct Metered<S> {
    inner: S,
    meter: Arc<Meter>,
    /// Read and counted before, and given back to be read again.
    unread: Vec<u8>,
}

impl<S> Metered<S> {
    pub(crate) fn new(inner: S) -> Self {
        Self {
            inner,
            meter: Arc::default(),
            unread: Vec::new(),
        }
    }

    /// Lets the connection begin with bytes that were read before it was made; they count now.
    pub(crate) fn begin_with(&mut self, read: Vec<u8>) {
        self.meter.received.add(read.len());
        self.unread = read;
    }

    /// Returns whether the connection began so: with what was given back, and nothing before that.
    pub(crate) fn begins_with(&self, bytes: &[u8]) -> bool {
        let nothing_before = self.meter.received() == self.unread.len() as u64;
        nothing_before && self.unread.starts_with(bytes)
    }

    /// Gives bytes back, to be read again before all others.
    pub(crate) fn unread(&mut self, bytes: Vec<u8>) {
        self.unread = bytes;
    }

    /// Returns the counters, which outlive the connection.
    pub(crate) fn meter(&self) -> Arc<Meter> {
        Arc::clone(&self.meter)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Metered<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.unread.is_empty() {
            let some = self.unread.len().min(buffer.remaining());
            buffer.put_slice(self.unread.drain(..some).as_slice());
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.inner).poll_read(cx, buffer))?;
        self.meter.received.add(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Metered<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write(cx, bytes))?;
        self.meter.sent.add(written);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.inner).poll_write_vectored(cx, slices))?;
        self.meter.sent.add(written);
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

/// How many plain bytes passed. One task counts, others look.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    received: Count,
    sent: Count,
    idled: AtomicBool,
}

impl Meter {
    /// Returns how many bytes were read from the peer.
    pub(crate) fn received(&self) -> u64 {
        self.received.get()
    }

    /// Returns how many bytes were written to the peer.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.get()
    }

    /// Returns whether the connection was ended because nothing moved.
    pub(crate) fn ended_idle(&self) -> bool {
        self.idled.load(Ordering::Relaxed)
    }

    /// Resolves once nothing has moved for `limit`, and at the latest half a `limit` after that:
    /// looking twice per limit costs less than re-arming a timer at every read. Without a limit,
    /// never.
    pub(crate) async fn end_when_idle(&self, limit: Option<Duration>) {
        let Some(limit) = limit else {
            return std::future::pending().await;
        };
        let mut seen = self.total();
        let mut quiet = 0;
        while quiet < 2 {
            tokio::time::sleep(limit / 2).await;
            let now = self.total();
            quiet = if now == seen { quiet + 1 } else { 0 };
            seen = now;
        }
        self.idled.store(true, Ordering::Relaxed);
    }

    fn total(&self) -> u64 {
        self.received().wrapping_add(self.sent())
    }
}

/// A counter with a single writer, so that adding needs no locked instruction.
#[derive(Debug, Default)]
struct Count(AtomicU64);

impl Count {
    fn add(&self, bytes: usize) {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let sum = self.0.load(Ordering::Relaxed).wrapping_add(bytes);
        self.0.store(sum, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}
