//! What requests a client keeps sending see of a new certificate: the connections of before take some
//! more while another gets ready, and none when what upstreams are checked against has changed, too.

use std::io::{BufReader, Write as _};
use std::net::TcpStream;

use mtls_proxy::config::UpstreamMode;
use tempfile::TempDir;

use crate::end_to_end::{egress, external_system};
use crate::mount::Mount;
use crate::pki::Ca;
use crate::ports::free_port;
use crate::processes::{Nginx, Proxy, eventually};
use crate::rotation::{files, issue};
use crate::under_load::{Message, dial};

/// A proxy between one client, who keeps its connection, and an upstream that tells it the serial
/// number of the certificate it saw.
struct Chain {
    ca: Ca,
    mount: Mount,
    client: BufReader<TcpStream>,
    proxy: Proxy,
    _upstream: Nginx,
    _home: TempDir,
}

impl Chain {
    fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        let (site, upstream, ca, _) = external_system(home.path());
        let own = home.path().join("own");
        let mut mount = Mount::new(&own);
        mount.swap(&files(&issue(&ca, 1), &ca));
        let port = free_port();
        let route = egress(port, site.port, UpstreamMode::Mutual, &own);
        let proxy = Proxy::ready(&format!("egress: [{route}]"));
        Self {
            ca,
            mount,
            client: BufReader::new(dial(port).unwrap()),
            proxy,
            _upstream: upstream,
            _home: home,
        }
    }

    /// Puts another certificate and these authorities in place, and waits until they are loaded.
    fn rotate(&mut self, serial: u64, authorities: String) {
        let [certificate, key, _] = files(&issue(&self.ca, serial), &self.ca);
        self.mount
            .swap(&[certificate, key, ("cacert", authorities)]);
        let loaded = "mtls_proxy_reloads_total{outcome=\"loaded\"}";
        eventually("the files are loaded", || {
            (self.proxy.metric(loaded) == serial).then_some(())
        });
    }

    /// Sends a request, and returns the serial number that the upstream saw.
    fn seen(&mut self) -> u64 {
        let request = b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n";
        self.client.get_mut().write_all(request).unwrap();
        let answer = Message::read(&mut self.client).unwrap();
        let serial = answer.header("x-serial").expect("a certificate was seen");
        u64::from_str_radix(serial, 16).unwrap()
    }
}

#[test]
fn a_request_does_not_wait_for_the_handshake_with_a_new_certificate() {
    let mut chain = Chain::start();
    assert_eq!(chain.seen(), 1);
    // On a busy machine a rotation may be over before the next request; not ten in a row.
    let handed_over = (2..12).find(|serial| {
        chain.rotate(*serial, chain.ca.pem());
        chain.seen() < *serial
    });
    let serial = handed_over.expect("a connection of before takes one more request");
    eventually("the new certificate is shown", || {
        (chain.seen() == serial).then_some(())
    });
    for _ in 0..20 {
        assert_eq!(chain.seen(), serial, "the one that was opened is used");
    }
}

#[test]
fn connections_that_trusted_others_take_no_request() {
    let mut chain = Chain::start();
    assert_eq!(chain.seen(), 1);
    for serial in 2..6 {
        let authorities = chain.ca.pem() + &Ca::new(&format!("other {serial}")).pem();
        chain.rotate(serial, authorities);
        assert_eq!(chain.seen(), serial);
    }
}
