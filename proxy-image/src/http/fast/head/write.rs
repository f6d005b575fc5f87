//! Writes heads anew, from the fields that were read, so that no byte goes on that was not
//! understood.

use super::Target;
use super::fields::{Fields, Known};

/// What happens to the field `Host` of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) enum HostField<'r> {
    AsSent,
    Replaced(&'r [u8]),
}

/// What differs between the request as it came and as it goes on.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Changes<'r> {
    pub(crate) host: HostField<'r>,
    /// Whether fields that say who a client is are dropped: always, where clients come in.
    pub(crate) drop_identity: bool,
    /// Whole lines of our own.
    pub(crate) added: &'r [u8],
}

/// Writes a request's head for the upstream.
pub(crate) fn write_request(
    out: &mut Vec<u8>,
    target: &Target<'_>,
    fields: &Fields<'_, '_>,
    changes: Changes<'_>,
) {
    out.extend_from_slice(target.method.as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.path_and_query.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    for (known, field) in fields.iter() {
        match known {
            Known::Host => match changes.host {
                HostField::AsSent => write_field(out, field.name, field.value),
                HostField::Replaced(value) => write_field(out, field.name, value),
            },
            Known::ContentLength => write_field(out, field.name, field.value),
            Known::Identity if changes.drop_identity => {}
            Known::Other | Known::Identity if !fields.is_named_by_connection(field.name) => {
                write_field(out, field.name, field.value);
            }
            _ => {}
        }
    }
    out.extend_from_slice(changes.added);
    out.extend_from_slice(b"\r\n");
}

/// How the answer's body is sent on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    /// As it came.
    Kept,
    /// In chunks of ours, because only the end of the upstream's connection ends it.
    Chunked,
}

/// Writes an answer's head for the client.
pub(crate) fn write_response(
    out: &mut Vec<u8>,
    bytes: &[u8],
    fields: &Fields<'_, '_>,
    framing: Framing,
    close: bool,
) {
    // The status line as it came, after its version, which is ours: the parser has accepted it.
    let line = bytes.split(|&b| b == b'\r').next().unwrap_or_default();
    out.extend_from_slice(b"HTTP/1.1");
    out.extend_from_slice(line.get(8..).unwrap_or_default());
    out.extend_from_slice(b"\r\n");
    for (known, field) in fields.iter() {
        match known {
            Known::ContentLength | Known::TransferEncoding | Known::Trailer => {
                write_field(out, field.name, field.value);
            }
            Known::Other | Known::Host | Known::Expect | Known::Identity
                if !fields.is_named_by_connection(field.name) =>
            {
                write_field(out, field.name, field.value);
            }
            _ => {}
        }
    }
    if framing == Framing::Chunked {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    if close {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}
