//! What holds for every text.

use mtls_injector::admit::Namespaces;
use mtls_injector::config::Config;
use mtls_injector::manifest::{self, File, Injector};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

struct Undeclared;

impl Namespaces for Undeclared {
    fn annotations(&self, _namespace: &str) -> Option<Map<String, Value>> {
        None
    }
}

/// Injects a text; documents that cannot be read stay as they are, as do those that do not change.
fn injected(text: &str) -> Option<String> {
    let file = File {
        name: "any".to_owned(),
        text: text.to_owned(),
    };
    let config = Config::default();
    let documents = manifest::read(&file);
    let readable: Option<Vec<_>> = documents
        .iter()
        .map(|document| document.as_ref().ok())
        .collect();
    let readable = readable?;
    let injector = Injector::new(
        &config,
        "default",
        readable.iter().copied(),
        Box::new(Undeclared),
    );
    let texts = readable.iter().map(|manifest| {
        let change = injector.inject(manifest).change;
        change.map_or_else(|| manifest.text().to_owned(), |change| change.text)
    });
    Some(texts.collect())
}

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[ -~]{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((any::<String>(), inner), 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn pod(annotation: &str, args: &Value) -> Value {
    json!({
        "kind": "Pod", "apiVersion": "v1",
        "metadata": { "name": "app", "annotations": {
            "example.com/note": annotation,
            "mtls-injector.io/egress": "external.system.com",
            "mtls-injector.io/secret": "external-mtls",
        } },
        "spec": { "x": args, "containers": [{ "name": "app", "image": "app:1" }] },
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_text_is_read_without_a_panic(text in "(---\n|---|[ -~]|\\PC|\n|: |- ){0,60}") {
        if let Some(out) = injected(&text) {
            prop_assert_eq!(out, text);
        }
    }

    #[test]
    fn documents_of_other_kinds_keep_every_byte(
        values in prop::collection::vec(json_value(), 1..4),
        comment in "[ -~]{0,20}",
    ) {
        let documents = values.iter().map(|value| {
            let object = json!({ "apiVersion": "v1", "kind": "ConfigMap", "data": value });
            format!("# {comment}\n{}", serde_saphyr::to_string(&object).unwrap())
        });
        let text = documents.collect::<Vec<_>>().join("---\n");
        prop_assert_eq!(injected(&text), Some(text));
    }

    #[test]
    fn any_value_of_a_changed_document_reads_back_the_same(
        annotation in any::<String>(),
        args in json_value(),
    ) {
        let before = pod(&annotation, &args);
        for text in [serde_saphyr::to_string(&before).unwrap(), format!("{before:#}")] {
            let once = injected(&text).unwrap();
            let after: Value = serde_saphyr::from_str(&once).unwrap();
            prop_assert_eq!(&after["spec"]["x"], &before["spec"]["x"]);
            prop_assert_eq!(
                &after["metadata"]["annotations"]["example.com/note"],
                &before["metadata"]["annotations"]["example.com/note"]
            );
            prop_assert!(once.contains("mtls-proxy"), "{}", once);
            prop_assert_eq!(injected(&once), Some(once));
        }
    }
}
