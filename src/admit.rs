//! The pure core: the bytes of an AdmissionReview in, the bytes of the answer and the decision out.
//! Also the same for a bare pod. No clock, no I/O, no HTTP.

pub mod ending;
pub mod refresh;
mod resources;
mod rules;
mod shape;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use json_patch::Patch;
use serde_json::{Map, Value};

use crate::annotations::{self, Author, Reading};
use crate::cluster::secrets::SecretKeys;
use crate::config::{Capture, Config};
use crate::decision::{Decision, Denial, DenialKind, SkipReason};
use crate::istio::Resources;
use crate::patch;
use crate::review::{self, Malformed, Owner, Pod, Request, Verdict};
use crate::sidecar::{Place, SecretNeed, Sidecar, Status, Understood, flaws};

/// What the core may ask about the cluster.
pub trait Namespaces: Send + Sync {
    /// Returns whether what is asked for a pod of this namespace is answered from memory. Otherwise
    /// the decision may take a call, and the thread that makes it waits.
    fn answers_at_once(&self, _namespace: &str) -> bool {
        true
    }

    /// Returns the annotations of a namespace, or `None` when they cannot be known.
    fn annotations(&self, namespace: &str) -> Option<Map<String, Value>>;

    /// Returns the labels of a namespace, or `None` when they cannot be known.
    fn labels(&self, _namespace: &str) -> Option<Map<String, Value>> {
        None
    }

    /// Returns Istio's resources, as far as they are known.
    fn resources(&self) -> Arc<Resources> {
        Arc::default()
    }

    /// Returns which keys Secrets of a namespace have, as far as it is known.
    fn secret_keys(&self, _namespace: &str, _names: &[&str]) -> BTreeMap<String, SecretKeys> {
        BTreeMap::new()
    }
}

/// The answer to one review.
#[derive(Clone, Debug)]
pub struct Admission {
    /// The AdmissionReview to send back, JSON.
    pub reply: Vec<u8>,
    /// The request's uid.
    pub uid: String,
    /// What became of the pod.
    pub decision: Decision,
    /// What its author is told.
    pub warnings: Vec<String>,
    /// Whether the pod itself asked for the proxy.
    pub asked: bool,
    /// The pod's namespace.
    pub namespace: String,
    /// The pod's name, or else its `generateName`.
    pub name: String,
    /// Who made the pod.
    pub owner: Option<Owner>,
    /// Whether nothing will be stored, so that nothing else may happen either.
    pub dry_run: bool,
}

/// Why a review could not be answered in its own protocol, so that failurePolicy decides.
#[derive(Debug, thiserror::Error)]
pub enum Unreadable {
    /// The bytes are no AdmissionReview of `admission.k8s.io/v1`.
    #[error("the body is not an AdmissionReview: {0}")]
    NotAReview(#[from] Malformed),
}

/// What becomes of a pod.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The operations on the pod; none unless it is injected.
    pub patch: Patch,
    /// Inject, skip or deny, and why.
    pub decision: Decision,
    /// What the pod's author should know.
    pub warnings: Vec<String>,
    /// What the proxy needs of Secrets.
    pub secrets: Vec<SecretNeed>,
    /// Whether the pod itself asked for the proxy.
    pub asked: bool,
    /// How traffic reaches the proxy of a pod that has it, or gets it.
    pub capture: Option<Capture>,
}

/// Answers one review.
///
/// # Errors
/// Only when no answer can be addressed: the bytes are no review, or bear no uid.
pub fn admit(
    config: &Config,
    namespaces: &dyn Namespaces,
    review: &[u8],
) -> Result<Admission, Unreadable> {
    Ok(answer(config, namespaces, Request::read(review)?))
}

/// Answers a request that has been read.
#[must_use]
pub fn answer(config: &Config, namespaces: &dyn Namespaces, request: Request) -> Admission {
    let pod = Pod::new(&request.object);
    let mut outcome = match rules::outside(&request) {
        Some(reason) => Outcome::skip(reason, false),
        None if !request.object.is_object() => Outcome::deny(Denial::of(
            DenialKind::Request,
            "request.object",
            "is not a pod",
        )),
        None => inject_pod(config, namespaces, &request.namespace, &request.object),
    };
    if outcome.decision == Decision::Inject {
        let flaws = outcome.secret_flaws(namespaces, &request.namespace);
        outcome.warnings.extend(flaws);
    }
    Admission {
        reply: reply(&request.uid, &outcome),
        uid: request.uid,
        name: pod.name().to_owned(),
        owner: pod.owner(),
        decision: outcome.decision,
        warnings: outcome.warnings,
        asked: outcome.asked,
        namespace: request.namespace,
        dry_run: request.dry_run,
    }
}

