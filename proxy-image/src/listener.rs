//! Listening sockets. In: an address and a number of workers. Out: one socket for each worker, all
//! of one address (`SO_REUSEPORT`), so that the kernel spreads connections and no worker waits for
//! another.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

use crate::upstream::dial::keep_alive;

const BACKLOG: i32 = 1024;

/// Binds `workers` sockets to one address.
///
/// # Errors
/// The address cannot be bound, or another process listens on it.
pub(crate) fn bind(address: SocketAddr, workers: usize) -> io::Result<Vec<TcpListener>> {
    // SO_REUSEPORT would also share the port with another process of the same user, who would then
    // get every other connection. Without the option the kernel says that the address is taken.
    drop(bound(address, Sharing::Alone, Families::One)?);
    (0..workers)
        .map(|_| {
            let socket = bound(address, Sharing::Workers, Families::One)?;
            // Accepted sockets inherit it: a client that vanished does not keep its permit.
            keep_alive(&socket);
            socket.listen(BACKLOG)?;
            socket.set_nonblocking(true)?;
            Ok(socket.into())
        })
        .collect()
}

/// Binds one socket for the admin ports; `::` takes IPv4 too, and is `0.0.0.0` where IPv6 is off.
///
/// # Errors
/// The address cannot be bound.
pub(crate) fn bind_admin(address: SocketAddr) -> io::Result<TcpListener> {
    let both = address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    let families = if both { Families::Both } else { Families::One };
    let bound = bound(address, Sharing::Alone, families);
    let socket = match bound {
        Err(error) if both && family_is_missing(&error) => {
            let any = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), address.port());
            self::bound(any, Sharing::Alone, Families::One)?
        }
        other => other?,
    };
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Returns whether this host cannot have the address at all, as `::` where IPv6 is off.
pub(crate) fn family_is_missing(error: &io::Error) -> bool {
    const EAFNOSUPPORT: i32 = 97;
    error.raw_os_error() == Some(EAFNOSUPPORT) || error.kind() == io::ErrorKind::AddrNotAvailable
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    Alone,
    Workers,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Families {
    One,
    Both,
}

fn bound(address: SocketAddr, sharing: Sharing, families: Families) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(families == Families::One)?;
    }
    // Connections of an earlier process in TIME_WAIT do not keep the port.
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(sharing == Sharing::Workers)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_workers_share_one_port_and_nobody_else_does() {
        let probe = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = probe.local_addr().unwrap();
        assert_eq!(
            bind(address, 2).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
        drop(probe);
        let sockets = bind(address, 2).unwrap();
        assert_eq!(sockets.len(), 2);
        assert_eq!(
            bind(address, 1).unwrap_err().kind(),
            io::ErrorKind::AddrInUse
        );
    }
}
