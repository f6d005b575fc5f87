//! Names of X.500 as text, in the string form of RFC 4514 that OpenSSL and Envoy print.
//!
//! Only visible ASCII and spaces come out, whatever a CA let into a certificate: everything else, and
//! also `"` and `\`, is written as hexadecimal pairs. So the text can stand in a quoted header value.

use std::fmt::Write as _;

use x509_parser::der_parser::asn1_rs::{Any, Tag, ToDer as _};
use x509_parser::x509::{AttributeTypeAndValue, X509Name};

/// Attribute types by their OID, named as OpenSSL names them; RFC 4514 section 3 has the first nine.
const SHORT_NAMES: [(&str, &str); 17] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.6", "C"),
    ("2.5.4.9", "street"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.12", "title"),
    ("2.5.4.15", "businessCategory"),
    ("2.5.4.42", "GN"),
    ("2.5.4.46", "dnQualifier"),
    ("2.5.4.97", "organizationIdentifier"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// Writes a name, the most specific part first.
pub(super) fn write(name: &X509Name<'_>) -> String {
    let sequence: Vec<_> = name.iter().collect();
    let mut text = String::new();
    for (index, set) in sequence.into_iter().rev().enumerate() {
        if index > 0 {
            text.push(',');
        }
        for (index, attribute) in set.iter().enumerate() {
            if index > 0 {
                text.push('+');
            }
            write_attribute(attribute, &mut text);
        }
    }
    text
}

fn write_attribute(attribute: &AttributeTypeAndValue<'_>, text: &mut String) {
    let oid = attribute.attr_type().to_id_string();
    let short = SHORT_NAMES.iter().find(|(known, _)| *known == oid);
    let value = short.and_then(|_| decode(attribute.attr_value()));
    let _ = match (short, value) {
        (Some((_, short)), Some(value)) => write!(text, "{short}={}", escape(&value)),
        _ => write!(text, "{oid}={}", dump(attribute.attr_value())),
    };
}

/// Returns the value of the string types that names have.
fn decode(value: &Any<'_>) -> Option<String> {
    match value.tag() {
        Tag::BmpString => {
            let units = value.data.chunks(2);
            let units = units.map(|pair| pair.iter().fold(0, |unit, b| unit << 8 | u16::from(*b)));
            String::from_utf16(&units.collect::<Vec<_>>()).ok()
        }
        // Strictly ASN.1's T.61; in practice, as in OpenSSL, Latin-1.
        Tag::T61String => Some(value.data.iter().map(|b| char::from(*b)).collect()),
        Tag::Utf8String | Tag::PrintableString | Tag::Ia5String | Tag::NumericString => {
            String::from_utf8(value.data.to_vec()).ok()
        }
        _ => None,
    }
}

/// Writes a value of a type that is not known as `#` and its DER (RFC 4514 section 2.4).
fn dump(value: &Any<'_>) -> String {
    let der = value
        .to_der_vec_raw()
        .or_else(|_| value.to_der_vec())
        .unwrap_or_default();
    format!("#{}", super::hexadecimal(&der).to_uppercase())
}

fn escape(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    let last = value.len().saturating_sub(1);
    for (index, byte) in value.bytes().enumerate() {
        match byte {
            b' ' if index == 0 || index == last => text.push_str("\\ "),
            b'#' if index == 0 => text.push_str("\\#"),
            b',' | b'+' | b'<' | b'>' | b';' => {
                text.push('\\');
                text.push(char::from(byte));
            }
            b'"' | b'\\' => push_pair(&mut text, byte),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => push_pair(&mut text, byte),
        }
    }
    text
}

/// Makes any text visible ASCII, for a message that may become a header.
pub(super) fn printable(value: &str) -> String {
    let mut text = String::with_capacity(value.len());
    for byte in value.bytes() {
        match byte {
            b' '..=b'~' => text.push(char::from(byte)),
            _ => push_pair(&mut text, byte),
        }
    }
    text
}

fn push_pair(text: &mut String, byte: u8) {
    let _ = write!(text, "\\{byte:02X}");
}
