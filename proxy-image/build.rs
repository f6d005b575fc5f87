//! Tells the binary how it was built, for `--version`.

#![expect(
    clippy::disallowed_methods,
    reason = "this is how Cargo tells a build script"
)]

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=MTLS_PROXY_COMMIT");
    let from_env = |name: &str| std::env::var(name).ok();
    let rustc = from_env("RUSTC").unwrap_or_else(|| "rustc".to_owned());
    let facts = [
        // A build from an archive or in a container has no repository; its maker names the commit.
        ("COMMIT", from_env("MTLS_PROXY_COMMIT")),
        ("RUSTC", output(&rustc, &["--version"])),
        ("TARGET", from_env("TARGET")),
        ("PROFILE", from_env("PROFILE")),
    ];
    for (name, value) in facts {
        let value = value.unwrap_or_else(|| "unknown".to_owned());
        println!("cargo::rustc-env=BUILD_{name}={value}");
    }
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.trim().to_owned())
}
