//! Every recorded review goes over HTTPS and is answered as the core answers it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use mtls_injector::admit::{Namespaces, admit};
use mtls_injector::config::Config;
use serde_json::{Map, Value};

use crate::client::{Client, Version};
use crate::program::Program;

/// Returns name and bytes of each recorded review.
pub(crate) fn recorded() -> Vec<(String, Vec<u8>)> {
    let folder = fs::read_dir(folder()).unwrap();
    let paths = folder.map(|entry| entry.unwrap().path());
    let reviews = paths.filter(|path| path.extension().is_some_and(|end| end == "json"));
    let mut reviews: Vec<_> = reviews
        .map(|path| {
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            (name, fs::read(path).unwrap())
        })
        .collect();
    reviews.sort();
    assert!(
        reviews.len() >= 15,
        "only {} reviews are recorded",
        reviews.len()
    );
    reviews
}

pub(crate) fn one(name: &str) -> Vec<u8> {
    fs::read(folder().join(name)).unwrap()
}

fn folder() -> PathBuf {
    PathBuf::from(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/admission-reviews"
    ))
}

pub(crate) fn answer_of_the_core(review: &[u8]) -> Value {
    let admission = admit(&Config::default(), &Unknown, review).unwrap();
    serde_json::from_slice(&admission.reply).unwrap()
}

struct Unknown;

impl Namespaces for Unknown {
    fn annotations(&self, _namespace: &str) -> Option<Map<String, Value>> {
        None
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_review_is_answered_as_the_core_answers_it() {
    let program = Program::start();
    for version in [Version::Http1, Version::Http2] {
        let mut client = Client::connect(&program, version).await.unwrap();
        for (name, review) in recorded() {
            let answer = client.review(review.clone()).await.unwrap();
            assert_eq!(answer.status, 200, "{name}");
            let answer: Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!(answer, answer_of_the_core(&review), "{name}");
            let asked: Value = serde_json::from_slice(&review).unwrap();
            assert_eq!(answer["response"]["uid"], asked["request"]["uid"], "{name}");
        }
    }
}

#[test]
fn curl_gets_the_same_answer() {
    let program = Program::start();
    let root = program.directory.path().join("ca.crt");
    fs::write(&root, program.authority.pem()).unwrap();
    let review = folder().join("deployment-article.json");
    for version in ["--http1.1", "--http2", "--tls-max"] {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", version]);
        if version == "--tls-max" {
            curl.arg("1.2");
        }
        curl.arg("--cacert").arg(&root);
        curl.arg("--data-binary")
            .arg(format!("@{}", review.display()));
        curl.args(["--header", "Content-Type: application/json"]);
        curl.arg(format!("https://{}/mutate", program.address));
        let output = curl.output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(
            answer,
            answer_of_the_core(&one("deployment-article.json")),
            "{version}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_admission_is_one_line_that_tells_nothing_of_the_pod() {
    let program = Program::start();
    let mut client = Client::connect(&program, Version::Http2).await.unwrap();
    client.review(one("large.json")).await.unwrap();
    let line = program.wait_for_log("admission decided");
    let asked: Value = serde_json::from_slice(&one("large.json")).unwrap();
    assert_eq!(line["pod.namespace"], asked["request"]["namespace"]);
    assert_eq!(
        line["pod.name"],
        asked["request"]["object"]["metadata"]["name"]
    );
    assert_eq!(line["uid"], asked["request"]["uid"]);
    assert!(
        line["decision"].is_string() && line["reason"].is_string(),
        "{line}"
    );
    assert!(line["duration_ms"].is_number(), "{line}");
    program.signal("TERM");
    let (_, log) = program.ended();
    let text = serde_json::to_string(&log).unwrap();
    assert!(!text.contains("SETTING_000"), "{text}");
    assert!(text.len() < 2000, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn decisions_are_counted() {
    let program = Program::start();
    let mut client = Client::connect(&program, Version::Http1).await.unwrap();
    client.review(one("pod-bare-name.json")).await.unwrap();
    let counted = "mtls_injector_admissions_total{decision=\"skip\",reason=\"nothing_asked\"} 1";
    program.wait_for_metric(counted);
    program.wait_for_metric("mtls_injector_admission_duration_seconds_count 1");
}
