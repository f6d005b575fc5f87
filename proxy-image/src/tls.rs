//! TLS of both sides: configurations for rustls, verification of peers, failures in words.
//!
//! In: a route or port, and [`crate::credentials::Credentials`]. Out: a [`client::ClientState`] or
//! [`server::ServerState`], never changed once it is built. Knows no sockets and reads no files.

mod chain;
pub mod client;
pub mod failure;
pub mod generation;
pub mod server;
mod verified;
mod verify;

use std::sync::{Arc, LazyLock};

use rustls::SupportedProtocolVersion;
use rustls::crypto::CryptoProvider;
use rustls::version::{TLS12, TLS13};
use x509_parser::time::ASN1Time;

use crate::config::MinProtocolVersion;

/// Returns the only crypto provider, which offers X25519MLKEM768 first and is passed explicitly.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> =
        LazyLock::new(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    Arc::clone(&PROVIDER)
}

fn versions(oldest: MinProtocolVersion) -> &'static [&'static SupportedProtocolVersion] {
    static TLS12_UP: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];
    static TLS13_UP: [&SupportedProtocolVersion; 1] = [&TLS13];
    match oldest {
        MinProtocolVersion::TlsV1_2 => &TLS12_UP,
        MinProtocolVersion::TlsV1_3 => &TLS13_UP,
    }
}

fn alpn_protocols(names: &[&[u8]]) -> Vec<Vec<u8>> {
    names.iter().map(|name| name.to_vec()).collect()
}

/// Writes seconds since 1970 as RFC 3339 does, in UTC: `2026-11-22T15:04:05Z`.
pub(crate) fn rfc3339(seconds: i64) -> String {
    let Ok(time) = ASN1Time::from_timestamp(seconds) else {
        return format!("{seconds} seconds after 1970");
    };
    let time = time.to_datetime();
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}
