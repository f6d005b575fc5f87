//! A route at run time: what the configuration says, with everything resolved that can be resolved
//! once. Egress routes and inbound ports are both routes: they differ only in which side has TLS.
//!
//! In: the configuration's `EgressRoute` and `InboundPort`. Out: [`Route`], shared by all workers.

pub(crate) mod table;

use std::borrow::Cow;
use std::cmp::Reverse;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderValue;
use http::uri::PathAndQuery;

use crate::addresses::Addresses;
use crate::config::{
    EgressRoute, Fit, Host, InboundPort, Port, Protocol, Redirect, RequestHead, RequestMatch,
    Retries, Rewrite, Span, Timeouts,
};
use crate::http::fast::idle::Idle;
use crate::http::pool::Pool;
use crate::metrics::{Direction, Metrics, RouteMetrics};
use crate::rotation::Live;
use crate::rotation::NotLoaded;
use crate::tls::client::ClientState;
use crate::tls::generation::Generation;

/// The name of the way that redirected connections take when no route is for them.
const PASSTHROUGH: &str = "passthrough";

/// One way through the proxy.
pub(crate) struct Route {
    /// The route's name in metrics, logs and errors.
    pub(crate) name: String,
    pub(crate) direction: Direction,
    pub(crate) protocol: Protocol,
    pub(crate) target: Target,
    /// How TLS is originated; none: plaintext, because it was asked for by name.
    pub(crate) tls: Option<Live<ClientState>>,
    pub(crate) timeouts: Timeouts,
    pub(crate) retries: Retries,
    pub(crate) metrics: RouteMetrics,
    /// Egress only: the host that the route is for.
    pub(crate) host: Option<HostOfRoute>,
    /// Answered to every request instead of sending it on.
    pub(crate) redirect: Option<Redirect>,
    matches: Vec<RequestMatch>,
    rank: u16,
    rewrite: Option<Rewrite>,
    /// Idle upstream connections, by worker: a connection belongs to the runtime that opened it.
    pools: Vec<Pool>,
    /// The same for the fast path.
    idle: Vec<Idle>,
}

