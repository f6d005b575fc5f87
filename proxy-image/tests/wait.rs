//! `mtls-proxy wait`, which holds an application until its proxy is ready: the real binary, twice.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use tempfile::TempDir;

mod ports;

/// A proxy that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[test]
fn waits_for_a_proxy_that_starts_later() {
    let folder = TempDir::new().expect("a folder");
    let (admin, control) = (free(), free());
    let waiting = wait(admin, "30s").spawn().expect("mtls-proxy wait");
    let _proxy = run(folder.path(), "{}", admin, control);
    let output = waiting.wait_with_output().expect("an end");
    assert_eq!(output.status.code(), Some(0), "{}", error(&output));
}

#[test]
fn says_what_a_proxy_still_lacks_when_the_time_is_up() {
    let folder = TempDir::new().expect("a folder");
    let (admin, control) = (free(), free());
    let missing = folder.path().join("certs");
    let port = free().port();
    let config = format!(
        "egress: [{{host: a.example.com, port: {port}, tls: {{credentialDirectory: {}}}}}]",
        missing.display()
    );
    let _proxy = run(folder.path(), &config, admin, control);
    // Long enough for the proxy to start on a machine that is busy.
    let output = wait(admin, "5s").output().expect("mtls-proxy wait");
    assert_eq!(output.status.code(), Some(1));
    let text = error(&output);
    assert!(
        text.starts_with("mtls-proxy: not ready after 5s: "),
        "{text}"
    );
    assert!(text.contains(&missing.display().to_string()), "{text}");
}

#[test]
fn says_that_nobody_answers() {
    let output = wait(free(), "200ms").output().expect("mtls-proxy wait");
    assert_eq!(output.status.code(), Some(1));
    assert!(error(&output).contains("refused"), "{}", error(&output));
    let output = wait(free(), "0s").output().expect("mtls-proxy wait");
    assert_eq!(output.status.code(), Some(64));
}

fn wait(admin: SocketAddr, timeout: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mtls-proxy"));
    command
        .args(["wait", "--timeout", timeout, "--admin", &admin.to_string()])
        .stderr(Stdio::piped());
    command
}

fn run(folder: &Path, config: &str, admin: SocketAddr, control: SocketAddr) -> Running {
    let file = folder.join("config.yaml");
    std::fs::write(&file, config).expect("a written file");
    let child = Command::new(env!("CARGO_BIN_EXE_mtls-proxy"))
        .arg("run")
        .arg("--config")
        .arg(file)
        .args(["--admin-listen", &admin.to_string()])
        .args(["--control-listen", &control.to_string()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Running(child.expect("mtls-proxy run"))
}

fn free() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free_port()))
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
