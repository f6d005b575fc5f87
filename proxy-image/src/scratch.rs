//! One large buffer per thread for bytes that are read and passed on at once, so that a connection
//! on which nothing is in flight owns no buffer.
//!
//! In: something to read from. Out: its bytes, for the length of one call.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// Four full TLS records.
pub(crate) const SIZE: usize = 64 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SIZE].into_boxed_slice());
}

/// Reads once and hands the bytes on; none at the end. Not to be called from within `with`.
pub(crate) fn read<R, T>(
    cx: &mut Context<'_>,
    from: &mut R,
    with: impl FnOnce(&mut Context<'_>, &[u8]) -> T,
) -> Poll<io::Result<T>>
where
    R: AsyncRead + Unpin,
{
    SCRATCH.with_borrow_mut(|scratch| {
        let mut buffer = ReadBuf::new(scratch);
        ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
        Poll::Ready(Ok(with(cx, buffer.filled())))
    })
}
