//! The reviews that a real API server sent, answered: as they came and with mutual TLS asked for,
//! natively and classically, with and without capture; some with capture by the kernel. The answer and
//! the patched pod are goldens.

use std::fs;
use std::path::Path;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use json_patch::Patch;
use mtls_injector::admit::admit;
use mtls_injector::config::{Capture, Config, NativeSidecars};
use serde_json::{Value, json};

use crate::goldens::Goldens;
use crate::pods::Offline;

/// Every recorded review, by the name of its file.
pub(crate) fn recorded() -> Vec<(String, Value)> {
    static RECORDED: LazyLock<Vec<(String, Value)>> = LazyLock::new(read_recorded);
    RECORDED.clone()
}

fn read_recorded() -> Vec<(String, Value)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/admission-reviews");
    let paths = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut reviews: Vec<_> = paths
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .map(|path| {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            (
                name,
                serde_json::from_slice(&fs::read(&path).unwrap()).unwrap(),
            )
        })
        .collect();
    reviews.sort_by(|(a, _): &(String, Value), (b, _)| a.cmp(b));
    assert!(reviews.len() >= 15, "the recorded reviews are missing");
    reviews
}

/// The review with mutual TLS to one host asked for.
pub(crate) fn with_egress(mut review: Value) -> Value {
    let metadata = &mut review["request"]["object"]["metadata"];
    if metadata["annotations"].is_null() {
        metadata["annotations"] = json!({});
    }
    let annotations = metadata["annotations"].as_object_mut().unwrap();
    annotations.insert(
        "mtls-injector.io/egress".to_owned(),
        "external.system.com".into(),
    );
    if !annotations.contains_key("sidecar.istio.io/userVolumeMount") {
        annotations.insert("mtls-injector.io/secret".to_owned(), "client-cert".into());
    }
    review
}

/// The review with capture by the kernel asked for, and with ways in to the ports that the recorded
/// pods probe.
fn with_redirect(review: Value) -> Value {
    let mut review = with_egress(review);
    let annotations = &mut review["request"]["object"]["metadata"]["annotations"];
    annotations["mtls-injector.io/capture"] = "redirect".into();
    annotations["mtls-injector.io/secret"] = "certs:/certs".into();
    annotations["mtls-injector.io/inbound"] = "8444:8080,9000:9000,9090:9090".into();
    annotations["traffic.sidecar.istio.io/includeInboundPorts"] = "8443,9001".into();
    review
}

/// The recorded pods that differ in what redirection makes of them.
const REDIRECTED: [&str; 4] = [
    "deployment-article",
    "init-containers",
    "multi-container-probes",
    "statefulset",
];

fn settings(native_sidecars: NativeSidecars, capture: Capture) -> Config {
    Config {
        native_sidecars,
        capture,
        ..Config::default()
    }
}

#[test]
fn every_recorded_review_has_its_golden_answer_and_pod() {
    let (on, off) = (NativeSidecars::On, NativeSidecars::Off);
    let (hosts, none) = (Capture::Hosts, Capture::None);
    let mut goldens = Goldens::below("reviews");
    for (name, review) in recorded() {
        let egress = with_egress(review.clone());
        let redirect = with_redirect(review.clone());
        let mut variants = vec![
            ("recorded-native", &review, settings(on, hosts)),
            ("recorded-classic", &review, settings(off, hosts)),
            ("egress-native-hosts", &egress, settings(on, hosts)),
            ("egress-native-none", &egress, settings(on, none)),
            ("egress-classic-hosts", &egress, settings(off, hosts)),
            ("egress-classic-none", &egress, settings(off, none)),
        ];
        if REDIRECTED.contains(&name.as_str()) {
            variants.push(("redirect-native", &redirect, settings(on, hosts)));
            variants.push(("redirect-classic", &redirect, settings(off, hosts)));
        }
        for (variant, review, config) in variants {
            let (answer, pod) = answered(&config, review);
            goldens.add(&format!("{name}/{variant}.answer.json"), pretty(&answer));
            if let Some(pod) = pod {
                second_run_changes_nothing(&config, review, &pod);
                goldens.add(&format!("{name}/{variant}.pod.json"), pretty(&brief(pod)));
            }
        }
    }
    goldens.check();
}

/// The response with its patch decoded, and the pod if it was patched.
fn answered(config: &Config, review: &Value) -> (Value, Option<Value>) {
    let bytes = serde_json::to_vec(review).unwrap();
    let admission = admit(config, &Offline, &bytes).unwrap();
    let mut answer: Value = serde_json::from_slice(&admission.reply).unwrap();
    assert_eq!(answer["kind"], "AdmissionReview");
    assert_eq!(answer["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(answer["response"]["uid"], review["request"]["uid"]);
    let mut answer = answer["response"].take();
    let Some(patch) = answer.get("patch") else {
        return (answer, None);
    };
    let patch = STANDARD.decode(patch.as_str().unwrap()).unwrap();
    let patch: Patch = serde_json::from_slice(&patch).unwrap();
    answer["patch"] = serde_json::to_value(&patch).unwrap();
    let mut pod = review["request"]["object"].clone();
    json_patch::patch(&mut pod, &patch).unwrap();
    (answer, Some(pod))
}

fn second_run_changes_nothing(config: &Config, review: &Value, pod: &Value) {
    let mut review = review.clone();
    review["request"]["object"] = pod.clone();
    let (answer, patched) = answered(config, &review);
    assert_eq!(patched, None);
    assert_eq!(answer["allowed"], true);
    assert_eq!(answer["auditAnnotations"]["reason"], "already_injected");
}

/// The pod without what the API server notes about who wrote which field.
fn brief(mut pod: Value) -> Value {
    let metadata = pod["metadata"].as_object_mut().unwrap();
    metadata.shift_remove("managedFields");
    pod
}

fn pretty(value: &Value) -> String {
    format!("{value:#}\n")
}

#[test]
fn fields_that_no_type_knows_survive() {
    let mut injected = 0;
    for (name, mut review) in recorded() {
        let object = &mut review["request"]["object"];
        object["spec"]["fieldOfTomorrow"] = json!({"deep": [1, {"er": null}]});
        object["spec"]["containers"][0]["fieldOfTomorrow"] = json!(1.5);
        object["metadata"]["fieldOfTomorrow"] = "x".into();
        let (_, pod) = answered(&Config::default(), &with_egress(review.clone()));
        let Some(pod) = pod else { continue };
        injected += 1;
        let before = &review["request"]["object"];
        for pointer in [
            "/spec/fieldOfTomorrow",
            "/spec/containers/0/fieldOfTomorrow",
            "/metadata/fieldOfTomorrow",
        ] {
            assert_eq!(
                pod.pointer(pointer),
                before.pointer(pointer),
                "{name} {pointer}"
            );
        }
    }
    assert!(
        injected >= 10,
        "only {injected} of the recorded pods were injected"
    );
}
