//! Reads JSON by a table of fields: keys in any case become Kubernetes' spelling, every unknown,
//! missing or mistyped field is a mistake with its path. In: a JSON value and a table. Out: the same
//! object as Kubernetes spells it. Knows no volumes.

use mtls_proxy::config::{Mistakes, nearest};
use serde_json::{Map, Value};

use crate::config::Quantity;

/// One field of an object.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) need: Need,
}

/// Whether Kubernetes demands a field.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    Required,
    Optional,
}

/// What a value must be.
pub(super) enum Kind {
    Text,
    Flag,
    Integer,
    Quantity,
    List(&'static Self),
    Map(&'static Self),
    Object(&'static [Field]),
}

/// A field that must be there.
pub(super) const fn required(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        need: Need::Required,
    }
}

/// A field that may be absent.
pub(super) const fn optional(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        need: Need::Optional,
    }
}

/// Reads an object by its table.
pub(super) fn read(
    object: Map<String, Value>,
    fields: &'static [Field],
    path: &str,
    mistakes: &mut Mistakes,
) -> Map<String, Value> {
    let mut known = Map::new();
    for (key, value) in object {
        let Some(field) = fields.iter().find(|f| f.name.eq_ignore_ascii_case(&key)) else {
            mistakes.add(&step(path, &key), None, &unknown(&key, fields));
            continue;
        };
        let path = step(path, &key);
        if known.contains_key(field.name) {
            mistakes.add(&path, None, &format!("gives {} a second time", field.name));
        } else if !value.is_null() {
            let value = read_value(value, &field.kind, &path, mistakes);
            known.insert(field.name.to_owned(), value);
        }
    }
    for field in fields {
        if field.need == Need::Required && !known.contains_key(field.name) {
            mistakes.add(&format!("{path}.{}", field.name), None, "is required");
        }
    }
    known
}

/// Reads one value. What is mistyped is reported and stays as it is.
fn read_value(value: Value, kind: &'static Kind, path: &str, mistakes: &mut Mistakes) -> Value {
    match (kind, value) {
        (Kind::Object(fields), Value::Object(object)) => {
            Value::Object(read(object, fields, path, mistakes))
        }
        (Kind::List(item), Value::Array(items)) => {
            let numbered = items.into_iter().enumerate();
            numbered
                .map(|(index, value)| {
                    read_value(value, item, &format!("{path}[{index}]"), mistakes)
                })
                .collect()
        }
        (Kind::Map(item), Value::Object(object)) => {
            let entries = object.into_iter();
            entries
                .map(|(key, value)| {
                    let path = step(path, &key);
                    let value = read_value(value, item, &path, mistakes);
                    (key, value)
                })
                .collect()
        }
        (kind, value) => {
            if let Some(expected) = wrong_type(kind, &value) {
                mistakes.add(path, Some(&shown(&value)), &format!("is not {expected}"));
            }
            value
        }
    }
}

/// Returns what a value should have been, unless it is that.
fn wrong_type(kind: &Kind, value: &Value) -> Option<&'static str> {
    let (right, expected) = match kind {
        Kind::Text => (value.is_string(), "text"),
        Kind::Flag => (value.is_boolean(), "true or false, without quotes"),
        Kind::Integer => {
            let fits = value.as_i64().is_some_and(|n| i32::try_from(n).is_ok());
            (fits, "a whole number of 32 bits, without quotes")
        }
        Kind::Quantity => (is_quantity(value), "a quantity such as 100Mi"),
        Kind::List(_) => (false, "a list"),
        Kind::Map(_) | Kind::Object(_) => (false, "an object"),
    };
    (!right).then_some(expected)
}

/// Kubernetes reads a quantity from text or from a number.
fn is_quantity(value: &Value) -> bool {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return false,
    };
    text.parse::<Quantity>().is_ok()
}

/// Extends a path by a key: `.key`, or `["some key"]` when it has other than the usual characters,
/// so that a path stays on its line.
pub(super) fn step(path: &str, key: &str) -> String {
    let usual = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !key.is_empty() && key.bytes().all(usual) {
        format!("{path}.{key}")
    } else {
        format!("{path}[{key:?}]")
    }
}

pub(super) fn shown(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn unknown(key: &str, fields: &[Field]) -> String {
    match nearest(key, fields.iter().map(|field| field.name)) {
        Some(meant) => format!("is not a known field; did you mean {meant:?}?"),
        None => {
            let known: Vec<_> = fields.iter().map(|field| field.name).collect();
            format!("is not a known field (known: {})", known.join(", "))
        }
    }
}
