//! `mtls-injector inject`: manifests with the proxy in them. In: files, directories, stdin. Out: the
//! manifests on stdout, or a diff; warnings and mistakes on stderr.

pub(super) mod files;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use serde_json::{Map, Value};
use similar::TextDiff;

use super::Failure;
use crate::admit::Namespaces;
use crate::decision::Decision;
use crate::manifest::{self, File, Finding, Injected, Injector, Manifest, Place};

/// Put the proxy into manifests before they are applied
///
/// Decides over each Pod, Deployment, StatefulSet, DaemonSet, ReplicaSet, ReplicationController,
/// PodTemplate, Job, CronJob and List exactly as the webhook would. A Namespace among the manifests
/// gives its annotations to the pods in it.
///
/// Documents that need no change are written byte for byte. In a changed document the order of
/// fields and the comments above it stay; comments inside it are lost. If one document is wrong,
/// every mistake is reported and nothing is written. Injecting the output again changes nothing.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  mtls-injector inject -f app.yaml | kubectl apply -f -
  kustomize build . | mtls-injector inject -f - -n shop | kubectl apply -f -

  # What would change?
  mtls-injector inject -f manifests/ --diff")]
pub(super) struct Inject {
    /// A file, a directory of .yaml, .yml and .json files, or - for stdin; may be repeated
    #[arg(short, long = "filename", value_name = "FILE", required = true)]
    filenames: Vec<PathBuf>,
    /// Look for files in the directories below the given ones, too
    #[arg(short = 'R', long)]
    recursive: bool,
    /// The namespace of objects that name none
    #[arg(short, long, value_name = "NAMESPACE", default_value = "default")]
    namespace: String,
    /// The platform's settings, YAML, as serve takes them; the defaults without it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Show what would change, instead of the manifests
    #[arg(long)]
    diff: bool,
}

impl Inject {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let config = super::config(self.config.as_deref())?;
        let files = files::read(&self.filenames, self.recursive)?;
        let documents: Vec<_> = files.iter().map(manifest::read).collect();
        let readable = documents.iter().flatten().flatten();
        let injector = Injector::new(&config, &self.namespace, readable, Box::new(Undeclared));
        let mut output = Output::default();
        let mut mistakes = Vec::new();
        let mut unknown = BTreeSet::new();
        for (file, documents) in files.iter().zip(&documents) {
            output.begin(file);
            for document in documents {
                let manifest = match document {
                    Ok(manifest) => manifest,
                    Err(unreadable) => {
                        mistakes.push(format!("error: {unreadable}"));
                        continue;
                    }
                };
                let injected = injector.inject(manifest);
                mistakes.extend(report(&manifest.place, &injected));
                unknown.extend(unknown_namespaces(&injector, &injected));
                output.add(manifest, &injected, self.diff);
            }
        }
        warn_of(&unknown);
        if mistakes.is_empty() {
            print(&output.text)?;
            return Ok(ExitCode::SUCCESS);
        }
        say(&mistakes);
        Ok(ExitCode::FAILURE)
    }
}

/// Says the warnings; returns the mistakes.
fn report(place: &Place, injected: &Injected) -> Vec<String> {
    let mut warned = Vec::new();
    let mut mistakes = Vec::new();
    for Finding { subject, outcome } in &injected.findings {
        let path = match subject.path() {
            path if path.is_empty() => path,
            path => format!(" ({path})"),
        };
        let line = |kind: &str, text: &str| format!("{kind}: {place}: {subject}{path}: {text}");
        warned.extend(outcome.warnings.iter().map(|text| line("warning", text)));
        if let Decision::Deny(denial) = &outcome.decision {
            let wrong = denial.mistakes().iter();
            mistakes.extend(wrong.map(|mistake| line("error", &mistake.to_string())));
        }
    }
    say(&warned);
    mistakes
}

/// The namespaces of injected pods whose annotations are not known.
fn unknown_namespaces(injector: &Injector<'_>, injected: &Injected) -> Vec<String> {
    let findings = injected.findings.iter();
    let asked = findings.filter(|finding| finding.outcome.decision == Decision::Inject);
    let namespaces = asked.map(|finding| finding.subject.namespace.clone());
    namespaces
        .filter(|namespace| !injector.knows(namespace))
        .collect()
}

fn warn_of(unknown: &BTreeSet<String>) {
    if !unknown.is_empty() {
        let names: Vec<&str> = unknown.iter().map(String::as_str).collect();
        let names = names.join(", ");
        say(&[format!(
            "warning: annotations of the namespaces {names} are not known here, and may set defaults; \
             to have them count, add the Namespace to the input"
        )]);
    }
}

/// What goes to stdout.
#[derive(Default)]
struct Output {
    text: String,
    files: usize,
}

impl Output {
    /// Separates a file from the one before it.
    fn begin(&mut self, file: &File) {
        self.files += 1;
        if self.files == 1 {
            return;
        }
        if !self.text.is_empty() && !self.text.ends_with('\n') {
            self.text.push('\n');
        }
        if !file.text.starts_with("---") {
            self.text.push_str("---\n");
        }
    }

    fn add(&mut self, manifest: &Manifest<'_>, injected: &Injected, diff: bool) {
        match (&injected.change, diff) {
            (Some(change), true) => {
                let name = manifest.place.to_string();
                let diff = TextDiff::from_lines(&change.before, &change.after);
                let mut unified = diff.unified_diff();
                let unified = unified.header(&name, &format!("{name}, injected"));
                self.text.push_str(&unified.to_string());
            }
            (Some(change), false) => self.text.push_str(&change.text),
            (None, false) => self.text.push_str(manifest.text()),
            (None, true) => {}
        }
    }
}

fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let written = stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush());
    match written {
        // The reader, such as `head`, has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        written => Ok(written.context("failed to write to stdout")?),
    }
}

#[expect(clippy::print_stderr, reason = "warnings and mistakes are for people")]
fn say(lines: &[String]) {
    for line in lines {
        eprintln!("{line}");
    }
}

/// Namespaces that no manifest declares are not known here.
struct Undeclared;

impl Namespaces for Undeclared {
    fn annotations(&self, _namespace: &str) -> Option<Map<String, Value>> {
        None
    }
}
