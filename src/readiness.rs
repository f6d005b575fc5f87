//! Whether this process should be sent requests. In: what is still to be done first, as guards.
//! Out: ready, or what it waits for. A forgotten guard keeps the process unready: closed by default.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Shared by everyone who delays readiness and by the probe that asks for it.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<Mutex<Pending>>);

#[derive(Debug, Default)]
struct Pending {
    stopping: bool,
    tasks: BTreeMap<&'static str, usize>,
}

impl Readiness {
    /// Delays readiness until the returned guard is dropped. `task` completes "waiting for …".
    #[must_use]
    pub fn wait_for(&self, task: &'static str) -> NotReady {
        *self.pending().tasks.entry(task).or_default() += 1;
        NotReady {
            readiness: self.clone(),
            task,
        }
    }

    /// Ends readiness for good: the process is about to stop.
    pub fn stop(&self) {
        self.pending().stopping = true;
    }

    /// Returns what readiness waits for, such as `the certificate`, or `Ok` when it waits for
    /// nothing.
    ///
    /// # Errors
    /// The reasons, comma-separated.
    pub fn check(&self) -> Result<(), String> {
        let pending = self.pending();
        if pending.stopping {
            return Err("stopping".to_owned());
        }
        if pending.tasks.is_empty() {
            return Ok(());
        }
        let tasks: Vec<&str> = pending.tasks.keys().copied().collect();
        Err(format!("waiting for {}", tasks.join(", ")))
    }

    fn pending(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Delays readiness until it is dropped.
#[derive(Debug)]
pub struct NotReady {
    readiness: Readiness,
    task: &'static str,
}

impl Drop for NotReady {
    fn drop(&mut self) {
        let mut pending = self.readiness.pending();
        if let Some(count) = pending.tasks.get_mut(self.task) {
            *count -= 1;
            if *count == 0 {
                pending.tasks.remove(self.task);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_ready_when_the_last_guard_is_dropped() {
        let readiness = Readiness::default();
        let certificate = readiness.wait_for("the certificate");
        let listener = readiness.wait_for("the listener");
        assert_eq!(
            readiness.check().unwrap_err(),
            "waiting for the certificate, the listener"
        );
        drop(certificate);
        drop(listener);
        assert_eq!(readiness.check(), Ok(()));
    }

    #[test]
    fn is_never_ready_again_once_it_stops() {
        let readiness = Readiness::default();
        readiness.stop();
        drop(readiness.wait_for("anything"));
        assert_eq!(readiness.check().unwrap_err(), "stopping");
    }
}
