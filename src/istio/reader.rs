//! Reads a resource field by field. What nobody asked for is found at the end of each object, so no
//! field of a resource can be dropped without a word.
//!
//! In: a JSON object and its path. Out: checked values and findings.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::finding::{Findings, Severity};

/// Labels of a pod, or those that a selector asks for.
pub type Labels = BTreeMap<String, String>;

/// One object on the way of being read.
pub(super) struct Reader<'v, 'f> {
    object: &'v Map<String, Value>,
    path: String,
    known: Vec<&'static str>,
    /// What a field that nobody asked for is.
    unknown: Severity,
    findings: &'f mut Findings,
}

impl<'v> Reader<'v, '_> {
    /// Reads an object and then reports the fields that were left.
    pub(super) fn read<T>(
        value: &Value,
        path: &str,
        findings: &mut Findings,
        read: impl FnOnce(&mut Reader<'_, '_>) -> T,
    ) -> Option<T> {
        let empty = Map::new();
        let object = match value {
            Value::Object(object) => object,
            Value::Null => &empty,
            _ => {
                findings.deny(path, "is not an object of fields");
                return None;
            }
        };
        let mut reader = Reader {
            object,
            path: path.to_owned(),
            known: Vec::new(),
            unknown: Severity::Warning,
            findings,
        };
        let result = read(&mut reader);
        reader.report_the_rest();
        Some(result)
    }

    /// From here on, a field that is not read refuses the pod: it narrows what is let through.
    pub(super) fn deny_unknown(&mut self) {
        self.unknown = Severity::Denial;
    }

    /// Returns a field as it is.
    pub(super) fn value(&mut self, key: &'static str) -> Option<&'v Value> {
        self.known.push(key);
        self.object.get(key).filter(|value| !value.is_null())
    }

    /// Knows fields that have nothing to do with traffic.
    pub(super) fn ignore(&mut self, keys: &[&'static str]) {
        self.known.extend(keys);
    }

    /// Refuses the pod when a field is there and not empty.
    pub(super) fn refuse(&mut self, key: &'static str, reason: &str) {
        if self.value(key).is_some_and(|value| !is_empty(value)) {
            self.deny(key, reason);
        }
    }

    /// Reads a single value; one of the wrong form refuses the pod.
    pub(super) fn get<T: FromStr<Err: Display>>(&mut self, key: &'static str) -> Option<T> {
        let value = self.value(key)?;
        let path = self.path_of(key);
        scalar(value, &path, self.findings)
    }

    /// Reads a flag; absent means false.
    pub(super) fn flag(&mut self, key: &'static str) -> bool {
        self.get(key).unwrap_or(false)
    }

    /// Reads a list of single values.
    pub(super) fn list<T: FromStr<Err: Display>>(&mut self, key: &'static str) -> Vec<T> {
        let items = self.items(key);
        items
            .iter()
            .filter_map(|(path, value)| scalar(value, path, self.findings))
            .collect()
    }

    /// Reads a list of objects.
    pub(super) fn objects<T>(
        &mut self,
        key: &'static str,
        read: fn(&mut Reader<'_, '_>) -> T,
    ) -> Vec<T> {
        let items = self.items(key);
        items
            .into_iter()
            .filter_map(|(path, value)| Reader::read(value, &path, self.findings, read))
            .collect()
    }

    /// Reads an object that may be absent.
    pub(super) fn object<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Reader<'_, '_>) -> T,
    ) -> Option<T> {
        let value = self.value(key)?;
        let path = self.path_of(key);
        Reader::read(value, &path, self.findings, read)
    }

    /// Reads an object whose keys are data.
    pub(super) fn map<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(&str, &Value, &str, &mut Findings) -> Option<T>,
    ) -> Vec<T> {
        let path = self.path_of(key);
        match self.value(key) {
            None => Vec::new(),
            Some(Value::Object(map)) => map
                .iter()
                .filter_map(|(name, value)| {
                    read(name, value, &format!("{path}.{name}"), self.findings)
                })
                .collect(),
            Some(_) => {
                self.findings.deny(&path, "is not an object of fields");
                Vec::new()
            }
        }
    }

    /// Reads labels.
    pub(super) fn labels(&mut self, key: &'static str) -> Labels {
        let pairs = self.map(key, |name, value, path, findings| {
            Some((name.to_owned(), scalar::<String>(value, path, findings)?))
        });
        pairs.into_iter().collect()
    }

    /// Warns about a field, or about the object itself when `key` is empty.
    pub(super) fn warn(&mut self, key: &str, reason: &str) {
        let path = self.path_of(key);
        self.findings.warn(&path, reason);
    }

    /// Refuses the pod for a field, or for the object itself when `key` is empty.
    pub(super) fn deny(&mut self, key: &str, reason: &str) {
        let path = self.path_of(key);
        self.findings.deny(&path, reason);
    }

    /// Returns the path of a field, or of the object itself when `key` is empty.
    pub(super) fn path_of(&self, key: &str) -> String {
        match (self.path.is_empty(), key.is_empty()) {
            (true, _) => key.to_owned(),
            (_, true) => self.path.clone(),
            _ => format!("{}.{key}", self.path),
        }
    }

    fn items(&mut self, key: &'static str) -> Vec<(String, &'v Value)> {
        let path = self.path_of(key);
        match self.value(key) {
            None => Vec::new(),
            Some(Value::Array(items)) => {
                let numbered = items.iter().enumerate();
                numbered
                    .map(|(index, item)| (format!("{path}[{index}]"), item))
                    .collect()
            }
            Some(_) => {
                self.findings.deny(&path, "is not a list");
                Vec::new()
            }
        }
    }

    fn report_the_rest(self) {
        for (key, value) in self.object {
            if !self.known.contains(&key.as_str()) && !is_empty(value) {
                let reason = match self.unknown {
                    Severity::Warning => "is not supported and has no effect",
                    Severity::Denial => {
                        "is not supported, and without it more would be let through"
                    }
                };
                let path = self.path_of(key);
                self.findings.add(self.unknown, &path, reason);
            }
        }
    }
}

/// A number, a flag and a quoted string are all read from their text.
pub(super) fn scalar<T: FromStr<Err: Display>>(
    value: &Value,
    path: &str,
    findings: &mut Findings,
) -> Option<T> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(_) | Value::Bool(_) => value.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            findings.deny(path, "is not a single value");
            return None;
        }
    };
    let parsed = text.parse::<T>();
    parsed
        .map_err(|why| findings.deny(path, &format!("{text:?} {why}")))
        .ok()
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}
