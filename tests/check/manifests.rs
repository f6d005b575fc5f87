//! What is found in files.

use std::fs;

use crate::program::check;

#[test]
fn manifests_that_are_right_end_with_0() {
    let said = check(&["-f", "stack.yaml", "-o", "json"]);
    assert_eq!(said.code, 0, "{}", said.stderr);
    let web = said.about("Deployment shop/web");
    assert_eq!(
        (&web["verdict"], &web["rule"]),
        (&"inject".into(), &"the pod asks".into())
    );
    assert_eq!(web["place"], "stack.yaml: document 3: spec.template");
    assert!(web["warnings"].as_array().unwrap().is_empty(), "{web}");
}

#[test]
fn every_mistake_is_a_problem_and_the_exit_code_is_1() {
    let said = check(&["-f", "wrong.yaml"]);
    assert_eq!(said.code, 1);
    assert!(said.stdout.starts_with("SUBJECT "), "{}", said.stdout);
    for line in [
        "Pod default/misspelt       deny        what it asks for is wrong",
        "  problem: mtls-injector.io/inbound: \"8443:web\" is not LISTEN:APP, two ports such as 8443:8080",
        "wrong.yaml: document 2     unreadable  it is no manifest",
        "  problem: is not a Kubernetes object",
    ] {
        assert!(
            said.stdout.lines().any(|found| found == line),
            "{line}\n{}",
            said.stdout
        );
    }
}

#[test]
fn a_pod_that_asks_in_vain_is_a_problem() {
    let said = check(&["-f", "../objects/pod-host-network.yaml", "-o", "json"]);
    assert_eq!(said.code, 1, "{}", said.stdout);
    let finding = said.about("Pod devel/host-network");
    assert_eq!(finding["verdict"], "skip");
    let problem = finding["problems"][0].as_str().unwrap();
    assert!(
        problem.contains("the pod uses the host network"),
        "{problem}"
    );
}

#[test]
fn a_configuration_file_is_checked_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.yaml");
    let check_file = |text: &str| {
        fs::write(&file, text).unwrap();
        check(&["--config", file.to_str().unwrap()])
    };
    let said = check_file("capture: none\n");
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (0, "the configuration is right\n")
    );
    let said = check_file("capture: nil\nproxyUser: 0\n");
    assert_eq!((said.code, said.stdout.as_str()), (64, ""));
    assert!(said.stderr.contains("2 mistakes in"), "{}", said.stderr);
}

#[test]
fn wrong_usage_is_exit_code_64() {
    for arguments in [
        &[][..],
        &["web"],
        &["pod/../x"],
        &["pod/web", "-f", "stack.yaml"],
        &["-f", "missing.yaml"],
        &["pod/web", "--kubeconfig", "missing"],
    ] {
        let said = check(arguments);
        assert_eq!(
            (said.code, said.stdout.as_str()),
            (64, ""),
            "{arguments:?} {}",
            said.stderr
        );
    }
}
