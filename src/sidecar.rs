//! What a pod gets: the proxy's container, its volumes and configuration, and how traffic reaches it.
//! In: the settings, the pod and its wishes. Out: a [`Sidecar`], or every reason why there can be none.
//! Changes no pod; that is the patch's work.

mod capture;
mod container;
mod credentials;
mod init;
mod pod_security;
mod ports;
mod probes;
mod redirect;
mod resources;
mod secrets;
mod status;
mod volumes;
mod warnings;

pub(crate) use ports::SYSCTL;
pub use probes::{MovedProbe, ProbePlace};
pub use secrets::{SecretNeed, flaws};
pub use status::{Originals, Status};

use mtls_proxy::config::{self as proxy, AppProbe, InboundPort, Mistakes, Span};
use serde_json::{Map, Value};

use self::capture::Captured;
use self::redirect::Captures;
use crate::annotations::{Named, Wishes};
use crate::config::Config;
use crate::review::Pod;

/// The name of the proxy's container.
pub const CONTAINER: &str = "mtls-proxy";

/// The name of the container that loads the kernel's rules.
pub const INIT_CONTAINER: &str = "mtls-init";

/// The version that marks what this injector adds.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Everything that is added to a pod.
#[derive(Clone, Debug)]
pub struct Sidecar {
    /// Where the container goes.
    pub placement: Placement,
    /// The proxy's container.
    pub container: Value,
    /// The container that redirects the pod's traffic, with capture by the kernel.
    pub init_container: Option<Value>,
    /// The probes of the application that ask the proxy from now on.
    pub probes: Vec<MovedProbe>,
    /// The volumes that the pod lacks.
    pub volumes: Vec<Value>,
    /// The names that lead to the proxy.
    pub host_aliases: Vec<Value>,
    /// Whether the pod needs the sysctl that lets anyone bind a port under 1024.
    pub unprivileged_ports: bool,
    /// The value of the `status` annotation.
    pub status: String,
    /// The value of the `proxy-config` annotation.
    pub proxy_config: String,
    /// What the proxy needs of Secrets.
    pub secrets: Vec<SecretNeed>,
    /// What the author should know.
    pub warnings: Vec<String>,
}

/// Where the proxy's container goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// First of the init containers, restartable.
    Native,
    /// Last of the containers.
    Classic,
    /// First of the containers; the others start once it is ready.
    ClassicHolding,
}

/// Where a pod is to run.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    /// Its namespace.
    pub namespace: &'a str,
    /// The namespace's labels; `None` where they are not known or mean nothing.
    pub labels: Option<Map<String, Value>>,
}

/// Whether the wishes are all there, so that what is missing from them was never written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Understood {
    /// Every wish was understood.
    Wholly,
    /// Some were not, and are reported already.
    Partly,
}

/// What the parts of this module share while a sidecar is put together.
struct Draft<'a> {
    config: &'a Config,
    pod: Pod<'a>,
    place: &'a Place<'a>,
    wishes: &'a Wishes,
    understood: Understood,
    mistakes: Mistakes,
    warnings: Vec<String>,
}

impl Sidecar {
    /// Puts together what the pod gets.
    ///
    /// # Errors
    /// Everything that stands against it.
    pub fn build(
        config: &Config,
        pod: Pod<'_>,
        place: &Place<'_>,
        wishes: &Wishes,
        understood: Understood,
    ) -> Result<Self, Mistakes> {
        let draft = Draft {
            config,
            pod,
            place,
            wishes,
            understood,
            mistakes: Mistakes::default(),
            warnings: Vec::new(),
        };
        draft.finish()
    }
}

