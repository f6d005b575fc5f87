//! Manifests on their way to a cluster. In: files of YAML or JSON. Out: the same files, in which each
//! pod that asked has its proxy; what is not touched comes out byte for byte. Every pod is decided by
//! [`crate::admit`], as the webhook would. Reads no file and writes nowhere.

mod document;
mod emit;
mod namespaces;
mod trial;
mod workload;

use std::fmt;

use serde_json::Value;

use crate::admit::{Namespaces, Outcome};
use crate::config::Config;
use crate::istio::Resources;

use self::document::Document;
use self::namespaces::Declared;
use self::trial::Trial;
pub use self::workload::Subject;

/// One file.
#[derive(Clone, Debug)]
pub struct File {
    /// Its path, or `stdin`.
    pub name: String,
    /// What is in it.
    pub text: String,
}

/// A document of a file, for messages: `app.yaml: document 2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    file: String,
    number: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: document {}", self.file, self.number)
    }
}

/// A document that was read.
#[derive(Debug)]
pub struct Manifest<'t> {
    /// Where it is.
    pub place: Place,
    source: Document<'t>,
    object: Value,
}

/// A document that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {reason}")]
pub struct Unreadable {
    place: Place,
    reason: String,
}

impl Unreadable {
    /// Returns where it is.
    #[must_use]
    pub const fn place(&self) -> &Place {
        &self.place
    }

    /// Returns why it cannot be read.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }
}

/// Reads every document of a file; empty ones count, too.
#[must_use]
pub fn read(file: &File) -> Vec<Result<Manifest<'_>, Unreadable>> {
    let documents = document::split(&file.text).into_iter();
    let numbered = documents.zip(1..).map(|(source, number)| {
        let place = Place {
            file: file.name.clone(),
            number,
        };
        match source.parse() {
            Ok(object) => Ok(Manifest {
                place,
                source,
                object,
            }),
            Err(reason) => Err(Unreadable { place, reason }),
        }
    });
    numbered.collect()
}

/// Reads Istio's resources among manifests.
#[must_use]
pub fn resources<'m>(
    manifests: impl IntoIterator<Item = &'m Manifest<'m>>,
    default_namespace: &str,
) -> Resources {
    let mut all = Vec::new();
    for manifest in manifests {
        workload::objects(&manifest.object, &mut |object| all.push(object));
    }
    Resources::read(all, default_namespace)
}

/// What decides over the pods of manifests.
pub struct Injector<'a> {
    config: &'a Config,
    namespaces: Declared,
    /// The namespace of objects that name none.
    default_namespace: &'a str,
}

/// One pod, or the template of one, and what the webhook would answer.
#[derive(Debug)]
pub struct Finding {
    /// The pod.
    pub subject: Subject,
    /// The answer.
    pub outcome: Outcome,
}

/// A document with what became of it.
#[derive(Debug)]
pub struct Injected {
    /// Each pod in it.
    pub findings: Vec<Finding>,
    /// The document's new text and the change in it, unless it stays as it is.
    pub change: Option<Change>,
}

/// A changed document.
#[derive(Debug, PartialEq, Eq)]
pub struct Change {
    /// What it was, written in the same way as `after`, so that the two differ in substance only.
    pub before: String,
    /// What it is now.
    pub after: String,
    /// What goes in its place, with the comments above it.
    pub text: String,
}

impl<'a> Injector<'a> {
    /// Puts together what decides. Namespaces among the manifests give defaults to their pods;
    /// `cluster` is asked for the others.
    #[must_use]
    pub fn new<'m>(
        config: &'a Config,
        default_namespace: &'a str,
        manifests: impl IntoIterator<Item = &'m Manifest<'m>>,
        cluster: Box<dyn Namespaces>,
    ) -> Self {
        let objects = manifests.into_iter().map(|manifest| &manifest.object);
        Self {
            config,
            namespaces: Declared::among(objects, default_namespace, cluster),
            default_namespace,
        }
    }

    /// Decides over each pod of a document and writes the document anew if one of them changes.
    #[must_use]
    pub fn inject(&self, manifest: &Manifest<'_>) -> Injected {
        let mut object = manifest.object.clone();
        let mut findings = Vec::new();
        for subject in workload::subjects(&manifest.object, self.default_namespace) {
            let Some(template) = object.pointer_mut(&subject.pointer) else {
                continue;
            };
            let trial = Trial::of(&subject, template);
            let (mut outcome, injected) = trial.run(self.config, &self.namespaces);
            if let Some(injected) = injected {
                *template = injected;
            }
            outcome
                .warnings
                .extend(workload::misplaced(&manifest.object, &subject));
            findings.push(Finding { subject, outcome });
        }
        let changed = object != manifest.object;
        let change = changed.then(|| {
            let after = emit::write(&object, &manifest.source);
            Change {
                before: emit::write(&manifest.object, &manifest.source),
                text: format!("{}{after}", manifest.source.head()),
                after,
            }
        });
        Injected { findings, change }
    }

    /// Returns whether the annotations of a namespace are known.
    #[must_use]
    pub fn knows(&self, namespace: &str) -> bool {
        self.namespaces.knows(namespace)
    }
}

impl Manifest<'_> {
    /// Returns the document as it was read.
    #[must_use]
    pub fn text(&self) -> &str {
        self.source.text()
    }
}
