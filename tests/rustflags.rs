//! How the programs of the images are compiled: `scripts/rustflags`, and the profile of the proxy.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

const STATIC: &str =
    "-C target-feature=+crt-static -C strip=symbols -C link-arg=-Wl,-z,pack-relative-relocs";

#[test]
fn the_release_of_rust_that_the_image_is_built_with_has_a_profile() {
    let dockerfile = fs::read_to_string(root().join("proxy-image/Dockerfile")).unwrap();
    let (_, from) = dockerfile.split_once("FROM rust:").unwrap();
    let (release, _) = from.split_once('-').unwrap();
    let kept: Vec<String> = fs::read_dir(root().join("proxy-image/profile"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    for kind in [".profdata.gz", ".order.gz"] {
        let found = kept
            .iter()
            .any(|name| name.starts_with(&format!("rustc-{release}.")) && name.ends_with(kind));
        assert!(
            found,
            "none of {kept:?} is {kind} of {release}: run scripts/profile"
        );
    }
}

#[test]
fn the_profile_is_for_the_proxy_and_only_with_its_own_release() {
    let name = "rustc-1.95.0-x86_64-unknown-linux-gnu";
    let flags = printed(&rustflags(
        "1.95.0",
        "x86_64-unknown-linux-gnu",
        "mtls-proxy",
    ));
    let root = root().display();
    for expected in [
        STATIC.to_owned(),
        format!("-C profile-use={root}/target/profile/{name}.profdata "),
        format!("--symbol-ordering-file={root}/target/profile/{name}.order,"),
        format!("-Map={root}/target/profile/{name}.map"),
    ] {
        assert!(flags.contains(&expected), "{expected} in {flags}");
    }
    let other = rustflags("1.94.0", "x86_64-unknown-linux-gnu", "mtls-proxy");
    assert_eq!(printed(&other), STATIC);
    let said = String::from_utf8_lossy(&other.stderr);
    assert!(
        said.contains("no profile for rustc-1.94.0-x86_64"),
        "{said}"
    );
    let injector = rustflags("1.95.0", "x86_64-unknown-linux-gnu", "mtls-injector");
    assert_eq!(printed(&injector), STATIC);
    assert!(injector.stderr.is_empty());
}

/// Settings of Cargo's profile are part of the functions' names, flags are not.
#[test]
fn the_program_that_is_packed_names_its_functions_as_the_one_the_profile_is_of() {
    let manifest = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(manifest.contains("\nstrip = \"none\"\n"));
    let script = fs::read_to_string(root().join("scripts/profile")).unwrap();
    assert!(script.contains("-C strip=none") && !script.contains("CARGO_PROFILE_"));
}

/// Runs the script beside a compiler that says to be this one.
fn rustflags(release: &str, host: &str, program: &str) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let rustc = folder.path().join("rustc");
    let lld = format!("lib/rustlib/{host}/bin/gcc-ld/ld.lld");
    fs::create_dir_all(folder.path().join(&lld)).unwrap();
    let script = format!(
        "#!/bin/sh\ncase \"$*\" in '--print sysroot') echo '{}' ;;\n\
         *) echo 'host: {host}' && echo 'release: {release}' ;; esac\n",
        folder.path().display(),
    );
    fs::write(&rustc, script).unwrap();
    fs::set_permissions(&rustc, fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", folder.path().display());
    let output = Command::new(root().join("scripts/rustflags"))
        .arg(program)
        .env("PATH", path)
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    output
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
