//! The version of the API server, read once.

use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::cluster::client::Cluster;
use crate::cluster::failure::{Attempt, ClusterError, ResourceName};
use crate::telemetry::in_full;

const VERSION: ResourceName = ResourceName {
    plural: "/version",
    group: "",
};

/// A version of Kubernetes, as far as features depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ServerVersion {
    /// `1` in 1.29.
    pub major: u32,
    /// `29` in 1.29.
    pub minor: u32,
}

impl ServerVersion {
    /// The first version that runs an init container with `restartPolicy: Always` beside the
    /// others by default (KEP-753).
    pub const NATIVE_SIDECARS: Self = Self {
        major: 1,
        minor: 29,
    };

    /// Reads what `/version` reports; providers append signs to the minor version: `29+`.
    #[must_use]
    pub fn parse(major: &str, minor: &str) -> Option<Self> {
        Some(Self {
            major: leading_number(major)?,
            minor: leading_number(minor)?,
        })
    }

    /// Whether the cluster runs native sidecars.
    #[must_use]
    pub fn has_native_sidecars(self) -> bool {
        self >= Self::NATIVE_SIDECARS
    }
}

fn leading_number(text: &str) -> Option<u32> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    text.get(..digits)?.parse().ok()
}

/// Asks for the version until it is known; `None` when we may not know it or are told to stop.
pub async fn server_version(cluster: &Cluster, stop: &CancellationToken) -> Option<ServerVersion> {
    for pause in cluster.backoff() {
        match stop.run_until_cancelled(ask(cluster)).await? {
            Ok(version) => {
                info!(version.major, version.minor, "cluster version read");
                return Some(version);
            }
            Err(error) => {
                warn!(error = in_full(&error), "cluster version not read");
                if error.is_forbidden() {
                    return None;
                }
            }
        }
        stop.run_until_cancelled(tokio::time::sleep(pause)).await?;
    }
    None
}

async fn ask(cluster: &Cluster) -> Result<ServerVersion, ClusterError> {
    let attempt = Attempt::new("get", VERSION);
    let client = cluster.client();
    let info = cluster.call(&attempt, client.apiserver_version()).await?;
    ServerVersion::parse(&info.major, &info.minor).ok_or_else(|| ClusterError::Unreachable {
        attempt,
        source: format!("\"{}.{}\" is not a version", info.major, info.minor).into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(major: &str, minor: &str, expected: Option<(u32, u32)>) {
        let expected = expected.map(|(major, minor)| ServerVersion { major, minor });
        assert_eq!(ServerVersion::parse(major, minor), expected);
    }

    #[test]
    fn reads_a_plain_version() {
        check("1", "36", Some((1, 36)));
    }

    #[test]
    fn reads_a_providers_version_with_a_plus_sign() {
        check("1", "28+", Some((1, 28)));
    }

    #[test]
    fn rejects_what_does_not_begin_with_a_number() {
        check("1", "latest", None);
        check("", "29", None);
    }

    #[test]
    fn native_sidecars_begin_with_1_29() {
        let native = |minor| ServerVersion { major: 1, minor }.has_native_sidecars();
        assert!(!native(28));
        assert!(native(29));
    }
}
