//! `mtls-injector install`: the same objects as kustomize, and what each flag changes.

use std::fs;
use std::process::Command;

use mtls_injector::config::Config;
use serde_json::{Value, json};

use crate::built::{
    OVERLAYS, by_name, install, install_text, kustomize, name, of_kind, overlay, root,
};

#[test]
fn install_prints_the_objects_that_kustomize_builds_from_the_overlay() {
    for (folder, flags) in OVERLAYS {
        let Some(built) = kustomize(&overlay(folder)) else {
            return;
        };
        assert_same(folder, built, install(flags));
    }
}

#[test]
fn every_overlay_is_compared() {
    let mut folders: Vec<_> = fs::read_dir(root().join("webhook-config/overlays"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    let mut compared: Vec<_> = OVERLAYS.iter().map(|(folder, _)| *folder).collect();
    // Definitions for a cluster without Istio stand beside an installation; install prints none.
    folders.retain(|folder| folder != "istio-crds");
    folders.sort();
    compared.sort_unstable();
    assert_eq!(folders, compared);
}

/// kubectl reads YAML by other rules than we write it: where they differ, it would show here.
#[test]
fn kubectl_reads_what_install_prints_as_the_same_objects() {
    let all_flags = [
        "--mode=cluster-wide",
        "--cert-manager",
        "--istio-labels",
        "--validating-policy",
        "--namespace=on",
        "--proxy-image=registry.example.com:5000/yes@sha256:00e1",
    ];
    let folder = tempfile::tempdir().unwrap();
    let kustomization = json!({"kind": "Kustomization", "resources": ["installed.yaml"]});
    fs::write(
        folder.path().join("installed.yaml"),
        install_text(&all_flags).unwrap(),
    )
    .unwrap();
    fs::write(
        folder.path().join("kustomization.yaml"),
        kustomization.to_string(),
    )
    .unwrap();
    if let Some(read) = kustomize(folder.path()) {
        assert_same("what install prints", read, install(&all_flags));
    }
}

fn assert_same(what: &str, one: Vec<Value>, other: Vec<Value>) {
    let (one, other) = (by_name(one), by_name(other));
    assert_eq!(
        one.keys().collect::<Vec<_>>(),
        other.keys().collect::<Vec<_>>(),
        "{what}"
    );
    for (name, object) in &one {
        assert_eq!(Some(object), other.get(name), "{what}: {name}");
    }
}

#[test]
fn the_registration_comes_after_all_that_answers_it() {
    let kinds: Vec<_> = install(&["--validating-policy"])
        .iter()
        .map(|object| object["kind"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(kinds[0], "Namespace");
    let tail = &kinds[kinds.len() - 3..];
    let expected = [
        "MutatingWebhookConfiguration",
        "ValidatingAdmissionPolicy",
        "ValidatingAdmissionPolicyBinding",
    ];
    assert_eq!(tail, expected);
}

#[test]
fn another_namespace_replaces_the_name_everywhere() {
    let flags = [
        "--namespace=platform-mtls",
        "--cert-manager",
        "--validating-policy",
    ];
    let text = install_text(&flags).unwrap();
    assert!(!text.contains("mtls-injector-system"), "{text}");
    let objects = install(&flags);
    assert_eq!(
        of_kind("Namespace", &objects)["metadata"]["name"],
        "platform-mtls"
    );
    let webhook = of_kind("MutatingWebhookConfiguration", &objects);
    let entry = &webhook["webhooks"][0];
    assert_eq!(
        entry["clientConfig"]["service"]["namespace"],
        "platform-mtls"
    );
    let never = &entry["namespaceSelector"]["matchExpressions"][1]["values"];
    assert!(never.as_array().unwrap().contains(&json!("platform-mtls")));
    for object in &objects {
        let namespace = &object["metadata"]["namespace"];
        assert!(
            namespace.is_null() || namespace == "platform-mtls",
            "{}",
            name(object)
        );
    }
}

#[test]
fn each_flag_changes_its_own_field_alone() {
    let deployment = "Deployment mtls-injector-system/mtls-injector";
    let image = "registry.example.com/mtls-injector:1";
    check(
        &["--image", image],
        &[(deployment, "/spec/template/spec/containers/0/image")],
    );
    check(&["--replicas=3"], &[(deployment, "/spec/replicas")]);
    let config = "ConfigMap mtls-injector-system/mtls-injector";
    check(&["--proxy-image", image], &[(config, "/data/config.yaml")]);
    check(&["--init-image", image], &[(config, "/data/config.yaml")]);
    let webhook = "MutatingWebhookConfiguration /mtls-injector";
    let policy = [
        (webhook, "/webhooks/0/failurePolicy"),
        (webhook, "/webhooks/1/failurePolicy"),
    ];
    check(&["--failure-policy=Ignore"], &policy);
}

/// The flags change these fields, and with these put back nothing differs.
fn check(flags: &[&str], fields: &[(&str, &str)]) {
    let plain = by_name(install(&[]));
    let mut changed = by_name(install(flags));
    for (object, field) in fields {
        let before = plain[*object].pointer(field).unwrap().clone();
        let after = changed
            .get_mut(*object)
            .unwrap()
            .pointer_mut(field)
            .unwrap();
        assert_ne!(*after, before, "{flags:?} left {field}");
        *after = before;
    }
    assert_eq!(plain, changed, "{flags:?}");
}

#[test]
fn the_images_of_pods_reach_the_configuration_file() {
    let image = "registry.example.com/mtls-proxy:2";
    for (flag, field) in [
        ("--proxy-image", "proxyImage"),
        ("--init-image", "initImage"),
    ] {
        let config = of_kind("ConfigMap", &install(&[flag, image]));
        let text = config["data"]["config.yaml"].as_str().unwrap();
        let settings: Value = serde_saphyr::from_str(text).unwrap();
        assert_eq!(settings[field], image);
    }
}

#[test]
fn the_images_are_those_of_this_version() {
    let objects = install(&[]);
    let deployment = of_kind("Deployment", &objects);
    let container = &deployment["spec"]["template"]["spec"]["containers"][0];
    let image = container["image"].as_str().unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        image.ends_with(&format!("/mtls-injector:{version}")),
        "{image}"
    );
    let config = of_kind("ConfigMap", &objects);
    let text = config["data"]["config.yaml"].as_str().unwrap();
    assert!(text.contains(&format!("/mtls-proxy:{version}\n")), "{text}");
}

#[test]
fn the_injector_takes_the_arguments_and_settings_that_it_is_installed_with() {
    for flags in [
        &[][..],
        &["--cert-manager"],
        &["--proxy-image=registry.example.com/p:2"],
        &["--check-secrets", "--update-running-pods", "--end-jobs"],
    ] {
        let objects = install(flags);
        let deployment = of_kind("Deployment", &objects);
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        let arguments = container["args"].as_array().unwrap();
        let mut program = Command::new(env!("CARGO_BIN_EXE_mtls-injector"));
        // Arguments are taken in their order, so help is only reached when all before it are known.
        program
            .args(arguments.iter().map(|argument| argument.as_str().unwrap()))
            .arg("--help");
        let output = program.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        let settings = of_kind("ConfigMap", &objects);
        Config::parse(settings["data"]["config.yaml"].as_str().unwrap()).unwrap();
    }
}

#[test]
fn wrong_values_are_refused_with_what_would_be_right() {
    let refused = |flags: &[&str], expected: &str| {
        let error = install_text(flags).unwrap_err();
        assert!(error.contains(expected), "{flags:?}: {error}");
    };
    refused(&["--namespace=Shop_1"], "1 to 63 of a-z, 0-9 and -");
    refused(&["--namespace=-a"], "1 to 63 of a-z, 0-9 and -");
    refused(&["--namespace="], "1 to 63 of a-z, 0-9 and -");
    refused(&["--namespace=kube-system"], "a namespace of its own");
    refused(&["--namespace=default"], "a namespace of its own");
    refused(&["--image=a b"], "registry.example.com/team/name:tag");
    refused(&["--proxy-image="], "registry.example.com/team/name:tag");
    refused(&["--replicas=0"], "0 is not in 1..=100");
    refused(&["--mode=everywhere"], "namespace-opt-in, cluster-wide");
    refused(&["--failure-policy=maybe"], "Fail, Ignore");
}
