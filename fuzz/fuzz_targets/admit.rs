//! Any bytes are a review that is answered, or refused with a reason. What is answered is JSON that
//! echoes the uid; a patch fits the pod that came, leaves its containers alone, and is whole: the
//! patched pod gets no other.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mtls_injector::admit::{Namespaces, admit, inject_pod};
use mtls_injector::config::Config;
use mtls_injector::decision::{Decision, SkipReason};
use serde_json::{Map, Value};

struct NoDefaults;

impl Namespaces for NoDefaults {
    fn annotations(&self, _namespace: &str) -> Option<Map<String, Value>> {
        Some(Map::new())
    }
}

fuzz_target!(|review: &[u8]| {
    let config = Config::default();
    let admission = match admit(&config, &NoDefaults, review) {
        Ok(admission) => admission,
        Err(refusal) => return assert!(!refusal.to_string().is_empty()),
    };
    let reply: Value = serde_json::from_slice(&admission.reply).expect("an answer is JSON");
    assert_eq!(reply["response"]["uid"], admission.uid);
    assert_eq!(
        reply["response"]["allowed"],
        !matches!(admission.decision, Decision::Deny(_))
    );
    if admission.decision != Decision::Inject {
        return assert!(reply["response"]["patch"].is_null());
    }
    let mut review: Value = serde_json::from_slice(review).expect("it was read before");
    let pod = review["request"]["object"].take();
    let namespace = &admission.namespace;
    let outcome = inject_pod(&config, &NoDefaults, namespace, &pod);
    let mut patched = pod.clone();
    json_patch::patch(&mut patched, &outcome.patch).expect("a patch fits its pod");
    for container in pod["spec"]["containers"].as_array().into_iter().flatten() {
        let after = patched["spec"]["containers"].as_array();
        assert!(after.is_some_and(|after| after.contains(container)));
    }
    let again = inject_pod(&config, &NoDefaults, namespace, &patched);
    assert_eq!(again.decision, Decision::Skip(SkipReason::AlreadyInjected));
    assert!(again.patch.0.is_empty());
});
