//! A connection with TLS, on a socket.
//!
//! In: a socket and a session of rustls. Out: the handshake, then plain bytes. Records are received
//! into, and sealed in, one buffer per thread: many in one system call, and a connection on which
//! nothing is in flight owns no buffer. Knows no routes and no certificates.

mod records;
mod session;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use rustls::CommonState;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use crate::leftover::Leftover;
use crate::scratch;
use records::Records;
pub(crate) use session::Session;

/// What one record holds (RFC 8446 section 5.1). One is sealed and sent at a time: with several in
/// one system call, the kernel takes half as much time again for the same bytes.
const RECORD: usize = 16 * 1024;
/// What records add to the bytes in them at the most: a header, a tag, perhaps a nonce each.
const ADDED: usize = 4 * 1024;
/// The longest record (RFC 8446 section 5.2, RFC 5246 section 6.2.3).
const LONGEST_RECORD: usize = 5 + 16 * 1024 + 2048;
/// The longest handshake message that rustls takes, in its records, and a record behind it.
const MOST_RECEIVED: usize = scratch::SIZE + ADDED + LONGEST_RECORD;

thread_local! {
    static RECEIVED: RefCell<Box<[u8]>> = RefCell::new(vec![0; MOST_RECEIVED].into_boxed_slice());
    static SEALED: RefCell<Box<[u8]>> =
        RefCell::new(vec![0; RECORD + ADDED].into_boxed_slice());
}

/// A connection whose handshake is done.
pub(crate) struct Secured<S> {
    tcp: TcpStream,
    records: Records<S>,
    /// Received, but not yet a whole record, or handshake message.
    partial: Vec<u8>,
    /// Opened, but not yet read, because the reader's buffer was too small.
    opened: Vec<u8>,
    /// Sealed, but not yet taken by the socket.
    sealed: Leftover,
    said_goodbye: bool,
}

impl<S> fmt::Debug for Secured<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secured")
            .field("tcp", &self.tcp)
            .field("records", &self.records)
            .finish_non_exhaustive()
    }
}

impl<S: Session> Secured<S> {
    /// Shakes hands.
    ///
    /// # Errors
    /// The peer's certificate is not good, the peer refused ours, or it left. An error of rustls is
    /// inside; the alert that it deserves has been sent if the socket took it at once.
    pub(crate) async fn shake_hands(tcp: TcpStream, session: S) -> io::Result<Self> {
        let mut connection = Self {
            tcp,
            records: Records::new(session),
            partial: Vec::new(),
            opened: Vec::new(),
            sealed: Leftover::default(),
            said_goodbye: false,
        };
        poll_fn(|cx| connection.poll_handshake(cx)).await?;
        Ok(connection)
    }

    /// Returns what the handshake told.
    pub(crate) fn state(&self) -> &CommonState {
        self.records.state()
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A client speaks first.
        let mut began = self.records.open(&mut [], &mut self.sealed, |_| ());
        while self.state().is_handshaking() {
            began?;
            ready!(self.poll_send(cx))?;
            // A client's first request may come in one piece with the end of the handshake.
            let mut opened = std::mem::take(&mut self.opened);
            let received = self.poll_receive(cx, |bytes| opened.extend_from_slice(bytes));
            self.opened = opened;
            ready!(received)?;
            // Whoever has shaken hands may have said all, and goodbye, in the same piece.
            if self.records.ended() && self.state().is_handshaking() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            began = Ok(0);
        }
        self.poll_send(cx)
    }

    /// Receives once, and opens the records that have become whole.
    fn poll_receive(
        &mut self,
        cx: &mut Context<'_>,
        opened: impl FnMut(&[u8]),
    ) -> Poll<io::Result<()>> {
        RECEIVED.with_borrow_mut(|received| {
            // No more than fits into the buffer of whoever reads, but always a whole record.
            let (held, free) = received
                .split_at_mut_checked(self.partial.len())
                .ok_or(io::ErrorKind::InvalidData)?;
            let most = scratch::SIZE.saturating_sub(held.len());
            let free = free.get_mut(..most.max(LONGEST_RECORD));
            let mut free = ReadBuf::new(free.ok_or(io::ErrorKind::InvalidData)?);
            ready!(Pin::new(&mut self.tcp).poll_read(cx, &mut free))?;
            let end = held.len() + free.filled().len();
            if end == held.len() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            held.copy_from_slice(&self.partial);
            let whole = received.get_mut(..end).unwrap_or_default();
            let outcome = self.records.open(whole, &mut self.sealed, opened);
            let used = *outcome.as_ref().unwrap_or(&end);
            self.keep(received.get(used..end).unwrap_or_default());
            if outcome.is_err() {
                let _best_effort = self.poll_send(cx);
            }
            Poll::Ready(outcome.map(|_| ()))
        })
    }

    fn keep(&mut self, partial: &[u8]) {
        if partial.is_empty() {
            self.partial = Vec::new();
        } else {
            self.partial.clear();
            self.partial.extend_from_slice(partial);
        }
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.sealed.poll_write(cx, &mut self.tcp)
    }

    /// Hands out what was opened before.
    fn give(&mut self, buffer: &mut ReadBuf<'_>) {
        let some = self.opened.len().min(buffer.remaining());
        buffer.put_slice(self.opened.drain(..some).as_slice());
        if self.opened.is_empty() {
            self.opened = Vec::new();
        }
    }
}

impl<S: Session> AsyncRead for Secured<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let connection = self.get_mut();
        if !connection.opened.is_empty() {
            connection.give(buffer);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        while buffer.filled().len() == before && !connection.records.ended() {
            let mut rest = Vec::new();
            let received = connection.poll_receive(cx, |bytes| {
                let (now, later) = bytes.split_at(bytes.len().min(buffer.remaining()));
                buffer.put_slice(now);
                rest.extend_from_slice(later);
            });
            connection.opened = rest;
            ready!(received)?;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: Session> AsyncWrite for Secured<S> {
    /// Takes as much as fills a record; what the socket does not take of it at once waits, and
    /// nothing more is taken until it has left.
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let connection = self.get_mut();
        ready!(connection.poll_send(cx))?;
        let some = bytes.get(..RECORD).unwrap_or(bytes);
        SEALED.with_borrow_mut(|into| {
            let Self {
                tcp,
                records,
                partial,
                sealed,
                ..
            } = connection;
            let length = records.seal(some, into, partial, sealed)?;
            sealed.write_now(cx, tcp, into.get(..length).unwrap_or_default())?;
            Poll::Ready(Ok(some.len()))
        })
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut().poll_send(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let connection = self.get_mut();
        if !connection.said_goodbye {
            connection.said_goodbye = true;
            let Self {
                records,
                partial,
                sealed,
                ..
            } = connection;
            records.say_goodbye(partial, sealed)?;
        }
        ready!(connection.poll_send(cx))?;
        match ready!(Pin::new(&mut connection.tcp).poll_shutdown(cx)) {
            // Whoever is gone needs no goodbye.
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            shut => Poll::Ready(shut),
        }
    }
}
