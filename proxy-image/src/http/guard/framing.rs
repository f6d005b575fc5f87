//! Where one request ends and the next begins.
//!
//! In: a client's bytes, in any portions. Out: how many of them are right, or what is wrong. Pure.

use httparse::{EMPTY_HEADER, Request, Status};

use crate::http::LARGEST_HEAD;
use crate::http::fast::chunks::Chunks;

const MOST_FIELDS: usize = 100;

/// What to do with the first of the bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// So many are right; none: there have to be more first.
    Pass(usize),
    /// So many mean nothing.
    Skip(usize),
    /// The request can be read in two ways, or in none.
    Refuse(&'static str),
}

/// Where in a connection the next byte stands.
#[derive(Debug, Default)]
pub(super) enum Framing {
    /// Before or in a head.
    #[default]
    Head,
    /// In a body of known length.
    Length(u64),
    /// In a body of chunks.
    Chunked(Chunks),
    /// Behind a request to switch protocols: whatever comes is the other protocol's. If the switch
    /// is refused, the connection ends with that answer.
    Switched,
}

impl Framing {
    /// Returns whether no request is being read.
    pub(super) const fn is_between(&self) -> bool {
        matches!(self, Self::Head)
    }

    /// Looks at the first of the bytes that were not looked at yet.
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Step {
        match self {
            Self::Switched => Step::Pass(bytes.len()),
            Self::Length(left) => {
                let taken =
                    usize::try_from(*left).map_or(bytes.len(), |left| left.min(bytes.len()));
                *left -= taken as u64;
                if *left == 0 {
                    *self = Self::Head;
                }
                Step::Pass(taken)
            }
            Self::Chunked(chunks) => match chunks.follow(bytes) {
                Ok(taken) => {
                    if chunks.ended() {
                        *self = Self::Head;
                    }
                    Step::Pass(taken)
                }
                Err(_) => Step::Refuse("the chunks of the body are malformed"),
            },
            Self::Head => self.head(bytes),
        }
    }

    fn head(&mut self, bytes: &[u8]) -> Step {
        // RFC 9112 section 2.2: an empty line before a request is ignored.
        if bytes.starts_with(b"\r\n") {
            return Step::Skip(2);
        }
        let end = memchr::memmem::find(bytes, b"\r\n\r\n").map(|at| at + 4);
        let head = bytes.get(..end.unwrap_or(bytes.len())).unwrap_or_default();
        let alone = |at: usize| at == 0 || head.get(at - 1) != Some(&b'\r');
        if memchr::memchr_iter(b'\n', head).any(alone) {
            return Step::Refuse("a line of the head ends with LF alone");
        }
        if head.len() > LARGEST_HEAD {
            return Step::Refuse("the head is too large");
        }
        let Some(end) = end else {
            return Step::Pass(0);
        };
        match after(head) {
            Ok(next) => {
                *self = next;
                Step::Pass(end)
            }
            Err(why) => Step::Refuse(why),
        }
    }
}

/// Reads what follows a whole head.
fn after(head: &[u8]) -> Result<Framing, &'static str> {
    let mut slots = [EMPTY_HEADER; MOST_FIELDS];
    let mut request = Request::new(&mut slots);
    match request.parse(head) {
        Ok(Status::Complete(length)) if length == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => return Err("the head has more than 100 fields"),
        _ => return Err("the head is not HTTP/1.1"),
    }
    let (mut length, mut chunked, mut hosts, mut switches) = (None, false, 0, false);
    for field in request.headers.iter() {
        let is = |name: &str| field.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            if length.is_some() {
                return Err("the request has more than one Content-Length");
            }
            length = Some(decimal(field.value).ok_or("Content-Length is not a number")?);
        } else if is("transfer-encoding") {
            if chunked || !field.value.eq_ignore_ascii_case(b"chunked") {
                return Err("Transfer-Encoding is not chunked, once and alone");
            }
            chunked = true;
        } else if is("host") {
            hosts += 1;
        } else if is("upgrade") {
            switches = true;
        }
    }
    match (length, chunked) {
        _ if hosts > 1 => Err("the request has more than one Host"),
        (Some(_), true) => Err("the request has both Content-Length and Transfer-Encoding"),
        (None, true) if request.version == Some(0) => Err("HTTP/1.0 has no Transfer-Encoding"),
        (Some(1..), false) | (None, true) if switches => {
            Err("a request to switch protocols has a body")
        }
        _ if switches || request.method == Some("CONNECT") => Ok(Framing::Switched),
        (Some(left @ 1..), false) => Ok(Framing::Length(left)),
        (None, true) => Ok(Framing::Chunked(Chunks::new())),
        (None | Some(0), false) => Ok(Framing::Head),
    }
}

/// Digits alone (RFC 9110 section 8.6), and no more than fit.
fn decimal(value: &[u8]) -> Option<u64> {
    let text = std::str::from_utf8(value).ok()?;
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Follows bytes that come in portions; returns what is passed, and why no more is.
    fn passed(bytes: &[u8], portion: usize) -> (Vec<u8>, Option<&'static str>) {
        let (mut framing, mut waiting, mut out) = (Framing::default(), Vec::new(), Vec::new());
        for portion in bytes.chunks(portion) {
            waiting.extend_from_slice(portion);
            while !waiting.is_empty() {
                match framing.follow(&waiting) {
                    Step::Pass(0) => break,
                    Step::Pass(bytes) => out.extend(waiting.drain(..bytes)),
                    Step::Skip(bytes) => drop(waiting.drain(..bytes)),
                    Step::Refuse(why) => return (out, Some(why)),
                }
            }
        }
        (out, None)
    }

    #[test]
    fn requests_with_one_reading_pass_whatever_their_portions() {
        let good = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
                     POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n\
                     GET / HTTP/1.0\r\n\r\nGET /x HTTP/1.1\r\nHost: a\r\n\r\n";
        for portion in 1..good.len() {
            assert_eq!(passed(good, portion), (good.to_vec(), None), "{portion}");
        }
    }

    proptest! {
        #[test]
        fn what_passes_is_the_beginning_of_what_came(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
            portion in 1_usize..40,
        ) {
            let (out, _) = passed(&bytes, portion);
            let came: Vec<u8> = bytes.iter().copied().filter(|b| !b"\r\n".contains(b)).collect();
            let went: Vec<u8> = out.iter().copied().filter(|b| !b"\r\n".contains(b)).collect();
            prop_assert!(came.starts_with(&went));
        }
    }
}
