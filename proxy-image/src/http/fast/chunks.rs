//! Follows the chunks of a body (RFC 9112 section 7.1) to find its end, without changing it.
//!
//! In: bytes as they come, in any portions. Out: how many of them belong to the body. Strict: only
//! CR LF ends a line, sizes are hexadecimal digits alone, and what else a line holds is visible.

/// The longest line of a size with its extensions, or of a trailer.
const LONGEST_LINE: u16 = 4096;
/// All trailers together.
const MOST_TRAILER_BYTES: u16 = 16 * 1024;

/// Where in a chunked body the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Size { digits: u8, size: u64 },
    Extension { size: u64 },
    SizeLf { size: u64 },
    Data { left: u64 },
    DataCr,
    DataLf,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    LastLf,
    End,
}

/// A chunked body that is being followed.
#[derive(Debug)]
pub(crate) struct Chunks {
    at: At,
    line: u16,
    trailers: u16,
}

/// The body is not chunked as the RFC says, or not as anybody sane does it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the chunks of the body are malformed")]
pub(crate) struct Malformed;

impl Chunks {
    pub(crate) const fn new() -> Self {
        Self {
            at: At::Size { digits: 0, size: 0 },
            line: 0,
            trailers: 0,
        }
    }

    pub(crate) fn ended(&self) -> bool {
        self.at == At::End
    }

    /// Follows the next bytes and returns how many of them belong to the body: all, unless it ends
    /// among them.
    ///
    /// # Errors
    /// The bytes are no chunks. Nothing of them may be sent on.
    pub(crate) fn follow(&mut self, bytes: &[u8]) -> Result<usize, Malformed> {
        let mut taken = 0;
        while let Some(&byte) = bytes.get(taken) {
            if let At::Data { left } = self.at {
                let here = bytes.len() - taken;
                let skipped = usize::try_from(left).map_or(here, |left| left.min(here));
                taken += skipped;
                let left = left - skipped as u64;
                self.at = if left == 0 {
                    At::DataCr
                } else {
                    At::Data { left }
                };
                continue;
            }
            if self.at == At::End {
                break;
            }
            self.at = self.next(byte)?;
            taken += 1;
        }
        Ok(taken)
    }

    fn next(&mut self, byte: u8) -> Result<At, Malformed> {
        let at = match (self.at, byte) {
            (At::Size { digits, size }, _) if byte.is_ascii_hexdigit() && digits < 15 => {
                let digit = (byte as char).to_digit(16).unwrap_or_default();
                At::Size {
                    digits: digits + 1,
                    size: size * 16 + u64::from(digit),
                }
            }
            (At::Size { digits: 1.., size }, b'\r') => At::SizeLf { size },
            (At::Size { digits: 1.., size }, b';') => At::Extension { size },
            (At::Extension { size }, b'\r') => At::SizeLf { size },
            (At::Extension { .. }, b' '..=b'~' | b'\t') => self.longer_line()?,
            (At::SizeLf { size: 0 }, b'\n') => self.new_line(At::TrailerStart),
            (At::SizeLf { size }, b'\n') => self.new_line(At::Data { left: size }),
            (At::DataCr, b'\r') => At::DataLf,
            (At::DataLf, b'\n') => At::Size { digits: 0, size: 0 },
            (At::TrailerStart, b'\r') => At::LastLf,
            (At::LastLf, b'\n') => At::End,
            // A line that begins with a space would continue the one before.
            (At::TrailerStart | At::TrailerName, _) if is_of_a_name(byte) => {
                self.in_trailer(At::TrailerName)?
            }
            (At::TrailerName, b':') => At::TrailerValue,
            (At::TrailerValue, b'\r') => At::TrailerLf,
            (At::TrailerValue, b' '..=b'~' | b'\t' | 0x80..) => {
                self.in_trailer(At::TrailerValue)?
            }
            (At::TrailerLf, b'\n') => self.new_line(At::TrailerStart),
            _ => return Err(Malformed),
        };
        Ok(at)
    }

    fn new_line(&mut self, at: At) -> At {
        self.line = 0;
        at
    }

    fn longer_line(&mut self) -> Result<At, Malformed> {
        self.line += 1;
        if self.line < LONGEST_LINE {
            Ok(self.at)
        } else {
            Err(Malformed)
        }
    }

    fn in_trailer(&mut self, at: At) -> Result<At, Malformed> {
        self.trailers += 1;
        if self.trailers < MOST_TRAILER_BYTES {
            Ok(at)
        } else {
            Err(Malformed)
        }
    }
}

/// Returns whether a field's name may have this byte (RFC 9110 section 5.6.2).
fn is_of_a_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Follows bytes in portions of a size and returns how many belong to the body, if it ends.
    fn end_of(bytes: &[u8], portion: usize) -> Result<Option<usize>, Malformed> {
        let mut chunks = Chunks::new();
        let mut taken = 0;
        for portion in bytes.chunks(portion) {
            taken += chunks.follow(portion)?;
            if chunks.ended() {
                return Ok(Some(taken));
            }
        }
        Ok(None)
    }

    #[test]
    fn finds_the_end_of_right_bodies_and_nothing_behind_it() {
        let check = |body: &str| {
            let bytes = format!("{body}GET / HTTP/1.1\r\n");
            for portion in 1..bytes.len() {
                assert_eq!(
                    end_of(bytes.as_bytes(), portion),
                    Ok(Some(body.len())),
                    "{body:?}"
                );
            }
        };
        check("0\r\n\r\n");
        check("5\r\nhello\r\n0\r\n\r\n");
        check("A;name=\"value\"\r\n0123456789\r\n00\r\nx-sum: 1\r\ny: 2\r\n\r\n");
        check("1\r\n\n\r\n0\r\n\r\n");
    }

    #[test]
    fn refuses_what_others_may_read_otherwise() {
        let wrong = [
            "\r\n",
            "5\nhello\r\n0\r\n\r\n",
            "5\r\nhello0\r\n\r\n",
            "5\r\nhello\n0\r\n\r\n",
            "0x5\r\nhello",
            " 5\r\nhello",
            "5 \r\nhello",
            "-1\r\n",
            "+1\r\na",
            ";x\r\n",
            "0\r\n\n",
            "0\r\n x: 1\r\n\r\n",
            "5;a\nb\r\nhello",
            "0\r\nx: 1\ny: 2\r\n\r\n",
            "0\r\nx\r\ry\r\n\r\n",
            "0\r\nx\r\n\r\n",
            "0\r\n: x\r\n\r\n",
            "0\r\nx : 1\r\n\r\n",
            "0\r\nx/y: 1\r\n\r\n",
            "1000000000000000\r\n",
            "5;\u{0}\r\nhello",
            "0\r\nx: \u{7f}\r\n\r\n",
            "g\r\n",
        ];
        for bytes in wrong {
            assert_eq!(end_of(bytes.as_bytes(), 3), Err(Malformed), "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn any_body_in_any_portions_ends_where_it_ends(
            parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..6),
            portion in 1_usize..50,
            behind in proptest::collection::vec(any::<u8>(), 0..20),
        ) {
            let mut bytes = Vec::new();
            for part in &parts {
                bytes.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                bytes.extend_from_slice(part);
                bytes.extend_from_slice(b"\r\n");
            }
            bytes.extend_from_slice(b"0\r\n\r\n");
            let end = bytes.len();
            bytes.extend_from_slice(&behind);
            prop_assert_eq!(end_of(&bytes, portion), Ok(Some(end)));
        }
    }
}
