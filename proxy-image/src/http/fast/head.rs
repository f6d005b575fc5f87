//! The head of an HTTP/1.1 message, read strictly and written anew.
//!
//! In: bytes as they came. Out: either a head that has exactly one reading, or nothing: whatever is
//! unusual is left to the general path, and so is every refusal. What goes on is written anew from
//! the fields that were read, so that no byte is forwarded that was not understood. Knows no sockets.

pub(crate) mod fields;
#[cfg(test)]
mod tests;
pub(crate) mod write;

use httparse::{ParserConfig, Status};

use fields::{Fields, Known, Slots, connection_closes};

/// A request that can be forwarded on the fast path: HTTP/1.1, origin-form, one `Host`, a body of
/// known length or none, nothing that changes the protocol.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RequestHead {
    /// How many bytes the head takes, with its empty line.
    pub(crate) length: usize,
    /// How many bytes of body follow it.
    pub(crate) body: usize,
    /// Whether the answer to it has no body, as after `HEAD` (RFC 9110 section 9.3.2).
    pub(crate) is_head: bool,
    /// Whether the client wants the connection to end after the answer.
    pub(crate) close: bool,
}

/// What ends the body of an answer (RFC 9112 section 6.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// So many bytes.
    Length(u64),
    /// The last chunk.
    Chunked,
    /// The end of the connection.
    Close,
}

/// The head of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ResponseHead {
    /// How many bytes the head takes, with its empty line.
    pub(crate) length: usize,
    pub(crate) status: u16,
    pub(crate) ending: Ending,
    /// Whether the upstream keeps the connection for another request.
    pub(crate) keep_alive: bool,
}

/// What a read of a head came to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Read<T> {
    /// The head is whole and usual.
    Whole(T),
    /// There is more to come.
    Partial,
    /// The head is wrong, ambiguous, or merely unusual.
    Unusual,
}

/// The parts of a request that a route is chosen by, and that its record names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target<'b> {
    pub(crate) method: &'b str,
    /// Path and query, beginning with `/`.
    pub(crate) path_and_query: &'b str,
    /// `Host` as it came.
    pub(crate) host: &'b str,
}

/// Reads a request's head. The fields, which lie in `slots`, are for [`write::write_request`].
pub(crate) fn read_request<'s, 'b>(
    bytes: &'b [u8],
    slots: &'s mut Slots<'b>,
) -> Read<(RequestHead, Target<'b>, Fields<'s, 'b>)> {
    let Some(end) = end_of_head(bytes) else {
        return Read::Partial;
    };
    let mut request = httparse::Request::new(&mut []);
    let Ok(Status::Complete(parsed)) = request.parse_with_uninit_headers(bytes, &mut slots.0)
    else {
        return Read::Unusual;
    };
    let (Some(method), Some(path_and_query), Some(1)) =
        (request.method, request.path, request.version)
    else {
        return Read::Unusual;
    };
    let fields = Fields::of(request.headers);
    // A fragment is no part of a target; the general path drops it.
    let origin_form = path_and_query.starts_with('/')
        && path_and_query.is_ascii()
        && !path_and_query.contains('#');
    let is_clear = parsed == end.length && end.lines_end_right;
    if !is_clear || !origin_form || matches!(method, "CONNECT" | "PRI") {
        return Read::Unusual;
    }
    let Some((host, body, close)) = usual_request(&fields) else {
        return Read::Unusual;
    };
    let head = RequestHead {
        length: end.length,
        body,
        is_head: method == "HEAD",
        close,
    };
    let target = Target {
        method,
        path_and_query,
        host,
    };
    Read::Whole((head, target, fields))
}

/// Reads what the fields of a request say about its length and its connection.
fn usual_request<'b>(fields: &Fields<'_, 'b>) -> Option<(&'b str, usize, bool)> {
    let mut host = None;
    let mut body = None;
    let mut close = false;
    for (known, field) in fields.iter() {
        match known {
            Known::Host if host.is_none() => host = Some(host_of(field.value)?),
            Known::ContentLength if body.is_none() => {
                body = Some(usize::try_from(decimal(field.value)?).ok()?);
            }
            Known::Connection => close |= connection_closes(field.value)?,
            // Twice the same, or what the general path has to look at.
            Known::Host | Known::ContentLength | Known::TransferEncoding => return None,
            Known::Upgrade | Known::Expect | Known::Te | Known::Trailer => return None,
            Known::HopByHop | Known::Identity | Known::Other => {}
        }
    }
    Some((host?, body.unwrap_or(0), close))
}

