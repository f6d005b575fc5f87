//! The AdmissionReview of `admission.k8s.io/v1`: bytes in, the request's parts out; and the answer's
//! parts in, bytes out. Knows the protocol, and nothing of what is decided.

mod pod;

pub use pod::{Owner, Pod, name_of};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use json_patch::Patch;
use serde::Serialize;
use serde_json::{Map, Value};

/// A request that can be answered: its uid was readable.
#[derive(Debug)]
pub struct Request {
    /// Echoed in the answer.
    pub uid: String,
    /// What the object is.
    pub target: Target,
    /// What is being done to it, such as `CREATE`.
    pub operation: String,
    /// The namespace of the request; empty when there is none.
    pub namespace: String,
    /// Whether nothing will be stored, so that nothing else may happen either.
    pub dry_run: bool,
    /// The object, as it came.
    pub object: Value,
}

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A pod itself.
    Pod,
    /// Anything else, or a subresource of a pod.
    Other,
}

/// Why bytes are no request that could be answered. The text follows "the body is not an
/// AdmissionReview: ".
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// The bytes are not JSON.
    #[error("{0}")]
    Json(#[from] serde_json::Error),
    /// The document is something else.
    #[error("{field} is {found}, not {expected:?}")]
    Other {
        /// The field that says so.
        field: &'static str,
        /// What it holds.
        found: String,
        /// What it should hold.
        expected: &'static str,
    },
    /// There is nothing to echo.
    #[error("{0} is missing")]
    Missing(&'static str),
}

impl Request {
    /// Reads a review.
    ///
    /// # Errors
    /// When the bytes are no review of this version, or no uid is in it.
    pub fn read(review: &[u8]) -> Result<Self, Malformed> {
        let Value::Object(mut review) = serde_json::from_slice(review)? else {
            return Err(Malformed::Missing("the top-level object"));
        };
        expect(&review, "kind", KIND)?;
        expect(&review, "apiVersion", API_VERSION)?;
        let Some(Value::Object(mut request)) = review.remove("request") else {
            return Err(Malformed::Missing("request"));
        };
        let uid = text(&request, "uid");
        if uid.is_empty() {
            return Err(Malformed::Missing("request.uid"));
        }
        Ok(Self {
            uid: uid.to_owned(),
            target: target(&request),
            operation: text(&request, "operation").to_owned(),
            namespace: text(&request, "namespace").to_owned(),
            dry_run: request.get("dryRun") == Some(&Value::Bool(true)),
            object: request.remove("object").unwrap_or_default(),
        })
    }
}

const KIND: &str = "AdmissionReview";
const API_VERSION: &str = "admission.k8s.io/v1";

fn expect(
    review: &Map<String, Value>,
    field: &'static str,
    expected: &'static str,
) -> Result<(), Malformed> {
    match review.get(field) {
        Some(Value::String(found)) if found == expected => Ok(()),
        found => Err(Malformed::Other {
            field,
            found: found.map_or_else(|| "missing".to_owned(), |found| brief(&found.to_string())),
            expected,
        }),
    }
}

fn brief(text: &str) -> String {
    const LONGEST: usize = 80;
    text.chars().take(LONGEST).collect()
}

fn text<'a>(object: &'a Map<String, Value>, field: &str) -> &'a str {
    object
        .get(field)
        .and_then(Value::as_str)
        .unwrap_or_default()
}

fn target(request: &Map<String, Value>) -> Target {
    let part = |object: &str, field: &str| {
        let object = request.get(object).and_then(Value::as_object);
        object.map_or("", |object| text(object, field))
    };
    let is_pod = part("kind", "group").is_empty() && part("kind", "kind") == "Pod";
    let is_itself = text(request, "subResource").is_empty()
        && matches!(part("resource", "resource"), "pods" | "");
    if is_pod && is_itself {
        Target::Pod
    } else {
        Target::Other
    }
}

/// What is answered to a request.
#[derive(Clone, Copy, Debug)]
pub enum Verdict<'a> {
    /// It may go on, changed by the patch unless that is empty.
    Allowed(&'a Patch),
    /// It may not, for this reason.
    Denied(&'a str),
}

/// Writes the review that answers the request with this uid.
#[must_use]
pub fn reply(
    uid: &str,
    verdict: Verdict<'_>,
    warnings: &[String],
    audit: &[(&'static str, &str)],
) -> Vec<u8> {
    let (patch, status) = match verdict {
        Verdict::Allowed(patch) => (encoded(patch), None),
        Verdict::Denied(message) => (None, Some(Status::bad_request(message))),
    };
    let answer = Answer {
        api_version: API_VERSION,
        kind: KIND,
        response: Response {
            uid,
            allowed: status.is_none(),
            patch_type: patch.as_ref().map(|_| "JSONPatch"),
            patch,
            status,
            audit_annotations: audit
                .iter()
                .map(|(key, value)| ((*key).to_owned(), Value::from(*value)))
                .collect(),
            warnings,
        },
    };
    serde_json::to_vec(&answer).expect("an answer holds only texts, flags and numbers")
}

/// The API server wants the patch as base64 in a string, which is how Go writes bytes.
fn encoded(patch: &Patch) -> Option<String> {
    (!patch.0.is_empty()).then(|| {
        let bytes = serde_json::to_vec(patch).expect("a patch is made of JSON values");
        STANDARD.encode(bytes)
    })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    audit_annotations: Map<String, Value>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    warnings: &'a [String],
}

/// The part of `metav1.Status` that a denial uses.
#[derive(Serialize)]
struct Status<'a> {
    code: u16,
    reason: &'static str,
    message: &'a str,
}

impl<'a> Status<'a> {
    const fn bad_request(message: &'a str) -> Self {
        Self {
            code: 400,
            reason: "BadRequest",
            message,
        }
    }
}
