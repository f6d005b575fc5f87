//! Single values of a configuration. Each is read from text by `FromStr`, whose error completes the
//! sentence that begins with the quoted value, and is written as that text.

use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::str::FromStr;
use std::time::Duration;

use serde::{Serialize, Serializer};

/// Closed sets of words: the enum, its `as_str`, `Display`, `FromStr` and `Serialize`.
macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal $(| $alias:literal)*),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant),+ }

        impl $name {
            /// Every value, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the word that stands for this value.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                match text {
                    $($word $(| $alias)* => Ok(Self::$variant),)+
                    _ => Err($crate::config::scalars::not_one_of(text, &[$($word),+])),
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    };
}
pub(super) use words;

pub(crate) fn not_one_of(text: &str, words: &[&str]) -> String {
    match super::nearest(text, words.iter().copied()) {
        Some(meant) => format!(
            "is not one of {}; did you mean {meant:?}?",
            words.join(", ")
        ),
        None => format!("is not one of {}", words.join(", ")),
    }
}

words! {
    /// How the bytes of a connection are understood.
    Protocol {
        /// HTTP/1.1 and HTTP/2, request by request.
        Http = "http",
        /// Bytes as they come.
        Tcp = "tcp",
    }
}

words! {
    /// The least severe events that are logged.
    LogLevel {
        /// Everything.
        Trace = "trace",
        /// What a developer of the proxy needs.
        Debug = "debug",
        /// One line a request or connection.
        Info = "info",
        /// What may soon be wrong.
        Warning = "warning" | "warn",
        /// What is wrong.
        Error = "error" | "critical",
        /// Nothing.
        Off = "off" | "none",
    }
}

/// A TCP port, 1 to 65535.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Port(NonZeroU16);

impl Port {
    /// HTTP's port, 80.
    pub const HTTP: Self = Self(NonZeroU16::new(80).expect("80 is not zero"));
    /// HTTPS's port, 443.
    pub const HTTPS: Self = Self(NonZeroU16::new(443).expect("443 is not zero"));

    /// Returns the port with that number, unless it is 0.
    #[must_use]
    pub fn new(number: u16) -> Option<Self> {
        NonZeroU16::new(number).map(Self)
    }

    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

impl FromStr for Port {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.parse()
            .map(Self)
            .map_err(|_| "is not a port (1-65535)")
    }
}

impl fmt::Display for Port {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What an application dials: a DNS name, a wildcard for one, or an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Host {
    /// A DNS name in lower case without a final dot.
    Name(String),
    /// `*.example.com`, kept without the `*.`; empty for `*`, which is any host.
    Wildcard(String),
    /// An address.
    Ip(IpAddr),
}

impl Host {
    /// Returns the DNS name, unless this is a wildcard or an address.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            Self::Wildcard(_) | Self::Ip(_) => None,
        }
    }

    /// Returns where the host stands among those that a name may match: names and addresses before
    /// wildcards, longer wildcards before shorter ones. The lowest is tried first.
    #[must_use]
    pub const fn precedence(&self) -> usize {
        match self {
            Self::Name(_) | Self::Ip(_) => 0,
            Self::Wildcard(parent) => usize::MAX - parent.len(),
        }
    }

    /// Returns whether a name or address, such as one from a `Host` header, is this host.
    #[must_use]
    pub fn matches(&self, dialled: &str) -> bool {
        let dialled = dialled.strip_suffix('.').unwrap_or(dialled);
        match self {
            Self::Name(name) => name.eq_ignore_ascii_case(dialled),
            Self::Wildcard(parent) if parent.is_empty() => true,
            Self::Wildcard(parent) => dialled
                .split_at_checked(dialled.len().saturating_sub(parent.len()))
                .is_some_and(|(label, rest)| {
                    rest.eq_ignore_ascii_case(parent) && label.len() > 1 && label.ends_with('.')
                }),
            Self::Ip(ip) => dialled.trim_matches(['[', ']']).parse() == Ok(*ip),
        }
    }
}

