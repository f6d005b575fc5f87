//! Why a connection to an upstream did not come about.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use http::StatusCode;

use crate::dns::DnsFailure;
use crate::rotation::NotLoaded;
use crate::tls::failure::{HandshakeFailure, Reason};

/// A failed attempt to connect.
#[derive(Debug)]
pub(crate) enum ConnectFailure {
    /// The route's own credentials are not there.
    Credentials(NotLoaded),
    /// The upstream's name has no address.
    Dns(DnsFailure),
    /// No TLS connection with a verified upstream.
    Handshake(HandshakeFailure),
    /// Nothing within the connect timeout.
    Timeout(Duration),
    /// No address of the upstream took the connection; the last one's reason.
    Dial(SocketAddr, io::Error),
    /// The target is this proxy itself.
    Loop(SocketAddr),
    /// The request names no host that could be resolved.
    NoName,
}

impl ConnectFailure {
    /// Returns the word for metrics and logs.
    pub(crate) const fn label(&self) -> &'static str {
        match self {
            Self::Credentials(_) => "credentials_missing",
            Self::Dns(failure) => failure.label(),
            Self::Handshake(failure) => failure.label(),
            Self::Timeout(_) => "connect_timeout",
            Self::Dial(..) => "connect_failure",
            Self::Loop(_) => "loop",
            Self::NoName => "no_host",
        }
    }

    /// Returns the status for the application: 503 when the upstream could not be reached, 504
    /// when it did not answer in time, 502 when it answered wrongly.
    pub(crate) const fn status(&self) -> StatusCode {
        match self {
            Self::Timeout(_)
            | Self::Dns(DnsFailure::Timeout(_))
            | Self::Handshake(HandshakeFailure {
                reason: Reason::Timeout,
                ..
            }) => StatusCode::GATEWAY_TIMEOUT,
            Self::Handshake(_) | Self::Loop(_) => StatusCode::BAD_GATEWAY,
            Self::Credentials(_) | Self::Dns(_) | Self::Dial(..) => StatusCode::SERVICE_UNAVAILABLE,
            Self::NoName => StatusCode::BAD_REQUEST,
        }
    }

    /// Returns whether another attempt, a moment later, may end better.
    pub(crate) const fn may_pass(&self) -> bool {
        matches!(
            self,
            Self::Dial(..)
                | Self::Handshake(HandshakeFailure {
                    reason: Reason::Closed,
                    ..
                })
        )
    }
}

impl fmt::Display for ConnectFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credentials(missing) => missing.fmt(f),
            Self::Dns(failure) => failure.fmt(f),
            Self::Handshake(failure) => failure.fmt(f),
            Self::Timeout(limit) => {
                write!(f, "no connection within {} ms", limit.as_millis())
            }
            Self::Dial(address, error) => write!(f, "cannot connect to {address}: {error}"),
            Self::Loop(address) => write!(
                f,
                "the target {address} is this proxy itself; name the system behind it as address"
            ),
            Self::NoName => f.write_str("the request names no host that the route could dial"),
        }
    }
}

impl From<NotLoaded> for ConnectFailure {
    fn from(missing: NotLoaded) -> Self {
        Self::Credentials(missing)
    }
}

impl From<DnsFailure> for ConnectFailure {
    fn from(failure: DnsFailure) -> Self {
        Self::Dns(failure)
    }
}

impl From<HandshakeFailure> for ConnectFailure {
    fn from(failure: HandshakeFailure) -> Self {
        Self::Handshake(failure)
    }
}
