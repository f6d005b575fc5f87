//! `scripts/e2e.sh` itself, against a stand-in for a cluster: it passes where all is well, fails
//! where the webhook does nothing, counts right, and its workloads are what Kubernetes knows.
//! What it proves of a cluster, only a real one shows.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, StatefulSet};
use k8s_openapi::api::batch::v1::{CronJob, Job};
use k8s_openapi::api::core::v1::{Namespace, Pod, Service};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

#[test]
fn it_passes_on_a_cluster_where_all_is_well() {
    let Some(output) = run(&[]) else { return };
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    let checks = said.lines().filter(|line| line.starts_with("ok ")).count();
    assert_eq!(
        said.lines().last(),
        Some(format!("{checks} passed, 0 failed").as_str())
    );
    assert!(checks > 20, "{said}");
}

#[test]
fn it_fails_where_the_webhook_does_nothing() {
    let Some(output) = run(&[("STUB_INJECTS", "no"), ("PATIENCE", "2")]) else {
        return;
    };
    let said = text(&output);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for check in [
        "workloads: Deployment",
        "workloads: Job ends",
        "redirect: the app calls an external host by its name",
        "redirect: kubelet's probes of the app stay green",
        "redirect: a namespace that forbids it says so",
        "opt-in: the label of a pod",
        "denial: names the annotation and the mistake",
        "denial: an Event tells the owner",
        "life: rolling restart while pods are created",
        "cluster-wide: an annotation is enough",
    ] {
        assert!(
            said.contains(&format!("FAILED  {check}\n")),
            "{check}: {said}"
        );
    }
    let failed = said
        .lines()
        .filter(|line| line.starts_with("FAILED"))
        .count();
    assert!(
        said.trim_end()
            .ends_with(&format!(" passed, {failed} failed")),
        "{said}"
    );
}

#[test]
fn it_passes_where_there_is_no_dns() {
    let Some(output) = run(&[("STUB_DNS", "no")]) else {
        return;
    };
    let said = text(&output);
    assert!(output.status.success(), "{said}");
    assert!(
        said.contains("== note: kube-system/kube-dns has no endpoints"),
        "{said}"
    );
}

#[test]
fn it_says_so_when_no_cluster_answers() {
    let output = Command::new(root().join("scripts/e2e.sh"))
        .env("KUBECONFIG", "/dev/null")
        .env("MTLS_INJECTOR", env!("CARGO_BIN_EXE_mtls-injector"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("the cluster does not answer") || said.contains("kubectl is missing"),
        "{said}"
    );
}

#[test]
fn every_script_passes_shellcheck() {
    let folders = ["scripts", "kind-cluster", "tests/e2e_script", ".ci"];
    let files = folders
        .iter()
        .flat_map(|folder| root().join(folder).read_dir().unwrap());
    let files = files
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file());
    let is_shell = |path: &PathBuf| {
        let text = std::fs::read_to_string(path).unwrap();
        text.starts_with("#!/bin/sh") || text.starts_with("#!/usr/bin/env bash")
    };
    let scripts: Vec<_> = files.filter(is_shell).collect();
    assert!(scripts.len() > 4, "{scripts:?}");
    match Command::new("shellcheck").args(&scripts).output() {
        Ok(output) => assert!(output.status.success(), "{}", text(&output)),
        Err(error) => {
            let ci = std::env::var_os("CI").is_some();
            assert!(
                !ci,
                "CI must check the scripts, but shellcheck does not run: {error}"
            );
            eprintln!("SKIPPED: shellcheck does not run: {error}");
        }
    }
}

#[test]
fn the_workloads_are_what_kubernetes_knows() {
    for folder in ["scripts/e2e", "kind-cluster/sample"] {
        for entry in root().join(folder).read_dir().unwrap() {
            let path = entry.unwrap().path();
            let objects: Vec<Value> =
                serde_saphyr::from_multiple(&std::fs::read_to_string(&path).unwrap()).unwrap();
            assert!(!objects.is_empty(), "{}", path.display());
            objects.iter().for_each(known);
        }
    }
}

fn known(object: &Value) {
    match object.get("kind").and_then(Value::as_str).unwrap() {
        "CronJob" => same::<CronJob>(object),
        "DaemonSet" => same::<DaemonSet>(object),
        "Deployment" => same::<Deployment>(object),
        "Job" => same::<Job>(object),
        "Namespace" => same::<Namespace>(object),
        "Pod" => same::<Pod>(object),
        "Service" => same::<Service>(object),
        "StatefulSet" => same::<StatefulSet>(object),
        other => assert_eq!(other, "a kind with a type here"),
    }
}

fn same<T: DeserializeOwned + Serialize>(object: &Value) {
    let typed: T = serde_json::from_value(object.clone()).unwrap();
    assert_eq!(*object, serde_json::to_value(typed).unwrap());
}

/// Runs the script with the stand-in; `None`, with the reason printed, without a real kubectl.
fn run(settings: &[(&str, &str)]) -> Option<Output> {
    let Some(kubectl) = kubectl() else {
        let ci = std::env::var_os("CI").is_some();
        assert!(!ci, "CI must run the script, but there is no kubectl");
        eprintln!("SKIPPED: scripts/e2e.sh needs kubectl, and there is none");
        return None;
    };
    let state = tempfile::tempdir().unwrap();
    let search = std::env::var_os("PATH").unwrap();
    let stub = root().join("tests/e2e_script");
    let path = std::env::join_paths([stub].into_iter().chain(std::env::split_paths(&search)));
    let output = Command::new(root().join("scripts/e2e.sh"))
        .env("PATH", path.unwrap())
        .env("REAL_KUBECTL", kubectl)
        .env("STUB_STATE", state.path())
        .env("MTLS_INJECTOR", env!("CARGO_BIN_EXE_mtls-injector"))
        .env("BURST", "1")
        .env("IMAGE", "registry.example.com:5000/mtls-injector:1")
        .envs(settings.iter().copied())
        .output();
    Some(output.unwrap())
}

fn kubectl() -> Option<PathBuf> {
    let search = std::env::var_os("PATH")?;
    std::env::split_paths(&search)
        .map(|folder| folder.join("kubectl"))
        .find(|file| file.is_file())
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(err),
        String::from_utf8_lossy(out)
    )
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
