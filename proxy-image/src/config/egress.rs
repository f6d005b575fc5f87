//! Egress routes: plain in, TLS out. Also the short form of the annotation, a list of hosts.

use std::net::{IpAddr, Ipv4Addr};

use serde::Serialize;
use serde_json::Value;

use super::Reached;
use super::detour::{Redirect, RedirectCode, Rewrite};
use super::fields::{Fields, text_of};
use super::mistakes::Mistakes;
use super::parse_document;
use super::request::{Fit, RequestHead, RequestMatch};
use super::scalars::{Host, Port, Protocol, Span, words};
use super::tls::{ClientTls, UpstreamMode, is_false};

/// One way out of the pod: what the application dials, and how the world is spoken to instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct EgressRoute {
    /// What the application dials and what is verified.
    pub host: Host,
    /// The port that the application dials.
    pub port: Port,
    /// The addresses that the proxy listens on for this route; empty: 127.0.0.1.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listen: Vec<IpAddr>,
    /// The port where TLS is spoken.
    pub target_port: Port,
    /// Dialled instead of what `host` resolves to: an address or another name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Host>,
    /// How the bytes are understood.
    pub protocol: Protocol,
    /// The Secret with this route's own credentials. The injector mounts it and sets
    /// [`ClientTls::credential_directory`]; the proxy does not look at it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Which requests this route takes, http only; empty: all.
    #[serde(rename = "match", skip_serializing_if = "Vec::is_empty")]
    pub matches: Vec<RequestMatch>,
    /// Among routes of one host and port that take a request, the lowest rank wins, then the best
    /// [`Fit`]. Routes whose author gave them an order have different ranks.
    #[serde(skip_serializing_if = "is_first")]
    pub rank: u16,
    /// What the upstream is asked for instead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rewrite: Option<Rewrite>,
    /// Answered to every request instead of sending it on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<Redirect>,
    /// Short for a `redirect` with code 308 to https at `targetPort`.
    #[serde(skip_serializing_if = "is_false")]
    pub redirect_to_https: bool,
    /// When a request may be sent again.
    pub retries: Retries,
    /// How long may be waited for what.
    pub timeouts: Timeouts,
    /// The TLS settings.
    pub tls: ClientTls,
}

impl EgressRoute {
    /// Makes the route that a bare host name stands for: `http://HOST` becomes mutual TLS on 443.
    #[must_use]
    pub fn to_host(host: Host) -> Self {
        Self {
            host,
            port: Port::HTTP,
            listen: Vec::new(),
            target_port: Port::HTTPS,
            address: None,
            protocol: Protocol::Http,
            secret: None,
            matches: Vec::new(),
            rank: 0,
            rewrite: None,
            redirect: None,
            redirect_to_https: false,
            retries: Retries::default(),
            timeouts: Timeouts::default(),
            tls: ClientTls::default(),
        }
    }

    /// Parses the value of an `egress` annotation: a YAML or JSON list of routes, or a
    /// comma-separated list of hosts.
    ///
    /// # Errors
    /// Every mistake, with paths that begin with `path`.
    pub fn parse_list(text: &str, path: &str) -> Result<Vec<Self>, Mistakes> {
        let mut mistakes = Mistakes::default();
        let trimmed = text.trim();
        let routes = if is_short_form(trimmed) {
            Some(Self::parse_hosts(trimmed, path, &mut mistakes))
        } else {
            parse_document(text, path, &mut mistakes)
                .map(|value| list_of_objects(value, path, &mut mistakes, Self::from_fields))
        };
        mistakes.or(routes.map(|routes| routes.into_iter().flatten().collect()))
    }

    fn parse_hosts(text: &str, path: &str, mistakes: &mut Mistakes) -> Vec<Option<Self>> {
        let hosts = text
            .split(',')
            .map(str::trim)
            .filter(|host| !host.is_empty());
        hosts
            .map(|host| {
                let parsed = host.parse::<Host>();
                parsed
                    .map(Self::to_host)
                    .map_err(|why| mistakes.add(path, Some(host), why))
                    .ok()
            })
            .collect()
    }

