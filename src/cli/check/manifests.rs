//! Findings about manifests. In: files. Out: what would become of each pod in them.

use std::path::PathBuf;

use super::super::inject::files;
use super::finding::{Finding, Verdict};
use crate::admit::{Namespaces, Outcome};
use crate::cli::Failure;
use crate::config::{Capture, Config};
use crate::decision::Decision;
use crate::istio::{self, Severity};
use crate::manifest::{self, Injector, Manifest};

pub(super) fn check(
    paths: &[PathBuf],
    namespace: &str,
    config: &Config,
) -> Result<Vec<Finding>, Failure> {
    let files = files::read(paths, false)?;
    let documents: Vec<_> = files.iter().flat_map(manifest::read).collect();
    let readable = documents.iter().flatten();
    let injector = Injector::new(config, namespace, readable, Box::new(Undeclared));
    let resources = manifest::resources(documents.iter().flatten(), namespace);
    let mut findings: Vec<_> = of_resources(&resources.findings());
    for document in &documents {
        match document {
            Ok(manifest) => findings.extend(about(manifest, &injector)),
            Err(unreadable) => findings.push(Finding {
                subject: unreadable.place().to_string(),
                place: Some(unreadable.place().to_string()),
                capture: None,
                verdict: Verdict::Unreadable,
                rule: "it is no manifest".to_owned(),
                problems: vec![unreadable.reason().to_owned()],
                warnings: Vec::new(),
            }),
        }
    }
    Ok(findings)
}

/// What is lost or wrong in Istio's resources, whichever pods they mean; one finding for each resource.
fn of_resources(found: &[istio::Finding]) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for one in found {
        let text = match one.path.as_str() {
            "" => one.reason.clone(),
            path => format!("{path}: {}", one.reason),
        };
        let known = findings.iter().position(|own| own.subject == one.resource);
        let index = known.unwrap_or_else(|| {
            findings.push(Finding {
                subject: one.resource.clone(),
                place: None,
                capture: None,
                verdict: Verdict::Right,
                rule: "Istio's resources configure pods that ask".to_owned(),
                problems: Vec::new(),
                warnings: Vec::new(),
            });
            findings.len() - 1
        });
        let Some(own) = findings.get_mut(index) else {
            continue;
        };
        match one.severity {
            Severity::Warning => own.warnings.push(text),
            Severity::Denial => {
                own.verdict = Verdict::Wrong;
                own.problems.push(text);
            }
        }
    }
    findings
}

fn about(manifest: &Manifest<'_>, injector: &Injector<'_>) -> Vec<Finding> {
    let findings = injector.inject(manifest).findings.into_iter();
    let findings = findings.map(|finding| {
        let place = match finding.subject.path() {
            path if path.is_empty() => manifest.place.to_string(),
            path => format!("{}: {path}", manifest.place),
        };
        let mut found = judged(finding.subject.to_string(), &finding.outcome);
        found.place = Some(place);
        if found.verdict == Verdict::Inject && !injector.knows(&finding.subject.namespace) {
            found.warnings.push(
                "the annotations of its namespace are not known here, and may set defaults"
                    .to_owned(),
            );
        }
        found
    });
    findings.collect()
}

/// Puts the core's answer into a finding.
pub(super) fn judged(subject: String, outcome: &Outcome) -> Finding {
    let mut warnings = outcome.warnings.clone();
    let (verdict, rule, problems) = match &outcome.decision {
        Decision::Inject if outcome.asked => (Verdict::Inject, "the pod asks".to_owned(), vec![]),
        Decision::Inject => (Verdict::Inject, "its namespace asks".to_owned(), vec![]),
        // The core's warning says the same as the rule; for a pod that asked it is the problem.
        Decision::Skip(reason) if outcome.asked && reason.surprises() => {
            let problems = std::mem::take(&mut warnings);
            (Verdict::Skip, reason.to_string(), problems)
        }
        Decision::Skip(reason) => (Verdict::Skip, reason.to_string(), vec![]),
        Decision::Deny(denial) => {
            let mistakes = denial.mistakes().iter().map(ToString::to_string);
            let rule = "what it asks for is wrong".to_owned();
            (Verdict::Deny, rule, mistakes.collect())
        }
    };
    Finding {
        subject,
        place: None,
        capture: outcome.capture.map(Capture::label),
        verdict,
        rule,
        problems,
        warnings,
    }
}

/// Namespaces that no manifest declares are not known here.
struct Undeclared;

impl Namespaces for Undeclared {
    fn annotations(&self, _namespace: &str) -> Option<serde_json::Map<String, serde_json::Value>> {
        None
    }
}
