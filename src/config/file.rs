//! The configuration file. In: YAML or JSON. Out: a [`Config`], or every mistake with its path.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;

use mtls_proxy::config::{Fields, Mistakes, parse_document};

use super::{Config, IstioKeys, NativeSidecars, Quantity, Resources};

impl Config {
    /// Reads a configuration file; what it does not say keeps its default.
    ///
    /// # Errors
    /// Every mistake, each with its path.
    pub fn parse(text: &str) -> Result<Self, Mistakes> {
        let mut mistakes = Mistakes::default();
        let config = parse_document(text, "", &mut mistakes)
            .and_then(|value| Fields::open(value, "", &mut mistakes).map(Self::from_fields));
        mistakes.or(config)
    }

    fn from_fields(mut fields: Fields<'_>) -> Self {
        let default = Self::default();
        let image = fields.optional("proxyImage");
        let init_image = fields.optional("initImage");
        let user = fields.optional("proxyUser");
        let resources = fields.object("resources", resources);
        let log_level = fields.or("logLevel", default.log_level);
        let capture = fields.or("capture", default.capture);
        let ip_family = fields.or("ipFamily", default.ip_family);
        let sidecars = fields.optional("nativeSidecars");
        let istio_keys = fields.optional("istioKeys");
        let sources = listed(&mut fields, "allowedVolumeSources");
        let minimum = fields.object("tls", |mut tls| {
            let minimum = tls.optional("minProtocolVersion");
            tls.finish();
            minimum
        });
        let system = listed(&mut fields, "systemNamespaces");
        let own = fields.optional("ownNamespace");
        fields.finish();
        Self {
            proxy_image: image.map_or(default.proxy_image, |Image(image)| image),
            init_image: init_image.map(|Image(image)| image),
            proxy_user: user.map_or(default.proxy_user, |User(user)| user),
            resources: resources.unwrap_or(default.resources),
            log_level,
            capture,
            ip_family,
            native_sidecars: sidecars.map_or(default.native_sidecars, |Native(native)| native),
            istio_keys: istio_keys.map_or(default.istio_keys, |Keys(keys)| keys),
            allowed_volume_sources: sources.map(|sources| names(sources, |Source(name)| name)),
            min_protocol_version: minimum.flatten().unwrap_or(default.min_protocol_version),
            system_namespaces: system.map_or(default.system_namespaces, |system| {
                names(system, |Namespace(name)| name)
            }),
            own_namespace: own.map(|Namespace(name)| name).or(default.own_namespace),
            ends_jobs: default.ends_jobs,
        }
    }
}

/// Reads a list for which absent and empty mean different things.
fn listed<T: FromStr<Err: Display>>(fields: &mut Fields<'_>, key: &'static str) -> Option<Vec<T>> {
    let is_written = fields.has(key);
    // Read in any case: what is never read counts as unknown.
    let items = fields.list(key);
    is_written.then_some(items)
}

fn names<T>(items: Vec<T>, name: fn(T) -> String) -> BTreeSet<String> {
    items.into_iter().map(name).collect()
}

fn resources(mut fields: Fields<'_>) -> Resources {
    let default = Resources::default();
    let requests = fields.object("requests", |mut requests| {
        let read = (requests.optional("cpu"), requests.optional("memory"));
        requests.finish();
        read
    });
    let limits = fields.object("limits", |mut limits| {
        let read = (limits.optional("cpu"), limits.optional("memory"));
        limits.finish();
        read
    });
    let (cpu, memory) = requests.unwrap_or_default();
    let (cpu_limit, memory_limit) = limits.unwrap_or_default();
    let limit = |read: Option<Limit>, default| read.map_or(default, |Limit(limit)| limit);
    let resources = Resources {
        cpu: cpu.unwrap_or(default.cpu),
        memory: memory.unwrap_or(default.memory),
        cpu_limit: limit(cpu_limit, default.cpu_limit),
        memory_limit: limit(memory_limit, default.memory_limit),
    };
    for (key, request, limit) in [
        ("requests.cpu", &resources.cpu, &resources.cpu_limit),
        (
            "requests.memory",
            &resources.memory,
            &resources.memory_limit,
        ),
    ] {
        if let Some(limit) = limit.as_ref().filter(|limit| request > *limit) {
            fields.mistake(key, &format!("is {request}, more than the limit {limit}"));
        }
    }
    fields.finish();
    resources
}

/// An image reference; the container runtime checks the rest of it.
struct Image(String);

impl FromStr for Image {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_reference = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic());
        let image = is_reference.then(|| Self(text.to_owned()));
        image.ok_or("is not an image reference such as registry.example.com/mtls-proxy:1.0.0")
    }
}

/// The proxy's uid, or `none`.
struct User(Option<i64>);

impl FromStr for User {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<u32>() {
            // The proxy's container is `runAsNonRoot`; Kubernetes' uids end at 2^31 - 1.
            Ok(uid @ 1..=0x7fff_ffff) => Ok(Self(Some(i64::from(uid)))),
            _ if text == "none" => Ok(Self(None)),
            _ => Err("is not a uid (1-2147483647) or none"),
        }
    }
}

/// The most of a resource, or `none`.
struct Limit(Option<Quantity>);

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "none" {
            return Ok(Self(None));
        }
        let quantity = text.parse().map_err(|why| format!("{why}, or none"));
        quantity.map(|quantity| Self(Some(quantity)))
    }
}

/// `on` without quotes is a flag in YAML 1.1 and a word in 1.2; both are meant.
struct Native(NativeSidecars);

impl FromStr for Native {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self(NativeSidecars::Auto(None))),
            "on" | "true" => Ok(Self(NativeSidecars::On)),
            "off" | "false" => Ok(Self(NativeSidecars::Off)),
            _ => Err("is not one of auto, on, off"),
        }
    }
}

struct Keys(IstioKeys);

impl FromStr for Keys {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "on" | "true" => Ok(Self(IstioKeys::Read)),
            "off" | "false" => Ok(Self(IstioKeys::Ignore)),
            _ => Err("is not one of on, off"),
        }
    }
}

/// The name of a field of Kubernetes' `VolumeSource`.
struct Source(String);

impl FromStr for Source {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let is_field = text.starts_with(|letter: char| letter.is_ascii_lowercase())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let source = is_field.then(|| Self(text.to_owned()));
        source.ok_or("is not a volume source such as secret, configMap or projected")
    }
}

/// The name of a namespace: a label of RFC 1123.
struct Namespace(String);

impl FromStr for Namespace {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_label = (1..=63).contains(&text.len())
            && text.bytes().all(inner)
            && !text.starts_with('-')
            && !text.ends_with('-');
        let namespace = is_label.then(|| Self(text.to_owned()));
        namespace.ok_or("is not the name of a namespace")
    }
}

#[cfg(test)]
mod tests;
