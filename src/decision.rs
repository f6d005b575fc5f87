//! What becomes of a pod, as closed sets. In: nothing. Out: labels for metrics and sentences for
//! people. Knows no JSON.

use std::fmt;

use mtls_proxy::config::Mistakes;

/// What becomes of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It gets the proxy.
    Inject,
    /// It stays as it is.
    Skip(SkipReason),
    /// It is refused, for everything that is wrong with it.
    Deny(Denial),
}

impl Decision {
    /// Returns `inject`, `skip` or `deny`.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::Inject => "inject",
            Self::Skip(_) => "skip",
            Self::Deny(_) => "deny",
        }
    }

    /// Returns why, as a bounded label; empty for an injection.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Inject => "",
            Self::Skip(reason) => reason.label(),
            Self::Deny(denial) => denial.label(),
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inject => f.write_str("the pod gets the proxy"),
            Self::Skip(reason) => write!(f, "the pod is left as it is: {reason}"),
            Self::Deny(denial) => denial.fmt(f),
        }
    }
}

/// Why a pod stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SkipReason {
    /// The object is no Pod, or a subresource of one.
    OtherKind,
    /// The pod is not being created.
    OtherOperation,
    /// The pod runs Windows.
    Windows,
    /// The pod mirrors a static pod of its node.
    StaticPod,
    /// The pod uses the host network.
    HostNetwork,
    /// The namespace belongs to the system.
    SystemNamespace,
    /// The namespace is the injector's own.
    OwnNamespace,
    /// The pod already has the proxy of a service mesh.
    ForeignMesh,
    /// The pod or its namespace refuses the proxy.
    Refused,
    /// The pod already has this very proxy.
    AlreadyInjected,
    /// Neither the pod nor its namespace asks for anything.
    NothingAsked,
}

impl SkipReason {
    /// Every reason.
    pub const ALL: [Self; 11] = [
        Self::OtherKind,
        Self::OtherOperation,
        Self::Windows,
        Self::StaticPod,
        Self::HostNetwork,
        Self::SystemNamespace,
        Self::OwnNamespace,
        Self::ForeignMesh,
        Self::Refused,
        Self::AlreadyInjected,
        Self::NothingAsked,
    ];

    /// Returns the reason as a label of metrics and audit annotations.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::OtherKind => "other_kind",
            Self::OtherOperation => "other_operation",
            Self::Windows => "windows",
            Self::StaticPod => "static_pod",
            Self::HostNetwork => "host_network",
            Self::SystemNamespace => "system_namespace",
            Self::OwnNamespace => "own_namespace",
            Self::ForeignMesh => "foreign_mesh",
            Self::Refused => "refused",
            Self::AlreadyInjected => "already_injected",
            Self::NothingAsked => "nothing_asked",
        }
    }

    /// Returns whether a pod that asked for the proxy should hear of it.
    #[must_use]
    pub const fn surprises(self) -> bool {
        match self {
            Self::Windows
            | Self::StaticPod
            | Self::HostNetwork
            | Self::SystemNamespace
            | Self::OwnNamespace
            | Self::ForeignMesh
            | Self::Refused => true,
            Self::OtherKind | Self::OtherOperation | Self::AlreadyInjected | Self::NothingAsked => {
                false
            }
        }
    }
}

impl fmt::Display for SkipReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OtherKind => "the object is not a Pod",
            Self::OtherOperation => "the pod is not being created",
            Self::Windows => "the pod runs Windows, for which there is no proxy",
            Self::StaticPod => "the pod mirrors a static pod, which its node runs as its file says",
            Self::HostNetwork => "the pod uses the host network, which it shares with other pods",
            Self::SystemNamespace => "the namespace belongs to the system",
            Self::OwnNamespace => "the namespace is the injector's own",
            Self::ForeignMesh => "the pod already has the proxy of a service mesh",
            Self::Refused => "the pod or its namespace refuses the proxy",
            Self::AlreadyInjected => "the pod already has this proxy",
            Self::NothingAsked => "neither the pod nor its namespace asks for the proxy",
        })
    }
}

/// Why a pod is refused: every mistake at once, one a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    kind: DenialKind,
    mistakes: Mistakes,
}

/// What sort of thing is wrong with a refused pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DenialKind {
    /// The request cannot be understood.
    Request,
    /// What the pod asks for is wrong.
    Mistakes,
    /// The pod asks for mTLS on the host network.
    HostNetwork,
}

impl Denial {
    /// Makes a denial of everything that is wrong.
    #[must_use]
    pub const fn new(kind: DenialKind, mistakes: Mistakes) -> Self {
        Self { kind, mistakes }
    }

    /// Makes a denial for one mistake, such as `spec.hostNetwork: REASON`.
    #[must_use]
    pub fn of(kind: DenialKind, path: &str, reason: &str) -> Self {
        let mut mistakes = Mistakes::default();
        mistakes.add(path, None, reason);
        Self { kind, mistakes }
    }

    /// Returns the kind as a label of metrics.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self.kind {
            DenialKind::Request => "request",
            DenialKind::Mistakes => "mistakes",
            DenialKind::HostNetwork => "host_network",
        }
    }

    /// Returns every mistake.
    #[must_use]
    pub const fn mistakes(&self) -> &Mistakes {
        &self.mistakes
    }
}

impl fmt::Display for Denial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.mistakes.iter().count();
        if lines == 1 {
            write!(f, "mtls-injector refuses this pod: {}", self.mistakes)
        } else {
            write!(
                f,
                "mtls-injector refuses this pod for {lines} mistakes:\n{}",
                self.mistakes
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_skip_reason_has_its_own_label_and_sentence() {
        let labels: std::collections::BTreeSet<_> =
            SkipReason::ALL.iter().map(|r| r.label()).collect();
        let sentences: std::collections::BTreeSet<_> =
            SkipReason::ALL.iter().map(ToString::to_string).collect();
        assert_eq!(labels.len(), SkipReason::ALL.len());
        assert_eq!(sentences.len(), SkipReason::ALL.len());
    }

    #[test]
    fn one_mistake_is_one_line_and_more_are_counted() {
        let one = Denial::of(DenialKind::Mistakes, "a", "is wrong");
        assert_eq!(
            one.to_string(),
            "mtls-injector refuses this pod: a: is wrong"
        );
        let mut mistakes = Mistakes::default();
        mistakes.add("a", None, "is wrong");
        mistakes.add("b", Some("x"), "is not y");
        let two = Denial::new(DenialKind::Mistakes, mistakes);
        assert_eq!(
            two.to_string(),
            "mtls-injector refuses this pod for 2 mistakes:\na: is wrong\nb: \"x\" is not y"
        );
    }
}
