//! Names are resolved by the servers of a `resolv.conf`, here one of our own on the loopback.

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hickory_resolver::proto::op::{Message, OpCode, ResponseCode};
use hickory_resolver::proto::rr::{RData, Record, RecordType};
use mtls_proxy::dns::{DnsFailure, Resolver};
use tempfile::TempDir;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

const LIMIT: Duration = Duration::from_secs(20);

/// What the server says about a name.
#[derive(Clone)]
enum Answer {
    /// These addresses, for so many seconds.
    Addresses(&'static [&'static str], u32),
    Code(ResponseCode),
    Silence,
}

type Zone = &'static [(&'static str, Answer)];

/// A DNS server that knows a few names and no others; ends with the value.
struct NameServer {
    resolver: Resolver,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
    home: TempDir,
}

impl NameServer {
    async fn start(zone: Zone) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = socket.local_addr().unwrap().port();
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let heard = Arc::clone(&asked);
        #[expect(
            clippy::disallowed_methods,
            reason = "aborted when the value is dropped"
        )]
        let task = tokio::spawn(serve(socket, zone, heard));
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("resolv.conf");
        fs::write(
            &file,
            "nameserver 127.0.0.1\nsearch shop.svc.cluster.local svc.cluster.local\n\
             options ndots:5 timeout:1 attempts:1\n",
        )
        .unwrap();
        Self {
            resolver: Resolver::with_port(&file, Some(port)),
            asked,
            task,
            home,
        }
    }

    async fn lookup(&self, name: &str) -> Result<Vec<IpAddr>, DnsFailure> {
        self.resolver.lookup(name, LIMIT).await
    }

    /// Returns the names that were asked for since the last call, each once.
    fn asked(&self) -> Vec<String> {
        let mut asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked.dedup();
        asked
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(socket: UdpSocket, zone: Zone, heard: Arc<Mutex<Vec<String>>>) {
    let mut buffer = [0; 1500];
    while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
        let question = Message::from_vec(&buffer[..length]).unwrap();
        let query = question.queries[0].clone();
        let name = query.name().to_string();
        heard.lock().unwrap().push(name.clone());
        let answer = zone
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, answer)| answer);
        let mut reply = Message::response(question.metadata.id, OpCode::Query);
        match answer {
            Some(Answer::Silence) => continue,
            Some(Answer::Code(code)) => reply.metadata.response_code = *code,
            Some(Answer::Addresses(addresses, ttl)) => {
                let addresses = addresses.iter().map(|text| text.parse::<IpAddr>().unwrap());
                let wanted = query.query_type() == RecordType::AAAA;
                for ip in addresses.filter(|ip| ip.is_ipv6() == wanted) {
                    let record = Record::from_rdata(query.name().clone(), *ttl, RData::from(ip));
                    reply.add_answer(record);
                }
            }
            None => reply.metadata.response_code = ResponseCode::NXDomain,
        }
        reply.queries.push(query);
        socket
            .send_to(&reply.to_vec().unwrap(), from)
            .await
            .unwrap();
    }
}

fn ips(texts: &[&str]) -> Vec<IpAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

