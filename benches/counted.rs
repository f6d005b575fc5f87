//! Answers the recorded review as often as its argument says, for `scripts/count-instructions`.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark that cannot go on ends"
)]

use std::hint::black_box;

use mtls_injector::admit::{Namespaces, admit};
use mtls_injector::config::Config;
use serde_json::{Map, Value};

struct Empty;

impl Namespaces for Empty {
    fn annotations(&self, _namespace: &str) -> Option<Map<String, Value>> {
        Some(Map::new())
    }
}

const ARTICLE: &str = include_str!("../tests/fixtures/admission-reviews/deployment-article.json");

fn main() {
    let times = std::env::args().nth(1).unwrap();
    let mut review: Value = serde_json::from_str(ARTICLE).unwrap();
    let annotations = &mut review["request"]["object"]["metadata"]["annotations"];
    annotations["mtls-injector.io/egress"] = "external.system.com".into();
    let review = serde_json::to_vec(&review).unwrap();
    let config = Config::default();
    for _ in 0..times.parse().unwrap() {
        black_box(admit(&config, &Empty, black_box(&review)).unwrap());
    }
}
