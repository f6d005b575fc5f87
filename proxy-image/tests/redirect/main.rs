//! Capture by the kernel, in network namespaces that each test makes and removes: one for every pod,
//! one for the node between them. Real programs in them: nginx as the external system and as the
//! application, curl as the application and as clients, `nft` for the rules.

// Clippy takes functions for tests, in which a failure may panic, only below this attribute.
#[cfg(test)]
mod capture;
#[cfg(test)]
mod inbound;
#[cfg(test)]
mod life;
#[cfg(test)]
mod loops;
#[cfg(test)]
mod names;
#[cfg(test)]
mod net;
#[cfg(test)]
#[path = "../tls/pki.rs"]
#[expect(dead_code, reason = "the tests of TLS use more of it")]
mod pki;
#[cfg(test)]
mod probes;
#[cfg(test)]
#[path = "../program/mod.rs"]
mod program;
#[cfg(test)]
mod programs;
#[cfg(test)]
mod rules;