/// Reads an answer's head, also an interim one (1xx), which has no body.
pub(crate) fn read_response<'s, 'b>(
    bytes: &'b [u8],
    to_head: bool,
    slots: &'s mut Slots<'b>,
) -> Read<(ResponseHead, Fields<'s, 'b>)> {
    let Some(end) = end_of_head(bytes) else {
        return Read::Partial;
    };
    let mut response = httparse::Response::new(&mut []);
    // Strict by default: no spaces before colons, no folded lines.
    let parsed = ParserConfig::default().parse_response_with_uninit_headers(
        &mut response,
        bytes,
        &mut slots.0,
    );
    let (Ok(Status::Complete(parsed)), Some(minor), Some(status)) =
        (parsed, response.version, response.code)
    else {
        return Read::Unusual;
    };
    let fields = Fields::of(response.headers);
    // The parser skips empty lines, which have no place before an answer.
    let first = bytes.starts_with(b"HTTP/1.");
    let is_clear = first && parsed == end.length && end.lines_end_right;
    if !is_clear || !(100..=599).contains(&status) {
        return Read::Unusual;
    }
    let Some((ending, close)) = ending_of(&fields, to_head, status) else {
        return Read::Unusual;
    };
    let keep_alive = minor == 1 && !close && ending != Ending::Close;
    let head = ResponseHead {
        length: end.length,
        status,
        ending,
        keep_alive,
    };
    Read::Whole((head, fields))
}

fn ending_of(fields: &Fields<'_, '_>, to_head: bool, status: u16) -> Option<(Ending, bool)> {
    let mut length = None;
    let mut chunked = false;
    let mut close = false;
    for (known, field) in fields.iter() {
        match known {
            Known::ContentLength if length.is_none() => length = Some(decimal(field.value)?),
            Known::TransferEncoding if !chunked => {
                if !field.value.eq_ignore_ascii_case(b"chunked") {
                    return None;
                }
                chunked = true;
            }
            Known::Connection => close |= connection_closes(field.value)?,
            Known::ContentLength | Known::TransferEncoding | Known::Upgrade => return None,
            _ => {}
        }
    }
    let ending = match (
        to_head || matches!(status, 100..=199 | 204 | 304),
        length,
        chunked,
    ) {
        (_, Some(_), true) => return None,
        (true, ..) => Ending::Length(0),
        (false, Some(length), false) => Ending::Length(length),
        (false, None, true) => Ending::Chunked,
        (false, None, false) => Ending::Close,
    };
    Some((ending, close))
}

/// The empty line that ends a head.
struct EndOfHead {
    /// How many bytes the head takes, with its empty line.
    length: usize,
    /// Whether every line ends with CR LF. The parser also takes a lone LF, and so may another
    /// recipient, or not (RFC 9112 section 2.2).
    lines_end_right: bool,
}

fn end_of_head(bytes: &[u8]) -> Option<EndOfHead> {
    let mut lines_end_right = true;
    for at in memchr::memchr_iter(b'\n', bytes) {
        let before = bytes.get(..at)?;
        if before.ends_with(b"\r\n\r") {
            return Some(EndOfHead {
                length: at + 1,
                lines_end_right,
            });
        }
        lines_end_right &= before.ends_with(b"\r");
    }
    None
}

/// Digits and nothing else, as RFC 9110 section 8.6 wants a length.
fn decimal(value: &[u8]) -> Option<u64> {
    let digits = !value.is_empty() && value.len() <= 18 && value.iter().all(u8::is_ascii_digit);
    if !digits {
        return None;
    }
    Some(
        value
            .iter()
            .fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')),
    )
}

fn host_of(value: &[u8]) -> Option<&str> {
    let usual = |b: &u8| b.is_ascii_alphanumeric() || b".-_:[]".contains(b);
    let host = value.iter().all(usual) && !value.is_empty();
    std::str::from_utf8(value).ok().filter(|_| host)
}
