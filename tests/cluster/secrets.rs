//! The warning of a Secret that is missing or lacks a key, where the injector may look.

use http::StatusCode;
use serde_json::{Value, json};

use crate::api_server::{ApiServer, Key};
use crate::program::{Program, mutate, namespace, review};
use crate::replica::*;

async fn warnings(program: &Program, server: &ApiServer) -> String {
    let asks = json!({"mtls-injector.io/egress": "external.system.com",
                      "mtls-injector.io/secret": "mtls-data"});
    let answer = mutate(program, &server.store, &review(&asks, true)).await;
    assert_eq!(answer["response"]["allowed"], true, "{answer}");
    answer["response"]["warnings"].to_string()
}

fn secret(data: &Value) -> (Key, Value) {
    let metadata = json!({"name": "mtls-data", "namespace": "shop"});
    let object = json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": data});
    (Key::new("secrets", "shop", "mtls-data"), object)
}

#[tokio::test]
async fn a_pod_is_admitted_and_its_author_is_told_what_its_secret_lacks() {
    let server = installed().await;
    namespace(&server.store, &json!({}));
    let program = Program::start_with(&server, &["--check-secrets"]);
    program.admin_says("/readyz", StatusCode::OK).await;
    let said = warnings(&program, &server).await;
    assert!(said.contains("does not exist in namespace"), "{said}");

    // A replica of its own, as each remembers what it saw for a while.
    let (key, object) = secret(&json!({"cert": "", "key": ""}));
    server.store.create(&key, object, "kubectl").unwrap();
    let program = Program::start_with(&server, &["--check-secrets"]);
    program.admin_says("/readyz", StatusCode::OK).await;
    assert_eq!(warnings(&program, &server).await, "null");
}

#[tokio::test]
async fn secrets_are_not_asked_for_unless_told_to() {
    let server = installed().await;
    namespace(&server.store, &json!({}));
    let program = Program::start(&server);
    program.admin_says("/readyz", StatusCode::OK).await;
    // The pod's Secret is not there, so asking for it would show.
    let absent = || server.store.count("get", "secrets", 404);
    let before = absent();
    assert_eq!(warnings(&program, &server).await, "null");
    assert_eq!(absent(), before);
}

#[tokio::test]
async fn secrets_that_may_not_be_read_hold_nothing_up() {
    let server = installed().await;
    namespace(&server.store, &json!({}));
    let program = Program::start_with(&server, &["--check-secrets"]);
    program.admin_says("/readyz", StatusCode::OK).await;
    server.store.forbid("get", "secrets");
    assert_eq!(warnings(&program, &server).await, "null");
    let refusal = "cannot get secrets \"mtls-data\" in namespace \"shop\": forbidden; \
                   needs get on secrets in namespace \"shop\"";
    let line = program.logged(|line| line["error"] == refusal).await;
    assert_eq!(line["message"], "Secrets of pods not looked up");
}
