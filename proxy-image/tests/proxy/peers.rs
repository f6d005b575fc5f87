//! Programs of others that `scripts/install-tools test` brings: found, started, or missed aloud.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::harness::{eventually, local};

/// Where the packages of Python are installed, seen from the workspace.
const INSTALLED: &str = "target/peers/bin";

/// Returns a program's path; none, where it may be missing, after saying so.
pub(crate) fn find(name: &str) -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let search = std::env::var_os("PATH").unwrap_or_default();
    let found = std::iter::once(workspace.join(INSTALLED))
        .chain(std::env::split_paths(&search))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file());
    if found.is_none() {
        let ci = std::env::var_os("CI").is_some();
        assert!(!ci, "CI must have {name}: scripts/install-tools test");
        eprintln!("SKIPPED: {name} is not installed: scripts/install-tools test");
    }
    found
}

/// Returns the Python that has the packages, when it has this one.
pub(crate) fn python_with(package: &str) -> Option<PathBuf> {
    let python = find("python")?;
    let mut import = std::process::Command::new(&python);
    let output = import.args(["-c", &format!("import {package}")]).output();
    if output.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    let ci = std::env::var_os("CI").is_some();
    assert!(!ci, "CI must have {package}: scripts/install-tools test");
    eprintln!("SKIPPED: Python's {package} is not installed: scripts/install-tools test");
    None
}

/// Returns the path of a script beside this file.
pub(crate) fn script(name: &str) -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/proxy/peers");
    here.join(name)
}

/// A program that serves until it is dropped; its output is shown when a test fails.
pub(crate) struct Peer {
    _child: Child,
    folder: TempDir,
}

impl Peer {
    /// Starts it and waits until it accepts on all these ports.
    pub(crate) async fn start(command: &mut Command, ports: &[u16]) -> Self {
        let folder = TempDir::new().unwrap();
        let output = File::create(folder.path().join("output")).unwrap();
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let peer = Self {
            _child: child,
            folder,
        };
        for port in ports {
            eventually("the peer listens", async || {
                TcpStream::connect(local(*port)).await.is_ok()
            })
            .await;
        }
        peer
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let output = fs::read_to_string(self.folder.path().join("output"));
            eprintln!("the peer said:\n{}", output.unwrap_or_default());
        }
    }
}

/// Runs a program to its end, which has to be a good one, and returns what it printed.
pub(crate) async fn output_of(command: &mut Command) -> String {
    let output = command.kill_on_drop(true).output();
    let output = tokio::time::timeout(crate::harness::PATIENCE * 3, output).await;
    let output = output.expect("it ends in time").unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    text
}
