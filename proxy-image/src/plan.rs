//! What has to be listened on, and what happens to a connection there.
//!
//! In: a [`Config`]. Out: a [`Plan`], one [`Front`] for each address, and the credentials that they
//! need. Opens no socket.

mod redirected;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{
    Config, DEFAULT_CREDENTIALS, EgressRoute, InboundMode, InboundPort, Material, Protocol, Scheme,
    UpstreamMode,
};
use crate::credentials::Side;
use crate::front::Front;
use crate::metrics::Metrics;
use crate::rotation::{Live, NotLoaded, Rotation};
use crate::route::Route;
use crate::route::table::Table;
use crate::tls::client::ClientState;
use crate::tls::server::ServerState;
use crate::upstream::{H2, HTTP_1_1};
use redirected::Through;

/// What is offered to upstreams: HTTP/2 only for a request that came by it.
const TO_UPSTREAMS: &[&[u8]] = &[HTTP_1_1];
/// What clients may choose from.
const TO_CLIENTS: &[&[u8]] = &[H2, HTTP_1_1];

/// What to listen on, and for what.
#[derive(Default)]
pub(crate) struct Plan {
    pub(crate) fronts: BTreeMap<SocketAddr, Arc<Front>>,
    pub(crate) credentials: Vec<Needed>,
    /// What stands against being ready, whatever else is.
    pub(crate) obstacles: Vec<String>,
}

impl Plan {
    fn listen(&mut self, address: SocketAddr, service: &Arc<Service>) {
        let front = Front::One(Arc::clone(service));
        self.fronts.insert(address, Arc::new(front));
    }
}

/// Credentials that a route or port needs.
pub(crate) struct Needed {
    /// The route's or port's name.
    pub(crate) name: String,
    loaded: Box<dyn Fn() -> Result<(), NotLoaded> + Send + Sync>,
}

impl Needed {
    fn by<T: Send + Sync + 'static>(name: &str, live: Option<&Live<T>>) -> Option<Self> {
        let live = live?.clone();
        Some(Self {
            name: name.to_owned(),
            loaded: Box::new(move || live.current().map(drop)),
        })
    }

    /// Returns why they are not there, if they are not.
    pub(crate) fn missing(&self) -> Option<NotLoaded> {
        (self.loaded)().err()
    }
}

/// What a listener does with a connection.
pub(crate) struct Service {
    pub(crate) protocol: Protocol,
    pub(crate) table: Table,
    /// Where connections come from clients.
    pub(crate) inbound: Option<Inbound>,
}

/// The side of the clients.
#[derive(Clone)]
pub(crate) struct Inbound {
    pub(crate) port: InboundPort,
    /// None with mode DISABLE.
    pub(crate) tls: Option<Live<ServerState>>,
}

/// Makes plans. What did not change from one to the next stays the same object, with its
/// connections to upstreams and its credentials.
pub(crate) struct Planner {
    metrics: Arc<Metrics>,
    rotation: Rotation,
    workers: usize,
    egress: Vec<(EgressRoute, Arc<Route>)>,
    inbound: Vec<(InboundPort, Arc<Service>)>,
    through: Option<Through>,
}

impl Planner {
    /// Makes a planner for that many workers.
    pub(crate) const fn new(metrics: Arc<Metrics>, rotation: Rotation, workers: usize) -> Self {
        Self {
            metrics,
            rotation,
            workers,
            egress: Vec::new(),
            inbound: Vec::new(),
            through: None,
        }
    }

    /// Lays out the services of a configuration. Begins to load and to follow its credentials.
    pub(crate) fn plan(&mut self, config: &Config) -> Plan {
        // Redirected connections need no listener of each route; what the kernel leads here is told
        // apart by where it was headed.
        let redirected = config.redirect.is_some();
        let known = std::mem::take(&mut self.egress);
        self.egress = each(&config.egress, known, |route| {
            let tls = self.upstream_tls(route);
            Route::egress(route, tls, &self.metrics, self.workers)
        });
        let known = std::mem::take(&mut self.inbound);
        self.inbound = each(&config.inbound, known, |port| self.inbound_service(port));
        let mut plan = Plan::default();
        let mut egress: BTreeMap<SocketAddr, Vec<Arc<Route>>> = BTreeMap::new();
        for (route, shared) in &self.egress {
            plan.credentials
                .extend(Needed::by(&shared.name, shared.tls.as_ref()));
            if redirected && route.listen.is_empty() {
                continue;
            }
            for ip in route.listen_addresses() {
                let address = SocketAddr::new(ip, route.port.get());
                egress.entry(address).or_default().push(Arc::clone(shared));
            }
        }
        for (port, service) in &self.inbound {
            let tls = service
                .inbound
                .as_ref()
                .and_then(|inbound| inbound.tls.as_ref());
            plan.credentials.extend(Needed::by(&port.name(), tls));
            if redirected && port.listen.is_empty() {
                continue;
            }
            let service = match leads_to(port, &egress) {
                Some(routes) => Arc::new(service.leading_to(routes)),
                None => Arc::clone(service),
            };
            for ip in inbound_addresses(port) {
                let address = SocketAddr::new(ip, port.port.get());
                plan.listen(address, &service);
            }
        }
        for (address, routes) in egress {
            if !self.is_led_to(address) {
                plan.listen(address, &Arc::new(of_listener(routes)));
            }
        }
        if let Some(redirect) = &config.redirect {
            self.redirected(redirect, &mut plan);
        }
        plan
    }

