//! The idle upstream connections of one route on one worker, the latest used first.

use std::sync::{Mutex, PoisonError};

use super::client::Connection;
use crate::tls::generation::Generation;
use crate::upstream::Offer;

/// More idle connections than this are closed.
const MOST_IDLE: usize = 64;

/// Connections that wait for a request.
#[derive(Debug, Default)]
pub(crate) struct Pool(Mutex<Vec<Connection>>);

impl Pool {
    /// Takes a connection made for the same name with the same credentials; closes those of older
    /// credentials.
    pub(super) fn take(
        &self,
        name: Option<&str>,
        generation: Generation,
        offer: Offer,
    ) -> Option<Connection> {
        let mut idle = self.lock();
        idle.retain(|one| one.generation == generation && one.is_open());
        let fits = |one: &Connection| one.name.as_deref() == name && one.suits(offer);
        let index = idle.iter().rposition(fits)?;
        let shared = idle.get(index).and_then(Connection::share);
        shared.or_else(|| Some(idle.remove(index)))
    }

    /// Keeps a connection for the next request.
    pub(super) fn put(&self, connection: Connection) {
        let mut idle = self.lock();
        if idle.len() < MOST_IDLE {
            idle.push(connection);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
