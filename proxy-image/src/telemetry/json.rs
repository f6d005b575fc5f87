//! Writes one line of JSON (RFC 8259), piece by piece.
//!
//! In: pieces of the line that are known beforehand, and values between them. Out: the line's bytes.
//! Whoever writes a line for each request cannot afford to look for something to escape in names of
//! our own, nor the formatting machinery for a handful of digits.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

/// A line that is being written.
pub(super) struct Line<'o>(pub(super) &'o mut Vec<u8>);

impl Line<'_> {
    /// Adds what is JSON already.
    pub(super) fn piece(&mut self, piece: &str) {
        self.0.extend_from_slice(piece.as_bytes());
    }

    /// Adds text. `name` brings everything before the value with it.
    pub(super) fn text(&mut self, name: &str, text: &str) {
        self.piece(name);
        let escaped = |b: &u8| *b < 0x20 || *b == b'"' || *b == b'\\';
        // Without an early end the compiler looks at many bytes at once.
        if text.as_bytes().iter().filter(|b| escaped(b)).count() == 0 {
            self.0.push(b'"');
            self.piece(text);
            self.0.push(b'"');
        } else {
            let _a_vector_takes_all = serde_json::to_writer(&mut *self.0, text);
        }
    }

    /// Adds text, if there is any.
    pub(super) fn optional(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    pub(super) fn number(&mut self, name: &str, number: u64) {
        self.piece(name);
        self.piece(itoa::Buffer::new().format(number));
    }

    /// Adds a number that is given in thousandths, with three decimals.
    pub(super) fn thousandths(&mut self, name: &str, number: u64) {
        self.number(name, number / 1000);
        let rest = number % 1000;
        let zeros = match rest {
            0..10 => ".00",
            10..100 => ".0",
            _ => ".",
        };
        self.number(zeros, rest);
    }

    /// Adds an address, as text.
    pub(super) fn address(&mut self, name: &str, address: SocketAddr) {
        self.piece(name);
        match address.ip() {
            IpAddr::V4(ip) => {
                let [a, b, c, d] = ip.octets();
                self.number("\"", a.into());
                self.number(".", b.into());
                self.number(".", c.into());
                self.number(".", d.into());
                self.number(":", address.port().into());
                self.0.push(b'"');
            }
            IpAddr::V6(_) => {
                let _a_vector_takes_all = write!(self.0, "\"{address}\"");
            }
        }
    }
}