impl Draft<'_> {
    fn finish(mut self) -> Result<Sidecar, Mistakes> {
        let (volumes, routes) = self.volumes();
        let inbound = self.inbound(&volumes);
        let captured = self.capture(routes);
        self.refuse_a_namesake(&captured);
        let unprivileged_ports = self.ports(&captured, &inbound);
        let (moved, asked) = self.probes_to_move(&captured, &inbound);
        let proxy_config = self.proxy_config(&captured, inbound, asked);
        self.warn(&proxy_config, &volumes);
        let secrets = self.secret_needs(&proxy_config, &volumes);
        let placement = self.placement();
        let container = self.container(placement, volumes.mounts);
        let redirect = captured.redirect.as_ref();
        let init_container = redirect.map(|_| self.init_container(placement, &container));
        let mut sidecar = Sidecar {
            placement,
            container,
            init_container,
            probes: moved,
            volumes: volumes.added,
            host_aliases: captured.host_aliases,
            unprivileged_ports,
            status: String::new(),
            proxy_config: proxy_config.render(),
            secrets,
            warnings: std::mem::take(&mut self.warnings),
        };
        sidecar.status = Status::of(&sidecar, &proxy_config).render();
        self.refuse_an_excess(&sidecar);
        self.mistakes.or(Some(sidecar))
    }

    /// Without redirection kubelet asks the application itself, as ever.
    fn probes_to_move(
        &mut self,
        captured: &Captured,
        inbound: &[InboundPort],
    ) -> (Vec<MovedProbe>, Vec<AppProbe>) {
        let Some(redirect) = &captured.redirect else {
            return (Vec::new(), Vec::new());
        };
        self.probes(&Captures {
            traffic: &redirect.inbound,
            inbound,
        })
    }

    /// Kubernetes bounds the annotations of an object, all together.
    fn refuse_an_excess(&mut self, sidecar: &Sidecar) {
        const MOST: usize = 256 * 1024;
        let own = sidecar.status.len() + sidecar.proxy_config.len();
        let others = self.pod.annotations().into_iter().flatten();
        let size = |(key, value): (&String, &Value)| key.len() + value.as_str().map_or(0, str::len);
        let total = own + others.map(size).sum::<usize>();
        if total > MOST {
            let reason = format!(
                "would have {total} bytes with the proxy's configuration, of the {MOST} that Kubernetes allows"
            );
            self.mistakes.add("metadata.annotations", None, &reason);
        }
    }

    fn refuse_a_namesake(&mut self, captured: &Captured) {
        let init = captured.redirect.as_ref().map(|_| INIT_CONTAINER);
        for own in [Some(CONTAINER), init].into_iter().flatten() {
            let named = |container: &Value| crate::review::name_of(container) == own;
            if self.pod.all_containers().any(named) {
                let reason = "is the proxy's own name; give the pod's container another";
                self.mistakes.add("spec.containers", Some(own), reason);
            }
        }
    }

    fn proxy_config(
        &mut self,
        captured: &Captured,
        inbound: Vec<InboundPort>,
        probes: Vec<AppProbe>,
    ) -> proxy::Config {
        let proxy = &self.wishes.proxy;
        let config = proxy::Config {
            log_level: proxy.log_level.unwrap_or(self.config.log_level),
            termination_drain_duration: self.drain(),
            application_ended: false,
            egress: captured.egress.clone(),
            inbound,
            redirect: captured.redirect.clone(),
            probes,
        };
        let clashes = config.check_together();
        for clash in clashes.iter() {
            let (list, rest) = clash
                .path
                .split_at(clash.path.find('[').unwrap_or_default());
            let named = if list == "inbound" {
                &self.wishes.inbound.path
            } else {
                &self.wishes.egress.path
            };
            self.mistakes
                .add(&format!("{named}{rest}"), None, &clash.reason);
        }
        config
    }

    /// The drain has to end before kubelet kills the proxy: 5 seconds before it, unless the pod says
    /// otherwise.
    fn drain(&mut self) -> Span {
        let grace = self.pod.grace_period();
        match &self.wishes.proxy.drain {
            None => Span::from_secs(grace.saturating_sub(5)),
            Some(Named { path, value }) => {
                if value.get().as_secs() > grace {
                    self.warnings.push(format!(
                        "{path}: {value} is longer than the pod's grace period of {grace}s, which ends the drain"
                    ));
                }
                *value
            }
        }
    }

    fn placement(&self) -> Placement {
        let proxy = &self.wishes.proxy;
        let native = self.config.native_sidecars.enabled();
        match proxy.native_sidecar.unwrap_or(native) {
            true => Placement::Native,
            false if proxy.hold_application => Placement::ClassicHolding,
            false => Placement::Classic,
        }
    }
}
