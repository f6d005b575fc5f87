//! Certificates are replaced while requests and streams are under way, through the real binary: an
//! application calls an egress route of one proxy, whose upstream is an inbound port of another, and both
//! sides change at once. Nothing fails, nothing is altered, open connections stay open.

use std::io::{self, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::mount::Mount;
use crate::pki::{Ca, Leaf};
use crate::ports::free_port;
use crate::processes::{Proxy, eventually, quoted};
use crate::rotation::{files, issue};

const PUMPS: usize = 5;
const RELOADS: u64 = 6;
/// Two routes of one proxy, and two ports of the other, load the same files.
const USERS: u64 = 2;
const BLOCK: usize = 20_000;

/// A message of HTTP/1.1 with a Content-Length.
pub(crate) struct Message {
    head: Vec<String>,
    body: Vec<u8>,
}

impl Message {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let headers = self.head.iter().filter_map(|line| line.split_once(": "));
        let mut values = headers.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        values.next().map(|(_, value)| value)
    }

    pub(crate) fn read(from: &mut impl io::BufRead) -> io::Result<Self> {
        let mut message = Self {
            head: Vec::new(),
            body: Vec::new(),
        };
        loop {
            let mut line = String::new();
            if from.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            match line.trim_end() {
                "" => break,
                line => message.head.push(line.to_owned()),
            }
        }
        let length = message
            .header("content-length")
            .and_then(|length| length.parse().ok());
        message.body.resize(length.unwrap_or_default(), 0);
        from.read_exact(&mut message.body)?;
        Ok(message)
    }
}

/// Answers each request with its own body, and remembers who called last.
fn echo_http(last_serial: Arc<Mutex<String>>) -> u16 {
    listen(move |stream| {
        let mut from = BufReader::new(stream.try_clone()?);
        let mut to = stream;
        loop {
            let request = Message::read(&mut from)?;
            if let Some(serial) = request.header("x-client-cert-serial") {
                serial.clone_into(&mut last_serial.lock().unwrap());
            }
            let head = format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
                request.body.len()
            );
            to.write_all(&[head.as_bytes(), &request.body].concat())?;
        }
    })
}

fn echo_bytes() -> u16 {
    listen(|stream| {
        io::copy(&mut stream.try_clone()?, &mut &stream)?;
        stream.shutdown(Shutdown::Write)
    })
}

/// Serves each connection in a thread of its own, which ends with the connection.
fn listen(serve: impl Fn(TcpStream) -> io::Result<()> + Clone + Send + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = serve.clone();
            thread::spawn(move || drop(serve(stream)));
        }
    });
    port
}

/// What the pumps have in common.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    exchanges: AtomicUsize,
}

impl Load {
    /// Waits for ten exchanges of each pump on average, while none has ended.
    fn goes_on(&self, pumps: &[JoinHandle<io::Result<()>>]) {
        let before = self.exchanges.load(Ordering::Relaxed);
        eventually("the pumps go on", || {
            let ended = pumps.iter().any(JoinHandle::is_finished);
            let more = self.exchanges.load(Ordering::Relaxed) > before + 10 * pumps.len();
            (ended || more).then_some(())
        });
    }

    /// Runs exchanges until it is stopped; the first that fails ends it with its error.
    fn pump(
        self: &Arc<Self>,
        mut exchange: impl FnMut(usize) -> io::Result<()> + Send + 'static,
    ) -> JoinHandle<io::Result<()>> {
        let load = Arc::clone(self);
        thread::spawn(move || {
            for number in 0.. {
                if load.stop.load(Ordering::Relaxed) {
                    break;
                }
                exchange(number)?;
                load.exchanges.fetch_add(1, Ordering::Relaxed);
            }
            Ok(())
        })
    }
}

fn block(number: usize) -> Vec<u8> {
    (0..BLOCK)
        .map(|index| (index * 7 + number * 13) as u8)
        .collect()
}

pub(crate) fn dial(port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
    Ok(stream)
}

fn check(same: bool, what: &str) -> io::Result<()> {
    if same {
        Ok(())
    } else {
        Err(io::Error::other(what.to_owned()))
    }
}

/// Requests, twenty to a connection.
fn http_pump(load: &Arc<Load>, port: u16) -> JoinHandle<io::Result<()>> {
    let mut connection = None;
    load.pump(move |number| {
        if number.is_multiple_of(20) {
            connection = Some(BufReader::new(dial(port)?));
        }
        let connection = connection.as_mut().expect("made with the first request");
        let body = block(number);
        let head = format!(
            "POST /{number} HTTP/1.1\r\nHost: shop.example\r\nContent-Length: {BLOCK}\r\n\r\n"
        );
        connection
            .get_mut()
            .write_all(&[head.as_bytes(), &body].concat())?;
        let reply = Message::read(connection)?;
        check(
            reply
                .head
                .first()
                .is_some_and(|line| line.contains(" 200 ")),
            &reply.head.join("; "),
        )?;
        check(reply.body == body, "the body was altered")
    })
}

