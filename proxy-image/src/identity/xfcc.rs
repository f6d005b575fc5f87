//! The `x-forwarded-client-cert` header, in the format of Envoy
//! (Envoy's documentation, HTTP header manipulation).
//!
//! A certificate may hold any text as a name. None of it ends a value early, starts another key or
//! another element, or leaves visible ASCII.

use std::fmt::Write as _;

use super::ClientIdentity;

impl ClientIdentity {
    /// Writes one element: `By=URI;Hash=...;Subject="...";URI=...;DNS=...`.
    ///
    /// `by` is the URI name of our own certificate, when it has one.
    #[must_use]
    pub fn xfcc(&self, by: Option<&str>) -> String {
        let mut element = String::with_capacity(256);
        if let Some(by) = by {
            push(&mut element, "By", by);
        }
        push(&mut element, "Hash", &self.hash);
        // The subject has no bare quote or backslash: see the distinguished name's escapes.
        let _ = write!(element, ";Subject=\"{}\"", self.subject);
        for uri in &self.uris {
            push(&mut element, "URI", uri);
        }
        for name in &self.dns_names {
            push(&mut element, "DNS", name);
        }
        element
    }
}

/// Adds a key and its value, in quotes when it has a character that would end it.
fn push(element: &mut String, key: &str, value: &str) {
    if !element.is_empty() {
        element.push(';');
    }
    let value = percent_encoded(value);
    let _ = if value.contains([',', ';', '=', ' ']) {
        write!(element, "{key}=\"{value}\"")
    } else {
        write!(element, "{key}={value}")
    };
}

/// Encodes what a URI could not hold anyway (RFC 3986 section 2), the quote and the backslash.
fn percent_encoded(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b'"' | b'\\' => {
                let _ = write!(text, "%{byte:02X}");
            }
            b' '..=b'~' => text.push(char::from(byte)),
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}
