//! Credentials, TLS of both sides, identity, rotation and DNS, with real certificates, sockets and
//! peers. One program, so that what the tests share is compiled and linked once.

// Clippy takes functions for tests, in which a failure may panic, only below this attribute.
#[cfg(test)]
mod credentials;
#[cfg(test)]
mod dns;
#[cfg(test)]
mod end_to_end;
#[cfg(test)]
mod handover;
#[cfg(test)]
mod handshake;
#[cfg(test)]
mod identity;
#[cfg(test)]
mod key_store;
#[cfg(test)]
mod matrix;
#[cfg(test)]
mod mount;
#[cfg(test)]
mod openssl;
#[cfg(test)]
mod pki;
#[cfg(test)]
#[path = "../ports/mod.rs"]
mod ports;
#[cfg(test)]
mod processes;
#[cfg(test)]
#[path = "../program/mod.rs"]
mod program;
#[cfg(test)]
mod protocol;
#[cfg(test)]
mod revocation;
#[cfg(test)]
mod rotation;
#[cfg(test)]
mod tap;
#[cfg(test)]
mod under_load;
#[cfg(test)]
mod verification;
