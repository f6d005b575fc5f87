//! What stands behind a listening address: one service, or the choice among several for connections
//! that the kernel redirected.
//!
//! In: a listener and where its connection was headed. Out: the connection's service, asked for again
//! with each request, so that a reload reaches connections that are open.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::accept::Listener;
use crate::metrics::Direction;
use crate::outbound::{Choice, Outbound};
use crate::plan::Service;
use crate::route::Route;

/// What a listener does with its connections.
pub(crate) enum Front {
    /// The same for every one.
    One(Arc<Service>),
    /// By what the application dialled.
    Outbound(Outbound),
    /// By the port that the client dialled.
    Inbound(InboundPorts),
}

impl Front {
    /// Returns which way its connections go.
    pub(crate) fn direction(&self) -> Direction {
        match self {
            Self::One(service) if service.inbound.is_none() => Direction::Egress,
            Self::Outbound(_) => Direction::Egress,
            Self::One(_) | Self::Inbound(_) => Direction::Inbound,
        }
    }
}

/// The policies of redirected inbound connections.
pub(crate) struct InboundPorts {
    pub(crate) by_port: BTreeMap<u16, Arc<Service>>,
    /// For ports that are redirected although no policy names them.
    pub(crate) others: Arc<Service>,
    /// The only route of those, under which refusals are recorded.
    pub(crate) through: Arc<Route>,
}

impl InboundPorts {
    pub(crate) fn service(&self, port: u16) -> &Arc<Service> {
        self.by_port.get(&port).unwrap_or(&self.others)
    }
}

/// How a connection found its service.
pub(crate) enum Way {
    /// There is but one.
    Only,
    /// By the port that the client dialled.
    Port(u16),
    /// By what the application dialled.
    Chosen(u16, Choice),
}

/// A connection's place behind its listener.
pub(crate) struct Entry {
    listener: Arc<Listener>,
    way: Way,
    /// Serves the connection to its end when the configuration has no place for it any more.
    first: Arc<Service>,
}

impl Entry {
    pub(crate) const fn new(listener: Arc<Listener>, way: Way, first: Arc<Service>) -> Self {
        Self {
            listener,
            way,
            first,
        }
    }

    /// Returns the service as it is configured now.
    pub(crate) fn service(&self) -> Arc<Service> {
        let front = self.listener.front.load();
        let now = match (&**front, &self.way) {
            (Front::One(service), Way::Only) => Some(service),
            (Front::Inbound(ports), Way::Port(port)) => Some(ports.service(*port)),
            (Front::Outbound(outbound), Way::Chosen(port, choice)) => {
                outbound.service(*port, choice)
            }
            _ => None,
        };
        Arc::clone(now.unwrap_or(&self.first))
    }
}
