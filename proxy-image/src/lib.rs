//! A small proxy that originates and terminates mutual TLS beside an application.
//!
//! One pipeline serves both directions; egress and ingress differ only in which side has TLS:
//!
//! ```text
//! listener -> accept (permit) -> [terminate TLS] -> route -> [originate TLS] -> upstream -> relay (http | tcp) -> record
//! ```
//!
//! **Invariant:** this crate knows nothing of Kubernetes. What a pod's annotations mean is decided by
//! `mtls-injector`, which hands over one document: [`config::Config`].

mod accept;
mod admin;
mod app;
pub mod cli;
pub mod config;
mod connection;
pub mod credentials;
pub mod dns;
mod drain;
mod http;
pub mod identity;
mod leftover;
mod listener;
mod listening;
mod metrics;
mod own_addresses;
mod plan;
mod readiness;
mod record;
mod relay;
mod reload;
#[cfg(any(test, fuzzing))]
pub mod rig;
pub mod rotation;
mod route;
mod sandbox;
mod scratch;
mod stream;
mod tcp;
mod telemetry;
mod terminate;
pub mod tls;
mod upstream;
mod worker;
