//! Upstreams that are found by name: the program with a DNS server, addresses that are silent and
//! addresses that refuse, in a network namespace of the test's own.

mod server;

use std::ffi::OsStr;
use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use server::{Answer, NameServer};

use crate::harness::{Proxy, eventually, exchange, local};
use crate::ports::free_port;
use crate::stub;

/// Set for the test that runs inside.
const INSIDE: &str = "MTLS_PROXY_TEST_NAMESPACE";
const PORT: u16 = 8080;
const SEARCH: &str = "nameserver 127.0.0.1\nsearch shop.svc.cluster.local svc.cluster.local\n\
                      options ndots:5 timeout:1 attempts:1\n";

#[tokio::test]
async fn upstreams_are_found_by_name_and_one_that_answers_is_enough() {
    if std::env::var_os(INSIDE).as_deref() != Some(OsStr::new("1")) {
        let test = "names::upstreams_are_found_by_name_and_one_that_answers_is_enough";
        return in_a_namespace(test);
    }
    build_the_network();
    let dns = NameServer::start().await;
    let _ones = [
        answers("192.0.2.1", "one").await,
        answers("192.0.2.4", "two").await,
        answers("2001:db8::1", "six").await,
    ];
    one_answer_is_enough(&dns).await;
    names_are_looked_for_as_resolv_conf_says(&dns).await;
    an_answer_is_kept_for_its_ttl(&dns).await;
    what_is_wrong_is_told_apart(&dns).await;
}

