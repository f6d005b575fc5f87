//! How fast a review is answered, and that the cost grows with the pod and no faster.
//! `cargo bench -p mtls-injector --bench admit`

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot go on ends"
)]

use divan::Bencher;
use divan::counter::{BytesCount, ItemsCount};
use mtls_injector::admit::{Namespaces, admit};
use mtls_injector::config::Config;
use serde_json::{Map, Value, json};

fn main() {
    divan::main();
}

struct Empty;

impl Namespaces for Empty {
    fn annotations(&self, _namespace: &str) -> Option<Map<String, Value>> {
        Some(Map::new())
    }
}

const ARTICLE: &str = include_str!("../tests/fixtures/admission-reviews/deployment-article.json");
const LARGE: &str = include_str!("../tests/fixtures/admission-reviews/large.json");

#[divan::bench]
fn recorded_deployment(bencher: Bencher<'_, '_>) {
    answer(bencher, ARTICLE.as_bytes());
}

#[divan::bench]
fn recorded_deployment_with_egress(bencher: Bencher<'_, '_>) {
    let review = with_egress(serde_json::from_str(ARTICLE).unwrap());
    answer(bencher, &serde_json::to_vec(&review).unwrap());
}

#[divan::bench]
fn recorded_large_pod(bencher: Bencher<'_, '_>) {
    answer(bencher, LARGE.as_bytes());
}

/// Pods of 10, 20, 40 and 80 KiB: the bytes per second should stay.
#[divan::bench(args = [10, 20, 40, 80])]
fn pod_of_kibibytes(bencher: Bencher<'_, '_>, size: usize) {
    let mut review = with_egress(serde_json::from_str(ARTICLE).unwrap());
    let variables = (0..size * 1024 / 64)
        .map(|n| json!({"name": format!("VARIABLE_{n:05}"), "value": "x".repeat(32)}));
    review["request"]["object"]["spec"]["containers"][0]["env"] = variables.collect();
    answer(bencher, &serde_json::to_vec(&review).unwrap());
}

fn with_egress(mut review: Value) -> Value {
    let annotations = &mut review["request"]["object"]["metadata"]["annotations"];
    annotations["mtls-injector.io/egress"] = "external.system.com".into();
    review
}

fn answer(bencher: Bencher<'_, '_>, review: &[u8]) {
    let config = Config::default();
    let counted = bencher
        .counter(BytesCount::new(review.len()))
        .counter(ItemsCount::new(1_usize));
    counted.bench_local(|| admit(&config, &Empty, divan::black_box(review)).unwrap());
}
