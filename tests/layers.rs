//! Guards the direction of knowledge: each module imports only from the layers below its own, and
//! the proxy knows nothing of Kubernetes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// From the top down. Modules of one line may know each other.
const LAYERS: &[&[&str]] = &[
    &["main", "lib"],
    &["cli"],
    &["server", "tls", "manifest"],
    &["admit"],
    &["patch"],
    &["decision", "sidecar"],
    &["review", "annotations"],
    &["istio", "cluster"],
    &["changes", "config", "metrics", "readiness", "telemetry"],
];

#[test]
fn each_module_imports_only_from_the_layers_below() {
    let source = root().join("src");
    let mut wrong = Vec::new();
    for file in rust_files(&source) {
        let module = top_module(&source, &file);
        let Some(own) = layer(&module) else {
            wrong.push(format!(
                "{} is in no layer; add {module} to LAYERS",
                file.display()
            ));
            continue;
        };
        for import in crate_imports(&read(&file)) {
            match layer(&import) {
                Some(other) if other < own => {
                    wrong.push(format!(
                        "{}: {module} imports {import} from above",
                        file.display()
                    ));
                }
                Some(_) => {}
                None => wrong.push(format!("{}: {import} is in no layer", file.display())),
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn only_the_server_names_axum() {
    let source = root().join("src");
    let named: Vec<_> = rust_files(&source)
        .into_iter()
        .filter(|file| !matches!(top_module(&source, file).as_str(), "server" | "tls"))
        .filter(|file| code(&read(file)).contains("axum::"))
        .collect();
    assert!(
        named.is_empty(),
        "axum belongs to server and tls alone: {named:?}"
    );
}

#[test]
fn only_the_annotations_know_annotation_keys() {
    let source = root().join("src");
    let named: Vec<_> = rust_files(&source)
        .into_iter()
        .filter(|file| {
            let knows = ["annotations", "istio", "cluster", "cli"];
            !knows.contains(&top_module(&source, file).as_str())
        })
        .filter(|file| {
            let text = production(&read(file));
            text.contains("\"sidecar.istio.io/") || text.contains("\"mtls-injector.io/")
        })
        .collect();
    assert!(
        named.is_empty(),
        "annotation keys belong to annotations.rs: {named:?}"
    );
}

#[test]
fn the_proxy_depends_on_nothing_of_the_injector() {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "-p",
            "mtls-proxy",
            "-e",
            "normal,build",
            "--prefix",
            "none",
            "--offline",
        ])
        .args(["--format", "{p}"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let listing = String::from_utf8(output.stdout).expect("cargo prints UTF-8");
    let names: BTreeSet<_> = listing
        .lines()
        .filter_map(|l| l.split(' ').next())
        .collect();
    assert!(
        names.contains("rustls"),
        "the listing is not one of dependencies: {listing}"
    );
    for forbidden in [
        "mtls-injector",
        "kube",
        "kube-client",
        "k8s-openapi",
        "axum",
    ] {
        assert!(
            !names.contains(forbidden),
            "mtls-proxy depends on {forbidden}"
        );
    }
}

#[test]
fn the_guard_sees_an_import_from_above() {
    let text = "use crate::config::Config;\nuse crate::{admit::Admission, patch};\n// crate::cli\n";
    let imports: Vec<_> = crate_imports(text).into_iter().collect();
    assert_eq!(imports, ["admit", "config", "patch"]);
    assert!(
        layer("admit") < layer("config"),
        "admit stands above config"
    );
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(file: &Path) -> String {
    fs::read_to_string(file).expect("a source file")
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a source folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    assert!(!files.is_empty(), "{} holds no source", folder.display());
    files
}

/// The name of the module directly under the crate that a file belongs to.
fn top_module(source: &Path, file: &Path) -> String {
    let inside = file
        .strip_prefix(source)
        .expect("a file of the folder")
        .with_extension("");
    let first = inside.iter().next().expect("a name");
    first.to_str().expect("a name in UTF-8").to_owned()
}

fn layer(module: &str) -> Option<usize> {
    LAYERS.iter().position(|names| names.contains(&module))
}

/// The modules that stand behind `crate::` or `mtls_injector::`, also inside braces.
fn crate_imports(text: &str) -> BTreeSet<String> {
    let text = code(text);
    let mut found = BTreeSet::new();
    for prefix in ["crate::", "mtls_injector::"] {
        for (at, _) in text.match_indices(prefix) {
            let rest = &text[at + prefix.len()..];
            if let Some(group) = rest.strip_prefix('{') {
                found.extend(group_heads(group));
            } else {
                found.extend(module_name(rest));
            }
        }
    }
    found
}

fn group_heads(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut heads = Vec::new();
    let mut at_head = true;
    for (at, letter) in group.char_indices() {
        match letter {
            '}' if depth == 0 => break,
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => at_head = true,
            letter if at_head && !letter.is_whitespace() => {
                heads.extend(module_name(&group[at..]));
                at_head = false;
            }
            _ => {}
        }
    }
    heads
}

/// The module that a path begins with; a type or a macro of the crate is none.
fn module_name(text: &str) -> Option<String> {
    let end = text
        .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
        .unwrap_or(text.len());
    let name = &text[..end];
    name.starts_with(|c: char| c.is_ascii_lowercase())
        .then(|| name.to_owned())
}

/// The text without its comments, in which any module may be named.
fn code(text: &str) -> String {
    let lines = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// The code above the unit tests of a file.
fn production(text: &str) -> String {
    code(text.split("#[cfg(test)]").next().unwrap_or_default())
}
