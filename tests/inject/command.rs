//! The program, its input and what it says.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub(crate) struct Said {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

/// Runs `inject` with these arguments, in the folder of the fixtures.
pub(crate) fn inject(arguments: &[&str], stdin: &str) -> Said {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mtls-injector"))
        .arg("inject")
        .args(arguments)
        .current_dir(fixtures())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end without reading, when its arguments are wrong.
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    Said {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code().unwrap(),
    }
}

/// Returns what `inject` makes of a text, which must be right.
pub(crate) fn injected(text: &str) -> String {
    let said = inject(&["-f", "-"], text);
    assert_eq!(said.code, 0, "{}", said.stderr);
    said.stdout
}

pub(crate) fn fixtures() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures"))
}

/// Returns every manifest of a folder of fixtures, with its name.
pub(crate) fn manifests(folder: &str) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(fixtures().join(folder)).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let mut manifests: Vec<_> = paths.map(|path| (name(&path), read(&path))).collect();
    manifests.sort();
    assert!(!manifests.is_empty());
    manifests
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}
