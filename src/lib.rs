//! A mutating admission webhook that gives a pod mutual TLS for one annotation.
//!
//! Each layer imports only from the layers below it; `tests/layers.rs` guards this:
//!
//! ```text
//! main, cli            serve | inject | install | check | demo | version
//! server, tls          axum routes and the TLS listener; the only files that name axum
//! manifest             pods in files of YAML and JSON, put to admit and written back
//! admit                pure core: (&Config, review bytes) -> (reply bytes, Decision)
//! patch                raw pod JSON + Sidecar -> RFC 6902 operations
//! decision, sidecar    inject / skip(reason) / deny(all reasons); what is to be added
//! review, annotations  AdmissionReview in and out; the only file that knows annotation keys
//! istio, cluster       Istio's resources; everything that talks to the API server
//! changes, config, metrics, readiness, telemetry
//! ```

pub mod admit;
pub mod annotations;
pub mod changes;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod decision;
pub mod istio;
pub mod manifest;
pub mod metrics;
pub mod patch;
pub mod readiness;
pub mod review;
pub mod server;
pub mod sidecar;
pub mod telemetry;
pub mod tls;
