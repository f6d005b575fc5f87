//! A test rig for properties and fuzzers: one connection through the real pipeline, in this process,
//! between a client and an upstream that are bytes and nothing else.
//!
//! In: what a client sends, and how an upstream answers. Out: what each of them got. Whether that is
//! right is judged by [`oracle`], which shares no line with the proxy. No part of the program.

pub mod answers;
pub mod hello;
mod oracle;
pub mod requests;
pub mod sniff;
#[cfg(test)]
mod soup;

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::accept::Listener;
use crate::config::Config;
use crate::connection::{self, Accepted};
use crate::dns::Resolver;
use crate::front::Front;
use crate::metrics::Metrics;
use crate::plan::Planner;
use crate::rotation::{Options, Rotation};
use crate::worker::{Shared, Worker};

/// Longer than any answer takes here: what takes longer hangs.
const LIMIT: Duration = Duration::from_secs(20);

/// Which way the connection goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// From the application out, in plaintext.
    Out,
    /// To the application, from a client in plaintext.
    In,
}

/// What stays from one connection to the next.
struct Rig {
    metrics: Arc<Metrics>,
    rotation: Rotation,
    front: TcpListener,
    upstream: TcpListener,
}

/// Runs one connection; see [`Rig::run`].
fn run<F>(way: Way, sent: &[u8], portion: usize, serve: impl Fn(TcpStream) -> F) -> Got
where
    F: Future<Output = ()> + Send + 'static,
{
    thread_local! {
        static RIG: Rig = Rig::new();
    }
    RIG.with(|rig| rig.run(way, sent, portion, serve))
}

/// What the client got.
struct Got {
    bytes: Vec<u8>,
    /// Whether the connection was closed in order: nothing that was sent was lost.
    in_order: bool,
}

impl Rig {
    fn new() -> Self {
        Self {
            metrics: Arc::new(Metrics::new()),
            rotation: Rotation::new(Options::default()),
            front: listen(),
            upstream: listen(),
        }
    }

    /// Sends a client's bytes in portions through a fresh proxy, then the end, while `serve` is each
    /// connection to the upstream.
    fn run<F>(&self, way: Way, sent: &[u8], portion: usize, serve: impl Fn(TcpStream) -> F) -> Got
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be made");
        runtime.block_on(async {
            let upstream = tokio_listener(&self.upstream);
            let mut connections = tokio::task::JoinSet::new();
            let upstream = async {
                loop {
                    let (tcp, _) = upstream.accept().await.expect("it can be accepted");
                    connections.spawn(serve(tcp));
                }
            };
            tokio::select! {
                got = tokio::time::timeout(LIMIT, self.exchange(way, sent, portion)) => {
                    got.expect("the proxy comes to an end")
                }
                () = upstream => unreachable!("it accepts for ever"),
            }
        })
    }

    async fn exchange(&self, way: Way, sent: &[u8], portion: usize) -> Got {
        let (mut client, serving) = self.connect(way, &Arc::new(self.worker())).await;
        let (mut from, mut to) = client.split();
        let writing = async {
            for portion in sent.chunks(portion.max(1)) {
                to.write_all(portion).await?;
                // So that the proxy sees it alone.
                tokio::task::yield_now().await;
            }
            to.shutdown().await
        };
        let mut bytes = Vec::new();
        let (_refused_earlier, read, ()) =
            tokio::join!(writing, from.read_to_end(&mut bytes), serving);
        Got {
            bytes,
            in_order: read.is_ok(),
        }
    }

    /// Connects a client, and returns what serves it.
    async fn connect(
        &self,
        way: Way,
        worker: &Arc<Worker>,
    ) -> (TcpStream, impl Future<Output = ()> + 'static) {
        let front = tokio_listener(&self.front);
        let address = self.front.local_addr().expect("it is bound");
        let (client, accepted) = tokio::join!(TcpStream::connect(address), front.accept());
        let (tcp, peer) = accepted.expect("it can be accepted");
        let permit = Arc::clone(&worker.shared.connections).acquire_owned().await;
        let accepted = Accepted {
            tcp,
            peer,
            permit: permit.expect("the semaphore is never closed"),
        };
        let listener = Arc::new(Listener {
            front: ArcSwap::new(self.front(way)),
            removed: CancellationToken::new(),
        });
        let serving = connection::serve(accepted, listener, Arc::clone(worker));
        (client.expect("it can be connected to"), serving)
    }

    fn worker(&self) -> Worker {
        Worker {
            index: 0,
            tasks: TaskTracker::new(),
            upstreams: TaskTracker::new(),
            ebb: crate::memory::Ebb::default(),
            shared: Arc::new(Shared {
                metrics: Arc::clone(&self.metrics),
                drain: crate::drain::Drain::default(),
                connections: Arc::new(Semaphore::new(1)),
                handshakes: Semaphore::new(1),
                resolver: Resolver::new(Path::new("/nowhere")),
                own: crate::own_addresses::OwnAddresses::default(),
                flush_thread: || (),
            }),
        }
    }

    /// Returns the front of a fresh plan, with empty pools.
    fn front(&self, way: Way) -> Arc<Front> {
        let port = self.upstream.local_addr().expect("it is bound").port();
        let config = match way {
            Way::Out => format!(
                "egress: [{{host: a.example, port: 80, targetPort: {port}, address: 127.0.0.1, \
                 tls: {{mode: DISABLE}}}}]"
            ),
            Way::In => {
                format!("inbound: [{{port: 8443, targetPort: {port}, mode: DISABLE}}]")
            }
        };
        let config = Config::parse(&config).expect("a right configuration");
        let mut planner = Planner::new(Arc::clone(&self.metrics), self.rotation.clone(), 1);
        let front = planner.plan(&config).fronts.into_values().next();
        front.expect("one listener")
    }
}

