//! Reads an object field by field and remembers every mistake, where serde would stop at the first.
//! In: a JSON value and its path. Out: checked values; unknown fields are mistakes, with the nearest
//! known name.

use std::fmt::Display;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::mistakes::{Mistakes, nearest};

/// The fields of one object that have not been read yet.
pub struct Fields<'m> {
    object: Map<String, Value>,
    path: String,
    known: Vec<&'static str>,
    mistakes: &'m mut Mistakes,
}

impl<'m> Fields<'m> {
    /// Opens an object; anything else is a mistake. `null` is an empty object.
    pub fn open(value: Value, path: &str, mistakes: &'m mut Mistakes) -> Option<Self> {
        let object = match value {
            Value::Object(object) => object,
            Value::Null => Map::new(),
            other => {
                mistakes.add(path, Some(&text_of(&other)), "is not an object of fields");
                return None;
            }
        };
        Some(Self {
            object,
            path: path.to_owned(),
            known: Vec::new(),
            mistakes,
        })
    }

    /// Returns whether nothing is left to read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.object.is_empty()
    }

    /// Reads a field that must be there.
    pub fn required<T: FromStr<Err: Display>>(&mut self, key: &'static str) -> Option<T> {
        match self.take(key) {
            Some(value) => self.scalar(&value, &self.path_of(key)),
            None => {
                self.mistake(key, "is required");
                None
            }
        }
    }

    /// Reads a field that may be absent or `null`.
    pub fn optional<T: FromStr<Err: Display>>(&mut self, key: &'static str) -> Option<T> {
        let value = self.take(key)?;
        self.scalar(&value, &self.path_of(key))
    }

    /// Reads a field that has a default.
    pub fn or<T: FromStr<Err: Display>>(&mut self, key: &'static str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    /// Returns whether a field is there, and not `null`.
    #[must_use]
    pub fn has(&self, key: &str) -> bool {
        self.object.get(key).is_some_and(|value| !value.is_null())
    }

    /// Reads a list of single values; absent means none.
    pub fn list<T: FromStr<Err: Display>>(&mut self, key: &'static str) -> Vec<T> {
        let items = self.items(key);
        items
            .iter()
            .filter_map(|(path, value)| self.scalar(value, path))
            .collect()
    }

    /// Reads a list of objects; absent means none.
    pub fn objects<T>(&mut self, key: &'static str, read: fn(Fields<'_>) -> T) -> Vec<T> {
        let items = self.items(key);
        items
            .into_iter()
            .filter_map(|(path, value)| Fields::open(value, &path, self.mistakes).map(read))
            .collect()
    }

    /// Reads an object; absent means an empty one, so that its defaults apply.
    pub fn object<T>(&mut self, key: &'static str, read: fn(Fields<'_>) -> T) -> Option<T> {
        let value = self.take(key).unwrap_or(Value::Null);
        Fields::open(value, &self.path_of(key), self.mistakes).map(read)
    }

    /// Reads an object that means something only when it is there.
    pub fn object_if_present<T>(
        &mut self,
        key: &'static str,
        read: fn(Fields<'_>) -> T,
    ) -> Option<T> {
        let value = self.take(key)?;
        Fields::open(value, &self.path_of(key), self.mistakes).map(read)
    }

    /// Reports a field, or the object itself when `key` is empty.
    pub fn mistake(&mut self, key: &str, reason: &str) {
        self.mistakes.add(&self.path_of(key), None, reason);
    }

    /// Ends the reading: what has not been asked for is unknown.
    pub fn finish(self) {
        for key in self.object.keys() {
            let meant = nearest(key, self.known.iter().copied());
            let reason = match meant {
                Some(meant) => format!("is not a known field; did you mean {meant:?}?"),
                None => format!("is not a known field (known: {})", self.known.join(", ")),
            };
            let path = join(&self.path, key);
            self.mistakes.add(&path, None, &reason);
        }
    }

    fn take(&mut self, key: &'static str) -> Option<Value> {
        self.known.push(key);
        self.object
            .shift_remove(key)
            .filter(|value| !value.is_null())
    }

    fn items(&mut self, key: &'static str) -> Vec<(String, Value)> {
        let path = self.path_of(key);
        match self.take(key) {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                let numbered = items.into_iter().enumerate();
                numbered
                    .map(|(index, item)| (format!("{path}[{index}]"), item))
                    .collect()
            }
            Some(other) => {
                self.mistakes
                    .add(&path, Some(&text_of(&other)), "is not a list");
                Vec::new()
            }
        }
    }

    fn scalar<T: FromStr<Err: Display>>(&mut self, value: &Value, path: &str) -> Option<T> {
        let text = text_of(value);
        if matches!(value, Value::Object(_) | Value::Array(_) | Value::Null) {
            self.mistakes
                .add(path, Some(&text), "is not a single value");
            return None;
        }
        let parsed = text.parse::<T>();
        parsed
            .map_err(|why| self.mistakes.add(path, Some(&text), &why.to_string()))
            .ok()
    }

    fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }
}

/// A number, a flag and a quoted string are all read from their text, so `port: "80"` is a port.
pub(super) fn text_of(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn join(path: &str, key: &str) -> String {
    match (path.is_empty(), key.is_empty()) {
        (true, _) => key.to_owned(),
        (_, true) => path.to_owned(),
        _ => format!("{path}.{key}"),
    }
}
