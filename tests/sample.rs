//! `mtls-injector sample`: its certificates satisfy curl and its server refuses whoever has none.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

#[test]
fn the_server_answers_a_client_with_a_certificate_and_no_other() {
    let pki = tempfile::tempdir().unwrap();
    certificates(pki.path());
    let server = Server::start(&["--tls", pki.path().join("server").to_str().unwrap()]);
    let client = pki.path().join("client");
    let call = |identity: &[&str]| curl(pki.path(), &server, identity);
    let (cert, key) = (client.join("cert"), client.join("key"));
    let with = [
        "--cert",
        cert.to_str().unwrap(),
        "--key",
        key.to_str().unwrap(),
    ];
    let answer = call(&with);
    assert!(answer.status.success());
    let seen: Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert_eq!(seen["client"]["subject"], "CN=sample-app");
    assert_eq!(seen["path"], "/secured-endpoint");
    assert!(!call(&[]).status.success());
}

#[test]
fn a_second_run_makes_new_certificates_of_the_same_authority() {
    let pki = tempfile::tempdir().unwrap();
    certificates(pki.path());
    let read = |name: &str| fs::read_to_string(pki.path().join(name)).unwrap();
    let (authority, before) = (read("ca.crt"), read("client/cert"));
    certificates(pki.path());
    assert_eq!(read("ca.crt"), authority);
    assert_eq!(read("client/cacert"), authority);
    assert_ne!(read("client/cert"), before);
}

#[test]
fn the_client_prints_the_answer_and_fails_without_one() {
    let server = Server::start(&[]);
    let url = format!("http://127.0.0.1:{}/hello", server.port);
    let answer = sample(&["client", &url]);
    let seen: Value = serde_json::from_slice(&answer.stdout).unwrap();
    assert!(answer.status.success());
    assert_eq!(seen["path"], "/hello");
    assert!(seen["client"].is_null());
    drop(server);
    let refused = sample(&["client", &url]);
    assert_eq!(refused.status.code(), Some(1));
    let said = String::from_utf8(refused.stderr).unwrap();
    assert!(said.contains("connect to 127.0.0.1:"), "{said}");
    let encrypted = sample(&["client", "https://127.0.0.1/"]);
    assert_eq!(encrypted.status.code(), Some(1));
}

struct Server {
    process: Child,
    port: u16,
}

impl Server {
    fn start(flags: &[&str]) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_mtls-injector"))
            .args(["sample", "server", "--listen", "127.0.0.1:0"])
            .args(flags)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = String::new();
        let stdout = process.stdout.as_mut().unwrap();
        BufReader::new(stdout).read_line(&mut said).unwrap();
        let (_, port) = said.trim_end().rsplit_once(':').unwrap();
        Self {
            port: port.parse().unwrap(),
            process,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn certificates(folder: &Path) {
    let output = sample(&["certificates", folder.to_str().unwrap()]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

fn sample(arguments: &[&str]) -> Output {
    let mut program = Command::new(env!("CARGO_BIN_EXE_mtls-injector"));
    program.arg("sample").args(arguments).output().unwrap()
}

fn curl(pki: &Path, server: &Server, identity: &[&str]) -> Output {
    let at = format!("external.system.com:{}:127.0.0.1", server.port);
    let url = format!(
        "https://external.system.com:{}/secured-endpoint",
        server.port
    );
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--max-time", "10", "--resolve", &at, "--cacert"]);
    curl.arg(pki.join("ca.crt"))
        .args(identity)
        .arg(url)
        .output()
        .unwrap()
}
