//! Where the value of a key comes from: the pod's own annotation or label, Istio's on the pod, or the
//! namespace's default, in this order. In: maps of raw JSON. Out: the text and how to name it to people.

use mtls_proxy::config::{Mistakes, nearest};
use serde_json::{Map, Value};

use super::key::{Key, PREFIX};
use crate::config::IstioKeys;
use crate::review::Pod;

/// Everything in which a key may be found.
pub(super) struct Source<'a> {
    pub(super) pod: Pod<'a>,
    pub(super) namespace: &'a str,
    pub(super) defaults: Option<&'a Map<String, Value>>,
    pub(super) istio: IstioKeys,
}

/// A value that was found.
pub(super) struct Found<'a> {
    /// How people are told where it stands.
    pub(super) path: String,
    pub(super) text: &'a str,
    pub(super) author: Author,
    pub(super) family: Family,
}

/// Who wrote a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Author {
    /// The pod says so.
    Pod,
    /// The pod's namespace says so.
    Namespace,
}

/// Whose key a value stands under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Own,
    Istio,
}

impl<'a> Source<'a> {
    pub(super) fn find(&self, key: Key) -> Option<Found<'a>> {
        self.own(key)
            .or_else(|| self.istio(key))
            .or_else(|| self.default(key))
    }

    /// The pod's own annotation, ours only.
    pub(super) fn own(&self, key: Key) -> Option<Found<'a>> {
        let text = self.pod.annotations()?.get(key.name())?.as_str()?;
        Some(Found {
            path: key.name().to_owned(),
            text,
            author: Author::Pod,
            family: Family::Own,
        })
    }

    pub(super) fn label(&self, name: &'static str, family: Family) -> Option<Found<'a>> {
        Some(Found {
            path: format!("label {name}"),
            text: self.pod.label(name)?,
            author: Author::Pod,
            family,
        })
    }

    pub(super) fn istio(&self, key: Key) -> Option<Found<'a>> {
        let name = key.istio()?;
        if self.istio == IstioKeys::Ignore {
            return None;
        }
        let text = self.pod.annotations()?.get(name)?.as_str()?;
        Some(Found {
            path: name.to_owned(),
            text,
            author: Author::Pod,
            family: Family::Istio,
        })
    }

    pub(super) fn default(&self, key: Key) -> Option<Found<'a>> {
        let text = self.defaults?.get(key.name())?.as_str()?;
        Some(Found {
            path: format!("namespace {}: {}", self.namespace, key.name()),
            text,
            author: Author::Namespace,
            family: Family::Own,
        })
    }

    /// Returns whether the pod bears a key of ours that a person wrote, right or wrong.
    pub(super) fn bears_own_keys(&self) -> bool {
        let keys = self.pod.annotations().into_iter().flat_map(Map::keys);
        keys.filter(|key| key.starts_with(PREFIX))
            .any(|key| Key::named(key).is_none_or(|key| !key.is_written()))
    }

    /// Reports keys of ours that mean nothing, and values that are not text.
    pub(super) fn check_keys(&self, mistakes: &mut Mistakes) {
        let on_namespace = format!("namespace {}: ", self.namespace);
        let places = [("", self.pod.annotations()), (&on_namespace, self.defaults)];
        for (place, annotations) in places {
            for (name, value) in annotations.into_iter().flatten() {
                let read_by_us = name.starts_with(PREFIX)
                    || (place.is_empty() && self.is_istio_key_we_read(name));
                if read_by_us && !value.is_string() {
                    let reason = "is not text; annotations are, so write it in quotes";
                    mistakes.add(&format!("{place}{name}"), Some(&value.to_string()), reason);
                }
                if name.starts_with(PREFIX) && Key::named(name).is_none() {
                    mistakes.add(&format!("{place}{name}"), value.as_str(), &unknown(name));
                }
            }
        }
    }

    fn is_istio_key_we_read(&self, name: &str) -> bool {
        self.istio == IstioKeys::Read && Key::ALL.iter().any(|key| key.istio() == Some(name))
    }
}

fn unknown(name: &str) -> String {
    let people_write = || Key::ALL.iter().filter(|key| !key.is_written());
    let word = name.strip_prefix(PREFIX).unwrap_or(name);
    let words = || people_write().filter_map(|key| key.name().strip_prefix(PREFIX));
    match nearest(word, words()) {
        Some(meant) => format!("is not a known key; did you mean {PREFIX}{meant}?"),
        None => {
            let known: Vec<_> = words().collect();
            format!("is not a known key (known: {})", known.join(", "))
        }
    }
}
