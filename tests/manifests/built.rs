//! Where the tests get their objects from: `mtls-injector install` and `kubectl kustomize`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Each overlay with the flags of `install` that print the same.
pub(crate) const OVERLAYS: &[(&str, &[&str])] = &[
    ("namespace-opt-in", &[]),
    ("cluster-wide", &["--mode", "cluster-wide"]),
    ("cert-manager", &["--cert-manager"]),
    ("istio-labels", &["--istio-labels"]),
    ("validating-policy", &["--validating-policy"]),
    ("check-secrets", &["--check-secrets"]),
    ("update-running-pods", &["--update-running-pods"]),
    ("end-jobs", &["--end-jobs"]),
    ("monitoring", &["--monitoring"]),
];

/// Runs `mtls-injector install` and returns what it printed, or what it said against the flags.
pub(crate) fn install_text(flags: &[&str]) -> Result<String, String> {
    let mut install = Command::new(env!("CARGO_BIN_EXE_mtls-injector"));
    let output = install.arg("install").args(flags).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    match output.status.code() {
        Some(0) => Ok(String::from_utf8(output.stdout).unwrap()),
        Some(64) => Err(said),
        other => panic!("install {flags:?} ended with {other:?}: {said}"),
    }
}

/// Returns the objects that `mtls-injector install` prints.
pub(crate) fn install(flags: &[&str]) -> Vec<Value> {
    parse(&install_text(flags).unwrap())
}

/// Returns the first object of a kind.
pub(crate) fn of_kind(kind: &str, objects: &[Value]) -> Value {
    let found = objects.iter().find(|object| object["kind"] == kind);
    found.unwrap_or_else(|| panic!("no {kind}")).clone()
}

/// Parses a stream of YAML documents.
pub(crate) fn parse(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(text).unwrap()
}

/// Builds a folder with `kubectl kustomize`; `None`, with the reason printed, without kubectl.
pub(crate) fn kustomize(folder: &Path) -> Option<Vec<Value>> {
    let output = match Command::new("kubectl")
        .arg("kustomize")
        .arg(folder)
        .output()
    {
        Ok(output) => output,
        Err(error) => {
            assert!(
                std::env::var_os("CI").is_none(),
                "CI must compare with kustomize, but kubectl does not run: {error}"
            );
            eprintln!("SKIPPED the comparison with kustomize: kubectl does not run: {error}");
            return None;
        }
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {said}", folder.display());
    Some(parse(&String::from_utf8(output.stdout).unwrap()))
}

/// The folder of an overlay.
pub(crate) fn overlay(name: &str) -> PathBuf {
    root().join("webhook-config/overlays").join(name)
}

/// The project's folder.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Objects by kind, namespace and name, which no two share.
pub(crate) fn by_name(objects: Vec<Value>) -> BTreeMap<String, Value> {
    let count = objects.len();
    let named: BTreeMap<_, _> = objects.into_iter().map(|o| (name(&o), o)).collect();
    assert_eq!(named.len(), count, "two objects share a name");
    named
}

/// Kind, namespace and name of an object.
pub(crate) fn name(object: &Value) -> String {
    let text = |pointer| {
        object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or("")
    };
    let (kind, namespace) = (text("/kind"), text("/metadata/namespace"));
    format!("{kind} {namespace}/{}", text("/metadata/name"))
}
