//! The pure core, as a caller sees it: reviews and pods in, answers and patches out.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod annotations;
mod capture;
mod container;
mod decisions;
mod goldens;
mod injection;
mod pods;
mod probes;
mod properties;
mod redirect;
mod redirect_denials;
mod reviews;
mod secrets;
mod shape;
mod user_volume;
mod user_volume_denials;
mod warnings;
