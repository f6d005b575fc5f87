//! The proxy's program, driven from outside with real peers: nginx as the external system, curl as
//! the application, openssl as a client, and stubs where a peer has to misbehave.

// Clippy takes functions for tests, in which a failure may panic, only below this attribute.
#[cfg(test)]
mod bounds;
#[cfg(test)]
mod chain;
#[cfg(test)]
mod command_line;
#[cfg(test)]
mod egress;
#[cfg(test)]
mod ending;
#[cfg(test)]
mod envoy;
#[cfg(test)]
mod figures;
#[cfg(test)]
mod harness;
#[cfg(test)]
mod http;
#[cfg(test)]
mod http2;
#[cfg(test)]
mod inbound;
#[cfg(test)]
mod life;
#[cfg(test)]
mod modes;
#[cfg(test)]
mod names;
#[cfg(test)]
mod nginx;
#[cfg(test)]
mod peers;
#[cfg(test)]
#[path = "../tls/pki.rs"]
#[expect(dead_code, reason = "the tests of TLS use more of it")]
mod pki;
#[cfg(test)]
#[path = "../ports/mod.rs"]
mod ports;
#[cfg(test)]
#[path = "../program/mod.rs"]
mod program;
#[cfg(test)]
mod robust;
#[cfg(test)]
mod secrets;
#[cfg(test)]
mod smuggling;
#[cfg(test)]
mod streams;
#[cfg(test)]
mod stub;
#[cfg(test)]
mod tcp;
