//! The `status` annotation: what an injector added, so that a second run knows it, and `check` can
//! tell whether it is still current. In: what is added. Out: one line of JSON, and back.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use mtls_proxy::config as proxy;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::redirect::rules;
use super::{CONTAINER, MovedProbe, Placement, Sidecar, VERSION};
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
    /// Tells apart what the kernel redirects; the rules are loaded when the pod starts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_rules: Option<String>,
    /// The probes that were moved, as the user wrote them: by container and key the field that said
    /// how to ask, such as `{"app": {"livenessProbe": {"tcpSocket": {"port": 8080}}}}`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub probes: Originals,
}

/// By container and probe, what asked the application.
pub type Originals = BTreeMap<String, BTreeMap<String, Map<String, Value>>>;

fn originals(moved: &[MovedProbe]) -> Originals {
    let mut originals = Originals::new();
    for probe in moved {
        let handler = Map::from_iter([(probe.field.to_owned(), probe.handler.clone())]);
        let container = originals.entry(probe.container.clone()).or_default();
        container.insert(probe.place.key.to_owned(), handler);
    }
    originals
}

impl Status {
    /// Describes what is added, for the proxy's configuration.
    pub(super) fn of(sidecar: &Sidecar, config: &proxy::Config) -> Self {
        let rest = (config, &sidecar.container);
        let hashed = match &sidecar.init_container {
            None => serde_json::to_vec(&(&sidecar.volumes, &sidecar.host_aliases, rest)),
            Some(init) => {
                serde_json::to_vec(&(&sidecar.volumes, &sidecar.host_aliases, rest, init))
            }
        };
        let hashed = hashed.expect("what is added is made of JSON values");
        let proxy = vec![CONTAINER.to_owned()];
        let (containers, native) = match sidecar.placement {
            Placement::Native => (Vec::new(), proxy),
            Placement::Classic | Placement::ClassicHolding => (proxy, Vec::new()),
        };
        let init = sidecar.init_container.as_ref();
        let init = init.map(|container| name_of(container).to_owned());
        let addresses = sidecar
            .host_aliases
            .iter()
            .filter_map(|alias| alias.get("ip")?.as_str());
        Self {
            version: VERSION.to_owned(),
            config_hash: hexadecimal(digest(&SHA256, &hashed).as_ref()),
            containers,
            init_containers: init.into_iter().chain(native).collect(),
            volumes: sidecar
                .volumes
                .iter()
                .map(|volume| name_of(volume).to_owned())
                .collect(),
            host_aliases: addresses.map(str::to_owned).collect(),
            kernel_rules: rules(config).map(|rules| short_hash(&rules)),
            probes: originals(&sidecar.probes),
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
