//! Any annotations of a pod and of its namespace are taken, or denied with a line for each mistake.
//! What is taken becomes a configuration that the proxy reads as it was meant.
//!
//! A byte of 255 begins an annotation; the byte after it says which, and the rest is the value.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mtls_injector::admit::{Namespaces, inject_pod};
use mtls_injector::annotations::Key;
use mtls_injector::config::Config;
use mtls_injector::decision::Decision;
use mtls_proxy::config as proxy;
use serde_json::{Map, Value, json};

struct Defaults(Map<String, Value>);

impl Namespaces for Defaults {
    fn annotations(&self, _namespace: &str) -> Option<Map<String, Value>> {
        Some(self.0.clone())
    }
}

const PROXY_CONFIG: &str = "/metadata/annotations/mtls-injector.io~1proxy-config";

fuzz_target!(|input: &[u8]| {
    let (mut own, mut defaults) = (Map::new(), Map::new());
    for part in input.split(|byte| *byte == 0xff) {
        let Some((which, value)) = part.split_first() else {
            continue;
        };
        let key = Key::ALL[usize::from(which % 64) % Key::ALL.len()];
        let value = String::from_utf8_lossy(value).into_owned().into();
        match which / 64 {
            0 | 1 => own.insert(key.name().to_owned(), value),
            2 => own.insert(
                key.istio().unwrap_or("proxy.istio.io/config").to_owned(),
                value,
            ),
            _ => defaults.insert(key.name().to_owned(), value),
        };
    }
    let mut pod = json!({
        "metadata": {"name": "app", "annotations": own},
        "spec": {"containers": [{"name": "app"}], "volumes": [{"name": "data", "emptyDir": {}}]},
    });
    let outcome = inject_pod(&Config::default(), &Defaults(defaults), "shop", &pod);
    match outcome.decision {
        Decision::Skip(_) => assert!(outcome.patch.0.is_empty()),
        Decision::Deny(denial) => {
            let mistakes = denial.mistakes();
            assert!(mistakes.iter().next().is_some());
            let one_line = |text: String| text.lines().count() == 1;
            assert!(mistakes.iter().all(|mistake| one_line(mistake.to_string())));
        }
        Decision::Inject => {
            json_patch::patch(&mut pod, &outcome.patch).expect("a patch fits its pod");
            let text = pod.pointer(PROXY_CONFIG).and_then(Value::as_str);
            let text = text.expect("an injected pod bears the proxy's configuration");
            let config = proxy::Config::parse(text).expect("the proxy reads it");
            assert_eq!(config.render(), text);
        }
    }
});
