//! Istio's own resources as configuration: who followed Istio's documentation keeps the YAML.
//!
//! In: the objects as parsed JSON, and a pod's namespace and labels. Out: egress routes, what holds
//! for inbound ports, and [`Finding`]s. What cannot be honoured is never dropped without a word: it is
//! a warning, or a denial where going on would weaken security or send requests astray. Knows no
//! annotations and asks nobody: files and caches are read by others.
//!
//! Where this differs from Istio on purpose:
//! - A host is captured when TLS is originated for it, or when a VirtualService in the pod's own
//!   namespace routes it; the rest of a mesh's VirtualServices is left alone.
//! - TLS to a destination with another name than the one dialled is verified against the
//!   destination's name, where Istio would take the `Host` that the application sent.
//! - Where no PeerAuthentication sets a mode, an inbound port stays STRICT; Istio would let plaintext in.
//! - Settings that a port's own policy would silently turn off are refused.

mod authorization_policy;
mod destination;
mod destination_rule;
mod edge;
mod egress;
mod finding;
mod gateway;
mod host;
mod http_route;
mod inbound;
mod object;
mod peer_authentication;
mod reader;
mod service;
mod virtual_service;

pub use edge::Edge;
pub use egress::Egress;
pub use finding::{Finding, Severity};
pub use gateway::GATEWAY_CREDENTIALS;
pub use inbound::{Declared, Inbound};
pub use object::Workload;
pub use reader::Labels;

use serde_json::Value;

use authorization_policy::AuthorizationPolicy;
use destination_rule::DestinationRule;
use gateway::Gateway;
use object::{Meta, ROOT_NAMESPACE, Resource};
use peer_authentication::PeerAuthentication;
use reader::Reader;
use service::Service;
use virtual_service::VirtualService;

/// All resources that were found, the oldest of each kind first.
#[derive(Clone, Debug, Default)]
pub struct Resources {
    services: Vec<Resource<Service>>,
    destination_rules: Vec<Resource<DestinationRule>>,
    virtual_services: Vec<Resource<VirtualService>>,
    gateways: Vec<Resource<Gateway>>,
    peer_authentications: Vec<Resource<PeerAuthentication>>,
    authorization_policies: Vec<Resource<AuthorizationPolicy>>,
    /// RequestAuthentications: the pods whose requests they would have verified.
    request_authentications: Vec<Resource<Labels>>,
    /// What is said about resources that could not be read, or are of a kind that is not.
    unread: Vec<(String, Finding)>,
}

/// The groups whose objects are read.
const GROUPS: &[&str] = &[
    "networking.istio.io",
    "security.istio.io",
    "authentication.istio.io",
];

impl Resources {
    /// Returns whether an object is one of Istio's, so that it belongs here.
    #[must_use]
    pub fn owns(object: &Value) -> bool {
        let version = object.get("apiVersion").and_then(Value::as_str);
        let group = version.and_then(|version| version.split_once('/'));
        group.is_some_and(|(group, _)| GROUPS.contains(&group))
    }

    /// Reads objects. Those that are neither Istio's nor a Service of Kubernetes are passed over.
    /// An object without a namespace is of `default_namespace`.
    #[must_use]
    pub fn read<'o>(objects: impl IntoIterator<Item = &'o Value>, default_namespace: &str) -> Self {
        let mut resources = Self::default();
        for object in objects {
            resources.add(object, default_namespace);
        }
        sort(&mut resources.services);
        sort(&mut resources.destination_rules);
        sort(&mut resources.virtual_services);
        sort(&mut resources.gateways);
        sort(&mut resources.peer_authentications);
        sort(&mut resources.authorization_policies);
        resources
    }

    /// Returns whether there is nothing to say about any pod.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
            && self.destination_rules.is_empty()
            && self.virtual_services.is_empty()
            && self.peer_authentications.is_empty()
            && self.authorization_policies.is_empty()
            && self.request_authentications.is_empty()
            && self.unread.is_empty()
    }

    /// Returns everything that was found in any resource, whichever pods it applies to.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let mut all: Vec<Finding> = Vec::new();
        finding::merge(&mut all, of_each(&self.services));
        finding::merge(&mut all, of_each(&self.destination_rules));
        finding::merge(&mut all, of_each(&self.virtual_services));
        finding::merge(&mut all, of_each(&self.gateways));
        finding::merge(&mut all, of_each(&self.peer_authentications));
        finding::merge(&mut all, of_each(&self.authorization_policies));
        finding::merge(&mut all, of_each(&self.request_authentications));
        finding::merge(&mut all, self.unread.iter().map(|(_, one)| one.clone()));
        all
    }

    fn add(&mut self, object: &Value, namespace: &str) {
        let text = |key: &str| object.get(key).and_then(Value::as_str).unwrap_or_default();
        let found = Found { object, namespace };
        let meta = Meta::of(object, namespace);
        let peers = &mut self.peer_authentications;
        let read = match (Self::owns(object), text("kind")) {
            (false, "Service") if text("apiVersion") == "v1" => {
                found.read(&mut self.services, |reader| {
                    let (name, namespace) = (&meta.name, &meta.namespace);
                    Some(Service::from_kubernetes(reader, name, namespace))
                })
            }
            (false, _) => return,
            (true, "ServiceEntry") => found.read(&mut self.services, Service::from_entry),
            (true, "DestinationRule") => {
                found.read(&mut self.destination_rules, DestinationRule::read)
            }
            (true, "VirtualService") => {
                found.read(&mut self.virtual_services, VirtualService::read)
            }
            (true, "Gateway") => found.read(&mut self.gateways, Gateway::read),
            (true, "PeerAuthentication") => found.read(peers, PeerAuthentication::read),
            (true, "Policy") => found.read(peers, PeerAuthentication::from_old_policy),
            // It has no namespace, and held for the whole mesh.
            (true, "MeshPolicy") => Found {
                namespace: ROOT_NAMESPACE,
                ..found
            }
            .read(peers, PeerAuthentication::from_old_policy),
            (true, "AuthorizationPolicy") => {
                found.read(&mut self.authorization_policies, AuthorizationPolicy::read)
            }
            (true, "RequestAuthentication") => found.read(
                &mut self.request_authentications,
                inbound::read_request_authentication,
            ),
            (true, _) => vec![meta.warning("", "is not read and has no effect")],
        };
        let unread = read.into_iter();
        self.unread
            .extend(unread.map(|finding| (meta.namespace.clone(), finding)));
    }
}

/// An object that was found, and the namespace it has when it names none.
#[derive(Clone, Copy)]
struct Found<'o> {
    object: &'o Value,
    namespace: &'o str,
}

impl Found<'_> {
    /// Reads the object and keeps it; returns what is said about one that could not be read.
    fn read<T>(
        self,
        into: &mut Vec<Resource<T>>,
        read: impl FnOnce(&mut Reader<'_, '_>) -> Option<T>,
    ) -> Vec<Finding> {
        match Resource::read(self.object, self.namespace, read) {
            Ok(resource) => {
                into.push(resource);
                Vec::new()
            }
            Err(findings) => findings,
        }
    }
}

fn sort<T>(resources: &mut [Resource<T>]) {
    resources.sort_by(|one, other| one.meta.age().cmp(&other.meta.age()));
}

fn of_each<T>(resources: &[Resource<T>]) -> impl Iterator<Item = Finding> + use<'_, T> {
    resources
        .iter()
        .flat_map(|one| one.findings.iter().cloned())
}
