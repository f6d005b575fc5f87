//! Inbound ports: TLS in, plain to the application. Also the short form of the annotation,
//! `LISTEN:APP`, and the rules that say which verified clients may come in.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use super::egress::{is_short_form, list_of_objects};
use super::fields::Fields;
use super::mistakes::Mistakes;
use super::parse_document;
use super::scalars::{Port, Protocol, Span, words};
use super::tls::ServerTls;

words! {
    /// What a client has to show.
    InboundMode {
        /// Mutual TLS only.
        Strict = "STRICT",
        /// Mutual TLS, or plaintext; told apart by the first bytes.
        Permissive = "PERMISSIVE",
        /// TLS; no client certificate is asked for.
        Simple = "SIMPLE",
        /// TLS; a client certificate is asked for, and verified when there is one.
        OptionalMutual = "OPTIONAL_MUTUAL",
        /// Plaintext, because it was asked for by name.
        Disable = "DISABLE",
    }
}

words! {
    /// What becomes of `x-forwarded-client-cert` (Envoy's `forward_client_cert_details`).
    ForwardClientCert {
        /// Dropped, then set from this handshake.
        SanitizeSet = "SANITIZE_SET",
        /// Kept, and this handshake's client appended.
        AppendForward = "APPEND_FORWARD",
        /// Dropped.
        Sanitize = "SANITIZE",
        /// Kept as it came, from a verified client only.
        ForwardOnly = "FORWARD_ONLY",
    }
}

/// One way into the pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct InboundPort {
    /// The port that the proxy listens on.
    pub port: Port,
    /// The addresses that it listens on; empty: all of them, IPv4 and IPv6.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub listen: Vec<IpAddr>,
    /// The application's port, dialled on 127.0.0.1.
    pub target_port: Port,
    /// What a client has to show.
    pub mode: InboundMode,
    /// How the bytes are understood.
    pub protocol: Protocol,
    /// The TLS settings.
    pub tls: ServerTls,
    /// Which verified clients may come in; empty: all that the CA vouches for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<AllowRule>,
    /// What becomes of `x-forwarded-client-cert`.
    pub forward_client_cert: ForwardClientCert,
    /// The age at which a connection is asked to end; zero: never.
    #[serde(skip_serializing_if = "is_zero")]
    pub max_connection_age: Span,
}

impl InboundPort {
    /// Makes the port that `LISTEN:APP` stands for: STRICT, http.
    #[must_use]
    pub fn new(port: Port, target_port: Port) -> Self {
        Self {
            port,
            listen: Vec::new(),
            target_port,
            mode: InboundMode::Strict,
            protocol: Protocol::Http,
            tls: ServerTls::default(),
            allow: Vec::new(),
            forward_client_cert: ForwardClientCert::SanitizeSet,
            max_connection_age: Span::ZERO,
        }
    }

    /// Parses the value of an `inbound` annotation: a YAML or JSON list, or comma-separated
    /// `LISTEN:APP` ports.
    ///
    /// # Errors
    /// Every mistake, with paths that begin with `path`.
    pub fn parse_list(text: &str, path: &str) -> Result<Vec<Self>, Mistakes> {
        let mut mistakes = Mistakes::default();
        let trimmed = text.trim();
        let ports = if is_short_form(trimmed) {
            Some(Self::parse_pairs(trimmed, path, &mut mistakes))
        } else {
            parse_document(text, path, &mut mistakes)
                .map(|value| list_of_objects(value, path, &mut mistakes, Self::from_fields))
        };
        mistakes.or(ports.map(|ports| ports.into_iter().flatten().collect()))
    }

    fn parse_pairs(text: &str, path: &str, mistakes: &mut Mistakes) -> Vec<Option<Self>> {
        const WRONG: &str = "is not LISTEN:APP, two ports such as 8443:8080";
        let pairs = text
            .split(',')
            .map(str::trim)
            .filter(|pair| !pair.is_empty());
        pairs
            .map(|pair| {
                let ports = pair.split_once(':').and_then(|(port, target)| {
                    Some((port.trim().parse().ok()?, target.trim().parse().ok()?))
                });
                if ports.is_none() {
                    mistakes.add(path, Some(pair), WRONG);
                }
                ports.map(|(port, target)| Self::new(port, target))
            })
            .collect()
    }

