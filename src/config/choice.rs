//! Settings that are one of a few words. Each is read by `FromStr`, whose error completes the
//! sentence that begins with the quoted value.

use std::fmt;
use std::str::FromStr;

use mtls_proxy::config::nearest;

/// How an application's traffic reaches the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Capture {
    /// Each host becomes an alias of a loopback address on which the proxy listens.
    Hosts,
    /// The kernel redirects connections to the proxy.
    Redirect,
    /// The application dials the proxy itself.
    None,
}

impl Capture {
    const WORDS: [(&'static str, Self); 3] = [
        ("hosts", Self::Hosts),
        ("redirect", Self::Redirect),
        ("none", Self::None),
    ];

    /// Returns the word that stands for this value.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Hosts => "hosts",
            Self::Redirect => "redirect",
            Self::None => "none",
        }
    }
}

impl fmt::Display for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

impl FromStr for Capture {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::WORDS.iter().find(|(word, _)| *word == text);
        known
            .map(|(_, capture)| *capture)
            .ok_or_else(|| not_one_of(text, &Self::WORDS.map(|(word, _)| word)))
    }
}

/// The loopback address that stands for the hosts of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IpFamily {
    /// 127.77.0.N, one for each host. Right for IPv4 and for dual-stack clusters.
    V4,
    /// `::1`, which all hosts share. For IPv6-only clusters, where resolvers that look for
    /// configured addresses (RFC 3493 section 6.1, `AI_ADDRCONFIG`) pass over IPv4 aliases.
    V6,
}

impl FromStr for IpFamily {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "IPv4" => Ok(Self::V4),
            "IPv6" => Ok(Self::V6),
            _ => Err(not_one_of(text, &["IPv4", "IPv6"])),
        }
    }
}

/// Whether Istio's annotations are read beside our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IstioKeys {
    /// They mean what our own keys of the same name mean; our own win.
    Read,
    /// They mean nothing.
    Ignore,
}

/// Whether the proxy is a restartable init container, which starts before the application and ends
/// after it (Kubernetes, "Sidecar Containers").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum NativeSidecars {
    /// Always.
    On,
    /// Never.
    Off,
    /// Where the cluster, as far as its version is known, has them.
    Auto(Option<ClusterVersion>),
}

impl NativeSidecars {
    /// Returns whether pods get a native sidecar. A cluster of unknown version does: every
    /// Kubernetes release that is still maintained has them.
    #[must_use]
    pub fn enabled(self) -> bool {
        match self {
            Self::On => true,
            Self::Off => false,
            Self::Auto(version) => {
                version.is_none_or(|version| version >= ClusterVersion::WITH_NATIVE_SIDECARS)
            }
        }
    }
}

/// The version of a cluster, such as 1.33.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClusterVersion {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
}

impl ClusterVersion {
    /// The first release whose feature gate `SidecarContainers` is on by default.
    pub const WITH_NATIVE_SIDECARS: Self = Self {
        major: 1,
        minor: 29,
    };
}

fn not_one_of(text: &str, words: &[&str]) -> String {
    let words_listed = words.join(", ");
    match nearest(text, words.iter().copied()) {
        Some(meant) => format!("is not one of {words_listed}; did you mean {meant:?}?"),
        None => format!("is not one of {words_listed}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_follows_the_version_of_the_cluster() {
        let auto = |minor| NativeSidecars::Auto(Some(ClusterVersion { major: 1, minor })).enabled();
        assert!(!auto(28));
        assert!(auto(29));
        assert!(NativeSidecars::Auto(None).enabled());
    }

    #[test]
    fn a_misspelt_capture_names_the_nearest() {
        assert_eq!("hosts".parse(), Ok(Capture::Hosts));
        assert_eq!(
            "host".parse::<Capture>(),
            Err("is not one of hosts, redirect, none; did you mean \"hosts\"?".to_owned())
        );
    }
}