impl FromStr for Host {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "is not a host name, an address or a wildcard such as *.example.com";
        if let Ok(ip) = text.trim_matches(['[', ']']).parse() {
            return Ok(Self::Ip(ip));
        }
        if text.contains("://") || text.contains('/') {
            return Err("is a URL; write the host name alone, such as external.system.com");
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        match name.strip_prefix("*.") {
            None if name == "*" => Ok(Self::Wildcard(String::new())),
            Some(parent) if is_dns_name(parent) => Ok(Self::Wildcard(parent.to_owned())),
            None if is_dns_name(&name) => Ok(Self::Name(name)),
            _ => Err(WRONG),
        }
    }
}

/// A DNS name of letters, digits, `-` and `_` (RFC 1123 section 2.1, with the underscore that
/// resolvers let pass); a last label of digits alone would be a misspelt IPv4 address.
fn is_dns_name(name: &str) -> bool {
    let label_is_right = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    let last_is_number = |name: &str| {
        name.rsplit('.')
            .next()
            .is_some_and(|last| last.bytes().all(|b| b.is_ascii_digit()))
    };
    name.len() <= 253 && name.split('.').all(label_is_right) && !last_is_number(name)
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Wildcard(parent) if parent.is_empty() => f.write_str("*"),
            Self::Wildcard(parent) => write!(f, "*.{parent}"),
            Self::Ip(ip) => ip.fmt(f),
        }
    }
}

impl Serialize for Host {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A length of time in whole milliseconds, written as Go and Istio do: `5s`, `1m30s`, `250ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(Duration);

impl Span {
    /// No time at all; for a timeout it means none.
    pub const ZERO: Self = Self(Duration::ZERO);

    /// Makes a span of whole seconds.
    #[must_use]
    pub const fn from_secs(seconds: u64) -> Self {
        Self(Duration::from_secs(seconds))
    }

    /// Returns the span, or `None` for zero: no limit.
    #[must_use]
    pub fn limit(self) -> Option<Duration> {
        (!self.0.is_zero()).then_some(self.0)
    }

    /// Returns the span as it is.
    #[must_use]
    pub const fn get(self) -> Duration {
        self.0
    }
}

impl FromStr for Span {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "is not a duration such as 250ms, 5s, 1m30s or 1h";
        const LONGEST: f64 = 366.0 * 24.0 * 3600.0;
        let mut rest = text;
        let mut seconds = 0.0_f64;
        while !rest.is_empty() {
            let digits = rest
                .find(|c: char| !c.is_ascii_digit() && c != '.')
                .ok_or(WRONG)?;
            let (number, tail) = rest.split_at_checked(digits).ok_or(WRONG)?;
            let letters = tail
                .find(|c: char| !c.is_ascii_alphabetic())
                .unwrap_or(tail.len());
            let (unit, tail) = tail.split_at_checked(letters).ok_or(WRONG)?;
            let unit = match unit {
                "ms" => 0.001,
                "s" => 1.0,
                "m" => 60.0,
                "h" => 3600.0,
                _ => return Err(WRONG),
            };
            seconds += number.parse::<f64>().map_err(|_| WRONG)? * unit;
            rest = tail;
        }
        if text.is_empty() || seconds > LONGEST {
            return Err(WRONG);
        }
        let millis = Duration::try_from_secs_f64(seconds)
            .map_err(|_| WRONG)?
            .as_micros();
        let millis = u64::try_from((millis + 500) / 1000).map_err(|_| WRONG)?;
        Ok(Self(Duration::from_millis(millis)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.subsec_millis() {
            0 => write!(f, "{}s", self.0.as_secs()),
            _ => write!(f, "{}ms", self.0.as_millis()),
        }
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The beginning of a request's path, such as `/status`. Matches whole segments: `/status` and
/// `/status/x`, not `/statuses`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct PathPrefix(String);

impl PathPrefix {
    /// Returns whether the path of a request is this prefix or below it.
    #[must_use]
    pub fn matches(&self, path: &str) -> bool {
        path.strip_prefix(self.0.as_str())
            .is_some_and(|rest| self.0.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
    }

    /// Returns the prefix as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PathPrefix {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let visible = text
            .bytes()
            .all(|b| b.is_ascii_graphic() && b != b'?' && b != b'#');
        if text.starts_with('/') && visible {
            Ok(Self(text.to_owned()))
        } else {
            Err("is not a path prefix: it begins with / and has no space, ? or #")
        }
    }
}