fn listen() -> TcpListener {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let bound = TcpListener::bind(address).and_then(|socket| {
        socket.set_nonblocking(true)?;
        io::Result::Ok(socket)
    });
    bound.expect("it can be bound")
}

/// Returns the same socket for the runtime of this connection.
fn tokio_listener(socket: &TcpListener) -> tokio::net::TcpListener {
    let socket = socket.try_clone().expect("it can be cloned");
    tokio::net::TcpListener::from_std(socket).expect("it is non-blocking")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::runtime::Builder;
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn a_client_that_stops_in_the_middle_of_a_head_is_let_go() {
        let mut paused = Builder::new_current_thread();
        let paused = paused.enable_all().start_paused(true).build().unwrap();
        paused.block_on(async {
            let rig = Rig::new();
            let began = Instant::now();
            let (mut client, serving) = rig.connect(Way::Out, &Arc::new(rig.worker())).await;
            let asking = async {
                client.write_all(b"GET / HTTP/1.1\r\nHos").await.unwrap();
                client.read_to_end(&mut Vec::new()).await.unwrap();
            };
            tokio::join!(serving, asking);
            let took = began.elapsed();
            let limit = Duration::from_secs(75);
            assert!(
                took >= limit && took < limit + Duration::from_secs(1),
                "{took:?}"
            );
        });
    }

    /// The permit of a connection whose task panics comes back, the others are served, and a drain
    /// ends.
    #[test]
    fn a_panic_costs_one_connection() {
        let mut runtime = Builder::new_current_thread();
        let runtime = runtime.enable_all().build().unwrap();
        runtime.block_on(async {
            let rig = Rig::new();
            let worker = Arc::new(rig.worker());
            let (mut unlucky, serving) = rig.connect(Way::Out, &worker).await;
            worker.tasks.spawn(async move {
                let bug = async {
                    tokio::task::yield_now().await;
                    panic!("as if a connection had a bug");
                };
                tokio::select! {
                    biased;
                    () = serving => {}
                    () = bug => {}
                }
            });
            let mut nothing = Vec::new();
            unlucky.read_to_end(&mut nothing).await.ok();
            // There is one permit.
            let (mut client, serving) = rig.connect(Way::Out, &worker).await;
            worker.tasks.spawn(serving);
            client.write_all(b"BAD\r\n\r\n").await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 400 "), "{answer:?}");
            worker.tasks.close();
            worker.tasks.wait().await;
            assert_eq!(rig.metrics.open_connections.get(), 0);
        });
    }
}
