//! What is given to a cluster for Istio's sake: definitions of the resources, and a proxy at the edge.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Service};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use mtls_proxy::config::Config;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cases::cases;
use crate::programs::injector;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("webhook-config")
        .join(name)
}

fn read(path: &Path) -> Vec<Value> {
    serde_saphyr::from_multiple(&fs::read_to_string(path).unwrap()).unwrap()
}

fn typed<T: DeserializeOwned + serde::Serialize>(object: &Value) -> T {
    let typed: T = serde_json::from_value(object.clone()).unwrap();
    let again = serde_json::to_value(&typed).unwrap();
    assert_eq!(numbers_alike(object), numbers_alike(&again));
    typed
}

/// The type of a schema's bounds writes 1 as 1.0.
fn numbers_alike(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().into(),
        Value::Array(items) => items.iter().map(numbers_alike).collect(),
        Value::Object(fields) => {
            let fields = fields.iter();
            fields
                .map(|(key, value)| (key.clone(), numbers_alike(value)))
                .collect()
        }
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

fn definitions() -> Vec<CustomResourceDefinition> {
    let list = read(&folder("overlays/istio-crds/kustomization.yaml"));
    let files = list[0]["resources"].as_array().unwrap();
    let files = files.iter().map(|file| file.as_str().unwrap());
    let objects = files.flat_map(|file| read(&folder("overlays/istio-crds").join(file)));
    objects.map(|object| typed(&object)).collect()
}

#[test]
fn each_definition_is_structural_and_stores_one_version() {
    let definitions = definitions();
    assert_eq!(definitions.len(), 8);
    for definition in definitions {
        let spec = definition.spec;
        let name = format!("{}.{}", spec.names.plural, spec.group);
        assert_eq!(definition.metadata.name.as_deref(), Some(name.as_str()));
        let stored = spec.versions.iter().filter(|version| version.storage);
        assert_eq!(stored.count(), 1, "{name}");
        for version in &spec.versions {
            let schema = serde_json::to_value(&version.schema).unwrap();
            structural(&schema["openAPIV3Schema"], &name);
        }
    }
}

/// Every node of a structural schema has a type (Kubernetes, "Custom Resources: structural schemas").
fn structural(schema: &Value, path: &str) {
    assert!(schema["type"].is_string(), "{path} has no type");
    let properties = schema["properties"].as_object().into_iter().flatten();
    for (name, property) in properties {
        structural(property, &format!("{path}.{name}"));
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            structural(&schema[inner], &format!("{path}.{inner}"));
        }
    }
}

#[test]
fn every_kind_of_the_cases_is_defined_where_the_cluster_is_watched() {
    let defined: BTreeSet<_> = definitions()
        .into_iter()
        .map(|definition| definition.spec.names.kind)
        .collect();
    let unwatched = ["Service", "Policy", "MeshPolicy", "EnvoyFilter"];
    for case in cases() {
        for resource in case.list("resources") {
            let kind = resource["kind"].as_str().unwrap();
            assert!(
                defined.contains(kind) || unwatched.contains(&kind),
                "{kind}"
            );
        }
    }
}

#[test]
fn each_sample_of_an_edge_runs_what_its_resources_become() {
    for name in ["mutual", "simple", "reverse-proxy"] {
        let samples = folder("samples/edge");
        let resources = samples.join(format!("{name}.istio.yaml"));
        let file = resources.to_str().unwrap();
        let arguments = [
            "gateway",
            "-f",
            file,
            "-n",
            "edge",
            "-l",
            "istio=ingressgateway",
        ];
        let made = Config::parse(&injector(&arguments, "")).unwrap();
        let objects = read(&samples.join(format!("{name}.yaml")));
        let config: ConfigMap = typed(&objects[0]);
        let text = &config.data.unwrap()["config.json"];
        assert_eq!(Config::parse(text).unwrap(), made, "{name}");
        let _: Deployment = typed(&objects[1]);
        let _: Service = typed(&objects[2]);
    }
}