/// Runs this test once more in namespaces that end with it.
fn in_a_namespace(test: &str) {
    let enters = Command::new("unshare").args(["-nm", "true"]).status();
    if !enters.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED {test}: no right to make a network namespace");
        return;
    }
    let program = std::env::current_exe().unwrap();
    let output = Command::new("unshare")
        .arg("-nm")
        .arg(program)
        .args([test, "--exact", "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    assert!(said.contains("1 passed"), "{said}");
}

/// Addresses of documentation (RFC 5737, RFC 3849) on a cable whose other end nobody reads: .1, .4
/// and ::1 are ours, as are .2 and .3, where nobody listens; .9 and ::9 are silent.
fn build_the_network() {
    let folder = tempfile::TempDir::new().unwrap().keep();
    let resolv = folder.join("resolv.conf");
    fs::write(&resolv, SEARCH).unwrap();
    let script = format!(
        "set -e; ip link set lo up; ip link add out type veth peer name far
         ip link set out up arp off; ip link set far up
         for last in 1 2 3 4; do ip addr add 192.0.2.$last/24 dev out; done
         ip -6 addr add 2001:db8::1/64 dev out nodad
         mount --bind {} /etc/resolv.conf",
        resolv.display()
    );
    let built = Command::new("sh").args(["-c", &script]).output().unwrap();
    let errors = String::from_utf8_lossy(&built.stderr).into_owned();
    assert!(built.status.success(), "{errors}");
}

/// Answers every request with a word and closes, so that the next is dialled anew.
async fn answers(address: &str, word: &'static str) -> tokio::task::JoinSet<()> {
    let ip: std::net::IpAddr = address.parse().unwrap();
    let socket = TcpListener::bind((ip, PORT)).await.unwrap();
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(async move {
        while let Ok((mut tcp, _)) = socket.accept().await {
            stub::read_head(&mut tcp).await;
            let answer = format!(
                "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{word}",
                word.len()
            );
            let _closed = tcp.write_all(answer.as_bytes()).await;
        }
    });
    serving
}

fn route(host: &str, port: u16) -> Value {
    json!({
        "host": host, "port": port, "targetPort": PORT, "listen": ["127.0.0.1"],
        "timeouts": {"connect": "3s"}, "tls": {"mode": "DISABLE"},
    })
}

/// A proxy with one route; what it answers, and how long that takes.
struct Asked {
    _proxy: Proxy,
    port: u16,
}

impl Asked {
    async fn about(host: &str) -> Self {
        let port = free_port();
        let proxy = Proxy::start(&json!({"egress": [route(host, port)]})).await;
        Self {
            _proxy: proxy,
            port,
        }
    }

    async fn answer(&self, host: &str) -> (String, Duration) {
        let began = Instant::now();
        let request = format!("GET / HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = exchange(local(self.port), request.as_bytes()).await;
        (answer, began.elapsed())
    }
}

/// Asks once and wants this word.
async fn gets(host: &str, word: &str) -> Duration {
    let (answer, took) = Asked::about(host).await.answer(host).await;
    assert!(answer.ends_with(word), "{host}: {answer}");
    took
}

async fn one_answer_is_enough(dns: &NameServer) {
    dns.set("one.example.", Answer::Addresses(&["192.0.2.1"], 60));
    gets("one.example", "one").await;
    dns.set("six.example.", Answer::Addresses(&["2001:db8::1"], 60));
    gets("six.example", "six").await;
    // IPv6 comes first and has its head start; then IPv4 is tried beside it.
    let silent = Answer::Addresses(&["2001:db8::9", "192.0.2.1"], 60);
    dns.set("silent.example.", silent);
    let took = gets("silent.example", "one").await;
    assert!(took >= Duration::from_millis(250), "{took:?}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    // A refusal ends the head start.
    let refusing = Answer::Addresses(&["192.0.2.2", "192.0.2.3", "192.0.2.1"], 60);
    dns.set("refusing.example.", refusing);
    for _ in 0..3 {
        gets("refusing.example", "one").await;
    }
    let nobody = Answer::Addresses(&["192.0.2.2", "192.0.2.3"], 60);
    dns.set("nobody.example.", nobody);
    let (answer, _) = Asked::about("nobody.example")
        .await
        .answer("nobody.example")
        .await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert!(
        answer.contains(": connect_failure: cannot connect to 192.0.2."),
        "{answer}"
    );
    dns.set(
        "dead.example.",
        Answer::Addresses(&["2001:db8::9", "192.0.2.9"], 60),
    );
    let (answer, took) = Asked::about("dead.example")
        .await
        .answer("dead.example")
        .await;
    assert!(answer.starts_with("HTTP/1.1 50"), "{answer}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

async fn names_are_looked_for_as_resolv_conf_says(dns: &NameServer) {
    dns.set(
        "web.shop.svc.cluster.local.",
        Answer::Addresses(&["192.0.2.4"], 60),
    );
    gets("web", "two").await;
    dns.set("a.wild.example.", Answer::Addresses(&["192.0.2.1"], 60));
    dns.set("b.wild.example.", Answer::Addresses(&["192.0.2.4"], 60));
    let asked = Asked::about("*.wild.example").await;
    for (host, word) in [("a.wild.example", "one"), ("b.wild.example", "two")] {
        let (answer, _) = asked.answer(host).await;
        assert!(answer.ends_with(word), "{host}: {answer}");
    }
}

async fn an_answer_is_kept_for_its_ttl(dns: &NameServer) {
    const NAME: &str = "moves.example.";
    dns.set(NAME, Answer::Addresses(&["192.0.2.1"], 3));
    let asked = Asked::about("moves.example").await;
    let began = Instant::now();
    assert!(asked.answer("moves.example").await.0.ends_with("one"));
    dns.set(NAME, Answer::Addresses(&["192.0.2.4"], 60));
    let before = dns.times_asked(NAME);
    let mut last = String::new();
    eventually("the new address is used", async || {
        last = asked.answer("moves.example").await.0;
        last.ends_with("two")
    })
    .await;
    assert!(
        began.elapsed() >= Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    assert!(
        began.elapsed() < Duration::from_secs(10),
        "{:?}",
        began.elapsed()
    );
    // Once for each family, however many requests there were.
    let asked_again = dns.times_asked(NAME) - before;
    assert!(asked_again <= 4, "asked {asked_again} times within one TTL");
}

async fn what_is_wrong_is_told_apart(dns: &NameServer) {
    dns.set("broken.example.", Answer::ServerFailure);
    dns.set("empty.example.", Answer::Addresses(&[], 60));
    dns.set("mute.example.", Answer::Silence);
    for (host, status, error) in [
        (
            "missing.example",
            503,
            "dns_nxdomain: the name missing.example does not exist (NXDOMAIN)",
        ),
        (
            "broken.example",
            503,
            "dns_server_failure: the DNS server could not resolve broken.example (SERVFAIL)",
        ),
        (
            "empty.example",
            503,
            "dns_no_address: the name empty.example exists but has no address",
        ),
        (
            "mute.example",
            504,
            "dns_timeout: no DNS server answered for mute.example in time",
        ),
    ] {
        let asked = Asked::about(host).await;
        let (answer, _) = asked.answer(host).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{answer}"
        );
        let header = format!("x-mtls-proxy-error: {host}:{}: {error}", asked.port);
        assert!(answer.contains(&header), "{header}\n{answer}");
    }
}
