//! What went wrong between us and the API server, in words an administrator can act on: what was
//! attempted, on which object, and, when it was forbidden, the permission to grant.

use std::error::Error;
use std::fmt;
use std::time::Duration;

/// A resource of the Kubernetes API, as RBAC names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceName {
    /// The plural, lower-case name: `secrets`.
    pub plural: &'static str,
    /// The API group, empty for the core group.
    pub group: &'static str,
}

/// The resources that more than one part of us asks for.
impl ResourceName {
    pub(crate) const NAMESPACES: Self = Self::core("namespaces");
    pub(crate) const PODS: Self = Self::core("pods");
    pub(crate) const SECRETS: Self = Self::core("secrets");
    pub(crate) const WEBHOOKS: Self = Self {
        plural: "mutatingwebhookconfigurations",
        group: "admissionregistration.k8s.io",
    };

    /// Names a resource of the core group.
    pub(crate) const fn core(plural: &'static str) -> Self {
        Self { plural, group: "" }
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.group {
            "" => f.write_str(self.plural),
            group => write!(f, "{}.{group}", self.plural),
        }
    }
}

/// One call to the API server: the verb, the resource and the object.
///
/// Displayed as a clause: `patch mutatingwebhookconfigurations "mtls-injector"`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    verb: &'static str,
    resource: ResourceName,
    namespace: Option<String>,
    name: Option<String>,
}

impl Attempt {
    /// Names a call on a whole resource, over all namespaces.
    #[must_use]
    pub fn new(verb: &'static str, resource: ResourceName) -> Self {
        Self {
            verb,
            resource,
            namespace: None,
            name: None,
        }
    }

    /// Narrows the call to a namespace.
    #[must_use]
    pub fn within(mut self, namespace: &str) -> Self {
        self.namespace = Some(namespace.to_owned());
        self
    }

    /// Narrows the call to one object.
    #[must_use]
    pub fn on(mut self, name: &str) -> Self {
        self.name = Some(name.to_owned());
        self
    }

    fn permission(&self) -> String {
        match &self.namespace {
            Some(namespace) => {
                format!(
                    "{} on {} in namespace \"{namespace}\"",
                    self.verb, self.resource
                )
            }
            None => format!("{} on {}", self.verb, self.resource),
        }
    }
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource.plural)?;
        if let Some(name) = &self.name {
            write!(f, " \"{name}\"")?;
        }
        if let Some(namespace) = &self.namespace {
            write!(f, " in namespace \"{namespace}\"")?;
        }
        Ok(())
    }
}

/// Why the API server could not be reached or did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// There is no usable kubeconfig and no service account.
    #[error("cannot read how to reach the API server")]
    Configuration(#[source] Box<dyn Error + Send + Sync>),
    /// The HTTP client could not be built from its configuration.
    #[error("cannot prepare the connection to the API server")]
    Client(#[source] kube::Error),
    /// RBAC (or an admission plug-in) said no.
    #[error("cannot {attempt}: forbidden; needs {}", attempt.permission())]
    Forbidden {
        /// The call.
        attempt: Attempt,
    },
    /// The API server answered with another failure.
    #[error("cannot {attempt}: the API server answered {code}: {message}")]
    Answered {
        /// The call.
        attempt: Attempt,
        /// The HTTP status: 409 for a conflict, 404 for an object that is not there.
        code: u16,
        /// The server's own words.
        message: String,
    },
    /// No answer in time.
    #[error("cannot {attempt}: no answer within {after:?}")]
    TimedOut {
        /// The call.
        attempt: Attempt,
        /// How long was waited.
        after: Duration,
    },
    /// No answer at all, or one that could not be read.
    #[error("cannot {attempt}")]
    Unreachable {
        /// The call.
        attempt: Attempt,
        /// What the connection reported.
        #[source]
        source: Box<dyn Error + Send + Sync>,
    },
}

impl ClusterError {
    /// Sorts the failure of one call.
    pub(crate) fn of_call(attempt: &Attempt, error: kube::Error) -> Self {
        let attempt = attempt.clone();
        match error {
            kube::Error::Api(status) => Self::of_status(attempt, *status),
            source => Self::Unreachable {
                attempt,
                source: Box::new(source),
            },
        }
    }

    /// Sorts the failure of a watch, which first lists and then watches.
    pub(crate) fn of_watch(attempt: &Attempt, error: kube::runtime::watcher::Error) -> Self {
        use kube::runtime::watcher::Error as Watch;
        match error {
            Watch::InitialListFailed(source) => Self::of_call(
                &Attempt {
                    verb: "list",
                    ..attempt.clone()
                },
                source,
            ),
            Watch::WatchStartFailed(source) | Watch::WatchFailed(source) => {
                Self::of_call(attempt, source)
            }
            Watch::WatchError(status) => Self::of_status(attempt.clone(), *status),
            Watch::NoResourceVersion => Self::Unreachable {
                attempt: attempt.clone(),
                source: Box::new(error),
            },
        }
    }

    fn of_status(attempt: Attempt, status: kube::core::Status) -> Self {
        match status.code {
            403 => Self::Forbidden { attempt },
            code => Self::Answered {
                attempt,
                code,
                message: status.message,
            },
        }
    }

    /// Whether somebody else changed or created the object first.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Answered { code: 409, .. })
    }

    /// Whether the object is not there.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Answered { code: 404, .. })
    }

    /// Whether a permission is missing, so that asking again soon is pointless.
    #[must_use]
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Forbidden { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(attempt: &Attempt, code: u16) -> ClusterError {
        let status = kube::core::Status::failure("the object has been modified", "Reason");
        ClusterError::of_call(attempt, kube::Error::Api(status.with_code(code).boxed()))
    }

    #[test]
    fn a_forbidden_call_names_the_permission_to_grant() {
        let error = refused(
            &Attempt::new("patch", ResourceName::WEBHOOKS).on("mtls-injector"),
            403,
        );
        assert_eq!(
            error.to_string(),
            "cannot patch mutatingwebhookconfigurations \"mtls-injector\": forbidden; needs patch \
             on mutatingwebhookconfigurations.admissionregistration.k8s.io"
        );
    }

    #[test]
    fn a_forbidden_call_inside_a_namespace_names_the_namespace() {
        let error = refused(
            &Attempt::new("create", ResourceName::SECRETS)
                .within("shop")
                .on("tls"),
            403,
        );
        assert_eq!(
            error.to_string(),
            "cannot create secrets \"tls\" in namespace \"shop\": forbidden; needs create on \
             secrets in namespace \"shop\""
        );
    }

    #[test]
    fn a_conflict_is_told_apart_and_keeps_the_servers_words() {
        let error = refused(
            &Attempt::new("update", ResourceName::SECRETS)
                .within("shop")
                .on("tls"),
            409,
        );
        assert!(error.is_conflict());
        assert_eq!(
            error.to_string(),
            "cannot update secrets \"tls\" in namespace \"shop\": the API server answered 409: \
             the object has been modified"
        );
    }
}
