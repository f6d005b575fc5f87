//! The monitoring that `install --monitoring` adds: promtool accepts the rules and they fire when
//! they should, and rules and dashboard ask only for metrics that the programs have.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

const ENDINGS_OF_A_HISTOGRAM: [&str; 3] = ["_bucket", "_sum", "_count"];

#[test]
fn the_rules_are_valid_and_fire_when_they_should() {
    let folder = tempfile::tempdir().unwrap();
    let rules = folder.path().join("rules.json");
    fs::write(&rules, part("PrometheusRule", "/spec").to_string()).unwrap();
    let tests = folder.path().join("alerts.yaml");
    fs::copy(root().join("tests/monitoring/alerts.yaml"), &tests).unwrap();
    for (action, file) in [("check", &rules), ("test", &tests)] {
        let mut promtool = Command::new("promtool");
        match promtool.args([action, "rules"]).arg(file).output() {
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                let out = String::from_utf8_lossy(&output.stdout);
                assert!(output.status.success(), "{action}: {said}{out}");
            }
            Err(error) => {
                let ci = std::env::var_os("CI").is_some();
                assert!(
                    !ci,
                    "CI must check the rules, but promtool does not run: {error}"
                );
                eprintln!("SKIPPED promtool {action} rules: promtool does not run: {error}");
            }
        }
    }
}

#[test]
fn every_alert_says_how_bad_it_is_and_what_it_means() {
    let groups = part("PrometheusRule", "/spec/groups");
    let groups = groups.as_array().unwrap();
    let rules = groups
        .iter()
        .flat_map(|group| group.pointer("/rules").unwrap().as_array().unwrap());
    for rule in rules {
        for field in [
            "/labels/severity",
            "/annotations/summary",
            "/annotations/description",
        ] {
            assert!(
                rule.pointer(field).is_some_and(Value::is_string),
                "{rule} lacks {field}"
            );
        }
    }
}

#[test]
fn rules_and_dashboard_ask_only_for_metrics_that_exist() {
    let exist = names_in_sources();
    assert!(exist.contains("mtls_proxy_connections_total"), "{exist:?}");
    for (what, text) in [
        ("rules", part("PrometheusRule", "/spec").to_string()),
        ("dashboard", dashboard().to_string()),
    ] {
        let asked = metrics(&text);
        assert!(asked.len() > 8, "{what}: {asked:?}");
        let unknown: Vec<_> = asked.iter().filter(|name| !known(name, &exist)).collect();
        assert!(unknown.is_empty(), "{what}: {unknown:?}");
    }
}

#[test]
fn every_panel_of_the_dashboard_has_its_own_id_and_asks_something() {
    let dashboard = dashboard();
    let panels = dashboard.pointer("/panels").unwrap().as_array().unwrap();
    let ids: BTreeSet<_> = panels
        .iter()
        .map(|panel| panel.pointer("/id").unwrap().as_u64())
        .collect();
    assert_eq!(ids.len(), panels.len());
    for panel in panels
        .iter()
        .filter(|panel| panel.pointer("/type").unwrap() != "row")
    {
        assert!(panel.pointer("/targets/0/expr").is_some(), "{panel}");
    }
}

#[test]
fn the_port_that_is_scraped_is_one_that_the_proxy_has() {
    let port = "mtls-admin";
    let monitors = installed();
    let scraped = |object: &&Value| {
        object
            .pointer("/spec/podMetricsEndpoints/0/port")
            .and_then(Value::as_str)
            == Some(port)
    };
    assert_eq!(monitors.iter().filter(scraped).count(), 1);
    let container = fs::read_to_string(root().join("src/sidecar/container.rs")).unwrap();
    assert!(container.contains(&format!("\"{port}\"")));
}

fn dashboard() -> Value {
    let objects = installed();
    let files = objects
        .iter()
        .find_map(|object| object.pointer("/data/dashboard.json"));
    serde_json::from_str(files.unwrap().as_str().unwrap()).unwrap()
}

fn part(kind: &str, pointer: &str) -> Value {
    let objects = installed();
    let object = objects
        .iter()
        .find(|object| object.pointer("/kind").unwrap() == kind);
    object.unwrap().pointer(pointer).unwrap().clone()
}

fn installed() -> Vec<Value> {
    let mut install = Command::new(env!("CARGO_BIN_EXE_mtls-injector"));
    let output = install.args(["install", "--monitoring"]).output().unwrap();
    assert!(output.status.success());
    serde_saphyr::from_multiple(&String::from_utf8(output.stdout).unwrap()).unwrap()
}

/// The names of metrics in a text: words that begin with mtls_proxy_ or mtls_injector_.
fn metrics(text: &str) -> BTreeSet<String> {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    let words = text.split(|c| !word(c));
    let ours = |word: &&str| word.starts_with("mtls_proxy_") || word.starts_with("mtls_injector_");
    words.filter(ours).map(str::to_owned).collect()
}

fn known(name: &str, exist: &BTreeSet<String>) -> bool {
    let plain = |ending| {
        name.strip_suffix(ending)
            .is_some_and(|name| exist.contains(name))
    };
    exist.contains(name) || ENDINGS_OF_A_HISTOGRAM.iter().any(plain)
}

fn names_in_sources() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut folders: Vec<PathBuf> = vec![root().join("src"), root().join("proxy-image/src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                names.extend(metrics(&fs::read_to_string(path).unwrap()));
            }
        }
    }
    names
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
