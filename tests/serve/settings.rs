//! The platform's settings are taken up while the webhook serves; wrong ones never.

use std::fs;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::client::{Client, Version};
use crate::program::Program;
use crate::reviews::one;

fn asking() -> Vec<u8> {
    let mut review: Value = serde_json::from_slice(&one("deployment-article.json")).unwrap();
    let annotations = &mut review["request"]["object"]["metadata"]["annotations"];
    annotations["mtls-injector.io/egress"] = "external.system.com".into();
    review.to_string().into_bytes()
}

async fn image(program: &Program) -> String {
    let mut client = Client::connect(program, Version::Http1).await.unwrap();
    let answer = client.review(asking()).await.unwrap();
    let answer: Value = serde_json::from_slice(&answer.body).unwrap();
    let patch = answer["response"]["patch"].as_str().unwrap();
    let patch = String::from_utf8(STANDARD.decode(patch).unwrap()).unwrap();
    let (_, after) = patch.split_once("\"image\":\"").unwrap();
    after.split_once('"').unwrap().0.to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_taken_up_and_a_mistake_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    fs::write(&file, "proxyImage: one:1\n").unwrap();
    let arguments = ["--shutdown-delay", "0s", "--config", file.to_str().unwrap()];
    let program = Program::start_with(&arguments);
    assert_eq!(image(&program).await, "one:1");

    fs::write(&file, "proxyImage: two:2\ncapture: hots\n").unwrap();
    let line = program.wait_for_log("new configuration rejected; the old one stays");
    let error = line["error"].as_str().unwrap();
    assert!(error.contains("capture: \"hots\" is not one of"), "{error}");
    assert_eq!(image(&program).await, "one:1");
    program
        .wait_for_metric("mtls_injector_reloads_total{outcome=\"rejected\",subject=\"config\"} 1");

    fs::write(&file, "proxyImage: two:2\n").unwrap();
    program.wait_for_log("configuration replaced");
    assert_eq!(image(&program).await, "two:2");
    program
        .wait_for_metric("mtls_injector_reloads_total{outcome=\"applied\",subject=\"config\"} 1");
}

#[test]
fn wrong_settings_at_the_start_are_all_reported_with_exit_code_64() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    fs::write(&file, "proxyUser: root\nlogLevel: loud\n").unwrap();
    let program = Program::start();
    let output = Command::new(env!("CARGO_BIN_EXE_mtls-injector"))
        .args([
            "serve",
            "--listen",
            "127.0.0.1:0",
            "--admin-listen",
            "127.0.0.1:0",
        ])
        .arg("--cert-file")
        .arg(program.secret.certificate())
        .arg("--key-file")
        .arg(program.secret.key())
        .arg("--config")
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("2 mistakes in"), "{said}");
    assert!(
        said.contains("\n  proxyUser: \"root\" is not a uid"),
        "{said}"
    );
    assert!(
        said.contains("\n  logLevel: \"loud\" is not one of"),
        "{said}"
    );
}
