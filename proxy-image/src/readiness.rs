//! What the proxy still waits for before it is ready, by name.
//!
//! In: each part that has to become ready reports by its name. Out: the sorted list of what is
//! missing, for `/readyz`. A part that nobody reported on is not waited for.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::plan::Needed;

/// The parts that are missing, and why.
#[derive(Default)]
pub(crate) struct Readiness {
    missing: Mutex<BTreeMap<String, String>>,
    credentials: Mutex<Vec<Needed>>,
}

impl Readiness {
    /// Reports that `part` is not ready.
    pub(crate) fn block(&self, part: &str, reason: impl Into<String>) {
        unpoisoned(&self.missing).insert(part.to_owned(), reason.into());
    }

    /// Reports that `part` is ready, or is no longer wanted.
    pub(crate) fn clear(&self, part: &str) {
        unpoisoned(&self.missing).remove(part);
    }

    /// Replaces the credentials that are needed.
    pub(crate) fn need(&self, credentials: Vec<Needed>) {
        *unpoisoned(&self.credentials) = credentials;
    }

    /// Returns a line for each missing part; none means ready.
    pub(crate) fn missing(&self) -> Vec<String> {
        let credentials = unpoisoned(&self.credentials);
        let credentials = credentials.iter().filter_map(|needed| {
            let missing = needed.missing()?;
            Some(format!("{}: {missing}", needed.name))
        });
        let missing = unpoisoned(&self.missing);
        let parts = missing.iter();
        parts
            .map(|(part, reason)| format!("{part}: {reason}"))
            .chain(credentials)
            .collect()
    }
}

/// What lies behind these locks is replaced as a whole or not at all.
fn unpoisoned<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_missing_until_it_is_there() {
        let readiness = Readiness::default();
        readiness.block("listener 127.0.0.1:80", "not bound yet");
        readiness.block("credentials a", "no such file");
        readiness.block("listener 127.0.0.1:80", "address in use");
        assert_eq!(
            readiness.missing(),
            [
                "credentials a: no such file",
                "listener 127.0.0.1:80: address in use"
            ]
        );
        readiness.clear("credentials a");
        readiness.clear("listener 127.0.0.1:80");
        assert!(readiness.missing().is_empty());
    }
}