/// The host of an egress route, and what an upstream is told when the application named another.
#[derive(Debug)]
pub(crate) struct HostOfRoute {
    pub(crate) name: Host,
    /// The port that the application dials.
    pub(crate) port: u16,
    /// The addresses by which the application may dial it.
    pub(crate) addresses: Arc<Addresses>,
    pub(crate) authority: Option<HeaderValue>,
}

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A name or an address, and a port.
    Host(Host, Port),
    /// The name that the application dialled, of a route with a wildcard.
    Dialled(Port),
    /// The application of this pod.
    Application(Port),
    /// Where a redirected connection was headed.
    Original,
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Route {
    /// Makes the route of an egress entry, for that many workers.
    pub(crate) fn egress(
        route: &EgressRoute,
        tls: Option<Live<ClientState>>,
        metrics: &Metrics,
        workers: usize,
    ) -> Self {
        let target = match (&route.address, &route.host) {
            (Some(address), _) => Target::Host(address.clone(), route.target_port),
            (None, Host::Wildcard(_)) => Target::Dialled(route.target_port),
            (None, host) => Target::Host(host.clone(), route.target_port),
        };
        let name = route.name();
        Self {
            metrics: metrics.route(Direction::Egress, &name),
            name,
            direction: Direction::Egress,
            protocol: route.protocol,
            target,
            tls,
            timeouts: route.timeouts.clone(),
            retries: route.retries.clone(),
            host: Some(HostOfRoute {
                authority: authority(&route.host, route.port),
                port: route.port.get(),
                addresses: Arc::new(Addresses::new(&route.host, route.address.as_ref())),
                name: route.host.clone(),
            }),
            redirect: route.answer(),
            matches: route.matches.clone(),
            rank: route.rank,
            rewrite: route.rewrite.clone(),
            pools: pools(workers),
            idle: pools(workers),
        }
    }

    /// Makes the route of an inbound port, for that many workers.
    pub(crate) fn inbound(port: &InboundPort, metrics: &Metrics, workers: usize) -> Self {
        let target = Target::Application(port.target_port);
        let named = Self::without_tls(port.name(), Direction::Inbound, target, metrics, workers);
        Self {
            protocol: port.protocol,
            timeouts: Timeouts {
                // The application decides how long it keeps a quiet connection; this only reaps
                // what has been forgotten.
                idle: Span::from_secs(3600),
                ..Timeouts::default()
            },
            ..named
        }
    }

    /// Makes the way of redirected connections that no route is for: on to where they were headed,
    /// for as long as both sides want.
    pub(crate) fn passthrough(direction: Direction, metrics: &Metrics, workers: usize) -> Self {
        let name = PASSTHROUGH.to_owned();
        let through = Self::without_tls(name, direction, Target::Original, metrics, workers);
        Self {
            timeouts: Timeouts {
                idle: Span::ZERO,
                ..Timeouts::default()
            },
            ..through
        }
    }

    fn without_tls(
        name: String,
        direction: Direction,
        target: Target,
        metrics: &Metrics,
        workers: usize,
    ) -> Self {
        Self {
            metrics: metrics.route(direction, &name),
            name,
            direction,
            protocol: Protocol::Tcp,
            target,
            tls: None,
            timeouts: Timeouts::default(),
            retries: Retries::default(),
            host: None,
            redirect: None,
            matches: Vec::new(),
            rank: 0,
            rewrite: None,
            pools: pools(workers),
            idle: pools(workers),
        }
    }

    /// Returns a worker's pool of idle connections.
    pub(crate) fn pool(&self, worker: usize) -> Option<&Pool> {
        self.pools.get(worker)
    }

    /// Returns a worker's idle connections of the fast path.
    pub(crate) fn idle(&self, worker: usize) -> Option<&Idle> {
        self.idle.get(worker)
    }

    /// Returns whether the application's own name for the host is what has to be dialled.
    pub(crate) fn is_wildcard(&self) -> bool {
        matches!(self.target, Target::Dialled(_))
    }

    /// Returns what tells this route's upstream connections apart, where they are not all alike:
    /// the name of the host, or where the connection was headed.
    pub(crate) fn upstream_key<'h>(
        &self,
        host: &'h str,
        headed_to: SocketAddr,
    ) -> Option<Cow<'h, str>> {
        match self.target {
            Target::Dialled(_) => Some(Cow::Borrowed(host)),
            Target::Original => Some(Cow::Owned(headed_to.to_string())),
            Target::Host(..) | Target::Application(_) => None,
        }
    }

    /// Returns the generation of the credentials in use.
    ///
    /// # Errors
    /// There are no credentials yet.
    pub(crate) fn generation(&self) -> Result<Generation, NotLoaded> {
        match &self.tls {
            None => Ok(Generation::PLAIN),
            Some(live) => live.current().map(|state| state.generation),
        }
    }

    /// Returns what the upstream is asked for instead of the request's own path, if that changes.
    pub(crate) fn rewritten(
        &self,
        head: &RequestHead<'_>,
        path_and_query: &str,
    ) -> Option<PathAndQuery> {
        let rewrite = self.rewrite.as_ref()?;
        let (_, taken_by) = Fit::best(&self.matches, head)?;
        rewrite.target(taken_by, path_and_query)?.parse().ok()
    }

    /// Returns what the upstream is told as `Host` instead of the request's own, if that changes.
    pub(crate) fn rewritten_authority(&self) -> Option<HeaderValue> {
        let authority = self.rewrite.as_ref()?.authority.as_ref()?;
        HeaderValue::from_str(authority.as_str()).ok()
    }

    fn is_usual(&self) -> bool {
        let no_fields = self.matches.iter().all(|one| one.headers.is_empty());
        no_fields && self.rewrite.is_none() && self.redirect.is_none()
    }

    /// Returns where the route stands among those that take a request: a lower rank, then a better
    /// fit, is greater.
    fn standing(&self, head: &RequestHead<'_>) -> Option<(Reverse<u16>, Fit)> {
        let (fit, _) = Fit::best(&self.matches, head)?;
        Some((Reverse(self.rank), fit))
    }
}

fn pools<P: Default>(workers: usize) -> Vec<P> {
    (0..workers).map(|_| P::default()).collect()
}

/// `Host` as RFC 9110 section 7.2 writes it; none for a wildcard, which has no name of its own.
fn authority(host: &Host, port: Port) -> Option<HeaderValue> {
    let name = match host {
        Host::Name(name) => name.clone(),
        Host::Ip(ip) if ip.is_ipv6() => format!("[{ip}]"),
        Host::Ip(ip) => ip.to_string(),
        Host::Wildcard(_) => return None,
    };
    let text = if port == Port::HTTP {
        name
    } else {
        format!("{name}:{port}")
    };
    HeaderValue::try_from(text).ok()
}
