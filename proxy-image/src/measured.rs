//! What `benches/` measures: innards that are no part of the library's interface, by the names of
//! what they do.
//!
//! In: bytes and streams of a benchmark. Out: just enough of the outcome that nothing is optimised
//! away.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite};

use crate::http::fast::head::fields::Slots;
use crate::http::fast::head::write::{Changes, Framing, HostField, write_request, write_response};
use crate::http::fast::head::{Read, read_request, read_response};
use crate::relay;

/// Reads a request's head, and writes it as an upstream gets it. False: it is not usual.
#[must_use]
pub fn forward_request(head: &[u8], out: &mut Vec<u8>) -> bool {
    let mut slots = Slots::new();
    let Read::Whole((_, target, fields)) = read_request(head, &mut slots) else {
        return false;
    };
    let changes = Changes {
        host: HostField::AsSent,
        drop_identity: true,
        added: b"",
    };
    write_request(out, &target, &fields, changes);
    true
}

/// Reads an answer's head, and writes it as a client gets it. False: it is not usual.
#[must_use]
pub fn forward_response(head: &[u8], out: &mut Vec<u8>) -> bool {
    let mut slots = Slots::new();
    let Read::Whole((_, fields)) = read_response(head, false, &mut slots) else {
        return false;
    };
    write_response(out, head, &fields, Framing::Kept, false);
    true
}

/// Relays until both sides have closed.
///
/// # Errors
/// The first error of either side.
pub async fn relay<A, B>(a: &mut A, b: &mut B) -> io::Result<()>
where
    A: AsyncRead + AsyncWrite + Unpin,
    B: AsyncRead + AsyncWrite + Unpin,
{
    relay::run(a, b).await
}