/// Decides about a pod that is to be created in a namespace, or the template of one: an object with
/// `metadata` and `spec`.
#[must_use]
pub fn inject_pod(
    config: &Config,
    namespaces: &dyn Namespaces,
    namespace: &str,
    raw: &Value,
) -> Outcome {
    let pod = Pod::new(raw);
    let defaults = namespaces.annotations(namespace);
    let mut reading = annotations::read(pod, namespace, defaults.as_ref(), config.istio_keys);
    let asked = reading.wishes.asked_by == Some(Author::Pod);
    let injected = rules::injected(pod);
    match rules::before_injection(config, pod, namespace, &reading.wishes) {
        Some(Decision::Skip(reason)) => Outcome::skip(reason, asked),
        Some(decision) => Outcome::without_patch(decision, asked),
        None if rules::asks_for_nothing(&reading.wishes) => {
            let reason = injected.map_or(SkipReason::NothingAsked, |_| SkipReason::AlreadyInjected);
            Outcome::skip(reason, asked)
        }
        None => {
            let known = namespaces.resources();
            resources::apply(&known, pod, namespace, config.istio_keys, &mut reading);
            let (capture, _) = reading.wishes.capture(config);
            // Only redirection asks what a namespace allows; the labels may cost a call.
            let labels = (capture == Capture::Redirect).then(|| namespaces.labels(namespace));
            let place = Place {
                namespace,
                labels: labels.flatten(),
            };
            let mut outcome = inject(config, pod, &place, reading, injected.as_ref());
            outcome.asked = asked;
            outcome.capture = outcome.has_proxy().then_some(capture);
            if defaults.is_none() && outcome.decision == Decision::Inject {
                outcome.warnings.push(format!(
                    "the annotations of namespace {namespace:?} are not known here; only the pod's own count"
                ));
            }
            outcome
        }
    }
}

/// Injects, unless a mistake stands against it or the pod has this very sidecar already.
fn inject(
    config: &Config,
    pod: Pod<'_>,
    place: &Place<'_>,
    reading: Reading,
    injected: Option<&Status>,
) -> Outcome {
    let Reading {
        wishes,
        mut mistakes,
        mut warnings,
    } = reading;
    shape::check(pod, &mut mistakes);
    // An older sidecar is taken out first, so that it cannot stand in the way of the current one.
    let removal = injected.map(|status| patch::removal(pod, status));
    let bare = match &removal {
        Some(removal) => Cow::Owned(without(pod, removal)),
        None => Cow::Borrowed(pod.raw()),
    };
    let bare = Pod::new(&bare);
    let understood = if mistakes.is_empty() {
        Understood::Wholly
    } else {
        Understood::Partly
    };
    let sidecar = match Sidecar::build(config, bare, place, &wishes, understood) {
        Ok(sidecar) if mistakes.is_empty() => sidecar,
        Ok(_) => return Outcome::deny(Denial::new(DenialKind::Mistakes, mistakes)),
        Err(more) => {
            for mistake in more {
                mistakes.add(&mistake.path, mistake.value.as_deref(), &mistake.reason);
            }
            return Outcome::deny(Denial::new(DenialKind::Mistakes, mistakes));
        }
    };
    if injected.is_some_and(|status| status.render() == sidecar.status) {
        return Outcome {
            secrets: sidecar.secrets,
            ..Outcome::skip(SkipReason::AlreadyInjected, false)
        };
    }
    if injected.is_none() {
        warnings.extend(rules::overwritten(pod));
    }
    warnings.extend(sidecar.warnings.iter().cloned());
    let mut patch = removal.unwrap_or_default();
    patch.0.extend(patch::injection(bare, &sidecar).0);
    Outcome {
        patch,
        decision: Decision::Inject,
        warnings,
        secrets: sidecar.secrets,
        asked: false,
        capture: None,
    }
}

fn without(pod: Pod<'_>, removal: &Patch) -> Value {
    let mut raw = pod.raw().clone();
    json_patch::patch(&mut raw, removal).expect("what is removed was found in this very pod");
    raw
}

impl Outcome {
    fn skip(reason: SkipReason, asked: bool) -> Self {
        Self::without_patch(Decision::Skip(reason), asked)
    }

    fn deny(denial: Denial) -> Self {
        Self::without_patch(Decision::Deny(denial), true)
    }

    fn has_proxy(&self) -> bool {
        matches!(
            self.decision,
            Decision::Inject | Decision::Skip(SkipReason::AlreadyInjected)
        )
    }

    fn without_patch(decision: Decision, asked: bool) -> Self {
        let warning = match &decision {
            Decision::Skip(reason) if asked && reason.surprises() => Some(format!(
                "mtls-injector did not add the proxy although the pod asks for it: {reason}"
            )),
            _ => None,
        };
        Self {
            patch: Patch::default(),
            decision,
            warnings: warning.into_iter().collect(),
            secrets: Vec::new(),
            asked,
            capture: None,
        }
    }

    /// Says what is wrong with the Secrets that the proxy needs, as far as that is known.
    fn secret_flaws(&self, namespaces: &dyn Namespaces, namespace: &str) -> Vec<String> {
        if self.secrets.is_empty() {
            return Vec::new();
        }
        let mut names: Vec<_> = self.secrets.iter().map(|need| &*need.secret).collect();
        names.sort_unstable();
        names.dedup();
        let known = namespaces.secret_keys(namespace, &names);
        flaws(&self.secrets, namespace, &known)
    }
}

fn reply(uid: &str, outcome: &Outcome) -> Vec<u8> {
    let mut audit = vec![("decision", outcome.decision.label())];
    let reason = outcome.decision.reason();
    if !reason.is_empty() {
        audit.push(("reason", reason));
    }
    let warnings: Vec<String> = outcome.warnings.iter().map(|text| header(text)).collect();
    let message;
    let verdict = match &outcome.decision {
        Decision::Deny(denial) => {
            message = denial.to_string();
            Verdict::Denied(&message)
        }
        Decision::Inject | Decision::Skip(_) => Verdict::Allowed(&outcome.patch),
    };
    review::reply(uid, verdict, &warnings, &audit)
}

/// The API server cuts warnings of more than 256 characters, and drops those with control characters.
fn header(text: &str) -> String {
    const LONGEST: usize = 256;
    let printable = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut text: String = printable.take(LONGEST + 1).collect();
    while text.len() > LONGEST {
        text.pop();
    }
    text
}
