//! The fields of a message's head, and which of them mean something to a proxy.
//!
//! In: what the parser found. Out: names that are told apart, and what `Connection` says.

use std::mem::MaybeUninit;

use httparse::Header;

use crate::http::client_headers::says_who_a_client_is;

/// More fields than this are unusual.
const MOST_FIELDS: usize = 100;

/// Room for the fields of a head, which costs nothing while nobody has written into it.
pub(crate) struct Slots<'b>(pub(super) [MaybeUninit<Header<'b>>; MOST_FIELDS]);

impl Slots<'_> {
    pub(crate) const fn new() -> Self {
        Self([const { MaybeUninit::uninit() }; MOST_FIELDS])
    }
}

/// The fields of a head that was read, each with what it means: looked up once.
#[derive(Debug)]
pub(crate) struct Fields<'s, 'b> {
    headers: &'s [Header<'b>],
    known: [Known; MOST_FIELDS],
    /// Whether `Connection` names any field at all, which is rare.
    connection_names_fields: bool,
}

impl<'s, 'b> Fields<'s, 'b> {
    pub(super) fn of(headers: &'s [Header<'b>]) -> Self {
        let mut known = [Known::Other; MOST_FIELDS];
        let mut connection_names_fields = false;
        for (header, known) in headers.iter().zip(&mut known) {
            *known = Known::of(header.name);
            connection_names_fields |=
                *known == Known::Connection && !is_only_close_or_keep_alive(header.value);
        }
        Self {
            headers,
            known,
            connection_names_fields,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Known, &'s Header<'b>)> {
        self.known.iter().copied().zip(self.headers)
    }

    /// Returns whether `Connection` names this field, which then goes no further.
    pub(super) fn is_named_by_connection(&self, name: &str) -> bool {
        self.connection_names_fields
            && self
                .iter()
                .filter(|(known, _)| *known == Known::Connection)
                .filter_map(|(_, field)| std::str::from_utf8(field.value).ok())
                .flat_map(|value| value.split(','))
                .any(|token| token.trim().eq_ignore_ascii_case(name))
    }
}

/// The fields that mean something to a proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Known {
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    Upgrade,
    Expect,
    Te,
    Trailer,
    /// Fields that end at the next hop (RFC 9110 section 7.6.1).
    HopByHop,
    /// Fields that say who a client is; only a proxy may set them.
    Identity,
    Other,
}

impl Known {
    /// Finds a field by its length first: most names are ruled out without looking at a letter.
    pub(super) fn of(name: &str) -> Self {
        let is = |wanted: &str| name.eq_ignore_ascii_case(wanted);
        match name.len() {
            2 if is("te") => Self::Te,
            4 if is("host") => Self::Host,
            6 if is("expect") => Self::Expect,
            7 if is("upgrade") => Self::Upgrade,
            7 if is("trailer") => Self::Trailer,
            10 if is("connection") => Self::Connection,
            10 if is("keep-alive") => Self::HopByHop,
            14 if is("content-length") => Self::ContentLength,
            14 if is("http2-settings") => Self::HopByHop,
            16 if is("proxy-connection") => Self::HopByHop,
            17 if is("transfer-encoding") => Self::TransferEncoding,
            18 if is("proxy-authenticate") => Self::HopByHop,
            19 if is("proxy-authorization") => Self::HopByHop,
            14.. if says_who_a_client_is(name) => Self::Identity,
            _ => Self::Other,
        }
    }
}

/// Returns whether `Connection` says `close`; `None` when it asks for a switch of protocols.
pub(super) fn connection_closes(value: &[u8]) -> Option<bool> {
    if value.eq_ignore_ascii_case(b"keep-alive") {
        return Some(false);
    }
    let text = std::str::from_utf8(value).ok()?;
    let mut close = false;
    for token in text.split(',').map(str::trim) {
        if token.eq_ignore_ascii_case("upgrade") {
            return None;
        }
        // Naming these would change where the message goes or ends.
        if token.eq_ignore_ascii_case("host") || token.eq_ignore_ascii_case("content-length") {
            return None;
        }
        close |= token.eq_ignore_ascii_case("close");
    }
    Some(close)
}

fn is_only_close_or_keep_alive(value: &[u8]) -> bool {
    value.eq_ignore_ascii_case(b"keep-alive") || value.eq_ignore_ascii_case(b"close")
}
