//! The documented flow of Istio in a cluster: its resources in the API server and a Deployment that
//! only bears Istio's annotations; the webhook gives the pod its route.

use http::StatusCode;
use mtls_proxy::config::{Config, UpstreamMode};
use serde_json::{Value, json};

use crate::api_server::{ApiServer, Key};
use crate::load;
use crate::program::{Program, mutate};
use crate::replica::*;

const RESOURCES: &str = include_str!("../fixtures/istio/flow/egress.yaml");

/// Applies the resources of the flow, but for the Secret, which nobody needs to read.
fn apply(server: &ApiServer) {
    let objects: Vec<Value> = serde_saphyr::from_multiple(RESOURCES).unwrap();
    for object in objects {
        let plural = match object["kind"].as_str().unwrap() {
            "ServiceEntry" => "serviceentries",
            "DestinationRule" => "destinationrules",
            "VirtualService" => "virtualservices",
            _ => continue,
        };
        let key = Key::new(plural, "devel", "external-system");
        server.store.create(&key, object, "kubectl").unwrap();
    }
}

/// The recorded review of the flow's Deployment, as it is.
async fn answer(program: &Program, server: &ApiServer) -> Value {
    let mut review: Value = serde_json::from_slice(load::REVIEW).unwrap();
    review["request"]["namespace"] = "devel".into();
    let annotations = &review["request"]["object"]["metadata"]["annotations"];
    let keys = annotations.as_object().unwrap().keys();
    assert!(
        keys.into_iter()
            .all(|key| !key.starts_with("mtls-injector.io/"))
    );
    mutate(program, &server.store, &review).await
}

/// The proxy's configuration in an answer.
fn config(answer: &Value) -> Config {
    let operations: Value = serde_json::from_str(&crate::program::patch(answer)).unwrap();
    let added = operations.as_array().unwrap().iter().find(|operation| {
        let path = operation["path"].as_str().unwrap_or_default();
        path.ends_with("mtls-injector.io~1proxy-config")
    });
    Config::parse(added.unwrap()["value"].as_str().unwrap()).unwrap()
}

#[tokio::test]
async fn the_documented_flow_needs_no_annotation_of_ours() {
    let server = installed().await;
    let devel = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "devel"}});
    let key = Key::new("namespaces", "", "devel");
    server.store.create(&key, devel, "kubectl").unwrap();
    apply(&server);
    let program = Program::start(&server);
    program.admin_says("/readyz", StatusCode::OK).await;
    let admitted = answer(&program, &server).await;
    assert_eq!(admitted["response"]["warnings"], Value::Null, "{admitted}");
    let config = config(&admitted);
    let [route] = config.egress.as_slice() else {
        panic!("{config:?}");
    };
    assert_eq!(route.name(), "external.system.com:80");
    assert_eq!(route.target_port.get(), 443);
    assert_eq!(route.tls.mode, UpstreamMode::Mutual);
    let certificate = route.tls.client_certificate.as_ref().unwrap();
    assert_eq!(certificate.to_str(), Some("/etc/mtlsfiles/cert"));
}

#[tokio::test]
async fn a_resource_that_cannot_be_honoured_denies_the_pod_and_says_where() {
    let server = installed().await;
    apply(&server);
    let key = Key::new("destinationrules", "devel", "external-system");
    server.store.edit(&key, "kubectl", |rule| {
        rule["spec"]["trafficPolicy"]["portLevelSettings"][0]["tls"]["mode"] =
            "ISTIO_MUTUAL".into();
    });
    let program = Program::start(&server);
    program.admin_says("/readyz", StatusCode::OK).await;
    let denied = answer(&program, &server).await;
    assert_eq!(denied["response"]["allowed"], false, "{denied}");
    let message = denied["response"]["status"]["message"].as_str().unwrap();
    let place = "DestinationRule devel/external-system: spec.trafficPolicy: mode ISTIO_MUTUAL ";
    assert!(message.contains(place), "{message}");
}
