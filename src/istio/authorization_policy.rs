//! AuthorizationPolicy: which clients come in, as far as a certificate and a port can tell.
//! <https://istio.io/latest/docs/reference/config/security/authorization-policy/>

use mtls_proxy::config::{AllowRule, Port};

use super::reader::{Labels, Reader};

/// The spec of an AuthorizationPolicy whose action is ALLOW.
#[derive(Clone, Debug)]
pub(super) struct AuthorizationPolicy {
    pub(super) selector: Labels,
    pub(super) scope: Scope,
    rules: Vec<Rule>,
}

/// What a policy has to do with sidecars.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// It lets clients of pods in.
    Pods,
    /// Nothing: it is for a gateway or waypoint, or only records.
    Nothing,
}

/// Lets sources in at ports; an empty list means all.
#[derive(Clone, Debug)]
struct Rule {
    from: Vec<Source>,
    ports: Vec<Port>,
}

/// Clients by the names in their certificates.
#[derive(Clone, Debug)]
enum Source {
    /// Everybody, also without a certificate.
    Anybody,
    /// Any of these; none: every client with a certificate.
    Verified(Vec<AllowRule>),
}

/// Who comes in at a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Admitted {
    /// Everybody, as far as this is concerned.
    Anybody,
    /// Every client with a certificate that the CA vouches for.
    AnyVerified,
    /// Clients with these names.
    Names(Vec<AllowRule>),
    /// No one.
    Nobody,
}

impl AuthorizationPolicy {
    pub(super) fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        reader.deny_unknown();
        let selector = reader.object("selector", |selector| {
            selector.deny_unknown();
            selector.labels("matchLabels")
        });
        let mut scope = Scope::Pods;
        if reader.value("targetRef").is_some() | reader.value("targetRefs").is_some() {
            reader.warn(
                "targetRefs",
                "means gateways and waypoints, of which there are none",
            );
            scope = Scope::Nothing;
        }
        let action: Option<String> = reader.get("action");
        match action.as_deref() {
            None | Some("ALLOW") => {}
            Some("AUDIT") => {
                reader.warn("action", "AUDIT has no effect; every access is logged");
                reader.ignore(&["rules"]);
                scope = Scope::Nothing;
            }
            Some(other) => {
                let reason = format!("{other} is not supported; write what is allowed instead");
                reader.deny("action", &reason);
            }
        }
        let rules = match scope {
            Scope::Pods => reader.objects("rules", Rule::read),
            Scope::Nothing => Vec::new(),
        };
        Some(Self {
            selector: selector.unwrap_or_default(),
            scope,
            rules,
        })
    }

    /// Returns whom this policy lets in at a port of the application.
    pub(super) fn admits(&self, port: Port) -> Admitted {
        let rules = self
            .rules
            .iter()
            .filter(|rule| rule.ports.is_empty() || rule.ports.contains(&port));
        rules.map(Rule::admits).fold(Admitted::Nobody, Admitted::or)
    }
}

impl Admitted {
    /// Whoever is let in by one is let in.
    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Anybody, _) | (_, Self::Anybody) => Self::Anybody,
            (Self::AnyVerified, _) | (_, Self::AnyVerified) => Self::AnyVerified,
            (Self::Nobody, other) | (other, Self::Nobody) => other,
            (Self::Names(mut names), Self::Names(more)) => {
                for name in more {
                    if !names.contains(&name) {
                        names.push(name);
                    }
                }
                Self::Names(names)
            }
        }
    }
}

impl Rule {
    fn read(reader: &mut Reader<'_, '_>) -> Self {
        reader.deny_unknown();
        let from = reader.objects("from", |from| {
            from.deny_unknown();
            from.object("source", Source::read)
                .unwrap_or(Source::Anybody)
        });
        let to = reader.objects("to", |to| {
            to.deny_unknown();
            let ports = to.object("operation", |operation| {
                operation.deny_unknown();
                operation.list::<Port>("ports")
            });
            ports.unwrap_or_default()
        });
        Self {
            from,
            // One operation that names no port means all of them.
            ports: match to.iter().any(Vec::is_empty) {
                true => Vec::new(),
                false => to.concat(),
            },
        }
    }

    fn admits(&self) -> Admitted {
        if self.from.is_empty() {
            return Admitted::Anybody;
        }
        let each = self.from.iter().map(|source| match source {
            Source::Anybody => Admitted::Anybody,
            Source::Verified(names) if names.is_empty() => Admitted::AnyVerified,
            Source::Verified(names) => Admitted::Names(names.clone()),
        });
        each.fold(Admitted::Nobody, Admitted::or)
    }
}

impl Source {
    fn read(reader: &mut Reader<'_, '_>) -> Self {
        reader.deny_unknown();
        let kinds = [
            ("principals", principal as fn(&str) -> Named),
            ("namespaces", namespace),
            ("serviceAccounts", service_account),
        ];
        let mut found = Vec::new();
        for (key, rule) in kinds {
            let texts: Vec<String> = reader.list(key);
            if !texts.is_empty() {
                found.push(names(reader, key, &texts, rule));
            }
        }
        if found.len() > 1 {
            reader.deny(
                "",
                "asks for more than one kind of name at once; write principals alone",
            );
        }
        found.pop().map_or(Self::Anybody, Self::Verified)
    }
}

/// A rule; `Ok(None)` for any name at all.
type Named = Result<Option<AllowRule>, &'static str>;

/// Turns names into rules; any name among them makes the list one of all verified clients.
fn names(
    reader: &mut Reader<'_, '_>,
    key: &str,
    texts: &[String],
    rule: fn(&str) -> Named,
) -> Vec<AllowRule> {
    let mut rules = Vec::new();
    let mut any = false;
    for text in texts {
        match rule(text) {
            Ok(Some(rule)) => rules.push(rule),
            Ok(None) => any = true,
            Err(why) => reader.deny(key, &format!("{text:?} {why}")),
        }
    }
    if any { Vec::new() } else { rules }
}

const PARTIAL: &str = "has * inside a name; * stands for one whole name";

/// `TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT`, as Istio writes a SPIFFE ID, with `*` at one end.
fn principal(text: &str) -> Named {
    let id = match text.strip_suffix("/*") {
        _ if text == "*" => return Ok(None),
        Some(start) => format!("spiffe://{start}/**"),
        None => format!("spiffe://{text}"),
    };
    id.parse().map(Some).map_err(|_| PARTIAL)
}

fn namespace(text: &str) -> Named {
    format!("spiffe://*/ns/{text}/sa/*")
        .parse()
        .map(Some)
        .map_err(|_| PARTIAL)
}

/// `NAMESPACE/ACCOUNT`. An account alone would be of the policy's own namespace.
fn service_account(text: &str) -> Named {
    let (namespace, account) = text
        .split_once('/')
        .ok_or("needs its namespace, as NAMESPACE/ACCOUNT")?;
    format!("spiffe://*/ns/{namespace}/sa/{account}")
        .parse()
        .map(Some)
        .map_err(|_| PARTIAL)
}
