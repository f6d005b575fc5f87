//! The API server's side: rules, selectors and CEL decide whether an admission plug-in is called.
//!
//! <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>
//! <https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/>

use cel::{Context, Program};
use serde_json::Value;

/// Returns the names of the webhook's entries that this request is sent to.
pub(crate) fn called(webhook: &Value, namespace: &Value, request: &Value) -> Vec<String> {
    list(&webhook["webhooks"])
        .iter()
        .filter(|entry| {
            list(&entry["rules"])
                .iter()
                .any(|rule| rule_matches(rule, request))
                && selects(
                    &entry["namespaceSelector"],
                    &namespace["metadata"]["labels"],
                )
                && selects(
                    &entry["objectSelector"],
                    &request["object"]["metadata"]["labels"],
                )
                && conditions_hold(&entry["matchConditions"], request)
        })
        .map(|entry| entry["name"].as_str().unwrap().to_owned())
        .collect()
}

/// Whether a policy allows the request; `None` where it does not apply.
pub(crate) fn policy_allows(policy: &Value, namespace: &Value, request: &Value) -> Option<bool> {
    let constraints = &policy["spec"]["matchConstraints"];
    let applies = list(&constraints["resourceRules"])
        .iter()
        .any(|rule| rule_matches(rule, request))
        && selects(
            &constraints["namespaceSelector"],
            &namespace["metadata"]["labels"],
        );
    if !applies {
        return None;
    }
    let mut variables = serde_json::Map::new();
    for variable in list(&policy["spec"]["variables"]) {
        let name = variable["name"].as_str().unwrap().to_owned();
        let value = evaluate(&variable["expression"], request, &variables);
        variables.insert(name, value.json().unwrap());
    }
    let validations = list(&policy["spec"]["validations"]);
    assert!(!validations.is_empty());
    Some(validations.iter().all(|validation| {
        evaluate(&validation["expression"], request, &variables) == cel::Value::Bool(true)
    }))
}

fn rule_matches(rule: &Value, request: &Value) -> bool {
    let has = |field: &str, value: &Value| list(&rule[field]).iter().any(|one| one == value);
    let resource = &request["resource"];
    let named = match request["subResource"].as_str() {
        None => resource["resource"].clone(),
        Some(sub) => Value::from(format!("{}/{sub}", resource["resource"].as_str().unwrap())),
    };
    has("operations", &request["operation"])
        && has("apiGroups", &resource["group"])
        && has("apiVersions", &resource["version"])
        && has("resources", &named)
}

fn selects(selector: &Value, labels: &Value) -> bool {
    assert!(
        selector.get("matchLabels").is_none(),
        "evaluate matchLabels as well"
    );
    list(&selector["matchExpressions"])
        .iter()
        .all(|requirement| {
            let value = labels.get(requirement["key"].as_str().unwrap());
            let among = value.is_some_and(|value| list(&requirement["values"]).contains(value));
            match requirement["operator"].as_str().unwrap() {
                "In" => among,
                "NotIn" => !among,
                "Exists" => value.is_some(),
                "DoesNotExist" => value.is_none(),
                other => panic!("{other} is no operator of a label selector"),
            }
        })
}

fn conditions_hold(conditions: &Value, request: &Value) -> bool {
    list(conditions).iter().all(|condition| {
        match evaluate(&condition["expression"], request, &serde_json::Map::new()) {
            cel::Value::Bool(holds) => holds,
            other => panic!("{condition} gives {other:?}, no boolean"),
        }
    })
}

fn evaluate(
    expression: &Value,
    request: &Value,
    variables: &serde_json::Map<String, Value>,
) -> cel::Value {
    let text = expression.as_str().unwrap();
    let program = Program::compile(text).unwrap_or_else(|error| panic!("{text}: {error}"));
    let mut context = Context::default();
    context.add_variable("object", &request["object"]).unwrap();
    context.add_variable("request", request).unwrap();
    context.add_variable("variables", variables).unwrap();
    program
        .execute(&context)
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}
