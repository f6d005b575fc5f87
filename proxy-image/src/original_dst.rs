//! Where a connection was headed before the kernel redirected it.
//!
//! In: an accepted socket. Out: the address that the peer dialled (`SO_ORIGINAL_DST`), or why there
//! is none: who dials the listener itself was not redirected, and to serve him would be a loop.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;

use socket2::SockRef;

/// The address that a peer dialled before the kernel redirected the connection here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct OriginalDst(SocketAddr);

impl OriginalDst {
    /// Asks the kernel.
    ///
    /// # Errors
    /// The connection was not redirected.
    pub(crate) fn of(tcp: &impl AsFd) -> Result<Self, NotRedirected> {
        let socket = SockRef::from(tcp);
        let local = socket.local_addr().map_err(NotRedirected::Unknown)?;
        let Some(local) = local.as_socket() else {
            return Err(NotRedirected::Unknown(io::ErrorKind::Unsupported.into()));
        };
        let dialled = if local.is_ipv6() {
            socket.original_dst_v6()
        } else {
            socket.original_dst_v4()
        };
        let dialled = dialled.map_err(NotRedirected::Unknown)?.as_socket();
        match dialled.map(canonical) {
            Some(dialled) if dialled != canonical(local) => Ok(Self(dialled)),
            _ => Err(NotRedirected::Direct(local)),
        }
    }

    pub(crate) const fn get(self) -> SocketAddr {
        self.0
    }
}

/// Why a connection has no original destination.
#[derive(Debug)]
pub(crate) enum NotRedirected {
    /// The peer dialled this listener.
    Direct(SocketAddr),
    /// The kernel does not know.
    Unknown(io::Error),
}

impl fmt::Display for NotRedirected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Direct(address) => write!(
                f,
                "loop: {address} takes redirected connections only, and was dialled itself"
            ),
            Self::Unknown(error) => {
                write!(f, "loop: the kernel knows of no redirection: {error}")
            }
        }
    }
}

/// An IPv4 address that is written as one of IPv6 is the same place.
fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}
