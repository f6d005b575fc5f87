//! Chooses the service of a connection of the application that the kernel redirected.
//!
//! In: where it was headed, and its first bytes. Out: the service of the route that is meant, by the
//! name that the application says (HTTP's `Host`, TLS's SNI), else by the addresses that the route's
//! host has; or the way straight through, untouched.
//!
//! **Invariant:** where it cannot be told whether a route that asks for TLS is meant, the connection
//! is refused, and never passed on in plaintext.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::addresses::Addresses;
use crate::config::{Host, Protocol, Uid};
use crate::dns::{DnsFailure, Resolver};
use crate::plan::Service;
use crate::route::Route;
use crate::route::table::Table;
use crate::sniff::{Spoken, sniff};

/// How long the application may be silent before it is taken for one whose server speaks first.
const SILENCE: Duration = Duration::from_secs(1);
/// The same where only an application that speaks TLS itself could say a name.
const SILENCE_WITHOUT_HTTP: Duration = Duration::from_millis(200);

/// The services of redirected connections, by the port that was dialled.
pub(crate) struct Outbound {
    ports: BTreeMap<u16, Port>,
    /// Takes what is for no route.
    pub(crate) otherwise: Arc<Service>,
    /// The only route of that, under which refusals are recorded.
    pub(crate) through: Arc<Route>,
    /// The user that the proxy runs as and the one that the rules exempt, when they are not one:
    /// its own connections would come back to it.
    pub(crate) not_exempt: Option<(u32, Uid)>,
}

/// What is meant by a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// One of the port's http routes, by the name in each request.
    Names,
    /// The http routes of this host, whatever name the requests bear.
    Http(Host),
    /// The tcp route of this host.
    Tcp(Host),
    /// None: it goes where it was headed.
    Passthrough,
}

/// The routes of one port.
#[derive(Default)]
struct Port {
    /// Of all http routes.
    names: Option<Arc<Service>>,
    http: Vec<Known>,
    tcp: Vec<Known>,
}

/// The routes of one host.
struct Known {
    host: Host,
    addresses: Arc<Addresses>,
    service: Arc<Service>,
}

impl Outbound {
    /// Sorts routes by port and host. `through` takes what is for none of them.
    pub(crate) fn new(routes: &[Arc<Route>], through: &Arc<Route>, exempt: Uid) -> Self {
        let mut by_port: BTreeMap<u16, Vec<Arc<Route>>> = BTreeMap::new();
        for route in routes {
            let Some(host) = &route.host else { continue };
            by_port
                .entry(host.port)
                .or_default()
                .push(Arc::clone(route));
        }
        let ports = by_port.into_iter();
        let runs_as = rustix::process::geteuid().as_raw();
        Self {
            ports: ports
                .map(|(port, routes)| (port, Port::new(routes, through)))
                .collect(),
            otherwise: Arc::new(Service::through(through)),
            through: Arc::clone(through),
            not_exempt: (runs_as != exempt.get()).then_some((runs_as, exempt)),
        }
    }

    /// Returns the service of a choice, unless the configuration has lost it.
    pub(crate) fn service(&self, port: u16, choice: &Choice) -> Option<&Arc<Service>> {
        let port = self.ports.get(&port);
        match choice {
            Choice::Passthrough => Some(&self.otherwise),
            Choice::Names => port?.names.as_ref(),
            Choice::Http(host) => of_host(&port?.http, host),
            Choice::Tcp(host) => of_host(&port?.tcp, host),
        }
    }

    /// Chooses, and returns what was read of the connection meanwhile.
    ///
    /// # Errors
    /// It cannot be told whether the connection is for a route, because of the name system.
    pub(crate) async fn choose(
        &self,
        tcp: &mut TcpStream,
        dialled: SocketAddr,
        resolver: &Resolver,
    ) -> Result<(Choice, Vec<u8>), DnsFailure> {
        let Some(port) = self.ports.get(&dialled.port()) else {
            return Ok((Choice::Passthrough, Vec::new()));
        };
        if let Some(host) = at(&port.tcp, dialled.ip(), resolver).await? {
            return Ok((Choice::Tcp(host), Vec::new()));
        }
        let silence = match port.names {
            Some(_) => SILENCE,
            None => SILENCE_WITHOUT_HTTP,
        };
        let (spoken, read) = sniff(tcp, silence).await;
        let choice = port.meant_by(spoken, dialled.ip(), resolver).await?;
        Ok((choice, read))
    }
}

