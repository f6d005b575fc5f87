//! The webhook's life against an API server that conflicts, forbids, forgets and goes away.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that meets the unexpected has failed"
)]

#[path = "../api_server/mod.rs"]
mod api_server;

mod away;
mod bundle;
mod certificates;
mod istio;
mod jobs;
mod load;
mod lookups;
mod pods;
mod program;
mod replica;
mod secrets;
mod told;