#[tokio::test]
async fn all_addresses_come_in_turn_with_ipv6_first() {
    const ZONE: Zone = &[(
        "dual.example.",
        Answer::Addresses(
            &["10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "fd00::2"],
            60,
        ),
    )];
    let server = NameServer::start(ZONE).await;
    let mut found = server.lookup("dual.example.").await.unwrap();
    let families: Vec<_> = found.iter().map(IpAddr::is_ipv6).collect();
    assert_eq!(families, [true, false, true, false, false]);
    found.sort();
    assert_eq!(
        found,
        ips(&["10.0.0.1", "10.0.0.2", "10.0.0.3", "fd00::1", "fd00::2"])
    );
}

#[tokio::test]
async fn a_name_is_looked_for_in_the_search_domains_as_ndots_says() {
    const ZONE: Zone = &[
        (
            "web.shop.svc.cluster.local.",
            Answer::Addresses(&["10.0.0.1"], 60),
        ),
        (
            "api.pay.svc.cluster.local.",
            Answer::Addresses(&["10.0.0.2"], 60),
        ),
        ("external.example.", Answer::Addresses(&["192.0.2.1"], 60)),
    ];
    let server = NameServer::start(ZONE).await;
    for (name, address, asked) in [
        ("web", "10.0.0.1", &["web.shop.svc.cluster.local."][..]),
        (
            "api.pay",
            "10.0.0.2",
            &[
                "api.pay.shop.svc.cluster.local.",
                "api.pay.svc.cluster.local.",
            ],
        ),
        (
            "external.example",
            "192.0.2.1",
            &[
                "external.example.shop.svc.cluster.local.",
                "external.example.svc.cluster.local.",
                "external.example.",
            ],
        ),
        // With a final dot there is nothing to look for.
        ("external.example.", "192.0.2.1", &["external.example."]),
    ] {
        assert_eq!(server.lookup(name).await, Ok(ips(&[address])), "{name}");
        assert_eq!(server.asked(), asked, "{name}");
    }
}

#[tokio::test]
async fn an_address_needs_no_server() {
    let server = NameServer::start(&[]).await;
    assert_eq!(server.lookup("10.1.2.3").await, Ok(ips(&["10.1.2.3"])));
    assert_eq!(server.lookup("::1").await, Ok(ips(&["::1"])));
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn what_is_wrong_with_a_name_is_told_apart() {
    const ZONE: Zone = &[
        ("empty.example.", Answer::Addresses(&[], 60)),
        ("broken.example.", Answer::Code(ResponseCode::ServFail)),
        ("refused.example.", Answer::Code(ResponseCode::Refused)),
        ("silent.example.", Answer::Silence),
    ];
    let server = NameServer::start(ZONE).await;
    for (name, label, sentence) in [
        (
            "none.example.",
            "dns_nxdomain",
            "the name none.example. does not exist (NXDOMAIN)",
        ),
        (
            "empty.example.",
            "dns_no_address",
            "the name empty.example. exists but has no address (neither A nor AAAA)",
        ),
        (
            "broken.example.",
            "dns_server_failure",
            "the DNS server could not resolve broken.example. (SERVFAIL)",
        ),
        (
            "refused.example.",
            "dns_server_failure",
            "the DNS server could not resolve refused.example. (REFUSED)",
        ),
        (
            "silent.example.",
            "dns_timeout",
            "no DNS server answered for silent.example. in time",
        ),
    ] {
        let failure = server.lookup(name).await.unwrap_err();
        assert_eq!(
            (failure.label(), failure.to_string().as_str()),
            (label, sentence)
        );
    }
}

#[tokio::test]
async fn a_search_that_meets_a_failing_server_does_not_say_that_the_name_is_missing() {
    const ZONE: Zone = &[
        (
            "web.shop.svc.cluster.local.",
            Answer::Code(ResponseCode::ServFail),
        ),
        (
            "web.svc.cluster.local.",
            Answer::Code(ResponseCode::ServFail),
        ),
        ("web.", Answer::Code(ResponseCode::NXDomain)),
    ];
    let server = NameServer::start(ZONE).await;
    let failure = server.lookup("web").await.unwrap_err();
    assert_eq!(failure.label(), "dns_server_failure");
}

#[tokio::test]
async fn an_answer_is_kept_for_its_ttl_and_no_longer() {
    const ZONE: Zone = &[
        (
            "long.example.",
            Answer::Addresses(&["10.0.0.1", "fd00::1"], 3600),
        ),
        (
            "short.example.",
            Answer::Addresses(&["10.0.0.1", "fd00::1"], 0),
        ),
    ];
    let server = NameServer::start(ZONE).await;
    for (name, again) in [("long.example.", false), ("short.example.", true)] {
        server.lookup(name).await.unwrap();
        server.asked();
        server.lookup(name).await.unwrap();
        assert_eq!(!server.asked().is_empty(), again, "{name}");
    }
}

#[tokio::test]
async fn a_name_of_etc_hosts_is_not_known() {
    let hosts = fs::read_to_string("/etc/hosts").unwrap_or_default();
    let lines = hosts
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'));
    let mut names = lines.flat_map(|line| line.split_whitespace().skip(1).map(str::to_owned));
    let Some(name) = names.find(|name| !name.contains("localhost")) else {
        eprintln!("skipped: /etc/hosts names nothing but localhost");
        return;
    };
    let server = NameServer::start(&[]).await;
    assert_eq!(
        server.lookup(&name).await,
        Err(DnsFailure::NoSuchName(name))
    );
}

#[tokio::test]
async fn a_resolv_conf_that_is_missing_is_named_and_read_once_it_is_there() {
    const ZONE: Zone = &[("web.example.", Answer::Addresses(&["10.0.0.1"], 60))];
    let server = NameServer::start(ZONE).await;
    let path = |name: &str| -> PathBuf { server.home.path().join(name) };
    fs::rename(path("resolv.conf"), path("away")).unwrap();
    let failure = server.lookup("web.example.").await.unwrap_err();
    let file = path("resolv.conf");
    assert_eq!(
        failure.to_string(),
        format!(
            "web.example. cannot be resolved: {}: No such file or directory (os error 2)",
            file.display()
        )
    );
    fs::rename(path("away"), file).unwrap();
    assert_eq!(server.lookup("web.example.").await, Ok(ips(&["10.0.0.1"])));
}
