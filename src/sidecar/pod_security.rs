//! Whether Pod Security lets a pod redirect its traffic. In: the labels of its namespace. Out: a
//! mistake or a warning, told now and in plain words instead of by the API server afterwards.

use super::Draft;
use crate::config::Capture;

/// What every label of Pod Security begins with (Kubernetes, "Pod Security Admission").
const PREFIX: &str = "pod-security.kubernetes.io/";

impl Draft<'_> {
    /// Foresees what the namespace's level says of `NET_ADMIN`, which no level but `privileged` allows.
    pub(super) fn foresee_pod_security(&mut self, path: &str) {
        let namespace = self.place.namespace;
        if let Some(level) = self.level("enforce") {
            let reason = format!(
                "needs the capability NET_ADMIN, which namespace {namespace:?} forbids by its label {PREFIX}enforce={level}; use capture hosts, or label the namespace privileged"
            );
            let capture = Capture::Redirect.label();
            self.mistakes.add(path, Some(capture), &reason);
        }
        for mode in ["warn", "audit"] {
            if let Some(level) = self.level(mode) {
                self.warnings.push(format!(
                    "capture redirect needs NET_ADMIN, which {PREFIX}{mode}={level} of namespace {namespace:?} objects to; capture hosts needs no privilege"
                ));
            }
        }
    }

    /// Returns the level that a label sets, unless it allows everything. Pod Security takes a level
    /// that it does not know for `restricted`.
    fn level(&self, mode: &str) -> Option<String> {
        let labels = self.place.labels.as_ref()?;
        let level = labels.get(&format!("{PREFIX}{mode}"))?;
        let level = level.as_str().unwrap_or_default();
        (level != "privileged").then(|| level.to_owned())
    }
}