    pub(super) fn from_fields(mut fields: Fields<'_>) -> Option<Self> {
        let host = fields.required::<Host>("host");
        let protocol = fields.or("protocol", Protocol::Http);
        let port = fields.optional::<Port>("port");
        let target_port = fields.optional::<Port>("targetPort");
        let listen = fields.list("listen");
        let address = fields.optional("address");
        let secret = fields.optional("secret");
        let matches = fields.objects("match", RequestMatch::from_fields);
        let rank = fields.or("rank", 0);
        let rewrite = fields.object_if_present("rewrite", Rewrite::from_fields);
        let redirect = fields.object_if_present("redirect", Redirect::from_fields);
        let redirect_to_https = fields.or("redirectToHttps", false);
        let retries = fields.object("retries", Retries::from_fields);
        let timeouts = fields.object("timeouts", Timeouts::from_fields);
        let tls = fields.object("tls", ClientTls::from_fields);
        let tls = tls.unwrap_or_default();
        let port = match (port, protocol) {
            (Some(port), _) => port,
            (None, Protocol::Http) => Port::HTTP,
            (None, Protocol::Tcp) => {
                fields.mistake("port", "is required with protocol tcp");
                Port::HTTP
            }
        };
        let default_target = match (protocol, tls.mode) {
            (Protocol::Http, UpstreamMode::Mutual | UpstreamMode::Simple) => Port::HTTPS,
            (Protocol::Http, UpstreamMode::Disable) | (Protocol::Tcp, _) => port,
        };
        let is_named = host.is_some();
        let route = Self {
            // Stands in for a missing host while the rest is checked.
            host: host.unwrap_or(Host::Ip(IpAddr::V4(Ipv4Addr::LOCALHOST))),
            port,
            listen,
            target_port: target_port.unwrap_or(default_target),
            address,
            protocol,
            secret,
            matches: matches.into_iter().flatten().collect(),
            rank,
            rewrite,
            redirect,
            redirect_to_https,
            retries: retries.unwrap_or_default(),
            timeouts: timeouts.unwrap_or_default(),
            tls,
        };
        route.refuse_contradictions(&mut fields);
        fields.finish();
        is_named.then_some(route)
    }

    fn refuse_contradictions(&self, fields: &mut Fields<'_>) {
        let looks_inside = !self.matches.is_empty() || self.rewrite.is_some();
        if self.protocol == Protocol::Tcp && (looks_inside || self.answer().is_some()) {
            fields.mistake(
                "protocol",
                "must be http for match, rewrite, redirect and redirectToHttps",
            );
        }
        if self.redirect.is_some() && (self.rewrite.is_some() || self.redirect_to_https) {
            fields.mistake("redirect", "cannot stand beside rewrite or redirectToHttps");
        }
        match (&self.host, &self.address) {
            (Host::Wildcard(parent), None) if parent.is_empty() => {
                fields.mistake(
                    "address",
                    "is required with host *, which has no name to dial",
                );
            }
            (_, Some(Host::Wildcard(_))) => {
                fields.mistake("address", "must be an address or a name, not a wildcard");
            }
            _ => {}
        }
    }

    /// Returns the route's name in metrics and errors: `HOST:PORT` as the application dials it,
    /// with the path of a route that has one.
    #[must_use]
    pub fn name(&self) -> String {
        match self.matches.first() {
            Some(first) => format!("{}:{}{first}", self.host, self.port),
            None => format!("{}:{}", self.host, self.port),
        }
    }

    /// Returns the addresses to listen on.
    #[must_use]
    pub fn listen_addresses(&self) -> Vec<IpAddr> {
        if self.listen.is_empty() {
            vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]
        } else {
            self.listen.clone()
        }
    }

    fn shares_a_listener_with(&self, other: &Self) -> bool {
        let others = other.listen_addresses();
        self.listen_addresses().iter().any(|ip| others.contains(ip))
    }

    /// Returns the redirect that answers every request of this route, written either way.
    #[must_use]
    pub fn answer(&self) -> Option<Redirect> {
        // 308 keeps the method, so that an application's POST is not lost on the way.
        let code = RedirectCode::PermanentRedirect;
        let to_https = || Redirect::to_https(code, Some(self.target_port));
        let short = self.redirect_to_https.then(to_https);
        self.redirect.clone().or(short)
    }

    /// Returns whether the route takes a request.
    #[must_use]
    pub fn takes(&self, head: &RequestHead<'_>) -> bool {
        Fit::best(&self.matches, head).is_some()
    }
}