    pub(super) fn from_fields(mut fields: Fields<'_>) -> Option<Self> {
        let port = fields.required("port");
        let listen = fields.list("listen");
        let target_port = fields.required("targetPort");
        let mode = fields.or("mode", InboundMode::Strict);
        let protocol = fields.or("protocol", Protocol::Http);
        let tls = fields
            .object("tls", ServerTls::from_fields)
            .unwrap_or_default();
        let allow: Vec<AllowRule> = fields.list("allow");
        let forward_client_cert = fields.or("forwardClientCert", ForwardClientCert::SanitizeSet);
        let max_connection_age = fields.or("maxConnectionAge", Span::ZERO);
        if !allow.is_empty() && matches!(mode, InboundMode::Simple | InboundMode::Disable) {
            fields.mistake(
                "allow",
                &format!("means nothing with mode {mode}, which asks for no client certificate"),
            );
        }
        fields.finish();
        Some(Self {
            port: port?,
            listen,
            target_port: target_port?,
            mode,
            protocol,
            tls,
            allow,
            forward_client_cert,
            max_connection_age,
        })
    }

    /// Returns the port's name in metrics and errors: `inbound:PORT`.
    #[must_use]
    pub fn name(&self) -> String {
        format!("inbound:{}", self.port)
    }
}

/// Reports inbound ports that another one already listens on, by their index.
pub(super) fn clashes<'p>(ports: impl IntoIterator<Item = &'p InboundPort>) -> Vec<usize> {
    let ports: Vec<_> = ports.into_iter().collect();
    let numbered = ports.iter().enumerate();
    let clashes = numbered.filter(|(index, port)| {
        ports.iter().take(*index).any(|earlier| {
            let all = port.listen.is_empty() || earlier.listen.is_empty();
            earlier.port == port.port
                && (all || earlier.listen.iter().any(|ip| port.listen.contains(ip)))
        })
    });
    clashes.map(|(index, _)| index).collect()
}

/// A rule that lets a verified client in, by a name in its certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AllowRule {
    /// A URI name, by segments between `/`.
    Uri(Pattern),
    /// A DNS name, by labels between `.`.
    Dns(Pattern),
    /// The subject's common name, as a whole.
    CommonName(Pattern),
}

impl FromStr for AllowRule {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "is not a rule such as spiffe://cluster.local/ns/shop/sa/*, dns:client.example.com or cn:NAME";
        let rule = if let Some(name) = text.strip_prefix("dns:") {
            Self::Dns(Pattern::new(&name.to_ascii_lowercase(), '.'))
        } else if let Some(name) = text.strip_prefix("cn:") {
            Self::CommonName(Pattern::new(name, '\0'))
        } else if let Some(uri) = text.strip_prefix("uri:") {
            Self::Uri(Pattern::new(uri, '/'))
        } else if text.contains("://") {
            Self::Uri(Pattern::new(text, '/'))
        } else {
            return Err(WRONG);
        };
        let (Self::Uri(pattern) | Self::Dns(pattern) | Self::CommonName(pattern)) = &rule;
        if pattern.text.is_empty() {
            return Err(WRONG);
        }
        if pattern
            .segments()
            .rev()
            .skip(1)
            .any(|segment| segment == "**")
        {
            return Err("has ** before its end; ** stands for the rest and comes last");
        }
        let partial = |s: &str| s.contains('*') && s != "*" && s != "**";
        if pattern.segments().any(partial) {
            return Err("has * inside a segment; * stands for one whole segment, ** for the rest");
        }
        Ok(rule)
    }
}

impl fmt::Display for AllowRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uri(pattern) if pattern.text.contains("://") => f.write_str(&pattern.text),
            Self::Uri(pattern) => write!(f, "uri:{}", pattern.text),
            Self::Dns(pattern) => write!(f, "dns:{}", pattern.text),
            Self::CommonName(pattern) => write!(f, "cn:{}", pattern.text),
        }
    }
}

impl Serialize for AllowRule {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A name in which `*` stands for one segment and a final `**` for one or more.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Pattern {
    text: String,
    separator: char,
}

impl Pattern {
    fn new(text: &str, separator: char) -> Self {
        Self {
            text: text.to_owned(),
            separator,
        }
    }

    /// Returns whether a name from a certificate matches. Empty segments match nothing but
    /// themselves, so a doubled separator cannot stand for a name.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        let mut names = name.split(self.separator);
        for segment in self.segments() {
            let Some(part) = names.next() else {
                return false;
            };
            match segment {
                "**" => return !part.is_empty(),
                "*" if !part.is_empty() => {}
                exact if exact == part => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }

    fn segments(&self) -> std::str::Split<'_, char> {
        self.text.split(self.separator)
    }
}

fn is_zero(span: &Span) -> bool {
    span.limit().is_none()
}
