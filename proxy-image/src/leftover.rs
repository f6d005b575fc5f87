//! What a receiver has not taken yet.
//!
//! In: bytes for a receiver. Out: the same bytes on it, at once where it takes them, else as soon as
//! it does. Owns memory only while something is left over.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

/// Bytes that wait for a receiver.
#[derive(Debug, Default)]
pub(crate) struct Leftover {
    bytes: Vec<u8>,
    taken: usize,
}

impl Leftover {
    /// Begins with bytes that wait.
    pub(crate) fn of(bytes: Vec<u8>) -> Self {
        Self { bytes, taken: 0 }
    }

    /// Lets more bytes wait.
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// Writes what waits; ready when nothing does.
    pub(crate) fn poll_write<W>(&mut self, cx: &mut Context<'_>, to: &mut W) -> Poll<io::Result<()>>
    where
        W: AsyncWrite + Unpin,
    {
        while let Some(rest) = self.bytes.get(self.taken..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut *to).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.taken += written,
            }
        }
        if self.taken > 0 {
            *self = Self::default();
        }
        Poll::Ready(Ok(()))
    }

    /// Writes as much as is taken at once, and keeps the rest; all of it, where something waits.
    pub(crate) fn write_now<W>(
        &mut self,
        cx: &mut Context<'_>,
        to: &mut W,
        bytes: &[u8],
    ) -> io::Result<()>
    where
        W: AsyncWrite + Unpin,
    {
        let mut rest = bytes;
        while self.bytes.is_empty() && !rest.is_empty() {
            match Pin::new(&mut *to).poll_write(cx, rest) {
                Poll::Ready(written) => match written? {
                    0 => return Err(io::ErrorKind::WriteZero.into()),
                    written => rest = rest.get(written..).unwrap_or_default(),
                },
                Poll::Pending => break,
            }
        }
        self.add(rest);
        Ok(())
    }
}
