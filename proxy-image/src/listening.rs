//! Keeps the listeners in step with the plan: binds what is new, removes what is gone, and leaves
//! alone what stays.
//!
//! In: a [`Plan`]. Out: sockets handed to the workers, and readiness. An address that cannot be
//! bound is tried again; the others do not wait for it.

use std::collections::BTreeMap;
use std::future::pending;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::accept::Listener;
use crate::listener;
use crate::metrics::Direction;
use crate::plan::{Plan, Service};
use crate::readiness::Readiness;
use crate::worker::{Assignment, Running, Shared};

const RETRY: Duration = Duration::from_secs(1);

/// The listeners of the process.
pub(crate) struct Listening {
    readiness: Arc<Readiness>,
    shared: Arc<Shared>,
    workers: Vec<mpsc::Sender<Assignment>>,
    bound: BTreeMap<SocketAddr, Arc<Listener>>,
    unbound: BTreeMap<SocketAddr, Arc<Service>>,
}

impl Listening {
    pub(crate) fn new(readiness: Arc<Readiness>, shared: Arc<Shared>, workers: &[Running]) -> Self {
        let channels = workers.iter().map(|worker| worker.assignments.clone());
        Self {
            readiness,
            shared,
            workers: channels.collect(),
            bound: BTreeMap::new(),
            unbound: BTreeMap::new(),
        }
    }

    /// Moves to a plan.
    pub(crate) async fn apply(&mut self, plan: Plan) {
        self.readiness.need(plan.credentials);
        let Self { bound, unbound, .. } = self;
        let readiness = &self.readiness;
        bound.retain(|address, listener| {
            let stays = plan.services.contains_key(address);
            if !stays {
                listener.removed.cancel();
                info!(%address, "listener removed");
            }
            stays
        });
        unbound.retain(|address, _| {
            let stays = plan.services.contains_key(address);
            if !stays {
                readiness.clear(&part(*address));
            }
            stays
        });
        for (address, service) in plan.services {
            match bound.get(&address) {
                Some(listener) => listener.service.store(service),
                None => {
                    readiness.block(&part(address), "is not bound yet");
                    unbound.insert(address, service);
                }
            }
        }
        self.bind_missing().await;
    }

    /// Binds, as soon as it is possible, what could not be bound; never ends.
    pub(crate) async fn keep_trying(&mut self) {
        while !self.unbound.is_empty() {
            tokio::time::sleep(RETRY).await;
            self.bind_missing().await;
        }
        pending().await
    }

    async fn bind_missing(&mut self) {
        for (address, service) in std::mem::take(&mut self.unbound) {
            let part = part(address);
            match listener::bind(address, self.workers.len()) {
                Ok(sockets) => {
                    self.assign(address, service, sockets).await;
                    self.readiness.clear(&part);
                }
                // Without an address of its own choice, a port listens in the families there are.
                Err(error) if listener::family_is_missing(&error) && is_any(address) => {
                    self.readiness.clear(&part);
                    info!(%address, "address family is missing");
                }
                Err(error) => {
                    let reason = format!("cannot be bound: {error}");
                    warn!(%address, %error, "listener was not bound");
                    self.readiness.block(&part, reason);
                    self.unbound.insert(address, service);
                }
            }
        }
        let bound = self.bound.iter();
        self.shared.own.replace(bound.map(|(address, listener)| {
            let direction = if listener.service.load().inbound.is_some() {
                Direction::Inbound
            } else {
                Direction::Egress
            };
            (*address, direction)
        }));
    }

    async fn assign(
        &mut self,
        address: SocketAddr,
        service: Arc<Service>,
        sockets: Vec<std::net::TcpListener>,
    ) {
        let listener = Arc::new(Listener {
            service: ArcSwap::new(service),
            removed: CancellationToken::new(),
        });
        for (worker, socket) in self.workers.iter().zip(sockets) {
            let assignment = Assignment {
                socket,
                listener: Arc::clone(&listener),
            };
            if worker.send(assignment).await.is_err() {
                warn!(%address, "worker has ended");
            }
        }
        info!(%address, "listener bound");
        self.bound.insert(address, listener);
    }
}

fn is_any(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}

fn part(address: SocketAddr) -> String {
    format!("listener {address}")
}
