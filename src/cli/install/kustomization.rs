//! The part of kustomize that `webhook-config` uses: resources, ConfigMaps made of files, and JSON
//! patches (RFC 6902) on one named object. In: an embedded folder. Out: its objects. A kustomization that asks for more does
//! not parse, so that this program and `kubectl apply -k` cannot drift apart unseen.
//!
//! <https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/>

use json_patch::Patch;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::manifests;

/// One folder with its kustomization file.
pub(super) struct Kustomization {
    folder: &'static str,
    file: File,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct File {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    config_map_generator: Vec<ConfigMapFiles>,
    #[serde(default)]
    patches: Vec<PatchFile>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ConfigMapFiles {
    name: String,
    namespace: String,
    files: Vec<String>,
    options: ConfigMapOptions,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ConfigMapOptions {
    /// Always true here: a name that depends on the content would leave the old object behind.
    #[serde(rename = "disableNameSuffixHash")]
    _disable_name_suffix_hash: bool,
    labels: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PatchFile {
    path: String,
    target: Target,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    kind: String,
    name: String,
}

impl Kustomization {
    /// Opens the kustomization of a folder within `webhook-config`.
    pub(super) fn open(folder: &'static str) -> Self {
        let document = manifests::documents(&format!("{folder}/kustomization.yaml"))
            .pop()
            .expect("a kustomization file holds one document");
        let file =
            serde_json::from_value(document).expect("a test builds every embedded kustomization");
        Self { folder, file }
    }

    /// Adds the folder's objects to those of the folders before it, and patches them all.
    pub(super) fn build(&self, objects: &mut Vec<Value>) {
        for file in &self.file.resources {
            objects.extend(self.documents(file));
        }
        for config_map in &self.file.config_map_generator {
            objects.push(config_map.build(self.folder));
        }
        for PatchFile { path, target } in &self.file.patches {
            let object = objects
                .iter_mut()
                .find(|object| target.is(object))
                .expect("a test applies every embedded patch");
            let operations: Patch = serde_json::from_value(Value::Array(self.operations(path)))
                .expect("a test applies every embedded patch");
            json_patch::patch(object, &operations).expect("a test applies every embedded patch");
        }
    }

    fn documents(&self, file: &str) -> Vec<Value> {
        manifests::documents(&format!("{}/{file}", self.folder))
    }

    /// A patch file is one document: the list of its operations.
    fn operations(&self, file: &str) -> Vec<Value> {
        match self.documents(file).pop() {
            Some(Value::Array(operations)) => operations,
            _ => Vec::new(),
        }
    }
}

impl ConfigMapFiles {
    fn build(&self, folder: &str) -> Value {
        let content = |file: &String| manifests::text(&format!("{folder}/{file}"));
        let data = self
            .files
            .iter()
            .map(|file| (file.clone(), json!(content(file))));
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {
                "name": self.name,
                "namespace": self.namespace,
                "labels": self.options.labels,
            },
            "data": data.collect::<Map<_, _>>(),
        })
    }
}

impl Target {
    fn is(&self, object: &Value) -> bool {
        let text = |pointer| object.pointer(pointer).and_then(Value::as_str);
        text("/kind") == Some(self.kind.as_str())
            && text("/metadata/name") == Some(self.name.as_str())
    }
}
