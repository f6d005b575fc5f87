//! A small proxy that originates and terminates mutual TLS beside an application.
//!
//! One pipeline serves both directions; egress and ingress differ only in which side has TLS:
//!
//! ```text
//! listener -> accept (permit) -> arrival -> [terminate TLS] -> route -> [originate TLS] -> upstream -> relay (http | tcp) -> record
//! ```
//!
//! `arrival` finds a connection's service: a listener has one, but for the two to which the kernel
//! redirects connections, where it is found by what was dialled.
//!
//! **Invariant:** this crate knows nothing of Kubernetes. What a pod's annotations mean is decided by
//! `mtls-injector`, which hands over one document: [`config::Config`].

mod accept;
mod addresses;
mod admin;
mod app;
mod app_probe;
mod arrival;
pub mod cli;
pub mod config;
mod connection;
pub mod credentials;
pub mod dns;
mod drain;
mod front;
mod http;
pub mod identity;
mod leftover;
mod listener;
mod listening;
#[doc(hidden)]
pub mod measured;
pub mod memory;
mod metrics;
mod original_dst;
mod outbound;
mod own_addresses;
mod plan;
mod readiness;
mod record;
mod redirect;
mod relay;
mod reload;
#[cfg(any(test, fuzzing))]
pub mod rig;
pub mod rotation;
mod route;
mod sandbox;
mod scratch;
mod sniff;
mod stream;
mod tcp;
mod telemetry;
mod terminate;
pub mod tls;
mod upstream;
mod worker;
