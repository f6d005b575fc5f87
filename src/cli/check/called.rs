//! Which webhooks the API server calls for a pod. In: a MutatingWebhookConfiguration, the labels of
//! the namespace and of the pod. Out: names. Selectors only: matchConditions are for the API server.

use serde_json::{Map, Value};

/// Names the webhooks whose selectors match.
pub(super) fn called(configuration: &Value, namespace: &Value, pod: &Value) -> Vec<String> {
    let webhooks = configuration.get("webhooks").and_then(Value::as_array);
    let called = webhooks.into_iter().flatten().filter(|webhook| {
        matches(webhook.get("namespaceSelector"), labels(namespace))
            && matches(webhook.get("objectSelector"), labels(pod))
    });
    let names = called.filter_map(|webhook| webhook.get("name")?.as_str());
    names.map(str::to_owned).collect()
}

/// The labels of an object.
pub(super) fn labels(object: &Value) -> Option<&Map<String, Value>> {
    object
        .pointer("/metadata/labels")
        .and_then(Value::as_object)
}

/// Evaluates a `metav1.LabelSelector`; an absent or empty one matches everything.
fn matches(selector: Option<&Value>, labels: Option<&Map<String, Value>>) -> bool {
    let part = |key| selector.and_then(|selector| selector.get(key));
    let label = |key: &str| labels.and_then(|labels| labels.get(key));
    let exact = part("matchLabels").and_then(Value::as_object);
    let expressions = part("matchExpressions").and_then(Value::as_array);
    exact
        .into_iter()
        .flatten()
        .all(|(key, value)| label(key) == Some(value))
        && expressions.into_iter().flatten().all(|expression| {
            let key = expression
                .get("key")
                .and_then(Value::as_str)
                .unwrap_or_default();
            let values = expression.get("values").and_then(Value::as_array);
            let listed = |value: &Value| values.is_some_and(|values| values.contains(value));
            match expression.get("operator").and_then(Value::as_str) {
                Some("In") => label(key).is_some_and(listed),
                Some("NotIn") => !label(key).is_some_and(listed),
                Some("Exists") => label(key).is_some(),
                Some("DoesNotExist") => label(key).is_none(),
                _ => false,
            }
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn selectors_match_as_the_api_server_reads_them() {
        let labels = json!({ "a": "1", "b": "2" });
        let check = |selector: Value| matches(Some(&selector), labels.as_object());
        let expression = |key: &str, operator: &str, values: Value| {
            check(
                json!({ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] }),
            )
        };
        assert!(matches(None, None) && check(json!({})));
        assert!(check(json!({ "matchLabels": { "a": "1" } })));
        assert!(!check(json!({ "matchLabels": { "a": "2" } })));
        assert!(expression("a", "In", json!(["1", "3"])));
        assert!(!expression("c", "In", json!(["1"])));
        assert!(!expression("a", "NotIn", json!(["1"])));
        assert!(expression("c", "NotIn", json!(["1"])));
        assert!(expression("b", "Exists", Value::Null));
        assert!(expression("c", "DoesNotExist", Value::Null));
        assert!(!expression("a", "Unheard", Value::Null));
    }
}
