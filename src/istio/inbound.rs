//! Who calls a pod: PeerAuthentication and AuthorizationPolicy decide what its inbound ports ask for.

use mtls_proxy::config::{InboundMode, InboundPort, Port};

use super::Resources;
use super::authorization_policy::{Admitted, AuthorizationPolicy, Scope};
use super::finding::{Finding, merge};
use super::object::{ROOT_NAMESPACE, Resource, Workload, selects};
use super::peer_authentication::{Mode, PeerAuthentication, Selects};
use super::reader::{Labels, Reader};

/// An inbound port as the pod asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declared {
    /// The port.
    pub port: InboundPort,
    /// Whether its mode was written, not defaulted.
    pub mode_is_written: bool,
}

/// The inbound ports of one pod and what is to be said about them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Inbound {
    /// The declared ports, each with the mode and the rules that hold for it.
    pub ports: Vec<InboundPort>,
    /// About the policies that hold for the pod, and no others.
    pub findings: Vec<Finding>,
}

impl Resources {
    /// Applies the policies that hold for a pod to its inbound ports. `app_ports` are the ports that
    /// its containers declare and that can be reached without the proxy.
    #[must_use]
    pub fn inbound(
        &self,
        workload: &Workload<'_>,
        declared: &[Declared],
        app_ports: &[Port],
    ) -> Inbound {
        let policies = Policies::of(self, workload);
        let mut inbound = Inbound {
            ports: Vec::new(),
            findings: policies.findings(),
        };
        for one in declared {
            let port = policies.apply(one, &mut inbound.findings);
            inbound.ports.push(port);
        }
        let covered = |port: &Port| declared.iter().any(|one| one.port.target_port == *port);
        for &port in app_ports.iter().filter(|port| !covered(port)) {
            merge(&mut inbound.findings, policies.bypassed(port));
        }
        inbound
    }
}

/// The policies that hold for one pod.
struct Policies<'r> {
    /// Those of the pod's labels, of its namespace and of the mesh, in this order.
    peers: Vec<&'r Resource<PeerAuthentication>>,
    allows: Vec<&'r Resource<AuthorizationPolicy>>,
    /// Refused policies, whatever the port.
    refused: Vec<Finding>,
}

impl<'r> Policies<'r> {
    fn of(resources: &'r Resources, workload: &Workload<'_>) -> Self {
        let mut refused = Vec::new();
        let (own, wider): (Vec<_>, Vec<_>) = resources
            .peer_authentications
            .iter()
            .filter(|policy| {
                let namespace = &policy.meta.namespace;
                let all = matches!(policy.spec.selects, Selects::All);
                namespace == workload.namespace || (all && namespace == ROOT_NAMESPACE)
            })
            .partition(|policy| !matches!(policy.spec.selects, Selects::All));
        let selected = own
            .into_iter()
            .find(|policy| means(resources, policy, workload, &mut refused));
        let of_namespace = wider
            .iter()
            .find(|policy| policy.meta.namespace == workload.namespace);
        let of_mesh = wider
            .iter()
            .find(|policy| policy.meta.namespace == ROOT_NAMESPACE);
        let allows = resources.authorization_policies.iter().filter(|policy| {
            let reaches = policy.meta.namespace == workload.namespace
                || policy.meta.namespace == ROOT_NAMESPACE;
            reaches && selects(&policy.spec.selector, workload.labels)
        });
        let tokens = resources.request_authentications.iter().filter(|one| {
            one.meta.namespace == workload.namespace && selects(&one.spec, workload.labels)
        });
        refused.extend(tokens.map(|one| {
            one.meta.denial(
                "spec",
                "is not supported: tokens of requests would go unverified",
            )
        }));
        Self {
            peers: selected
                .into_iter()
                .chain(of_namespace.copied())
                .chain(of_mesh.copied())
                .collect(),
            allows: allows.collect(),
            refused,
        }
    }

    fn findings(&self) -> Vec<Finding> {
        let mut findings = self.refused.clone();
        for policy in &self.peers {
            merge(&mut findings, policy.findings.iter().cloned());
        }
        for policy in &self.allows {
            merge(&mut findings, policy.findings.iter().cloned());
        }
        findings
    }

    /// Returns the mode for a port of the application: the first that is set, from the narrowest
    /// policy to the widest, and the policy that sets it.
    fn mode(&self, port: Port) -> Option<(InboundMode, &'r Resource<PeerAuthentication>)> {
        self.peers
            .iter()
            .find_map(|policy| match policy.spec.mode(port) {
                Mode::Set(mode) => Some((mode, *policy)),
                Mode::Unset => None,
            })
    }

    /// Returns who may come in, and the policies that say so. Who is let in by one is let in.
    fn admitted(&self, port: Port) -> (Admitted, Option<&'r Resource<AuthorizationPolicy>>) {
        let mut allows = self
            .allows
            .iter()
            .filter(|policy| policy.spec.scope == Scope::Pods)
            .peekable();
        let Some(first) = allows.peek().copied() else {
            return (Admitted::Anybody, None);
        };
        let all = allows.map(|policy| policy.spec.admits(port));
        (all.fold(Admitted::Nobody, Admitted::or), Some(first))
    }

