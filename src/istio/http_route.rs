//! One entry of a VirtualService's `http`: which requests it takes and what becomes of them.

use http::Method;
use mtls_proxy::config::{
    EgressRoute, HeaderMatch, PathMatch, Port, Redirect, RedirectCode, RequestMatch, RequestPath,
    Retries, RetryOn, Rewrite, Scheme, Span, TextMatch,
};
use serde_json::Value;

use super::finding::Findings;
use super::object::{Workload, selects};
use super::reader::{Labels, Reader, scalar};
use super::virtual_service::{Destination, names_gateway, one_destination, refuse_header_changes};

/// The entry; a request that it does not take goes to the next.
#[derive(Clone, Debug)]
pub(super) struct HttpRoute {
    matches: Vec<HttpMatch>,
    pub(super) action: Action,
    pub(super) rewrite: Option<Rewrite>,
    pub(super) timeout: Option<Span>,
    pub(super) retries: Option<Retries>,
}

/// What becomes of a request.
#[derive(Clone, Debug)]
pub(super) enum Action {
    Send(Destination),
    Redirect(Redirect),
}

/// One condition: who asks, by which way, and for what.
#[derive(Clone, Debug)]
struct HttpMatch {
    port: Option<Port>,
    gateways: Vec<String>,
    source_labels: Labels,
    source_namespace: Option<String>,
    request: RequestMatch,
}

/// From where a route is looked at.
#[derive(Clone, Copy)]
pub(super) struct Viewpoint<'a> {
    pub(super) workload: &'a Workload<'a>,
    /// `NAMESPACE/NAME` or `mesh`.
    pub(super) gateway: &'a str,
    /// The VirtualService's namespace.
    pub(super) own_namespace: &'a str,
    pub(super) port: Port,
}

impl HttpRoute {
    pub(super) fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        const PLACES: &str = "is not supported: a request would be sent where it does not belong";
        let matches = reader.objects("match", HttpMatch::read);
        let destination = one_destination(reader);
        let redirect = reader.object("redirect", read_redirect).flatten();
        let rewrite = reader.object("rewrite", read_rewrite).flatten();
        let timeout = reader.get("timeout");
        let retries = reader.object("retries", read_retries);
        reader.refuse("directResponse", PLACES);
        reader.refuse("delegate", PLACES);
        refuse_header_changes(reader);
        reader.ignore(&["name"]);
        let action = match (destination, redirect) {
            (_, Some(redirect)) => Action::Redirect(redirect),
            (Some(destination), None) => Action::Send(destination),
            (None, None) => {
                if reader.value("route").is_none() && reader.value("redirect").is_none() {
                    reader.deny("", "leads nowhere; it needs route or redirect");
                }
                return None;
            }
        };
        let is_redirect = matches!(action, Action::Redirect(_));
        Some(Self {
            matches,
            rewrite: rewrite.filter(|_| !is_redirect),
            action,
            timeout,
            retries,
        })
    }

    /// Returns the conditions on a request that comes this way, or `None` when none can hold.
    pub(super) fn conditions(&self, from: &Viewpoint<'_>) -> Option<Vec<RequestMatch>> {
        let open = self.matches.iter().filter(|one| one.holds(from));
        let conditions: Vec<_> = open.map(|one| one.request.clone()).collect();
        if conditions.is_empty() && !self.matches.is_empty() {
            return None;
        }
        // A condition that asks nothing of the request takes all of them.
        if conditions.contains(&RequestMatch::default()) {
            return Some(Vec::new());
        }
        Some(conditions)
    }

    /// Writes what the entry says about requests on their way into a route.
    pub(super) fn shape(&self, route: &mut EgressRoute) {
        route.rewrite.clone_from(&self.rewrite);
        if let Some(timeout) = self.timeout {
            route.timeouts.request = timeout;
        }
        if let Some(retries) = &self.retries {
            route.retries.clone_from(retries);
        }
    }

    /// Returns the ports that the conditions name.
    pub(super) fn ports(&self) -> impl Iterator<Item = Port> {
        self.matches.iter().filter_map(|one| one.port)
    }
}

impl HttpMatch {
    fn read(reader: &mut Reader<'_, '_>) -> Self {
        reader.deny_unknown();
        reader.ignore(&["name", "statPrefix"]);
        if reader.flag("ignoreUriCase") {
            reader.deny("ignoreUriCase", "is not supported: paths have case here");
        }
        let uri = reader.object("uri", read_text).flatten();
        let path = uri.and_then(|uri| read_path(reader, &uri));
        let method = reader.object("method", read_text).flatten();
        let method = method.and_then(|method| match &method {
            TextMatch::Exact(name) => name.parse::<Method>().ok(),
            TextMatch::Prefix(_) => {
                reader.deny("method", "must be exact");
                None
            }
        });
        let authority = reader.object("authority", read_text).flatten();
        let headers = reader.map("headers", read_header);
        Self {
            port: reader.get("port"),
            gateways: reader.list("gateways"),
            source_labels: reader.labels("sourceLabels"),
            source_namespace: reader.get("sourceNamespace"),
            request: RequestMatch {
                path,
                method,
                authority,
                headers,
            },
        }
    }

