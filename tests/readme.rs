//! What the README lists is what the programs know: annotations, settings, overlays.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use mtls_injector::annotations::{Key, PREFIX};
use mtls_injector::config::Config;

#[test]
fn the_table_of_annotations_has_every_key() {
    let table = between("## Annotations", "Istio's `sidecar");
    let first_columns = table.lines().filter_map(|line| line.strip_prefix("| `"));
    let listed: BTreeSet<_> = first_columns
        .flat_map(|line| quoted(line.split(" | ").next().unwrap_or_default(), true))
        .collect();
    let keys = Key::ALL
        .iter()
        .filter_map(|key| key.name().strip_prefix(PREFIX));
    assert_eq!(listed, keys.map(str::to_owned).collect());
}

#[test]
fn the_keys_of_istio_that_are_read_are_listed() {
    let text = between("Istio's `sidecar.istio.io/` keys", "mean the same");
    let listed: BTreeSet<_> = quoted(&text, false).into_iter().collect();
    let keys = Key::ALL.iter().filter_map(|key| key.istio());
    let keys = keys.filter_map(|key| key.strip_prefix("sidecar.istio.io/"));
    assert_eq!(listed, keys.map(str::to_owned).collect());
}

#[test]
fn every_setting_of_the_platform_is_listed() {
    let text = between("read again when it changes:", "`mtls-injector check");
    let top_level = |setting: String| setting.split('.').next().unwrap_or_default().to_owned();
    let listed: BTreeSet<_> = quoted(&text, false).into_iter().map(top_level).collect();
    let mistakes = Config::parse("aFieldThatNobodyKnows: 1").unwrap_err();
    let mistake = mistakes.iter().next().unwrap().to_string();
    let (_, known) = mistake.split_once("(known: ").unwrap();
    let known = known.trim_end_matches(')').split(", ");
    assert_eq!(listed, known.map(str::to_owned).collect());
}

#[test]
fn every_overlay_is_explained() {
    let overlays = fs::read_dir(root().join("webhook-config/overlays")).unwrap();
    let names: Vec<_> = overlays
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.len() > 5, "{names:?}");
    for name in names {
        for file in ["README.md", "webhook-config/README.md"] {
            // The definitions of Istio's resources stand beside an installation.
            let beside = name == "istio-crds" && file != "README.md";
            assert!(
                beside || read(file).contains(&format!("`{name}`")),
                "{file} says nothing of {name}"
            );
        }
    }
}

/// The words in backticks; with `opened`, the first backtick stands before the text.
fn quoted(text: &str, opened: bool) -> Vec<String> {
    let first = usize::from(!opened);
    let words = text.split('`').skip(first).step_by(2);
    words.map(str::to_owned).collect()
}

fn between(start: &str, end: &str) -> String {
    let text = read("README.md");
    let (_, rest) = text.split_once(start).unwrap();
    rest.split_once(end).unwrap().0.to_owned()
}

fn read(file: &str) -> String {
    fs::read_to_string(root().join(file)).unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}
