//! What a route asks of a request before it takes it, and what it changes on the way: conditions,
//! rewrites and redirects. Pure: the head of a request in, an answer out.

use std::fmt;
use std::str::FromStr;

use http::{HeaderMap, HeaderName, Method};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::fields::Fields;
use super::scalars::PathPrefix;

/// The parts of a request's head that decide its way.
#[derive(Clone, Copy, Debug)]
pub struct RequestHead<'a> {
    /// The method.
    pub method: &'a Method,
    /// The path, without the query.
    pub path: &'a str,
    /// `Host` or `:authority`, possibly with a port.
    pub authority: &'a str,
    /// The fields.
    pub headers: &'a HeaderMap,
}

/// One condition on a request: everything that is written must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestMatch {
    /// What the path must be.
    pub path: Option<PathMatch>,
    /// The method, compared as it is.
    pub method: Option<Method>,
    /// What `Host` must be.
    pub authority: Option<TextMatch>,
    /// What fields must be there, all of them.
    pub headers: Vec<HeaderMatch>,
}

/// How well a condition fits: the longer path first, then the exact one, then the more conditions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fit {
    path_length: usize,
    exact_path: bool,
    conditions: usize,
}

impl Fit {
    /// Returns the condition that fits a request best, and how well; no conditions take everything.
    #[must_use]
    pub fn best<'m>(
        matches: &'m [RequestMatch],
        head: &RequestHead<'_>,
    ) -> Option<(Self, Option<&'m RequestMatch>)> {
        if matches.is_empty() {
            return Some((Self::default(), None));
        }
        let fitting = matches
            .iter()
            .filter_map(|one| Some((one.fit(head)?, Some(one))));
        fitting.max_by_key(|&(fit, _)| fit)
    }
}

impl RequestMatch {
    /// Makes the condition that a path is a prefix or below it.
    #[must_use]
    pub fn below(prefix: PathPrefix) -> Self {
        Self {
            path: Some(PathMatch::Prefix(prefix)),
            ..Self::default()
        }
    }

    /// Returns how well a request fits, or `None` when a condition does not hold.
    #[must_use]
    pub fn fit(&self, head: &RequestHead<'_>) -> Option<Fit> {
        let path = self.path.as_ref();
        let holds = path.is_none_or(|path| path.matches(head.path))
            && self.method.as_ref().is_none_or(|own| own == head.method)
            && self
                .authority
                .as_ref()
                .is_none_or(|text| text.matches_authority(head.authority))
            && self.headers.iter().all(|field| field.holds(head.headers));
        holds.then(|| Fit {
            path_length: path.map_or(0, |path| path.as_str().len()),
            exact_path: matches!(path, Some(PathMatch::Exact(_))),
            conditions: self.headers.len()
                + usize::from(self.method.is_some())
                + usize::from(self.authority.is_some()),
        })
    }

    pub(super) fn from_fields(mut fields: Fields<'_>) -> Option<Self> {
        if fields.is_empty() {
            fields.mistake(
                "",
                "has no condition; write one, such as pathPrefix, or leave match out",
            );
        }
        let paths = [
            fields.optional("path").map(PathMatch::Exact),
            fields.optional("pathPrefix").map(PathMatch::Prefix),
            fields.optional("pathStart").map(PathMatch::Start),
        ];
        let method = fields.optional::<Method>("method");
        let authority = fields
            .object_if_present("authority", TextMatch::from_fields)
            .flatten();
        let headers = fields.objects("headers", HeaderMatch::from_fields);
        let mut paths = paths.into_iter().flatten();
        let path = paths.next();
        if paths.next().is_some() {
            fields.mistake("", "has more than one of path, pathPrefix and pathStart");
        }
        let one = Self {
            path,
            method,
            authority,
            headers: headers.into_iter().flatten().collect(),
        };
        fields.finish();
        Some(one)
    }
}

impl fmt::Display for RequestMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.path.as_ref().map_or("", PathMatch::as_str))
    }
}

impl Serialize for RequestMatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if let Some(path) = &self.path {
            map.serialize_entry(path.key(), path.as_str())?;
        }
        if let Some(method) = &self.method {
            map.serialize_entry("method", method.as_str())?;
        }
        if let Some(authority) = &self.authority {
            map.serialize_entry("authority", authority)?;
        }
        if !self.headers.is_empty() {
            map.serialize_entry("headers", &self.headers)?;
        }
        map.end()
    }
}

/// What the path of a request must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathMatch {
    /// This path or one below it, by whole segments.
    Prefix(PathPrefix),
    /// Any path that begins with these letters, as Istio's `uri.prefix` means it.
    Start(RequestPath),
    /// This path and no other.
    Exact(RequestPath),
}

impl PathMatch {
    fn matches(&self, path: &str) -> bool {
        match self {
            Self::Prefix(prefix) => prefix.matches(path),
            Self::Start(start) => path.starts_with(start.as_str()),
            Self::Exact(exact) => path == exact.as_str(),
        }
    }

    /// Returns the path as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Prefix(prefix) => prefix.as_str(),
            Self::Start(path) | Self::Exact(path) => path.as_str(),
        }
    }

    const fn key(&self) -> &'static str {
        match self {
            Self::Prefix(_) => "pathPrefix",
            Self::Start(_) => "pathStart",
            Self::Exact(_) => "path",
        }
    }
}

/// A path without query or fragment.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequestPath(String);

