//! The program's exit codes and what it prints.

use crate::harness::run_program;

#[test]
fn check_config_prints_every_mistake_and_ends_with_64() {
    let output = run_program(
        &["check-config", "-"],
        "egress: [{host: a.example, tls: {mode: MUTAL}}, {prot: 80}]",
    );
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines.len() >= 3, "{text}");
    assert!(
        text.contains("egress[0].tls.mode: \"MUTAL\" is not one of MUTUAL"),
        "{text}"
    );
    assert!(text.contains("egress[1].host: is required"), "{text}");
    assert!(
        text.contains("egress[1].prot: is not a known field"),
        "{text}"
    );
}

#[test]
fn check_config_sums_up_a_good_configuration() {
    let config =
        "{egress: [{host: external.system.com}], inbound: [{port: 8443, targetPort: 8080}]}";
    let output = run_program(&["check-config", "-"], config);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "egress external.system.com:80 (http) on 127.0.0.1 -> external.system.com:443 MUTUAL\n\
         inbound 8443 (http) STRICT -> 127.0.0.1:8080\n"
    );
}

#[test]
fn check_config_sums_up_what_the_kernel_redirects() {
    let config = "{redirect: {proxyUid: 15100}, egress: [{host: a.example}],
        inbound: [{port: 8080, targetPort: 8080}],
        probes: [{path: /app-health/web/livez, kind: http, port: 8080}]}";
    let output = run_program(&["check-config", "-"], config);
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "egress a.example:80 (http) on redirect -> a.example:443 MUTUAL\n\
         inbound 8080 (http) STRICT -> 127.0.0.1:8080\n\
         redirect all that goes out and inbound ports as above, but for user 15100\n\
         probe /app-health/web/livez -> http 127.0.0.1:8080\n"
    );
}

#[test]
fn bad_usage_ends_with_64_and_help_and_version_with_0() {
    assert_eq!(run_program(&["run"], "").status.code(), Some(64));
    assert_eq!(run_program(&["fly"], "").status.code(), Some(64));
    let missing = run_program(&["run", "--config", "/no/such/file"], "");
    assert_eq!(missing.status.code(), Some(64));
    let text = String::from_utf8(missing.stderr).unwrap();
    assert!(
        text.starts_with("/no/such/file: cannot be read: No such file"),
        "{text}"
    );
    let version = run_program(&["--version"], "");
    assert_eq!(version.status.code(), Some(0));
    let text = String::from_utf8(version.stdout).unwrap();
    for fact in [
        "mtls-proxy 0.1.0",
        "commit:",
        "rustc:",
        "target:",
        "profile:",
    ] {
        assert!(text.contains(fact), "{fact} in {text}");
    }
    assert_eq!(run_program(&["--help"], "").status.code(), Some(0));
}
