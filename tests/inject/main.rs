//! `mtls-injector inject` over files, as a person runs it.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod command;
mod documents;
#[path = "../core/goldens.rs"]
mod goldens;
mod properties;
mod usage;
