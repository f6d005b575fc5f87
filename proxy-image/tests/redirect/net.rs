//! Namespaces as a cluster lays them out: a node with a bridge, and pods on it.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::fd::AsFd as _;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::names::{NameServer, Zone};

/// The addresses that the pods have.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Families {
    Both,
    V6,
}

/// A node and its pods. Dropped, all namespaces are removed.
pub(crate) struct Net {
    prefix: String,
    families: Families,
    namespaces: Vec<String>,
    node: String,
    pub(crate) zone: Zone,
    _server: NameServer,
}

/// One pod: a namespace with addresses.
#[derive(Clone)]
pub(crate) struct Pod {
    pub(crate) namespace: String,
    pub(crate) v4: Ipv4Addr,
    pub(crate) v6: Ipv6Addr,
}

impl Net {
    /// Makes the node. `None`, with the reason printed, where namespaces are impossible.
    pub(crate) fn new(families: Families) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("mtls{}x{count}", std::process::id());
        let node = format!("{prefix}node");
        if let Err(why) = ip(&["netns", "add", &node]) {
            println!("skipped: network namespaces cannot be made here: {why}");
            return None;
        }
        let namespaces = vec![node.clone()];
        let up = "link add br0 type bridge; link set br0 up; link set lo up";
        batch(&node, up);
        batch(&node, "addr add fd77::1/64 dev br0 nodad");
        if families == Families::Both {
            batch(&node, "addr add 10.77.0.1/24 dev br0");
        }
        let zone = Zone::default();
        let server = within(&node, || {
            NameServer::bind(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 53))
        });
        Some(Self {
            _server: server.serve(zone.clone()),
            prefix,
            families,
            namespaces,
            node,
            zone,
        })
    }

    /// Makes a pod with these lines beside localhost's in its `/etc/hosts`.
    pub(crate) fn pod(&mut self, name: &str, host_aliases: &str) -> Pod {
        let namespace = format!("{}{name}", self.prefix);
        let number = u8::try_from(self.namespaces.len() + 1).unwrap();
        let pod = Pod {
            v4: Ipv4Addr::new(10, 77, 0, number),
            v6: Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, u16::from(number)),
            namespace: namespace.clone(),
        };
        let etc = format!("/etc/netns/{namespace}");
        fs::create_dir_all(&etc).unwrap();
        let server = if self.families == Families::V6 {
            "fd77::1"
        } else {
            "10.77.0.1"
        };
        let resolv = format!("nameserver {server}\noptions timeout:1 attempts:1\n");
        fs::write(format!("{etc}/resolv.conf"), resolv).unwrap();
        let hosts = format!("127.0.0.1 localhost\n::1 localhost\n{host_aliases}\n");
        fs::write(format!("{etc}/hosts"), hosts).unwrap();
        ip(&["netns", "add", &namespace]).unwrap();
        self.namespaces.push(namespace.clone());
        let peer = format!("v{number}");
        let pair = format!("link add {peer} type veth peer name eth0 netns {namespace}");
        batch(
            &self.node,
            &format!("{pair}; link set {peer} master br0 up"),
        );
        batch(&namespace, "link set lo up; link set eth0 up");
        batch(
            &namespace,
            &format!("addr add {}/64 dev eth0 nodad", pod.v6),
        );
        batch(&namespace, "route add default via fd77::1");
        if self.families == Families::Both {
            batch(&namespace, &format!("addr add {}/24 dev eth0", pod.v4));
            batch(&namespace, "route add default via 10.77.0.1");
        }
        // Kubernetes' safe sysctl, which hosts capture asks for.
        within(&namespace, || {
            fs::write("/proc/sys/net/ipv4/ip_unprivileged_port_start", "0").unwrap();
        });
        pod
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for namespace in self.namespaces.iter().rev() {
            let _gone = ip(&["netns", "del", namespace]);
            let _gone = fs::remove_dir_all(format!("/etc/netns/{namespace}"));
        }
    }
}

impl Pod {
    /// Returns a command that runs in the pod as some user.
    pub(crate) fn command(&self, user: u32, program: &str) -> Command {
        let user = user.to_string();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.namespace, "setpriv"]);
        command.args([
            "--reuid",
            &user,
            "--regid",
            &user,
            "--clear-groups",
            program,
        ]);
        command
    }

    /// Opens a connection from within the pod.
    pub(crate) fn connect(&self, to: SocketAddr) -> std::io::Result<TcpStream> {
        within(&self.namespace, move || {
            TcpStream::connect_timeout(&to, std::time::Duration::from_secs(10))
        })
    }

    pub(crate) fn address(&self, port: u16) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.v4), port)
    }
}

/// Does something on a thread of its own in a namespace: a thread that has moved stays there.
pub(crate) fn within<T: Send>(namespace: &str, work: impl FnOnce() -> T + Send) -> T {
    let file = fs::File::open(format!("/run/netns/{namespace}")).unwrap();
    std::thread::scope(|scope| {
        let thread = scope.spawn(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        });
        thread.join().unwrap()
    })
}

/// Runs several commands of `ip`, separated by semicolons.
fn batch(namespace: &str, commands: &str) {
    for command in commands.split(';') {
        let mut words = vec!["-n", namespace];
        if command.contains("::") && command.contains("route") {
            words.push("-6");
        }
        words.extend(command.split_whitespace());
        ip(&words).unwrap_or_else(|why| panic!("ip {words:?}: {why}"));
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output();
    let output = output.map_err(|error| format!("the program ip cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}
