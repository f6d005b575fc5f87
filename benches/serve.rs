//! What a thousand reviews a second cost: latency at the client, processor time and memory of the
//! webhook. Open loop: a review is due every millisecond, whether or not the ones before it have
//! been answered, and its latency counts from when it was due. How late the thread that sends them
//! wakes is the machine's own share of that, and is told beside it. Then, without a pause between
//! them, how many a second of processor time is enough for.
//! `cargo bench -p mtls-injector --bench serve`

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a benchmark that cannot go on ends, prints its result, and sends when it is time"
)]

#[path = "../tests/serve/authority.rs"]
#[expect(dead_code, reason = "shared with tests that need all of it")]
mod authority;
#[path = "../tests/serve/client.rs"]
#[expect(dead_code, reason = "shared with tests that need all of it")]
mod client;
#[path = "../tests/serve/program.rs"]
#[expect(dead_code, reason = "shared with tests that need all of it")]
mod program;

use std::fs;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use client::{Client, Version};
use program::Program;

const ARTICLE: &str = include_str!("../tests/fixtures/admission-reviews/deployment-article.json");
const SECONDS: u32 = 10;
const CONNECTIONS: usize = 64;

#[tokio::main]
async fn main() {
    let program = Program::start();
    println!("at rest: {} KiB resident", resident(program.pid()));
    println!("  reviews/s    p50 ms    p99 ms    max ms  wake p99 ms   cpu %   KiB resident");
    for rate in [100, 500, 1000] {
        let before = processor(program.pid());
        let begun = Instant::now();
        let (latencies, wakes) = load(&program, rate).await;
        let used = processor(program.pid()) - before;
        let share = used.as_secs_f64() / begun.elapsed().as_secs_f64() * 100.0;
        let kib = resident(program.pid());
        let [half, most, all] = [0.5, 0.99, 1.0].map(|part| quantile(&latencies, part));
        let wake = quantile(&wakes, 0.99);
        println!("{rate:11}{half:10.2}{most:10.2}{all:10.2}{wake:13.2}{share:8.1}{kib:15}");
    }
    let before = processor(program.pid());
    let answered = without_a_pause(&program).await;
    let used = processor(program.pid()) - before;
    let each = f64::from(answered) / used.as_secs_f64();
    let kib = resident(program.pid());
    println!("without a pause: {each:.0} reviews a second of one core, {kib} KiB resident");
}

/// Sends reviews on every connection, each as soon as the one before it is answered, and returns how
/// many were.
async fn without_a_pause(program: &Program) -> u32 {
    let review = review();
    let end = Instant::now() + Duration::from_secs(SECONDS.into());
    let mut senders = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let mut client = Client::connect(program, Version::Http2).await.unwrap();
        let review = review.clone();
        senders.spawn(async move {
            let mut answered = 0;
            while Instant::now() < end {
                assert_eq!(client.review(review.clone()).await.unwrap().status, 200);
                answered += 1;
            }
            answered
        });
    }
    senders.join_all().await.into_iter().sum()
}

/// Returns the recorded review of a Deployment's pod, which asks for a route.
fn review() -> Bytes {
    let mut review: Value = serde_json::from_str(ARTICLE).unwrap();
    let annotations = &mut review["request"]["object"]["metadata"]["annotations"];
    annotations["mtls-injector.io/egress"] = "external.system.com".into();
    Bytes::from(review.to_string())
}

/// Returns, in milliseconds, what this part of the sorted times does not exceed.
fn quantile(sorted: &[Duration], part: f64) -> f64 {
    let last = sorted.len() - 1;
    sorted[(last as f64 * part) as usize].as_secs_f64() * 1e3
}

/// Sends reviews at a rate. Returns how long each took and how late it was sent, both sorted.
async fn load(program: &Program, rate: u32) -> (Vec<Duration>, Vec<Duration>) {
    let review = review();
    let mut senders = JoinSet::new();
    let mut queues = Vec::new();
    for _ in 0..CONNECTIONS {
        let client = Client::connect(program, Version::Http2).await.unwrap();
        let (queue, due) = mpsc::unbounded_channel();
        queues.push(queue);
        senders.spawn(answer_all(client, due, review.clone()));
    }
    let begin = Instant::now();
    // A thread of its own: the runtime's timers have a grain of a millisecond.
    let pacer = thread::spawn(move || {
        let send = |number: u32| {
            let due = begin + Duration::from_secs(1) * number / rate;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            queues[number as usize % CONNECTIONS].send(due).unwrap();
            due.elapsed()
        };
        (0..rate * SECONDS).map(send).collect::<Vec<_>>()
    });
    let mut latencies: Vec<_> = senders.join_all().await.into_iter().flatten().collect();
    let mut wakes = pacer.join().unwrap();
    latencies.sort();
    wakes.sort();
    assert_eq!(latencies.len(), wakes.len());
    (latencies, wakes)
}

async fn answer_all(
    mut client: Client,
    mut due: mpsc::UnboundedReceiver<Instant>,
    review: Bytes,
) -> Vec<Duration> {
    let mut latencies = Vec::new();
    while let Some(due) = due.recv().await {
        let answer = client.review(review.clone()).await.unwrap();
        assert_eq!(answer.status, 200);
        latencies.push(due.elapsed());
    }
    latencies
}

/// `VmRSS` of proc(5), in KiB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// User and system time of proc(5), fields 14 and 15, in hundredths of a second.
fn processor(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let (_, fields) = stat.rsplit_once(") ").unwrap();
    let fields: Vec<_> = fields.split(' ').collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}
