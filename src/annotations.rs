//! What a pod asks for. In: its annotations and the defaults of its namespace. Out: checked wishes,
//! every mistake in them, and warnings. The only module that knows annotation keys.

mod istio_config;
mod key;
mod schema;
mod secret;
mod source;
mod traffic;
mod value;
mod volume_schema;
mod volumes;

pub use key::{Key, PREFIX};
pub use secret::{SecretMount, SecretName};
pub use source::Author;
pub use traffic::{Item, List, Selection, TrafficWishes};
pub use volumes::{UserMount, UserVolume};

use std::fmt::Display;
use std::str::FromStr;

use mtls_proxy::config::{EgressRoute, InboundPort, LogLevel, Mistakes, Span};
use serde_json::{Map, Value};

use self::istio_config::IstioConfig;
use self::source::{Family, Found, Source};
use self::value::{Flag, ImageName, IstioFlag};
use crate::config::{Capture, Config, IstioKeys, Quantity};
use crate::review::Pod;

/// What a pod asks for, as far as it could be understood.
#[derive(Clone, Debug, Default)]
pub struct Wishes {
    /// Who asks for the proxy, by whatever key.
    pub asked_by: Option<Author>,
    /// Whether the proxy is refused.
    pub refused: bool,
    /// Who asks for routes, so that a pod without them would be left unprotected.
    pub routes_by: Option<Author>,
    /// Whether the pod bears a key of ours that a person wrote.
    pub bears_own_keys: bool,
    /// The default credentials.
    pub secret: Option<Named<SecretMount>>,
    /// The ways out.
    pub egress: Named<Vec<EgressRoute>>,
    /// The ways in.
    pub inbound: Named<Vec<InboundPort>>,
    /// Whether the author of the ways in wrote any mode, so that those are meant as they stand.
    pub writes_inbound_modes: bool,
    /// Volumes for the pod.
    pub volumes: Vec<UserVolume>,
    /// Mounts for the proxy.
    pub mounts: Vec<UserMount>,
    /// How traffic reaches the proxy.
    pub capture: Option<Named<Capture>>,
    /// What of the traffic the kernel redirects.
    pub traffic: TrafficWishes,
    /// The settings of the proxy's container.
    pub proxy: ProxyWishes,
}

impl Wishes {
    /// Returns how traffic reaches the proxy, and how people are told where that is said.
    #[must_use]
    pub fn capture(&self, config: &Config) -> (Capture, &str) {
        match &self.capture {
            Some(wish) => (wish.value, wish.path.as_str()),
            None => (config.capture, "the injector's configuration: capture"),
        }
    }
}

/// A value and how people are told where it stands.
#[derive(Clone, Debug, Default)]
pub struct Named<T> {
    /// Such as `mtls-injector.io/egress`.
    pub path: String,
    /// The value.
    pub value: T,
}

/// What a pod asks for about the proxy's container; what is absent has the configured default.
#[derive(Clone, Debug, Default)]
pub struct ProxyWishes {
    /// Its image.
    pub image: Option<String>,
    /// The CPU that it requests.
    pub cpu: Option<Named<Quantity>>,
    /// The memory that it requests.
    pub memory: Option<Named<Quantity>>,
    /// The most CPU.
    pub cpu_limit: Option<Named<Quantity>>,
    /// The most memory.
    pub memory_limit: Option<Named<Quantity>>,
    /// The least severe log events.
    pub log_level: Option<LogLevel>,
    /// Whether it is a restartable init container.
    pub native_sidecar: Option<bool>,
    /// How long a drain waits.
    pub drain: Option<Named<Span>>,
    /// Whether the application's containers start only after a classic proxy is ready.
    pub hold_application: bool,
}

/// Everything that was read.
#[derive(Debug)]
pub struct Reading {
    /// What could be understood.
    pub wishes: Wishes,
    /// What could not.
    pub mistakes: Mistakes,
    /// What works otherwise than its author may think.
    pub warnings: Vec<String>,
}