words! {
    /// What a request is sent again for. Both are safe for any method: nothing has reached the
    /// upstream's application.
    RetryOn {
        /// No connection came about.
        ConnectFailure = "connect-failure",
        /// A pooled connection was closed before the request was sent on it.
        ResetBeforeRequest = "reset-before-request",
    }
}

/// How often, and why, a request is sent again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Retries {
    /// How many more times a request may be tried.
    pub attempts: u8,
    /// For what.
    pub on: Vec<RetryOn>,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts: 2,
            on: RetryOn::ALL.to_vec(),
        }
    }
}

impl Retries {
    fn from_fields(mut fields: Fields<'_>) -> Self {
        let default = Self::default();
        let attempts = fields.or("attempts", default.attempts);
        let on = fields.list("on");
        if attempts > 10 {
            fields.mistake("attempts", "must be at most 10");
        }
        fields.finish();
        Self {
            attempts,
            on: if on.is_empty() { default.on } else { on },
        }
    }
}

/// How long may be waited for what; zero means without limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Timeouts {
    /// For name resolution, the TCP connection and the TLS handshake together. Never without limit.
    pub connect: Span,
    /// From the request's last byte to the answer's head.
    pub request: Span,
    /// For a connection on which nothing moves.
    pub idle: Span,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Span::from_secs(5),
            request: Span::ZERO,
            idle: Span::from_secs(60),
        }
    }
}

impl Timeouts {
    fn from_fields(mut fields: Fields<'_>) -> Self {
        let default = Self::default();
        let timeouts = Self {
            connect: fields.or("connect", default.connect),
            request: fields.or("request", default.request),
            idle: fields.or("idle", default.idle),
        };
        if timeouts.connect.limit().is_none() {
            fields.mistake(
                "connect",
                "must be longer than 0s: a connection attempt has to end",
            );
        }
        fields.finish();
        timeouts
    }
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde passes a reference"
)]
fn is_first(rank: &u16) -> bool {
    *rank == 0
}

/// Returns whether an annotation holds the comma-separated short form, not YAML or JSON.
pub(super) fn is_short_form(text: &str) -> bool {
    !text.starts_with(['[', '-', '{']) && !text.contains('\n') && !text.contains(": ")
}

/// Reads a list of objects that is a document of its own; one object alone is a list of one.
pub(super) fn list_of_objects<T>(
    value: Value,
    path: &str,
    mistakes: &mut Mistakes,
    read: fn(Fields<'_>) -> T,
) -> Vec<T> {
    let items = match value {
        Value::Array(items) => items,
        Value::Null => Vec::new(),
        Value::Object(_) => {
            mistakes.add(
                path,
                None,
                "is one object; write a list, beginning with - or [",
            );
            Vec::new()
        }
        other => {
            mistakes.add(path, Some(&text_of(&other)), "is not a list");
            Vec::new()
        }
    };
    let numbered = items.into_iter().enumerate();
    numbered
        .filter_map(|(index, item)| {
            Fields::open(item, &format!("{path}[{index}]"), mistakes).map(read)
        })
        .collect()
}

/// Reports routes of which only one could ever be reached, with their index.
pub(super) fn clashes<'r>(
    routes: impl IntoIterator<Item = &'r EgressRoute>,
    reached: Reached,
) -> Vec<(usize, String)> {
    let routes: Vec<_> = routes.into_iter().collect();
    let numbered = routes.iter().enumerate();
    let clashes = numbered.filter_map(|(index, route)| {
        let mut earlier = routes.iter().take(index);
        let clash = earlier.find(|earlier| {
            let place = match reached {
                Reached::ByListener => earlier.shares_a_listener_with(route),
                // What the application dialled tells hosts apart, whatever is spoken.
                Reached::ByRedirect => earlier.host == route.host,
            };
            let mixed = earlier.protocol != route.protocol || route.protocol == Protocol::Tcp;
            let same = earlier.host == route.host
                && earlier.matches == route.matches
                && earlier.rank == route.rank;
            earlier.port == route.port && place && (mixed || same)
        })?;
        let reason = format!("takes the same connections as {}", clash.name());
        Some((index, reason))
    });
    clashes.collect()
}
