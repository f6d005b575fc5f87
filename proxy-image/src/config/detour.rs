//! What a route changes about a request: another path or authority for the upstream, or a redirect
//! for the application. Pure: the request's target in, another out.

use std::str::FromStr;

use http::uri::Authority;
use serde::{Serialize, Serializer};

use super::fields::Fields;
use super::request::{PathMatch, RequestMatch, RequestPath, without_port};
use super::scalars::{Port, words};

/// What an upstream is asked for instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rewrite {
    /// Stands for the matched beginning of the path, or for the whole of a path matched exactly.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<RequestPath>,
    /// Sent as `Host`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<HostPort>,
}

impl Rewrite {
    /// Returns the path and query to ask for, given the condition that took the request.
    #[must_use]
    pub fn target(&self, taken_by: Option<&RequestMatch>, path_and_query: &str) -> Option<String> {
        let new = self.path.as_ref()?.as_str();
        let (path, query) = split_query(path_and_query);
        let matched = taken_by.and_then(|taken_by| taken_by.path.as_ref());
        let rest = match matched {
            Some(PathMatch::Exact(_)) => "",
            Some(start) => path.strip_prefix(start.as_str()).unwrap_or(path),
            None => path.strip_prefix('/').unwrap_or(path),
        };
        // A prefix without a final slash that becomes one with, or the reverse, must not double it.
        let rest = match (new.ends_with('/'), rest.strip_prefix('/')) {
            (true, Some(bare)) => bare,
            _ => rest,
        };
        Some(format!("{new}{rest}{query}"))
    }

    pub(super) fn from_fields(mut fields: Fields<'_>) -> Self {
        let rewrite = Self {
            path: fields.optional("path"),
            authority: fields.optional("authority"),
        };
        if rewrite.path.is_none() && rewrite.authority.is_none() {
            fields.mistake("", "needs path or authority");
        }
        fields.finish();
        rewrite
    }
}

/// An answer that sends the application elsewhere (RFC 9110 section 15.4).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Redirect {
    /// The status.
    pub code: RedirectCode,
    /// The scheme of the new place; the request's own, when absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scheme: Option<Scheme>,
    /// Its host, possibly with a port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<HostPort>,
    /// Its port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<Port>,
    /// Its path; the query stays.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<RequestPath>,
}

impl Redirect {
    /// Makes the redirect from plaintext to the same place on HTTPS, at the scheme's own port when none
    /// is named.
    #[must_use]
    pub const fn to_https(code: RedirectCode, port: Option<Port>) -> Self {
        Self {
            code,
            scheme: Some(Scheme::Https),
            authority: None,
            port,
            path: None,
        }
    }

    /// Returns the value of `Location` for a request that came by `scheme`.
    #[must_use]
    pub fn location(&self, scheme: Scheme, authority: &str, path_and_query: &str) -> String {
        let own = self.scheme.unwrap_or(scheme);
        let host = self.authority.as_ref().map_or(authority, HostPort::as_str);
        let host = match self.port {
            Some(port) if port == own.port() => without_port(host).to_owned(),
            Some(port) => format!("{}:{port}", without_port(host)),
            // The port belonged to the scheme that is left.
            None if self.authority.is_none() && own != scheme => without_port(host).to_owned(),
            None => host.to_owned(),
        };
        let (path, query) = split_query(path_and_query);
        let path = self.path.as_ref().map_or(path, RequestPath::as_str);
        format!("{own}://{host}{path}{query}")
    }

    pub(super) fn from_fields(mut fields: Fields<'_>) -> Self {
        let redirect = Self {
            code: fields.or("code", RedirectCode::MovedPermanently),
            scheme: fields.optional("scheme"),
            authority: fields.optional("authority"),
            port: fields.optional("port"),
            path: fields.optional("path"),
        };
        let somewhere = redirect.scheme.is_some()
            || redirect.authority.is_some()
            || redirect.port.is_some()
            || redirect.path.is_some();
        if !somewhere {
            fields.mistake(
                "",
                "leads back to itself; needs scheme, authority, port or path",
            );
        }
        fields.finish();
        redirect
    }
}

words! {
    /// The status of a redirect.
    RedirectCode {
        /// 301, for good; a POST may become a GET.
        MovedPermanently = "301",
        /// 302, for now; a POST may become a GET.
        Found = "302",
        /// 303, to be fetched with GET.
        SeeOther = "303",
        /// 307, for now, with the same method.
        TemporaryRedirect = "307",
        /// 308, for good, with the same method.
        PermanentRedirect = "308",
    }
}