impl RequestPath {
    /// Returns the path as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for RequestPath {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let path = text.parse::<PathPrefix>();
        path.map(|path| Self(path.as_str().to_owned()))
            .map_err(|_| "is not a path: it begins with / and has no space, ? or #")
    }
}

/// What a text must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum TextMatch {
    /// This text and no other.
    Exact(String),
    /// Any text that begins so.
    Prefix(String),
}

impl TextMatch {
    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => text == exact,
            Self::Prefix(prefix) => text.starts_with(prefix.as_str()),
        }
    }

    /// Host names have no case (RFC 9110 section 4.2.3), and a port counts only when it is asked for.
    fn matches_authority(&self, authority: &str) -> bool {
        let authority = authority.to_ascii_lowercase();
        match self {
            Self::Exact(exact) => {
                let exact = exact.to_ascii_lowercase();
                authority == exact || without_port(&authority) == exact
            }
            Self::Prefix(prefix) => authority.starts_with(&prefix.to_ascii_lowercase()),
        }
    }

    fn from_fields(mut fields: Fields<'_>) -> Option<Self> {
        let exact = fields.optional("exact").map(Self::Exact);
        let prefix = fields.optional("prefix").map(Self::Prefix);
        if exact.is_some() == prefix.is_some() {
            fields.mistake("", "needs one of exact and prefix");
        }
        fields.finish();
        exact.or(prefix)
    }
}

/// A field that a request must have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    /// The field's name.
    pub name: HeaderName,
    /// What one of its values must be; absent: anything.
    pub value: Option<TextMatch>,
}

impl HeaderMatch {
    fn holds(&self, headers: &HeaderMap) -> bool {
        let mut values = headers.get_all(&self.name).iter();
        match &self.value {
            None => values.next().is_some(),
            Some(text) => values.any(|value| value.to_str().is_ok_and(|value| text.matches(value))),
        }
    }

    fn from_fields(mut fields: Fields<'_>) -> Option<Self> {
        let name = fields.required::<HeaderName>("name");
        let exact = fields.optional("exact").map(TextMatch::Exact);
        let prefix = fields.optional("prefix").map(TextMatch::Prefix);
        if exact.is_some() && prefix.is_some() {
            fields.mistake("", "has both exact and prefix");
        }
        fields.finish();
        Some(Self {
            name: name?,
            value: exact.or(prefix),
        })
    }
}

impl Serialize for HeaderMatch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("name", self.name.as_str())?;
        match &self.value {
            Some(TextMatch::Exact(text)) => map.serialize_entry("exact", text)?,
            Some(TextMatch::Prefix(text)) => map.serialize_entry("prefix", text)?,
            None => {}
        }
        map.end()
    }
}

/// Returns a `Host` without its port; the brackets of an IPv6 address stay.
#[must_use]
pub fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) && !host.ends_with(':') => {
            host
        }
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(yaml: &str, head: (&str, &str, &str), expected: bool) {
        let text = format!("egress: [{{host: a.example, match: [{yaml}]}}]");
        let config = super::super::Config::parse(&text).expect("a configuration");
        let mut headers = HeaderMap::new();
        headers.insert("x-user", "ada".parse().expect("a value"));
        let head = RequestHead {
            method: &head.0.parse().expect("a method"),
            authority: head.1,
            path: head.2,
            headers: &headers,
        };
        assert_eq!(config.egress[0].takes(&head), expected, "{yaml} {head:?}");
    }

    #[test]
    fn a_path_is_matched_by_segments_by_letters_or_as_a_whole() {
        check("{pathPrefix: /status}", ("GET", "a", "/status/418"), true);
        check("{pathPrefix: /status}", ("GET", "a", "/statuses"), false);
        check("{pathStart: /status}", ("GET", "a", "/statuses"), true);
        check("{path: /status}", ("GET", "a", "/status"), true);
        check("{path: /status}", ("GET", "a", "/status/"), false);
    }

    #[test]
    fn all_conditions_of_one_match_must_hold_and_one_match_is_enough() {
        let both = "{method: GET, headers: [{name: X-User, exact: ada}]}";
        check(both, ("GET", "a", "/"), true);
        check(both, ("POST", "a", "/"), false);
        check(
            "{headers: [{name: x-user, prefix: a}]}",
            ("GET", "a", "/"),
            true,
        );
        check(
            "{headers: [{name: x-user, exact: a}]}",
            ("GET", "a", "/"),
            false,
        );
        check("{headers: [{name: x-other}]}", ("GET", "a", "/"), false);
        check("{path: /x}, {method: POST}", ("POST", "a", "/"), true);
    }

    #[test]
    fn an_authority_has_no_case_and_its_port_counts_only_when_asked_for() {
        let exact = "{authority: {exact: Shop.example}}";
        check(exact, ("GET", "shop.Example:8080", "/"), true);
        check(exact, ("GET", "shop.example", "/"), true);
        check(exact, ("GET", "shop.example.net", "/"), false);
        let with_port = "{authority: {exact: 'shop.example:81'}}";
        check(with_port, ("GET", "shop.example:80", "/"), false);
        check(
            "{authority: {prefix: shop}}",
            ("GET", "SHOP.example", "/"),
            true,
        );
        check(
            "{authority: {exact: '[::1]'}}",
            ("GET", "[::1]:80", "/"),
            true,
        );
    }
}