    /// Routes behind an inbound port are reached through it alone: a listener of their own would let
    /// everyone in the pod around its checks.
    fn is_led_to(&self, address: SocketAddr) -> bool {
        let mut ports = self.inbound.iter().map(|(port, _)| port);
        ports.any(|port| port.protocol == Protocol::Http && inner_address(port) == address)
    }

    fn upstream_tls(&self, route: &EgressRoute) -> Option<Live<ClientState>> {
        let mode = route.tls.mode;
        if mode == UpstreamMode::Disable {
            return None;
        }
        let material = match mode {
            UpstreamMode::Mutual => or_default(route.tls.material(), route.tls.has_credentials()),
            UpstreamMode::Simple | UpstreamMode::Disable => route.tls.material(),
        };
        let alpn = offered(route.protocol, TO_UPSTREAMS);
        let settings = route.clone();
        let live = self.rotation.live(
            route.name(),
            material,
            Side::Upstream(mode),
            move |credentials, generation| {
                Ok(ClientState::new(&settings, credentials, alpn, generation))
            },
        );
        Some(live)
    }

    fn inbound_service(&self, port: &InboundPort) -> Service {
        let tls = (port.mode != InboundMode::Disable).then(|| {
            let material = or_default(port.tls.material(), port.tls.has_credentials());
            let alpn = offered(port.protocol, TO_CLIENTS);
            let settings = port.clone();
            self.rotation.live(
                port.name(),
                material,
                Side::Inbound(port.mode),
                move |credentials, generation| {
                    ServerState::new(&settings, credentials, alpn, generation)
                },
            )
        });
        let route = Arc::new(Route::inbound(port, &self.metrics, self.workers));
        Service {
            protocol: port.protocol,
            table: Table::new(vec![route]),
            inbound: Some(Inbound {
                port: port.clone(),
                tls,
            }),
        }
    }
}

impl Service {
    /// Makes a service on whose connections nobody shakes hands.
    pub(crate) const fn without_tls(protocol: Protocol, table: Table) -> Self {
        Self {
            protocol,
            table,
            inbound: None,
        }
    }

    /// Makes the service of redirected connections that go where they were headed.
    pub(crate) fn through(route: &Arc<Route>) -> Self {
        Self::without_tls(Protocol::Tcp, Table::new(vec![Arc::clone(route)]))
    }

    /// Returns whether clients may come without TLS.
    pub(crate) fn takes_plaintext(&self) -> bool {
        let inbound = self.inbound.as_ref();
        inbound.is_none_or(|inbound| {
            matches!(
                inbound.port.mode,
                InboundMode::Permissive | InboundMode::Disable
            )
        })
    }

    /// Returns the scheme by which requests come.
    pub(crate) fn scheme(&self) -> Scheme {
        let inbound = self.inbound.as_ref();
        match inbound.and_then(|inbound| inbound.tls.as_ref()) {
            Some(_) => Scheme::Https,
            None => Scheme::Http,
        }
    }

    /// The same port, whose requests take egress routes instead of going to the application.
    fn leading_to(&self, routes: &[Arc<Route>]) -> Self {
        let own = self.table.only().cloned();
        Self {
            protocol: self.protocol,
            table: match own {
                Some(own) => Table::behind(own, routes.to_vec()),
                None => Table::new(routes.to_vec()),
            },
            inbound: self.inbound.clone(),
        }
    }
}

fn of_listener(routes: Vec<Arc<Route>>) -> Service {
    let first = routes.first();
    let protocol = first.map_or(Protocol::Http, |route| route.protocol);
    Service::without_tls(protocol, Table::new(routes))
}

/// Returns the egress routes that listen where an inbound port leads to, if there are any.
fn leads_to<'r>(
    port: &InboundPort,
    egress: &'r BTreeMap<SocketAddr, Vec<Arc<Route>>>,
) -> Option<&'r Vec<Arc<Route>>> {
    let routes = egress.get(&inner_address(port))?;
    let http = routes.iter().all(|route| route.protocol == Protocol::Http);
    (http && port.protocol == Protocol::Http).then_some(routes)
}

fn inner_address(port: &InboundPort) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port.target_port.get())
}

/// Keeps what is known for each setting, and makes what is not.
fn each<S: Clone + PartialEq, T>(
    settings: &[S],
    mut known: Vec<(S, Arc<T>)>,
    make: impl Fn(&S) -> T,
) -> Vec<(S, Arc<T>)> {
    let kept_or_made = |setting: &S| {
        let index = known.iter().position(|(old, _)| old == setting);
        match index {
            Some(index) => known.swap_remove(index),
            None => (setting.clone(), Arc::new(make(setting))),
        }
    };
    settings.iter().map(kept_or_made).collect()
}

/// Who names no credentials means those at the usual place.
fn or_default(material: Material, named: bool) -> Material {
    if named {
        return material;
    }
    Material {
        directory: Some(PathBuf::from(DEFAULT_CREDENTIALS)),
        ..material
    }
}

/// A peer of protocol tcp speaks whatever it speaks; there is nothing to negotiate.
const fn offered(protocol: Protocol, http: &'static [&'static [u8]]) -> &'static [&'static [u8]] {
    match protocol {
        Protocol::Http => http,
        Protocol::Tcp => &[],
    }
}

/// All addresses are two listeners, because a pod may have only one family.
fn inbound_addresses(port: &InboundPort) -> Vec<IpAddr> {
    if port.listen.is_empty() {
        vec![
            IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        ]
    } else {
        port.listen.clone()
    }
}
