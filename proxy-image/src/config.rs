//! The proxy's configuration: the contract between the injector, which renders it, and the proxy,
//! which parses it. Parsed and checked once; everything behind it works with checked types.
//!
//! In: a YAML or JSON document. Out: a [`Config`], or every mistake in the document at once.
//! `parse(render(c)) == c` holds for every configuration. Knows no sockets and reads no files.

mod detour;
mod egress;
mod fields;
mod inbound;
mod mistakes;
mod probe;
mod request;
mod scalars;
mod tls;
mod traffic;

pub use detour::{HostPort, Redirect, RedirectCode, Rewrite, Scheme};
pub use egress::{EgressRoute, Retries, RetryOn, Timeouts};
pub use fields::Fields;
pub use inbound::{AllowRule, ForwardClientCert, InboundMode, InboundPort, Pattern};
pub use mistakes::{Mistake, Mistakes, nearest};
pub use probe::{AppProbe, ProbeKind, ProbeTarget};
pub use request::{
    Fit, HeaderMatch, PathMatch, RequestHead, RequestMatch, RequestPath, TextMatch, without_port,
};
pub use scalars::{Host, LogLevel, PathPrefix, Port, Protocol, Span};
pub use tls::{
    ClientTls, KeyStore, Material, MinProtocolVersion, ServerTls, SubjectAltName, UpstreamMode,
};
pub use traffic::{
    ADMIN_PORT, INBOUND_PORT, InboundTraffic, IpRange, OUTBOUND_PORT, OutboundTraffic,
    TrafficRedirect, Uid,
};

use serde::Serialize;
use serde_json::Value;

/// The directory where credentials are looked for when nothing else is said.
pub const DEFAULT_CREDENTIALS: &str = "/etc/mtlsfiles";

/// Everything a running proxy does, except for its own process (admin addresses, log format), which
/// is told by flags and cannot be reloaded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Config {
    /// The least severe log events that are written.
    pub log_level: LogLevel,
    /// How long a drain waits for open connections before it cuts them.
    pub termination_drain_duration: Span,
    /// Whether the application has ended, so that the proxy is to end, too. This is how a proxy that
    /// is an ordinary container learns of the end of its Job.
    #[serde(skip_serializing_if = "tls::is_false")]
    pub application_ended: bool,
    /// Plain in, TLS out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub egress: Vec<EgressRoute>,
    /// TLS in, plain to the application.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub inbound: Vec<InboundPort>,
    /// What the kernel redirects to the proxy; absent: applications and clients dial its listeners.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redirect: Option<TrafficRedirect>,
    /// Probes of the application that are answered on the admin port.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<AppProbe>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            log_level: LogLevel::Info,
            termination_drain_duration: Span::from_secs(25),
            application_ended: false,
            egress: Vec::new(),
            inbound: Vec::new(),
            redirect: None,
            probes: Vec::new(),
        }
    }
}

impl Config {
    /// Parses a document of YAML or JSON.
    ///
    /// # Errors
    /// Every mistake in the document, each with its path.
    pub fn parse(text: &str) -> Result<Self, Mistakes> {
        let mut mistakes = Mistakes::default();
        let config = parse_document(text, "", &mut mistakes)
            .and_then(|value| Fields::open(value, "", &mut mistakes).map(Self::from_fields));
        mistakes.or(config)
    }

    /// Renders one line of JSON that [`Config::parse`] reads back as an equal configuration.
    #[must_use]
    pub fn render(&self) -> String {
        serde_json::to_string(self).expect("a configuration holds only strings, numbers and lists")
    }

    fn from_fields(mut fields: Fields<'_>) -> Self {
        let default = Self::default();
        let log_level = fields.or("logLevel", default.log_level);
        let drain = fields.or(
            "terminationDrainDuration",
            default.termination_drain_duration,
        );
        let application_ended = fields.or("applicationEnded", false);
        let egress = fields.objects("egress", EgressRoute::from_fields);
        let inbound = fields.objects("inbound", InboundPort::from_fields);
        let redirect = fields.object_if_present("redirect", TrafficRedirect::from_fields);
        let probes = fields.objects("probes", AppProbe::from_fields);
        let config = Self {
            log_level,
            termination_drain_duration: drain,
            application_ended,
            egress: egress.into_iter().flatten().collect(),
            inbound: inbound.into_iter().flatten().collect(),
            redirect: redirect.flatten(),
            probes: probes.into_iter().flatten().collect(),
        };
        for clash in config.check_together() {
            fields.mistake(&clash.path, &clash.reason);
        }
        fields.finish();
        config
    }

    /// Returns what is wrong between routes that are right each by itself, with paths such as
    /// `egress[1]`.
    #[must_use]
    pub fn check_together(&self) -> Mistakes {
        let mut mistakes = Mistakes::default();
        for (index, reason) in egress::clashes(&self.egress, self.reached()) {
            mistakes.add(&format!("egress[{index}]"), None, &reason);
        }
        for index in inbound::clashes(&self.inbound) {
            let path = format!("inbound[{index}].port");
            mistakes.add(&path, None, "is listened on twice");
        }
        let numbered = self.inbound.iter().enumerate();
        for (index, _) in numbered.filter(|(_, port)| self.dials_itself(port)) {
            let path = format!("inbound[{index}].targetPort");
            let reason = "is the proxy's own port; name the application's";
            mistakes.add(&path, None, reason);
        }
        mistakes
    }

    /// Returns how connections reach the routes.
    const fn reached(&self) -> Reached {
        match self.redirect {
            Some(_) => Reached::ByRedirect,
            None => Reached::ByListener,
        }
    }

    /// With redirection a client may dial the application's own port: the kernel leads it here.
    fn dials_itself(&self, port: &InboundPort) -> bool {
        port.port == port.target_port && (self.redirect.is_none() || !port.listen.is_empty())
    }
}

/// How connections reach the routes of a configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reached {
    /// Who dials the address that a route listens on.
    ByListener,
    /// By what the application dialled, wherever that is.
    ByRedirect,
}

/// Reads YAML or JSON text into a value; a mistake of syntax names line and column.
pub fn parse_document(text: &str, path: &str, mistakes: &mut Mistakes) -> Option<Value> {
    let parsed = if text.trim_start().starts_with(['{', '[']) {
        serde_json::from_str(text).map_err(|error| format!("is not JSON: {error}"))
    } else {
        serde_saphyr::from_str(text)
            .map_err(|error| format!("is not YAML: {}", yaml_mistake(&error)))
    };
    // YAML in flow style also begins with a bracket, and is no JSON.
    let parsed = parsed.or_else(|json| serde_saphyr::from_str(text).map_err(|_| json));
    parsed
        .map_err(|reason| mistakes.add(path, None, &reason))
        .ok()
}

/// The first line of an error of the YAML parser, without its advice to programmers; the rest of it
/// draws the place.
#[must_use]
pub fn yaml_mistake(error: &serde_saphyr::Error) -> String {
    const ADVICE: &str = ", set DuplicateKeyPolicy in Options if acceptable";
    let text = error.to_string();
    let first = text.lines().next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    first.replace(ADVICE, "")
}
