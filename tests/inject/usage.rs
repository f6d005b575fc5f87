//! Flags, files and exit codes.

use std::fs;

use crate::command::{fixtures, inject};

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: app\n  annotations:\n    \
                   mtls-injector.io/egress: external.system.com\n    \
                   mtls-injector.io/secret: external-mtls\nspec:\n  containers:\n  - name: app\n    \
                   image: registry.example.com/app:1.0.0\n";
const CONFIG_MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: settings}\n";

#[test]
fn a_diff_shows_what_changes_and_nothing_else() {
    let said = inject(
        &["-f", "-", "--diff"],
        &format!("{CONFIG_MAP}---\n# mine\n{POD}"),
    );
    assert_eq!(said.code, 0, "{}", said.stderr);
    assert!(
        said.stdout
            .starts_with("--- stdin: document 2\n+++ stdin: document 2, injected\n")
    );
    let removed = said
        .stdout
        .lines()
        .filter(|line| line.starts_with('-'))
        .count();
    assert_eq!(removed, 1, "{}", said.stdout);
    assert!(said.stdout.contains("\n+  - args:\n"), "{}", said.stdout);
    let said = inject(&["-f", "-", "--diff"], CONFIG_MAP);
    assert_eq!((said.code, said.stdout.as_str()), (0, ""));
}

#[test]
fn a_directory_is_read_in_the_order_of_names() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("b.yaml", CONFIG_MAP);
    write(
        "a.json",
        "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"a\"}}",
    );
    write("notes.txt", "not a manifest");
    fs::create_dir(folder.path().join("more")).unwrap();
    write("more/c.yml", CONFIG_MAP);
    let path = folder.path().to_str().unwrap();
    let json = "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"a\"}}\n";
    let said = inject(&["-f", path], "");
    assert_eq!(said.stdout, format!("{json}---\n{CONFIG_MAP}"));
    let said = inject(&["-f", path, "--recursive"], "");
    assert_eq!(
        said.stdout,
        format!("{json}---\n{CONFIG_MAP}---\n{CONFIG_MAP}")
    );
}

#[test]
fn the_namespace_flag_names_the_namespace_of_what_names_none() {
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n  annotations:\n    \
                     mtls-injector.io/proxyCPU: 77m\n---\n";
    let cpu = |arguments: &[&str]| {
        let said = inject(arguments, &format!("{namespace}{POD}"));
        assert_eq!(said.code, 0, "{}", said.stderr);
        said.stdout.contains("cpu: 77m")
    };
    assert!(cpu(&["-f", "-", "-n", "shop"]));
    assert!(!cpu(&["-f", "-"]));
}

#[test]
fn an_unknown_namespace_is_warned_of_once() {
    let said = inject(&["-f", "-"], &format!("{POD}---\n{POD}"));
    assert_eq!(said.stderr.lines().count(), 1, "{}", said.stderr);
    assert!(
        said.stderr
            .contains("namespaces default are not known here"),
        "{}",
        said.stderr
    );
}

#[test]
fn the_settings_of_the_platform_count() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    fs::write(&file, "proxyImage: registry.example.com/proxy:9\n").unwrap();
    let said = inject(&["-f", "-", "--config", file.to_str().unwrap()], POD);
    assert!(
        said.stdout
            .contains("image: registry.example.com/proxy:9\n"),
        "{}",
        said.stdout
    );
    fs::write(&file, "proxyUser: -1\ncapture: x\n").unwrap();
    let said = inject(&["-f", "-", "--config", file.to_str().unwrap()], POD);
    assert_eq!((said.code, said.stdout.as_str()), (64, ""));
    assert!(said.stderr.contains("2 mistakes in"), "{}", said.stderr);
}

#[test]
fn wrong_usage_is_exit_code_64() {
    let empty = tempfile::tempdir().unwrap();
    for (arguments, text) in [
        (&[][..], "--filename"),
        (&["-f", "missing.yaml"], "failed to read missing.yaml"),
        (
            &["-f", empty.path().to_str().unwrap()],
            "holds no .yaml, .yml or .json file",
        ),
        (&["-f", "-", "--nonsense"], "--nonsense"),
        (
            &["-f", "-", "--config", "missing.yaml"],
            "failed to read missing.yaml",
        ),
    ] {
        let said = inject(arguments, "");
        assert_eq!((said.code, said.stdout.as_str()), (64, ""), "{arguments:?}");
        assert!(said.stderr.contains(text), "{}", said.stderr);
    }
}

#[test]
fn help_teaches_with_examples() {
    let said = inject(&["--help"], "");
    assert_eq!(said.code, 0);
    for text in [
        "kubectl apply -f -",
        "--diff",
        "comments inside it are lost",
    ] {
        assert!(said.stdout.contains(text), "{}", said.stdout);
    }
}

#[test]
fn nothing_in_is_nothing_out() {
    let said = inject(&["-f", "-"], "");
    assert_eq!(
        (said.code, said.stdout.as_str(), said.stderr.as_str()),
        (0, "", "")
    );
    assert!(fixtures().is_dir());
}
