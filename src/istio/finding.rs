//! What is wrong with, or lost from, a resource. In: what the readers meet. Out: text for people,
//! one line a finding, which begins with the resource and the path inside it.

use std::fmt;

/// What a finding means for a pod that the resource applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Severity {
    /// Something has no effect here, and nothing is less safe for it.
    Warning,
    /// Going on would weaken security or send requests where they do not belong.
    Denial,
}

impl Severity {
    /// Returns `warning` or `denial`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Denial => "denial",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// One thing to say about one resource. Its text reads `KIND NAMESPACE/NAME: PATH: REASON`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Finding {
    /// What it means for the pod.
    pub severity: Severity,
    /// The resource, such as `DestinationRule shop/external`.
    pub resource: String,
    /// Where in it, such as `spec.trafficPolicy.outlierDetection`; empty for the whole.
    pub path: String,
    /// What is wrong or lost: a fragment that follows the path.
    pub reason: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.resource)?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.reason)
    }
}

/// The findings about one resource, in the order of the resource.
#[derive(Debug)]
pub(super) struct Findings {
    resource: String,
    all: Vec<Finding>,
}

impl Findings {
    pub(super) fn new(resource: String) -> Self {
        Self {
            resource,
            all: Vec::new(),
        }
    }

    pub(super) fn warn(&mut self, path: &str, reason: &str) {
        self.add(Severity::Warning, path, reason);
    }

    pub(super) fn deny(&mut self, path: &str, reason: &str) {
        self.add(Severity::Denial, path, reason);
    }

    pub(super) fn add(&mut self, severity: Severity, path: &str, reason: &str) {
        self.all.push(Finding {
            severity,
            resource: self.resource.clone(),
            path: path.to_owned(),
            reason: reason.to_owned(),
        });
    }

    pub(super) fn into_vec(self) -> Vec<Finding> {
        self.all
    }
}

/// Adds findings that are not there yet: a resource may apply to a pod by more than one way.
pub(super) fn merge(into: &mut Vec<Finding>, more: impl IntoIterator<Item = Finding>) {
    for finding in more {
        if !into.contains(&finding) {
            into.push(finding);
        }
    }
}
