//! Only an API server with a certificate may call, where the platform wants it so: curl is the client.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::authority::{Authority, Leaf};
use crate::program::Program;

/// Calls with a certificate or none; returns the HTTP status, or what curl says.
fn call(program: &Program, folder: &Path, leaf: Option<&Leaf>) -> Result<String, String> {
    let file = |name: &str, content: &str| {
        let path = folder.join(name);
        fs::write(&path, content).unwrap();
        path
    };
    let port = program.address.port();
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--noproxy",
        "*",
        "--max-time",
        "20",
    ])
    .args(["--output", "/dev/null", "--write-out", "%{http_code}"])
    .arg("--cacert")
    .arg(file("server-ca.pem", &program.authority.pem()));
    if let Some(leaf) = leaf {
        curl.arg("--cert")
            .arg(file("client.pem", &leaf.certificate));
        curl.arg("--key").arg(file("client.key", &leaf.key));
    }
    let output = curl
        .arg(format!("https://localhost:{port}/mutate"))
        .output()
        .unwrap();
    if output.status.success() {
        Ok(String::from_utf8(output.stdout).unwrap())
    } else {
        Err(String::from_utf8(output.stderr).unwrap())
    }
}

#[test]
fn only_clients_of_the_named_ca_may_call_and_the_file_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let (named, other) = (Authority::new(), Authority::new());
    let file = folder.path().join("clients.pem");
    fs::write(&file, named.pem()).unwrap();
    let arguments = [
        "--shutdown-delay",
        "0s",
        "--client-ca-file",
        file.to_str().unwrap(),
    ];
    let program = Program::start_with(&arguments);
    let call = |leaf: Option<&Leaf>| call(&program, folder.path(), leaf);
    let method_not_allowed = Ok("405".to_owned());

    assert!(refusal(&call(None)), "without a certificate");
    assert!(refusal(&call(Some(&other.leaf()))), "of another CA");
    assert_eq!(call(Some(&named.leaf())), method_not_allowed);

    fs::write(&file, "no certificate").unwrap();
    program.wait_for_log("new client CAs rejected; the old ones stay");
    assert_eq!(call(Some(&named.leaf())), method_not_allowed);

    fs::write(&file, other.pem()).unwrap();
    program.wait_for_log("client CAs replaced");
    assert!(refusal(&call(Some(&named.leaf()))), "of the CA before");
    assert_eq!(call(Some(&other.leaf())), method_not_allowed);
}

#[test]
fn a_file_without_a_ca_ends_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("clients.pem");
    fs::write(&file, "").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_mtls-injector"))
        .args(["serve", "--client-ca-file"])
        .arg(&file)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(64));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        said.contains("clients.pem holds no CERTIFICATE block"),
        "{said}"
    );
}

/// Whether there was no answer. How curl puts it depends on whether the alert or the end of the
/// connection reached it first (RFC 8446 section 4.4.2.4).
fn refusal(outcome: &Result<String, String>) -> bool {
    outcome.is_err()
}
