//! The injector's own settings. In: its configuration file. Out: checked values with defaults.
//! Knows nothing of requests.

mod choice;
mod file;
pub mod followed;
mod quantity;

pub use choice::{Capture, ClusterVersion, IpFamily, IstioKeys, NativeSidecars};
pub use quantity::Quantity;

use std::collections::BTreeSet;

use mtls_proxy::config::{LogLevel, MinProtocolVersion};

/// What the platform team decides for every pod.
#[derive(Clone, Debug)]
pub struct Config {
    /// The image of the proxy.
    pub proxy_image: String,
    /// The image that loads the kernel's rules; `None` follows [`Config::proxy_image`].
    pub init_image: Option<String>,
    /// The uid and gid of the proxy; `None` leaves them to the platform, as OpenShift wants it.
    pub proxy_user: Option<i64>,
    /// What the proxy requests and may use at most.
    pub resources: Resources,
    /// The least severe log events of the proxy.
    pub log_level: LogLevel,
    /// How traffic reaches the proxy when the pod does not say.
    pub capture: Capture,
    /// The loopback addresses that capture by hosts uses.
    pub ip_family: IpFamily,
    /// Whether the proxy is a native sidecar (a restartable init container).
    pub native_sidecars: NativeSidecars,
    /// Whether Istio's annotations are read as well.
    pub istio_keys: IstioKeys,
    /// The volume sources that `userVolume` may use, as Kubernetes spells them; `None`: all.
    pub allowed_volume_sources: Option<BTreeSet<String>>,
    /// The oldest TLS version that any route may speak; a route can only raise it.
    pub min_protocol_version: MinProtocolVersion,
    /// Namespaces whose pods are never touched.
    pub system_namespaces: BTreeSet<String>,
    /// The injector's own namespace, whose pods are never touched either.
    pub own_namespace: Option<String>,
    /// Whether an injector in the cluster ends the proxies of Jobs; no setting of the file, but what
    /// `serve` does.
    pub ends_jobs: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            proxy_image: concat!(
                "ghcr.io/mtls-injector/mtls-proxy:",
                env!("CARGO_PKG_VERSION")
            )
            .to_owned(),
            init_image: None,
            proxy_user: Some(15100),
            resources: Resources::default(),
            log_level: LogLevel::Info,
            capture: Capture::Hosts,
            ip_family: IpFamily::V4,
            native_sidecars: NativeSidecars::Auto(None),
            istio_keys: IstioKeys::Read,
            allowed_volume_sources: None,
            min_protocol_version: MinProtocolVersion::TlsV1_2,
            system_namespaces: ["kube-system", "kube-public", "kube-node-lease"]
                .map(str::to_owned)
                .into(),
            own_namespace: None,
            ends_jobs: false,
        }
    }
}

impl Config {
    /// Returns the image that loads the kernel's rules: `scripts/image` packs it beside the proxy's,
    /// with `-init` after its name and the same tag. A digest names one image and no other, so none
    /// can be told from it.
    #[must_use]
    pub fn init_image(&self) -> Option<String> {
        if self.init_image.is_some() {
            return self.init_image.clone();
        }
        let proxy = &self.proxy_image;
        let name = proxy.rfind('/').map_or(0, |slash| slash + 1);
        let (folder, name) = proxy.split_at_checked(name)?;
        if name.contains('@') {
            return None;
        }
        Some(match name.split_once(':') {
            Some((name, tag)) => format!("{folder}{name}-init:{tag}"),
            None => format!("{proxy}-init"),
        })
    }
}

/// Requests and limits of the proxy's container; a limit that is absent is not set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resources {
    /// The CPU that is requested.
    pub cpu: Quantity,
    /// The memory that is requested.
    pub memory: Quantity,
    /// The most CPU.
    pub cpu_limit: Option<Quantity>,
    /// The most memory.
    pub memory_limit: Option<Quantity>,
}

impl Default for Resources {
    fn default() -> Self {
        let quantity = |text: &str| text.parse().expect("a literal quantity is right");
        Self {
            cpu: quantity("10m"),
            memory: quantity("16Mi"),
            cpu_limit: None,
            memory_limit: Some(quantity("64Mi")),
        }
    }
}