    fn holds(&self, from: &Viewpoint<'_>) -> bool {
        let gateway = self.gateways.is_empty()
            || names_gateway(&self.gateways, from.gateway, from.own_namespace);
        let namespace = self.source_namespace.as_deref();
        gateway
            && self.port.is_none_or(|port| port == from.port)
            && namespace.is_none_or(|own| own == from.workload.namespace)
            && selects(&self.source_labels, from.workload.labels)
    }
}

/// Reads Istio's StringMatch. A regular expression is refused: Istio's are RE2, with its own rules.
fn read_text(reader: &mut Reader<'_, '_>) -> Option<TextMatch> {
    reader.refuse(
        "regex",
        "is not supported; use exact or prefix, or several entries of match",
    );
    let exact = reader.get("exact").map(TextMatch::Exact);
    exact.or_else(|| reader.get("prefix").map(TextMatch::Prefix))
}

fn read_path(reader: &mut Reader<'_, '_>, text: &TextMatch) -> Option<PathMatch> {
    let (TextMatch::Exact(path) | TextMatch::Prefix(path)) = text;
    match path.parse::<RequestPath>() {
        Ok(path) => Some(match text {
            TextMatch::Exact(_) => PathMatch::Exact(path),
            TextMatch::Prefix(_) => PathMatch::Start(path),
        }),
        Err(why) => {
            reader.deny("uri", &format!("{path:?} {why}"));
            None
        }
    }
}

/// An empty condition asks only that the field is there.
fn read_header(
    name: &str,
    value: &Value,
    path: &str,
    findings: &mut Findings,
) -> Option<HeaderMatch> {
    let value = Reader::read(value, path, findings, read_text)?;
    scalar(&Value::from(name), path, findings).map(|name| HeaderMatch { name, value })
}

fn read_rewrite(reader: &mut Reader<'_, '_>) -> Option<Rewrite> {
    reader.deny_unknown();
    let path = reader.get("uri");
    let authority = reader.get("authority");
    (path.is_some() || authority.is_some()).then_some(Rewrite { path, authority })
}

fn read_redirect(reader: &mut Reader<'_, '_>) -> Option<Redirect> {
    reader.deny_unknown();
    let derived: Option<String> = reader.get("derivePort");
    if derived.is_some_and(|derived| derived != "FROM_PROTOCOL_DEFAULT") {
        reader.deny("derivePort", "is only supported as FROM_PROTOCOL_DEFAULT");
    }
    let redirect = Redirect {
        code: reader
            .get("redirectCode")
            .unwrap_or(RedirectCode::MovedPermanently),
        scheme: reader.get::<Scheme>("scheme"),
        authority: reader.get("authority"),
        port: reader.get("port"),
        path: reader.get("uri"),
    };
    let somewhere = redirect.scheme.is_some()
        || redirect.authority.is_some()
        || redirect.port.is_some()
        || redirect.path.is_some();
    if !somewhere {
        reader.deny(
            "",
            "leads back to itself; it needs scheme, authority, port or uri",
        );
    }
    somewhere.then_some(redirect)
}

fn read_retries(reader: &mut Reader<'_, '_>) -> Retries {
    const MOST: u32 = 10;
    let default = Retries::default();
    let attempts: u32 = reader
        .get("attempts")
        .unwrap_or_else(|| default.attempts.into());
    if attempts > MOST {
        reader.warn("attempts", "is more than 10; 10 are made");
    }
    let causes: Option<String> = reader.get("retryOn");
    let causes = causes.filter(|causes| !causes.is_empty());
    let on = causes.map_or(default.on, |causes| read_causes(reader, &causes));
    Retries {
        attempts: match on.is_empty() {
            true => 0,
            false => u8::try_from(attempts.min(MOST)).unwrap_or_default(),
        },
        on: match on.is_empty() {
            true => RetryOn::ALL.to_vec(),
            false => on,
        },
    }
}

/// Keeps the causes for which a request can be sent again without reaching an application twice.
fn read_causes(reader: &mut Reader<'_, '_>, causes: &str) -> Vec<RetryOn> {
    let mut kept = Vec::new();
    for cause in causes.split(',').map(str::trim) {
        match cause.parse() {
            Ok(cause) => kept.push(cause),
            Err(_) => {
                let reason = format!(
                    "{cause} has no effect: only requests that cannot have reached the application are sent again"
                );
                reader.warn("retryOn", &reason);
            }
        }
    }
    kept
}
