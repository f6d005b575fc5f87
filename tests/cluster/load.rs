//! Certificates change while reviews come in: none is lost. Two replicas serve over real TLS, and
//! clients verify them with the caBundle of the moment, as the API server does.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use mtls_injector::admit::Namespaces;
use mtls_injector::cluster::certificates::stored::CertificatePolicy;
use mtls_injector::config::Config;
use mtls_injector::metrics::Metrics;
use mtls_injector::readiness::Readiness;
use mtls_injector::server::{Listeners, Phase, Server, Shutdown, Webhook};
use mtls_injector::tls::{ServedCertificate, server_config};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::{Map, Value};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;

use crate::api_server::{ApiServer, DEADLINE, Store};
use crate::replica::*;

pub(crate) const REVIEW: &[u8] =
    include_bytes!("../fixtures/admission-reviews/deployment-article.json");
const CLIENTS: usize = 4;
/// Reviews that each client sends before a change and after it.
const ENOUGH: usize = 25;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renewing_the_leaf_loses_no_review() {
    check(policy(), 61 * DAY).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn replacing_the_ca_loses_no_review() {
    let policy = policy();
    let long_lived = CertificatePolicy {
        leaf_life: policy.ca_life,
        ..policy
    };
    check(long_lived, 2 * 365 * DAY + HOUR).await;
}

/// Sends reviews while the clock passes the moment at which certificates are due.
async fn check(policy: CertificatePolicy, age: std::time::Duration) {
    let server = installed().await;
    // It was all made so long ago that today is the day of the renewal; what is made today and what
    // was made then are both valid today, which is when the clients look.
    let clock = TestClock::at(SystemTime::now() - age);
    let mut replicas = Vec::new();
    for _ in 0..2 {
        let mut replica = Served::start(&server, &clock, policy.clone()).await;
        replica.replica.accepted().await;
        replicas.push(replica);
    }
    let before = replicas[0].replica.leaf();
    let addresses: Vec<_> = replicas.iter().map(|replica| replica.address).collect();
    let mut kept = connect(&server.store, addresses[0]).await.unwrap().0;
    // The server has less patience with who has not asked for anything yet.
    review(&mut kept).await.unwrap();
    let load = Load::start(&server, &addresses);

    load.until_each_client_saw(&before, ENOUGH).await;
    clock.advance(age);
    for replica in &mut replicas {
        replica.replica.shows_another(&before).await;
    }
    load.until_each_client_saw(&replicas[0].replica.leaf(), ENOUGH)
        .await;
    let failures = load.failures.lock().unwrap().clone();
    assert!(failures.is_empty(), "{failures:#?}");
    // A connection from before is still good.
    review(&mut kept).await.unwrap();
}

/// A replica with the server that shows its certificate.
struct Served {
    replica: Replica,
    address: SocketAddr,
    _phase: watch::Sender<Phase>,
    _tasks: JoinSet<()>,
}

impl Served {
    async fn start(server: &ApiServer, clock: &TestClock, policy: CertificatePolicy) -> Self {
        let served = Arc::new(ServedCertificate::default());
        let replica = Replica::serving(server, clock, policy, served.sender());
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let listeners = Listeners::bind(any, any).await.unwrap();
        let address = listeners.webhook.local_addr().unwrap();
        let config = Arc::new(ArcSwap::from_pointee(Config::default()));
        let webhook = Webhook::new(config, Arc::new(NoNamespaces), Arc::new(Metrics::new()));
        let tls = Arc::new(server_config(served));
        let https = Server {
            webhook,
            tls,
            readiness: Readiness::default(),
        };
        let (phase, shutdown) = Shutdown::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { https.run(listeners, shutdown).await.unwrap() });
        Self {
            replica,
            address,
            _phase: phase,
            _tasks: tasks,
        }
    }
}

struct NoNamespaces;

