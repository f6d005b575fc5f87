//! The webhook as the API server meets it: the real program, over real TLS.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod authority;
mod client;
mod clients;
mod connections;
mod program;
mod protocol;
mod reviews;
mod rotation;
mod settings;
mod shutdown;