/// Reads what a pod asks for.
#[must_use]
pub fn read(
    pod: Pod<'_>,
    namespace: &str,
    defaults: Option<&Map<String, Value>>,
    istio: IstioKeys,
) -> Reading {
    let source = Source {
        pod,
        namespace,
        defaults,
        istio,
    };
    let mut reader = Reader {
        source,
        mistakes: Mistakes::default(),
        warnings: Vec::new(),
    };
    reader.source.check_keys(&mut reader.mistakes);
    let wishes = reader.wishes();
    reader.warn_of_istio_keys();
    Reading {
        wishes,
        mistakes: reader.mistakes,
        warnings: reader.warnings,
    }
}

struct Reader<'a> {
    source: Source<'a>,
    mistakes: Mistakes,
    warnings: Vec<String>,
}

impl Reader<'_> {
    fn wishes(&mut self) -> Wishes {
        let (wanted_by, refused) = match self.inject() {
            Some((true, author)) => (Some(author), false),
            Some((false, _)) => (None, true),
            None => (None, false),
        };
        let routes_by = self.author_of(&[Key::Egress, Key::Inbound]);
        let others = [Key::Secret, Key::UserVolume, Key::UserVolumeMount];
        let asked_by = [wanted_by, routes_by, self.author_of(&others)];
        Wishes {
            asked_by: first_author(asked_by.into_iter().flatten()),
            refused,
            routes_by,
            bears_own_keys: self.source.bears_own_keys(),
            secret: self.parsed(Key::Secret),
            egress: self.list(Key::Egress, EgressRoute::parse_list),
            inbound: self.list(Key::Inbound, InboundPort::parse_list),
            writes_inbound_modes: self
                .source
                .find(Key::Inbound)
                .is_some_and(|found| found.text.contains("mode")),
            volumes: self.json(Key::UserVolume, volumes::volumes),
            mounts: self.json(Key::UserVolumeMount, volumes::mounts),
            capture: self.parsed(Key::Capture),
            traffic: self.traffic(),
            proxy: self.proxy(),
        }
    }

    fn traffic(&mut self) -> TrafficWishes {
        TrafficWishes {
            include_inbound_ports: self.parsed(Key::IncludeInboundPorts),
            exclude_inbound_ports: self.parsed(Key::ExcludeInboundPorts),
            include_outbound_ports: self.parsed(Key::IncludeOutboundPorts),
            exclude_outbound_ports: self.parsed(Key::ExcludeOutboundPorts),
            include_outbound_ranges: self.parsed(Key::IncludeOutboundIpRanges),
            exclude_outbound_ranges: self.parsed(Key::ExcludeOutboundIpRanges),
        }
    }

    fn proxy(&mut self) -> ProxyWishes {
        let istio = self.istio_config();
        let drain = self.parsed(Key::TerminationDrainDuration);
        ProxyWishes {
            image: self
                .parsed(Key::ProxyImage)
                .map(|image: Named<ImageName>| image.value.0),
            cpu: self.parsed(Key::ProxyCpu),
            memory: self.parsed(Key::ProxyMemory),
            cpu_limit: self.parsed(Key::ProxyCpuLimit),
            memory_limit: self.parsed(Key::ProxyMemoryLimit),
            log_level: self.parsed(Key::LogLevel).map(|level| level.value),
            native_sidecar: self
                .parsed(Key::NativeSidecar)
                .map(|flag: Named<Flag>| flag.value.0),
            drain: drain.or_else(|| {
                istio.drain.map(|value| Named {
                    path: format!("{}.terminationDrainDuration", istio_config::KEY),
                    value,
                })
            }),
            hold_application: istio.hold_application.unwrap_or(false),
        }
    }

    /// Reads whether the proxy is wanted, from annotation or label. Of one family they must agree.
    fn inject(&mut self) -> Option<(bool, Author)> {
        let own_label = self.source.label(Key::Inject.name(), Family::Own);
        let own = [self.source.own(Key::Inject), own_label];
        let istio_name = Key::Inject
            .istio()
            .filter(|_| self.source.istio == IstioKeys::Read);
        let istio_label = istio_name.and_then(|name| self.source.label(name, Family::Istio));
        let istio = [self.source.istio(Key::Inject), istio_label];
        let default = [self.source.default(Key::Inject), None];
        let mut families = [own, istio, default].into_iter();
        families.find_map(|family| self.agreed(family))
    }

    fn agreed(&mut self, [one, other]: [Option<Found<'_>>; 2]) -> Option<(bool, Author)> {
        let read = |found: &Found<'_>| {
            let flag = match found.family {
                Family::Own => found.text.parse::<Flag>(),
                Family::Istio => found
                    .text
                    .to_ascii_lowercase()
                    .parse::<IstioFlag>()
                    .map(|f| f.0),
            };
            (flag, found.author)
        };
        let mut wish = None;
        for found in [one, other].into_iter().flatten() {
            match (read(&found), wish) {
                ((Err(why), author), _) => {
                    self.mistakes.add(&found.path, Some(found.text), why);
                    wish = Some((true, author));
                }
                ((Ok(flag), author), None) => wish = Some((flag.0, author)),
                ((Ok(flag), _), Some((earlier, _))) if flag.0 != earlier => {
                    let reason = "contradicts the annotation of this name; write one of them";
                    self.mistakes.add(&found.path, Some(found.text), reason);
                    wish = Some((true, found.author));
                }
                _ => {}
            }
        }
        wish
    }

    /// Returns who asks for something by one of these keys; the pod before its namespace.
    fn author_of(&self, keys: &[Key]) -> Option<Author> {
        let says_something =
            |found: &Found<'_>| !matches!(found.text.trim(), "" | "[]" | "{}" | "null");
        let found = keys.iter().filter_map(|key| self.source.find(*key));
        first_author(found.filter(says_something).map(|found| found.author))
    }

    fn parsed<T: FromStr<Err: Display>>(&mut self, key: Key) -> Option<Named<T>> {
        let found = self.source.find(key)?;
        match found.text.parse() {
            Ok(value) => Some(Named {
                path: found.path,
                value,
            }),
            Err(why) => {
                self.mistakes
                    .add(&found.path, Some(found.text), &why.to_string());
                None
            }
        }
    }

    fn list<T>(
        &mut self,
        key: Key,
        parse: fn(&str, &str) -> Result<Vec<T>, Mistakes>,
    ) -> Named<Vec<T>> {
        let Some(found) = self.source.find(key) else {
            return Named {
                path: key.name().to_owned(),
                value: Vec::new(),
            };
        };
        let parsed = parse(found.text, &found.path);
        let value = parsed.unwrap_or_else(|mistakes| {
            self.take_over(mistakes);
            Vec::new()
        });
        Named {
            path: found.path,
            value,
        }
    }

    fn json<T>(&mut self, key: Key, read: fn(&str, &str, &mut Mistakes) -> Vec<T>) -> Vec<T> {
        match self.source.find(key) {
            Some(found) => read(found.text, &found.path, &mut self.mistakes),
            None => Vec::new(),
        }
    }

    fn take_over(&mut self, mistakes: Mistakes) {
        for mistake in mistakes {
            self.mistakes
                .add(&mistake.path, mistake.value.as_deref(), &mistake.reason);
        }
    }

    fn istio_config(&mut self) -> IstioConfig {
        let text = (self.source.istio == IstioKeys::Read)
            .then(|| {
                self.source
                    .pod
                    .annotations()?
                    .get(istio_config::KEY)?
                    .as_str()
            })
            .flatten();
        text.map_or_else(IstioConfig::default, |text| {
            IstioConfig::read(text, &mut self.mistakes, &mut self.warnings)
        })
    }

    fn warn_of_istio_keys(&mut self) {
        const FAMILIES: [&str; 3] = [
            "sidecar.istio.io/",
            "proxy.istio.io/",
            "traffic.sidecar.istio.io/",
        ];
        if self.source.istio == IstioKeys::Ignore {
            return;
        }
        let keys = self
            .source
            .pod
            .annotations()
            .into_iter()
            .flat_map(Map::keys);
        let unread = keys.filter(|name| {
            let known = Key::ALL.iter().any(|key| key.istio() == Some(name));
            let of_istio = FAMILIES.iter().any(|family| name.starts_with(family));
            of_istio && !known && *name != istio_config::KEY
        });
        self.warnings
            .extend(unread.map(|name| format!("{name} is not supported and has no effect")));
    }
}

fn first_author(authors: impl Iterator<Item = Author>) -> Option<Author> {
    authors.min_by_key(|author| match author {
        Author::Pod => 0,
        Author::Namespace => 1,
    })
}
