//! The program and what it says.

use std::process::Command;

use serde_json::Value;

pub(crate) struct Said {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) code: i32,
}

pub(crate) fn check(arguments: &[&str]) -> Said {
    let output = Command::new(env!("CARGO_BIN_EXE_mtls-injector"))
        .arg("check")
        .args(arguments)
        .current_dir(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/inject"
        ))
        .output()
        .unwrap();
    Said {
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
        code: output.status.code().unwrap(),
    }
}

impl Said {
    /// Returns the finding about a subject.
    pub(crate) fn about(&self, subject: &str) -> Value {
        let report: Value = serde_json::from_str(&self.stdout)
            .unwrap_or_else(|_| panic!("no report: {}{}", self.stdout, self.stderr));
        let mut findings = report["findings"].as_array().unwrap().iter();
        let found = findings.find(|finding| finding["subject"] == subject);
        found
            .unwrap_or_else(|| panic!("nothing about {subject}: {report:#}"))
            .clone()
    }
}
