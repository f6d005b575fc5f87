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
use crate::config::OUTBOUND_PORT;
use crate::front::Front;
use crate::listener;
use crate::plan::Plan;
use crate::readiness::Readiness;
use crate::worker::{Assignment, Running, Shared};

const RETRY: Duration = Duration::from_secs(1);

/// The listeners of the process.
pub(crate) struct Listening {
    readiness: Arc<Readiness>,
    shared: Arc<Shared>,
    workers: Vec<mpsc::Sender<Assignment>>,
    bound: BTreeMap<SocketAddr, Arc<Listener>>,
    unbound: BTreeMap<SocketAddr, Arc<Front>>,
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
        self.report(&plan.obstacles);
        let Self { bound, unbound, .. } = self;
        let readiness = &self.readiness;
        bound.retain(|address, listener| {
            let stays = plan.fronts.contains_key(address);
            if !stays {
                listener.removed.cancel();
                info!(%address, "listener removed");
            }
            stays
        });
        unbound.retain(|address, _| {
            let stays = plan.fronts.contains_key(address);
            if !stays {
                readiness.clear(&part(*address));
            }
            stays
        });
        for (address, front) in plan.fronts {
            match bound.get(&address) {
                Some(listener) => listener.front.store(front),
                None => {
                    readiness.block(&part(address), "is not bound yet");
                    unbound.insert(address, front);
                }
            }
        }
        self.bind_missing().await;
    }

    fn report(&self, obstacles: &[String]) {
        const PART: &str = "redirect";
        if obstacles.is_empty() {
            return self.readiness.clear(PART);
        }
        let reasons = obstacles.join("; ");
        warn!(reason = reasons, "redirected connections are refused");
        self.readiness.block(PART, reasons);
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
        for (address, front) in std::mem::take(&mut self.unbound) {
            let part = part(address);
            match listener::bind(address, self.workers.len()) {
                Ok(sockets) => {
                    self.assign(address, front, sockets).await;
                    self.readiness.clear(&part);
                }
                // Without an address of its own choice, a port listens in the families there are.
                Err(error) if listener::family_is_missing(&error) && may_be_missing(address) => {
                    self.readiness.clear(&part);
                    info!(%address, "address family is missing");
                }
                Err(error) => {
                    let reason = format!("cannot be bound: {error}");
                    warn!(%address, %error, "listener was not bound");
                    self.readiness.block(&part, reason);
                    self.unbound.insert(address, front);
                }
            }
        }
        let bound = self.bound.iter();
        let directions = bound.map(|(at, listener)| (*at, listener.front.load().direction()));
        self.shared.own.replace(directions);
    }

    async fn assign(
        &mut self,
        address: SocketAddr,
        front: Arc<Front>,
        sockets: Vec<std::net::TcpListener>,
    ) {
        let listener = Arc::new(Listener {
            front: ArcSwap::new(front),
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

/// These come in pairs, one address of each family, and a pod may have only one.
fn may_be_missing(address: SocketAddr) -> bool {
    let redirected = address.ip().is_loopback() && address.port() == OUTBOUND_PORT;
    address.is_ipv6() && (address.ip().is_unspecified() || redirected)
}

fn part(address: SocketAddr) -> String {
    format!("listener {address}")
}
