//! Istio's resources: what they become, and that it works between real programs.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may fail where it stands"
)]

mod cases;
mod flow;
mod manifests;
#[path = "../../proxy-image/tests/ports/mod.rs"]
mod ports;
mod programs;
