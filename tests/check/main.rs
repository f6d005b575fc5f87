//! `mtls-injector check` over manifests, and over a cluster.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that meets the unexpected has failed"
)]

#[expect(dead_code, reason = "shared with tests that need all of it")]
#[path = "../api_server/mod.rs"]
mod api_server;

mod live;
mod lookups;
mod manifests;
mod program;
mod shop;