/// One connection for all the time.
fn tcp_pump(load: &Arc<Load>, port: u16) -> JoinHandle<io::Result<()>> {
    let mut stream = dial(port).unwrap();
    load.pump(move |number| {
        let (sent, mut echoed) = (block(number), vec![0; BLOCK]);
        stream.write_all(&sent)?;
        stream.read_exact(&mut echoed)?;
        check(echoed == sent, "the bytes were altered")
    })
}

struct Ports {
    http: u16,
    tcp: u16,
}

/// The two sides.
struct Proxies([Proxy; 2]);

impl Proxies {
    fn start(egress: &Ports, inbound: &Ports, app: &Ports, directory: &Path) -> Self {
        let tls = format!("tls: {{credentialDirectory: {}}}", quoted(directory));
        let route = |port: u16, target: u16, protocol: &str| {
            format!(
                "{{host: shop.example, address: 127.0.0.1, port: {port}, targetPort: {target}, \
                 protocol: {protocol}, {tls}}}"
            )
        };
        let port = |port: u16, target: u16, protocol: &str| {
            format!(
                "{{port: {port}, targetPort: {target}, listen: [127.0.0.1], protocol: {protocol}, \
                 {tls}}}"
            )
        };
        let start = |direction: &str, http: String, tcp: String| {
            Proxy::ready(&format!("logLevel: warning\n{direction}: [{http}, {tcp}]"))
        };
        Self([
            start(
                "egress",
                route(egress.http, inbound.http, "http"),
                route(egress.tcp, inbound.tcp, "tcp"),
            ),
            start(
                "inbound",
                port(inbound.http, app.http, "http"),
                port(inbound.tcp, app.tcp, "tcp"),
            ),
        ])
    }

    /// Returns whether both have counted so many reloads.
    fn reloaded(&self, outcome: &str, count: u64) -> Option<()> {
        let metric = format!("mtls_proxy_reloads_total{{outcome=\"{outcome}\"}}");
        self.0
            .iter()
            .all(|proxy| proxy.metric(&metric) == count)
            .then_some(())
    }
}

#[test]
fn nothing_fails_while_certificates_are_replaced() {
    let (ca, home) = (Ca::new("ca"), tempfile::tempdir().unwrap());
    let mut mount = Mount::new(home.path());
    mount.swap(&files(&issue_for(&ca, 1), &ca));
    let last_serial = Arc::default();
    let app = Ports {
        http: echo_http(Arc::clone(&last_serial)),
        tcp: echo_bytes(),
    };
    let [egress, inbound] = [(); 2].map(|()| Ports {
        http: free_port(),
        tcp: free_port(),
    });
    let proxies = Proxies::start(&egress, &inbound, &app, home.path());
    assert_eq!(proxies.reloaded("loaded", USERS), Some(()));

    let load = Arc::new(Load::default());
    let pumps =
        (0..PUMPS).flat_map(|_| [http_pump(&load, egress.http), tcp_pump(&load, egress.tcp)]);
    let pumps: Vec<_> = pumps.collect();
    for serial in 2..=RELOADS + 1 {
        load.goes_on(&pumps);
        mount.swap(&files(&issue_for(&ca, serial), &ca));
        eventually("the files are loaded", || {
            proxies.reloaded("loaded", serial * USERS)
        });
    }
    let [certificate, _, cacert] = files(&issue_for(&ca, 99), &ca);
    mount.swap(&[
        certificate,
        ("key", issue(&ca, 98).key.serialize_pem()),
        cacert,
    ]);
    eventually("the wrong key is noticed", || {
        proxies.reloaded("failed", USERS)
    });
    load.goes_on(&pumps);
    // Connections of older credentials are not taken for new requests.
    let last = format!("{:02x}", RELOADS + 1);
    eventually("the last certificate is shown", || {
        (*last_serial.lock().unwrap() == last).then_some(())
    });
    load.stop.store(true, Ordering::Relaxed);
    for pump in pumps {
        pump.join().unwrap().expect("no exchange fails");
    }
}

fn issue_for(ca: &Ca, serial: u64) -> crate::pki::Issued {
    ca.issue(&Leaf {
        dns: &["shop.example"],
        serial,
        ..Leaf::default()
    })
}
