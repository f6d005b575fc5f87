//! The manifests of `webhook-config`: what `mtls-injector install` prints is what kustomize builds,
//! every field is one that Kubernetes knows, and the webhook is called for the right pods.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

#[path = "manifests/built.rs"]
mod built;
#[path = "manifests/called.rs"]
mod called;
#[path = "manifests/installed.rs"]
mod installed;
#[path = "manifests/typed.rs"]
mod typed;