impl Port {
    fn new(routes: Vec<Arc<Route>>, through: &Arc<Route>) -> Self {
        let is_http = |route: &Arc<Route>| route.protocol == Protocol::Http;
        let (http, tcp): (Vec<_>, Vec<_>) = routes.into_iter().partition(is_http);
        let names = (!http.is_empty()).then(|| {
            let table = Table::or_else(http.clone(), Arc::clone(through));
            Arc::new(Service::without_tls(Protocol::Http, table))
        });
        Self {
            names,
            http: by_host(http, Protocol::Http),
            tcp: by_host(tcp, Protocol::Tcp),
        }
    }

    async fn meant_by(
        &self,
        spoken: Spoken,
        dialled: IpAddr,
        resolver: &Resolver,
    ) -> Result<Choice, DnsFailure> {
        if let Spoken::Tls(name) = spoken {
            let known = name.and_then(|name| matching(&self.tcp, &name));
            return Ok(known.map_or(Choice::Passthrough, Choice::Tcp));
        }
        if self.names.is_none() {
            return Ok(Choice::Passthrough);
        }
        let by_address = match spoken {
            Spoken::Http(Some(name)) if matching(&self.http, &name).is_some() => {
                return Ok(Choice::Names);
            }
            // Another name at a shared address is another site.
            Spoken::Http(Some(name)) if !is_address(&name) => return Ok(Choice::Passthrough),
            Spoken::Other => return Ok(Choice::Passthrough),
            Spoken::HeadUnread => return Ok(Choice::Names),
            _ => at(&self.http, dialled, resolver).await?,
        };
        Ok(match (by_address, spoken) {
            (Some(host), _) => Choice::Http(host),
            (None, Spoken::Http2) => Choice::Names,
            (None, _) => Choice::Passthrough,
        })
    }
}

/// Puts the routes of each host together, in the order in which the hosts come first.
fn by_host(routes: Vec<Arc<Route>>, protocol: Protocol) -> Vec<Known> {
    let mut groups: Vec<(Host, Arc<Addresses>, Vec<Arc<Route>>)> = Vec::new();
    for route in routes {
        let Some(own) = &route.host else { continue };
        match groups.iter_mut().find(|(host, ..)| *host == own.name) {
            Some((.., group)) => group.push(route),
            None => groups.push((own.name.clone(), Arc::clone(&own.addresses), vec![route])),
        }
    }
    let known = groups.into_iter().map(|(host, addresses, routes)| Known {
        host,
        addresses,
        service: Arc::new(Service::without_tls(protocol, Table::new(routes))),
    });
    known.collect()
}

fn of_host<'k>(known: &'k [Known], host: &Host) -> Option<&'k Arc<Service>> {
    let one = known.iter().find(|one| one.host == *host);
    one.map(|one| &one.service)
}

/// Returns the host that a name belongs to; a whole name before a wildcard.
fn matching(known: &[Known], name: &str) -> Option<Host> {
    let fits = known.iter().filter(|one| one.host.matches(name));
    let first = fits.min_by_key(|one| one.host.precedence());
    first.map(|one| one.host.clone())
}

fn is_address(name: &str) -> bool {
    matches!(name.parse(), Ok(Host::Ip(_)))
}

/// Returns the host that an address belongs to. A name that could not be resolved might be it.
async fn at(
    known: &[Known],
    address: IpAddr,
    resolver: &Resolver,
) -> Result<Option<Host>, DnsFailure> {
    let mut unknown = None;
    for one in known {
        match one.addresses.include(address, resolver).await {
            Ok(true) => return Ok(Some(one.host.clone())),
            Ok(false) => {}
            Err(failure) => unknown = Some(failure),
        }
    }
    unknown.map_or(Ok(None), Err)
}
