//! The annotation keys: every key of ours, and the one of Istio that means the same. The only list
//! of them.

/// What every key of ours begins with.
pub const PREFIX: &str = "mtls-injector.io/";

macro_rules! keys {
    ($($(#[$doc:meta])* $variant:ident = $name:literal $(or $family:ident $istio:literal)?;)+) => {
        /// An annotation that means something.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Key { $($(#[$doc])* $variant),+ }

        impl Key {
            /// Every key, in the order of the documentation.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Returns the whole key, such as `mtls-injector.io/egress`.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => concat!("mtls-injector.io/", $name)),+ }
            }

            /// Returns Istio's key of the same meaning.
            #[must_use]
            pub const fn istio(self) -> Option<&'static str> {
                match self { $(Self::$variant => keys!(@istio $($family $istio)?)),+ }
            }
        }
    };
    (@istio) => { None };
    (@istio sidecar $istio:literal) => { Some(concat!("sidecar.istio.io/", $istio)) };
    (@istio traffic $istio:literal) => { Some(concat!("traffic.sidecar.istio.io/", $istio)) };
}

keys! {
    /// Asks for the proxy, or refuses it. Also a label.
    Inject = "inject" or sidecar "inject";
    /// The Secret with the default credentials of every route.
    Secret = "secret";
    /// The ways out of the pod.
    Egress = "egress";
    /// The ways into the pod.
    Inbound = "inbound";
    /// Volumes for the pod.
    UserVolume = "userVolume" or sidecar "userVolume";
    /// Mounts for the proxy's container.
    UserVolumeMount = "userVolumeMount" or sidecar "userVolumeMount";
    /// How the application's traffic reaches the proxy.
    Capture = "capture";
    /// Which further ports of the pod are redirected to the proxy.
    IncludeInboundPorts = "includeInboundPorts" or traffic "includeInboundPorts";
    /// Which ports of the pod are never redirected.
    ExcludeInboundPorts = "excludeInboundPorts" or traffic "excludeInboundPorts";
    /// To which ports connections are redirected, whatever their address.
    IncludeOutboundPorts = "includeOutboundPorts" or traffic "includeOutboundPorts";
    /// To which ports connections are never redirected.
    ExcludeOutboundPorts = "excludeOutboundPorts" or traffic "excludeOutboundPorts";
    /// To which addresses connections are redirected.
    IncludeOutboundIpRanges = "includeOutboundIPRanges" or traffic "includeOutboundIPRanges";
    /// To which addresses connections are never redirected.
    ExcludeOutboundIpRanges = "excludeOutboundIPRanges" or traffic "excludeOutboundIPRanges";
    /// The proxy's image.
    ProxyImage = "proxyImage" or sidecar "proxyImage";
    /// The CPU that the proxy requests.
    ProxyCpu = "proxyCPU" or sidecar "proxyCPU";
    /// The memory that the proxy requests.
    ProxyMemory = "proxyMemory" or sidecar "proxyMemory";
    /// The most CPU for the proxy.
    ProxyCpuLimit = "proxyCPULimit" or sidecar "proxyCPULimit";
    /// The most memory for the proxy.
    ProxyMemoryLimit = "proxyMemoryLimit" or sidecar "proxyMemoryLimit";
    /// The least severe log events.
    LogLevel = "logLevel" or sidecar "logLevel";
    /// Whether the proxy is a restartable init container.
    NativeSidecar = "nativeSidecar" or sidecar "nativeSidecar";
    /// How long a drain waits.
    TerminationDrainDuration = "terminationDrainDuration";
    /// Written by the injector: what it added.
    Status = "status";
    /// Written by the injector: the proxy's configuration.
    ProxyConfig = "proxy-config";
}

impl Key {
    /// Returns the key of ours with this whole name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|key| key.name() == name)
    }

    /// Returns whether the injector writes this key, rather than a person.
    #[must_use]
    pub const fn is_written(self) -> bool {
        matches!(self, Self::Status | Self::ProxyConfig)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_is_found_by_its_name() {
        for key in Key::ALL {
            assert_eq!(Key::named(key.name()), Some(*key));
            assert!(key.name().starts_with(PREFIX));
        }
        assert_eq!(Key::Egress.istio(), None);
        assert_eq!(Key::ProxyCpu.istio(), Some("sidecar.istio.io/proxyCPU"));
        assert_eq!(
            Key::IncludeOutboundIpRanges.istio(),
            Some("traffic.sidecar.istio.io/includeOutboundIPRanges")
        );
    }
}
