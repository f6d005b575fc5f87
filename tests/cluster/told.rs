//! What an author is told where the pod itself cannot tell: Events on the owner of a pod that asked
//! and was left without a proxy.

use http::StatusCode;
use serde_json::{Value, json};

use crate::program::{Program, mutate, namespace, review};
use crate::replica::*;

/// A pod that has the proxy of a mesh already, which is why it gets no other.
fn in_a_mesh(annotations: &Value, dry_run: bool) -> Value {
    let mut review = review(annotations, dry_run);
    let containers = &mut review["request"]["object"]["spec"]["containers"];
    let proxy = json!({"name": "istio-proxy", "image": "proxy"});
    containers.as_array_mut().unwrap().push(proxy);
    review
}

#[tokio::test]
async fn a_skip_is_told_to_the_owner_of_a_pod_that_asked_and_to_no_other() {
    let server = installed().await;
    namespace(&server.store, &json!({}));
    let program = Program::start(&server);
    program.admin_says("/readyz", StatusCode::OK).await;
    let asks = json!({"mtls-injector.io/inject": "true"});
    // Events are published in order: one of these would come first.
    for silent in [in_a_mesh(&json!({}), false), in_a_mesh(&asks, true)] {
        let answer = mutate(&program, &server.store, &silent).await;
        let audit = &answer["response"]["auditAnnotations"];
        assert_eq!(audit["reason"], "foreign_mesh", "{answer}");
    }
    let answer = mutate(&program, &server.store, &in_a_mesh(&asks, false)).await;
    let warning = answer["response"]["warnings"][0].as_str().unwrap();
    assert!(warning.contains("did not add the proxy"), "{warning}");
    let event = server
        .until("an Event", |store| store.list("events").pop())
        .await;
    assert_eq!(event["reason"], "MutualTLSSkipped");
    assert_eq!(event["regarding"]["kind"], "ReplicaSet");
    assert_eq!(
        event["note"],
        "the pod is left as it is: the pod already has the proxy of a service mesh"
    );
    assert_eq!(event["series"], Value::Null);
    assert_eq!(server.store.list("events").len(), 1);
}
