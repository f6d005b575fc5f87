//! Every object parses into the type that its API declares, and nothing of it is lost: a misspelt
//! field, which the API server would drop or refuse, shows as a difference.

use k8s_openapi::api::admissionregistration::v1::{
    MutatingWebhookConfiguration, ValidatingAdmissionPolicy, ValidatingAdmissionPolicyBinding,
};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ResourceQuota, Service, ServiceAccount};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use k8s_openapi::api::rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::built::{OVERLAYS, install, name};

#[test]
fn every_object_is_its_kubernetes_type_with_no_field_lost() {
    for (_, flags) in OVERLAYS {
        for object in install(flags) {
            round_trip(&object);
        }
    }
}

#[test]
fn a_misspelt_field_would_be_found() {
    let mut object = install(&[]).remove(0);
    object["metadata"]["lables"] = Value::Null;
    let found = std::panic::catch_unwind(|| round_trip(&object));
    assert!(found.is_err());
}

fn round_trip(object: &Value) {
    let text = |field: &str| object[field].as_str().unwrap_or("");
    match (text("apiVersion"), text("kind")) {
        ("v1", "Namespace") => same::<Namespace>(object),
        ("v1", "ResourceQuota") => same::<ResourceQuota>(object),
        ("v1", "ServiceAccount") => same::<ServiceAccount>(object),
        ("v1", "ConfigMap") => same::<ConfigMap>(object),
        ("v1", "Service") => same::<Service>(object),
        ("apps/v1", "Deployment") => same::<Deployment>(object),
        ("policy/v1", "PodDisruptionBudget") => same::<PodDisruptionBudget>(object),
        ("networking.k8s.io/v1", "NetworkPolicy") => same::<NetworkPolicy>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRole") => same::<ClusterRole>(object),
        ("rbac.authorization.k8s.io/v1", "ClusterRoleBinding") => {
            same::<ClusterRoleBinding>(object);
        }
        ("rbac.authorization.k8s.io/v1", "Role") => same::<Role>(object),
        ("rbac.authorization.k8s.io/v1", "RoleBinding") => same::<RoleBinding>(object),
        ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration") => {
            same::<MutatingWebhookConfiguration>(object);
        }
        ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy") => {
            same::<ValidatingAdmissionPolicy>(object);
        }
        ("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding") => {
            same::<ValidatingAdmissionPolicyBinding>(object);
        }
        ("cert-manager.io/v1", "Issuer") => same::<Custom<Issuer>>(object),
        ("cert-manager.io/v1", "Certificate") => same::<Custom<Certificate>>(object),
        ("monitoring.coreos.com/v1", "PodMonitor") => same::<Custom<PodMonitor>>(object),
        // The rules themselves are checked by promtool.
        ("monitoring.coreos.com/v1", "PrometheusRule") => same::<Custom<Value>>(object),
        (version, kind) => panic!("{version} {kind} has no type here; add it"),
    }
}

fn same<T: DeserializeOwned + Serialize>(object: &Value) {
    let typed: T = serde_json::from_value(object.clone())
        .unwrap_or_else(|error| panic!("{}: {error}", name(object)));
    assert_eq!(
        *object,
        serde_json::to_value(typed).unwrap(),
        "{}",
        name(object)
    );
}

/// A custom resource: the fields that we use, as its own documentation spells them.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Custom<Spec> {
    api_version: String,
    kind: String,
    metadata: ObjectMeta,
    spec: Spec,
}

/// <https://cert-manager.io/docs/reference/api-docs/#cert-manager.io/v1.IssuerSpec>
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
enum Issuer {
    SelfSigned {},
    #[serde(rename_all = "camelCase")]
    Ca {
        secret_name: String,
    },
}

/// <https://cert-manager.io/docs/reference/api-docs/#cert-manager.io/v1.CertificateSpec>
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Certificate {
    #[serde(rename = "isCA", skip_serializing_if = "Option::is_none")]
    is_ca: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    common_name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    dns_names: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usages: Option<Vec<String>>,
    secret_name: String,
    duration: String,
    private_key: PrivateKey,
    issuer_ref: IssuerRef,
}

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PrivateKey {
    algorithm: String,
    size: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    rotation_policy: Option<String>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct IssuerRef {
    group: String,
    kind: String,
    name: String,
}

/// <https://prometheus-operator.dev/docs/api-reference/api/#monitoring.coreos.com/v1.PodMonitorSpec>
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct PodMonitor {
    selector: LabelSelector,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace_selector: Option<AnyNamespace>,
    pod_metrics_endpoints: Vec<Endpoint>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct AnyNamespace {
    any: bool,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Endpoint {
    port: String,
    path: String,
    interval: String,
}
