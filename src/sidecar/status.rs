//! The `status` annotation: what an injector added, so that a second run knows it, and `check` can
//! tell whether it is still current. In: what is added. Out: one line of JSON, and back.

use aws_lc_rs::digest::{SHA256, digest};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CONTAINER, Placement, VERSION};
use crate::review::{Pod, name_of};

/// What an injector added to a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The version of the injector.
    pub version: String,
    /// The SHA-256 of everything that was added, in hexadecimal digits.
    pub config_hash: String,
    /// Names of containers.
    #[serde(default)]
    pub containers: Vec<String>,
    /// Names of init containers.
    #[serde(default)]
    pub init_containers: Vec<String>,
    /// Names of volumes.
    #[serde(default)]
    pub volumes: Vec<String>,
    /// Addresses of host aliases.
    #[serde(default)]
    pub host_aliases: Vec<String>,
}

impl Status {
    /// Describes what is added; `rest` is whatever else should make a difference.
    pub(super) fn of(
        placement: Placement,
        volumes: &[Value],
        host_aliases: &[Value],
        rest: &impl Serialize,
    ) -> Self {
        let hashed = serde_json::to_vec(&(volumes, host_aliases, rest))
            .expect("what is added is made of JSON values");
        let container = vec![CONTAINER.to_owned()];
        let (containers, init_containers) = match placement {
            Placement::Native => (Vec::new(), container),
            Placement::Classic | Placement::ClassicHolding => (container, Vec::new()),
        };
        let addresses = host_aliases
            .iter()
            .filter_map(|alias| alias.get("ip")?.as_str());
        Self {
            version: VERSION.to_owned(),
            config_hash: hexadecimal(digest(&SHA256, &hashed).as_ref()),
            containers,
            init_containers,
            volumes: volumes
                .iter()
                .map(|volume| name_of(volume).to_owned())
                .collect(),
            host_aliases: addresses.map(str::to_owned).collect(),
        }
    }

    /// Reads the annotation's value; anything else is no status.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    /// Writes the annotation's value.
    #[must_use]
    pub fn render(&self) -> String {
        serde_json::to_string(self).expect("a status holds only texts and lists")
    }

    /// Returns whether the pod has the containers and volumes that this status names. A status that
    /// names no container describes nothing.
    #[must_use]
    pub fn describes(&self, pod: Pod<'_>) -> bool {
        let has = |list: &str, names: &[String]| {
            names
                .iter()
                .all(|name| pod.list(list).iter().any(|item| name_of(item) == name))
        };
        !(self.containers.is_empty() && self.init_containers.is_empty())
            && has("containers", &self.containers)
            && has("initContainers", &self.init_containers)
            && has("volumes", &self.volumes)
    }
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        for nibble in [byte >> 4, byte & 15] {
            text.extend(char::from_digit(u32::from(nibble), 16));
        }
        text
    })
}

/// Returns the first digits of a text's SHA-256, to tell shortened names apart.
pub(super) fn short_hash(text: &str) -> String {
    let hash = digest(&SHA256, text.as_bytes());
    hexadecimal(hash.as_ref().get(..5).unwrap_or_default())
}
