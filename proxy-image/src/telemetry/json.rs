//! Writes one flat JSON object (RFC 8259) into a buffer, member by member.
//!
//! In: names, which are ours and need no escape, and values. Out: the object's bytes. Whoever writes
//! a line for each request cannot afford to look for something to escape in what is known to have
//! none, nor the formatting machinery for a handful of digits.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

/// An object that is being written.
pub(super) struct Object<'o> {
    out: &'o mut Vec<u8>,
    before: u8,
}

impl<'o> Object<'o> {
    pub(super) const fn begin(out: &'o mut Vec<u8>) -> Self {
        Self { out, before: b'{' }
    }

    pub(super) fn end(self) {
        self.out.push(b'}');
    }

    fn name(&mut self, name: &str) {
        self.out.push(self.before);
        self.out.push(b'"');
        self.out.extend_from_slice(name.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.before = b',';
    }

    /// Adds text that has nothing to escape.
    pub(super) fn plain(&mut self, name: &str, text: &[u8]) {
        self.name(name);
        self.out.push(b'"');
        self.out.extend_from_slice(text);
        self.out.push(b'"');
    }

    /// Adds text.
    pub(super) fn text(&mut self, name: &str, text: &str) {
        let escaped = |b: &u8| *b < 0x20 || *b == b'"' || *b == b'\\';
        // Without an early end the compiler looks at many bytes at once.
        if text.as_bytes().iter().filter(|b| escaped(b)).count() == 0 {
            return self.plain(name, text.as_bytes());
        }
        self.name(name);
        let _a_vector_takes_all = serde_json::to_writer(&mut *self.out, text);
    }

    /// Adds text, if there is any.
    pub(super) fn optional(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            self.text(name, text);
        }
    }

    pub(super) fn boolean(&mut self, name: &str, value: bool) {
        self.name(name);
        let word: &[u8] = if value { b"true" } else { b"false" };
        self.out.extend_from_slice(word);
    }

    pub(super) fn number(&mut self, name: &str, number: u64) {
        self.name(name);
        self.digits(number);
    }

    /// Adds a number that is given in thousandths, with three decimals.
    pub(super) fn thousandths(&mut self, name: &str, number: u64) {
        self.number(name, number / 1000);
        self.out.push(b'.');
        self.padded(number % 1000);
    }

    pub(super) fn address(&mut self, name: &str, address: SocketAddr) {
        self.name(name);
        self.out.push(b'"');
        match address.ip() {
            IpAddr::V4(ip) => {
                let [first, others @ ..] = ip.octets();
                self.digits(first.into());
                for octet in others {
                    self.out.push(b'.');
                    self.digits(octet.into());
                }
                self.out.push(b':');
                self.digits(address.port().into());
            }
            IpAddr::V6(_) => {
                let _a_vector_takes_all = write!(self.out, "{address}");
            }
        }
        self.out.push(b'"');
    }

    fn digits(&mut self, number: u64) {
        self.out
            .extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }

    /// Three digits.
    fn padded(&mut self, number: u64) {
        let zeros: &[u8] = match number {
            0..10 => b"00",
            10..100 => b"0",
            _ => b"",
        };
        self.out.extend_from_slice(zeros);
        self.digits(number);
    }
}
