//! Any objects are resources of Istio that are read or found wanting, and what follows from them is a
//! configuration that the proxy reads.
//!
//! The input is a stream of YAML documents: objects, or cases with lists of them.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mtls_injector::istio::{Labels, Resources, Workload};
use mtls_proxy::config::{Config, EgressRoute};
use serde_json::Value;

fuzz_target!(|input: &str| {
    let Ok(documents) = serde_saphyr::from_multiple::<Value>(input) else {
        return;
    };
    let objects: Vec<_> = documents.into_iter().flat_map(objects).collect();
    let resources = Resources::read(&objects, "shop");
    let labels = Labels::from([("app".to_owned(), "web".to_owned())]);
    let workload = Workload {
        namespace: "shop",
        labels: &labels,
    };
    let _ = resources.findings();
    let _ = resources.inbound(&workload, &[], &[]);
    for egress in [
        resources.egress(&workload).routes,
        resources.edge(&workload).egress,
    ] {
        // Each by itself: together they may clash, which is said to whoever asks for them.
        for route in egress {
            is_read_back(route);
        }
    }
});

fn objects(document: Value) -> Vec<Value> {
    match document.get("resources").and_then(Value::as_array) {
        Some(resources) => resources.clone(),
        None => vec![document],
    }
}

fn is_read_back(route: EgressRoute) {
    let config = Config {
        egress: vec![route],
        ..Config::default()
    };
    if config.check_together().iter().next().is_none() {
        assert_eq!(Config::parse(&config.render()).as_ref(), Ok(&config));
    }
}