    fn apply(&self, declared: &Declared, findings: &mut Vec<Finding>) -> InboundPort {
        let mut port = declared.port.clone();
        self.set_mode(&mut port, declared.mode_is_written, findings);
        self.set_rules(&mut port, findings);
        port
    }

    /// STRICT always wins. A mode that the pod's author wrote wins over a laxer one.
    fn set_mode(&self, port: &mut InboundPort, is_written: bool, findings: &mut Vec<Finding>) {
        let Some((mode, policy)) = self.mode(port.target_port) else {
            return;
        };
        if is_written && mode != port.mode {
            let reason = if mode == InboundMode::Strict {
                format!("raises port {} from {} to STRICT", port.port, port.mode)
            } else {
                format!(
                    "does not lower port {} from {} to {mode}",
                    port.port, port.mode
                )
            };
            merge(findings, [policy.meta.warning("spec.mtls", &reason)]);
        }
        if !is_written || mode == InboundMode::Strict {
            port.mode = mode;
        }
    }

    fn set_rules(&self, port: &mut InboundPort, findings: &mut Vec<Finding>) {
        let (admitted, Some(policy)) = self.admitted(port.target_port) else {
            return;
        };
        let names = match admitted {
            Admitted::Anybody => return,
            Admitted::AnyVerified => Vec::new(),
            Admitted::Names(names) => names,
            Admitted::Nobody => {
                let reason = format!(
                    "lets nobody in at port {}; remove the port",
                    port.target_port
                );
                merge(findings, [policy.meta.denial("spec.rules", &reason)]);
                return;
            }
        };
        match port.mode {
            InboundMode::Strict => {}
            InboundMode::Permissive | InboundMode::OptionalMutual => {
                let reason = format!(
                    "raises port {} from {} to STRICT: a client without a certificate has no name",
                    port.port, port.mode
                );
                merge(findings, [policy.meta.warning("spec.rules", &reason)]);
                port.mode = InboundMode::Strict;
            }
            InboundMode::Simple | InboundMode::Disable => {
                let reason = format!(
                    "asks for names of clients at port {}, whose mode {} asks for no certificate",
                    port.port, port.mode
                );
                merge(findings, [policy.meta.denial("spec.rules", &reason)]);
                return;
            }
        }
        if !port.allow.is_empty() && !names.is_empty() && port.allow != names {
            let reason = format!(
                "port {} has rules of its own (allow); write the rules in one place",
                port.port
            );
            merge(findings, [policy.meta.denial("spec.rules", &reason)]);
        } else if !names.is_empty() {
            port.allow = names;
        }
    }

    /// Returns what a policy asks of a port that is reached without the proxy.
    fn bypassed(&self, port: Port) -> Vec<Finding> {
        let way_out = format!(
            "port {port} of the application is reached without the proxy; add it to the inbound annotation, such as 8443:{port}"
        );
        let mut findings = Vec::new();
        if let Some((InboundMode::Strict, policy)) = self.mode(port) {
            let reason = format!("asks for STRICT, but {way_out}");
            findings.push(policy.meta.denial("spec.mtls", &reason));
        }
        if let (admitted, Some(policy)) = self.admitted(port)
            && admitted != Admitted::Anybody
        {
            let reason = format!("asks who comes in, but {way_out}");
            findings.push(policy.meta.denial("spec.rules", &reason));
        }
        findings
    }
}

/// Returns whether a policy with a selector means the pod. One that names Services needs to see them.
fn means(
    resources: &Resources,
    policy: &Resource<PeerAuthentication>,
    workload: &Workload<'_>,
    refused: &mut Vec<Finding>,
) -> bool {
    let names = match &policy.spec.selects {
        Selects::All => return true,
        Selects::Labels(labels) => return selects(labels, workload.labels),
        Selects::Services(names) => names,
    };
    names.iter().any(|name| {
        let service = resources.services.iter().find(|service| {
            service.meta.kind == "Service"
                && service.meta.name == *name
                && service.meta.namespace == policy.meta.namespace
        });
        match service {
            Some(service) => {
                let selector = &service.spec.selector;
                !selector.is_empty() && selects(selector, workload.labels)
            }
            None => {
                let reason = format!(
                    "names Service {name}, which is not at hand, so it cannot be told whether this pod is meant; write a PeerAuthentication with a selector"
                );
                refused.push(policy.meta.denial("spec.targets", &reason));
                false
            }
        }
    })
}

/// Reads which pods a RequestAuthentication means; what it asks cannot be done here.
pub(super) fn read_request_authentication(reader: &mut Reader<'_, '_>) -> Option<Labels> {
    reader.ignore(&["jwtRules", "targetRef", "targetRefs"]);
    let labels = reader.object("selector", |selector| selector.labels("matchLabels"));
    Some(labels.unwrap_or_default())
}