impl Namespaces for NoNamespaces {
    fn annotations(&self, _namespace: &str) -> Option<Map<String, Value>> {
        None
    }
}

/// How many reviews each client had answered behind which certificate.
type Seen = HashMap<(usize, CertificateDer<'static>), usize>;

/// Clients that send reviews, each on a connection of its own, to one replica after the other.
struct Load {
    seen: watch::Receiver<Seen>,
    failures: Arc<Mutex<Vec<String>>>,
    _clients: JoinSet<()>,
}

impl Load {
    fn start(server: &ApiServer, addresses: &[SocketAddr]) -> Self {
        let seen = Arc::new(watch::Sender::new(Seen::new()));
        let failures = Arc::<Mutex<Vec<String>>>::default();
        let mut clients = JoinSet::new();
        for client in 0..CLIENTS {
            let (seen, failures) = (Arc::clone(&seen), Arc::clone(&failures));
            let (store, addresses) = (Arc::clone(&server.store), addresses.to_vec());
            clients.spawn(async move {
                for address in addresses.iter().cycle() {
                    match one(&store, *address).await {
                        Ok(leaf) => seen.send_modify(|seen| {
                            *seen.entry((client, leaf)).or_default() += 1;
                        }),
                        Err(error) => failures.lock().unwrap().push(error.to_string()),
                    }
                }
            });
        }
        Self {
            seen: seen.subscribe(),
            failures,
            _clients: clients,
        }
    }

    async fn until_each_client_saw(&self, leaf: &CertificateDer<'static>, count: usize) {
        let mut seen = self.seen.clone();
        let enough = |seen: &Seen| {
            (0..CLIENTS).all(|client| {
                seen.get(&(client, leaf.clone()))
                    .is_some_and(|reviews| *reviews >= count)
            })
        };
        let reached = tokio::time::timeout(DEADLINE, seen.wait_for(enough))
            .await
            .is_ok();
        assert!(
            reached,
            "reviews stopped: {:#?}",
            self.failures.lock().unwrap()
        );
    }
}

pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// One review on a connection of its own; returns the certificate that was shown.
async fn one(store: &Store, address: SocketAddr) -> Result<CertificateDer<'static>, Failure> {
    let (mut sender, leaf) = connect(store, address).await?;
    review(&mut sender).await?;
    Ok(leaf)
}

pub(crate) type Sender = (SendRequest<Full<Bytes>>, JoinSet<()>);

/// Connects as the API server would at this moment.
pub(crate) async fn connect(
    store: &Store,
    address: SocketAddr,
) -> Result<(Sender, CertificateDer<'static>), Failure> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(bundles(store).remove(1));
    let config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(policy().names[0].clone())?;
    let stream = TcpStream::connect(address).await?;
    let tls = TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await?;
    let leaf = tls
        .get_ref()
        .1
        .peer_certificates()
        .ok_or("no certificate")?[0]
        .clone();
    let (sender, connection) = http1::handshake(TokioIo::new(tls)).await?;
    let mut driver = JoinSet::new();
    driver.spawn(async { drop(connection.await) });
    Ok(((sender, driver), leaf.into_owned()))
}

/// Sends a review and expects an answer to it.
async fn review(sender: &mut Sender) -> Result<(), Failure> {
    let answer = answer(sender, Bytes::from_static(REVIEW)).await?;
    let sent: Value = serde_json::from_slice(REVIEW)?;
    if answer["response"]["uid"] == sent["request"]["uid"] {
        return Ok(());
    }
    Err(format!("another answer: {answer}").into())
}

pub(crate) async fn answer(
    (sender, _driver): &mut Sender,
    review: Bytes,
) -> Result<Value, Failure> {
    let request = Request::post("/mutate")
        .header("host", "mtls-injector")
        .header("content-type", "application/json")
        .body(Full::new(review))?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    if status != StatusCode::OK {
        return Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into());
    }
    Ok(serde_json::from_slice(&body)?)
}
