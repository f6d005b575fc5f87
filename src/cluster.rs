//! Everything that talks to the API server. In and out: plain values, so that no layer above needs
//! to know the Kubernetes client. Each component is a value with a `run` that ends when told to;
//! none of them holds up an admission when the API server is away.
//!
//! The webhook's own certificates flow one way:
//!
//! ```text
//! Secret <-> certificates (keeper) --Issued--> bundle (keeper) <-> MutatingWebhookConfiguration
//!                                       |          |
//!                                       v          v
//!                                      serving (rollout: shown once the bundle vouches for it)
//!                                       |
//!                                       v
//!                                      acceptance (is what we show what the API server trusts? else not ready)
//! ```

use std::{sync::Arc, time::SystemTime};

pub mod acceptance;
pub mod annotating;
pub mod bundle;
pub mod certificates;
pub mod client;
pub mod events;
pub mod failure;
pub mod istio;
pub mod jobs;
pub mod life;
pub mod metrics;
pub mod namespaces;
mod object;
pub mod pods;
pub mod secrets;
pub mod serving;
pub mod survey;
pub mod version;

/// Tells the time; handed in, so that tests can age a certificate.
pub type Clock = Arc<dyn Fn() -> SystemTime + Send + Sync>;