impl RedirectCode {
    /// Returns the status.
    #[must_use]
    pub const fn status(self) -> http::StatusCode {
        match self {
            Self::MovedPermanently => http::StatusCode::MOVED_PERMANENTLY,
            Self::Found => http::StatusCode::FOUND,
            Self::SeeOther => http::StatusCode::SEE_OTHER,
            Self::TemporaryRedirect => http::StatusCode::TEMPORARY_REDIRECT,
            Self::PermanentRedirect => http::StatusCode::PERMANENT_REDIRECT,
        }
    }
}

words! {
    /// The scheme of a URL.
    Scheme {
        /// Plaintext.
        Http = "http",
        /// TLS.
        Https = "https",
    }
}

impl Scheme {
    const fn port(self) -> Port {
        match self {
            Self::Http => Port::HTTP,
            Self::Https => Port::HTTPS,
        }
    }
}

/// A host with or without a port, as `Host` carries it (RFC 9110 section 7.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort(Authority);

impl HostPort {
    /// Returns the text as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for HostPort {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let parsed = text.parse::<Authority>().ok();
        parsed
            .filter(|authority| !authority.as_str().contains('@') && !authority.host().is_empty())
            .map(Self)
            .ok_or("is not a host such as shop.example or shop.example:8443")
    }
}

impl Serialize for HostPort {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

fn split_query(path_and_query: &str) -> (&str, &str) {
    let at = path_and_query.find('?').unwrap_or(path_and_query.len());
    path_and_query
        .split_at_checked(at)
        .unwrap_or((path_and_query, ""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, EgressRoute};

    fn route(yaml: &str) -> EgressRoute {
        let config = Config::parse(&format!("egress: [{{host: a.example, {yaml}}}]"));
        config.expect("a configuration").egress.remove(0)
    }

    #[test]
    fn a_rewrite_replaces_what_was_matched() {
        let check = |matched: &str, new: &str, asked: &str, expected: &str| {
            let route = route(&format!("match: [{matched}], rewrite: {{path: {new}}}"));
            let rewrite = route.rewrite.expect("a rewrite");
            let target = rewrite.target(route.matches.first(), asked);
            assert_eq!(target.as_deref(), Some(expected), "{matched} -> {new}");
        };
        check("{pathPrefix: /v1}", "/v2", "/v1/a?q=/v1", "/v2/a?q=/v1");
        check("{pathPrefix: /v1}", "/", "/v1/a", "/a");
        check("{pathPrefix: /v1}", "/", "/v1", "/");
        check("{pathStart: /v1/}", "/", "/v1/a", "/a");
        check("{path: /old}", "/new", "/old?x", "/new?x");
        check("{method: GET}", "/base/", "/a", "/base/a");
    }

    #[test]
    fn a_redirect_changes_only_what_it_names() {
        let check = |yaml: &str, authority: &str, expected: &str| {
            let redirect = route(&format!("redirect: {{{yaml}}}")).redirect;
            let redirect = redirect.expect("a redirect");
            let location = redirect.location(Scheme::Http, authority, "/a?b=c");
            assert_eq!(location, expected, "{yaml}");
        };
        check("scheme: https", "a.example", "https://a.example/a?b=c");
        check("scheme: https", "a.example:80", "https://a.example/a?b=c");
        check(
            "scheme: https, port: 8443",
            "a.example:80",
            "https://a.example:8443/a?b=c",
        );
        check(
            "scheme: https, port: 443",
            "a.example:80",
            "https://a.example/a?b=c",
        );
        check(
            "authority: b.example, path: /z",
            "a.example:80",
            "http://b.example/z?b=c",
        );
        check("path: /z", "a.example:8080", "http://a.example:8080/z?b=c");
    }

    #[test]
    fn a_detour_without_an_aim_is_refused() {
        let text = "egress: [{host: a.example, rewrite: {}, redirect: {code: 302}}]";
        let expected = "\
egress[0].rewrite: needs path or authority
egress[0].redirect: leads back to itself; needs scheme, authority, port or path
egress[0].redirect: cannot stand beside rewrite or redirectToHttps";
        let mistakes = Config::parse(text).expect_err("no aim");
        assert_eq!(mistakes.to_string(), expected);
        let text = "egress: [{host: a.example, redirect: {authority: 'me@b', code: 200}}]";
        let mistakes = Config::parse(text).expect_err("no host");
        assert!(
            mistakes
                .to_string()
                .contains("\"me@b\" is not a host such as")
        );
        assert!(
            mistakes
                .to_string()
                .contains("\"200\" is not one of 301, 302")
        );
    }
}
