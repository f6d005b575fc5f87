//! One replica of the injector, as far as its certificates go, and what is true of a cluster.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use mtls_injector::cluster::acceptance::Acceptance;
use mtls_injector::cluster::certificates::Keeping;
use mtls_injector::cluster::certificates::stored::CertificatePolicy;
use mtls_injector::cluster::life::{Shown, WebhookLife};
use mtls_injector::cluster::metrics::ClusterMetrics;
use prometheus::{Encoder, Registry, TextEncoder};
use rustls::crypto::CryptoProvider;
use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::api_server::{ApiServer, DEADLINE, Key, Store, webhook_configuration};

pub(crate) const NAMESPACE: &str = "mtls-system";
pub(crate) const CONFIGURATION: &str = "mtls-injector";
pub(crate) const HOUR: Duration = Duration::from_secs(60 * 60);
pub(crate) const DAY: Duration = Duration::from_secs(24 * 60 * 60);

pub(crate) fn secret() -> Key {
    Key::new("secrets", NAMESPACE, "mtls-injector-tls")
}

pub(crate) fn configuration() -> Key {
    Key::new("mutatingwebhookconfigurations", "", CONFIGURATION)
}

pub(crate) fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

/// A cluster in which the manifests have just been applied.
pub(crate) async fn installed() -> ApiServer {
    let server = ApiServer::start().await;
    let object = webhook_configuration(CONFIGURATION);
    server
        .store
        .apply(&configuration(), &object, "kustomize-controller", false)
        .unwrap();
    server
}

/// A clock that moves only when told to.
#[derive(Clone)]
pub(crate) struct TestClock(Arc<Mutex<SystemTime>>);

impl TestClock {
    pub(crate) fn at(time: SystemTime) -> Self {
        Self(Arc::new(Mutex::new(time)))
    }

    pub(crate) fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }

    pub(crate) fn now(&self) -> SystemTime {
        *self.0.lock().unwrap()
    }
}

impl Default for TestClock {
    fn default() -> Self {
        Self::at(SystemTime::now())
    }
}

pub(crate) fn policy() -> CertificatePolicy {
    CertificatePolicy::for_service("mtls-injector", NAMESPACE)
}

/// Leaf and CA of one life, so that an old leaf is still valid when the CA is replaced.
pub(crate) fn long_lived() -> CertificatePolicy {
    let policy = policy();
    CertificatePolicy {
        leaf_life: policy.ca_life,
        ..policy
    }
}

/// A running replica; dropping it stops it.
pub(crate) struct Replica {
    pub(crate) shown: Shown,
    pub(crate) acceptance: watch::Receiver<Acceptance>,
    registry: Registry,
    _tasks: JoinSet<()>,
    _stop: DropGuard,
}

impl Replica {
    pub(crate) fn start(server: &ApiServer, clock: &TestClock, policy: CertificatePolicy) -> Self {
        Self::serving(server, clock, policy, watch::Sender::new(None))
    }

    /// Starts one whose certificates this listener shows.
    pub(crate) fn serving(
        server: &ApiServer,
        clock: &TestClock,
        policy: CertificatePolicy,
        listener: watch::Sender<Option<Arc<CertifiedKey>>>,
    ) -> Self {
        let registry = Registry::new();
        let metrics = ClusterMetrics::new(&registry).unwrap();
        let clock = clock.clone();
        let keeping = Keeping {
            namespace: NAMESPACE.to_owned(),
            secret: secret().name,
            policy,
            provider: provider(),
            clock: Arc::new(move || clock.now()),
        };
        let cluster = server.connect();
        let life = WebhookLife::with_own_certificates(
            &cluster,
            keeping,
            listener,
            CONFIGURATION,
            &metrics,
        );
        let (shown, acceptance) = (life.shown(), life.acceptance());
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn(life.run(stop.clone()));
        Self {
            shown,
            acceptance,
            registry,
            _tasks: tasks,
            _stop: stop.drop_guard(),
        }
    }

    /// Waits until the API server accepts what this replica shows.
    pub(crate) async fn accepted(&mut self) {
        self.acceptance_is("accepted").await;
    }

    pub(crate) async fn acceptance_is(&mut self, label: &str) {
        let wait = self
            .acceptance
            .wait_for(|acceptance| acceptance.label() == label);
        let reached = tokio::time::timeout(DEADLINE, wait).await.is_ok();
        assert!(reached, "not {label} but: {}", *self.acceptance.borrow());
    }

    /// Waits until this replica shows something else than before.
    pub(crate) async fn shows_another(&mut self, before: &CertificateDer<'static>) {
        let wait = self
            .shown
            .wait_for(|shown| shown.as_ref().is_some_and(|shown| shown.cert[0] != *before));
        tokio::time::timeout(DEADLINE, wait)
            .await
            .expect("another certificate")
            .unwrap();
    }

    pub(crate) fn leaf(&self) -> CertificateDer<'static> {
        self.shown.borrow().as_ref().expect("a certificate").cert[0].clone()
    }

    /// The metrics as Prometheus scrapes them.
    pub(crate) fn metrics(&self) -> String {
        let mut text = Vec::new();
        TextEncoder::new()
            .encode(&self.registry.gather(), &mut text)
            .unwrap();
        String::from_utf8(text).unwrap()
    }
}

/// The CAs of each webhook, in the order of the webhooks.
pub(crate) fn bundles(store: &Store) -> Vec<Vec<CertificateDer<'static>>> {
    let object = store
        .get(&configuration())
        .expect("the webhook is installed");
    let webhooks = object["webhooks"].as_array().unwrap();
    webhooks
        .iter()
        .map(|webhook| certificates(&webhook["clientConfig"]["caBundle"]))
        .collect()
}

/// Whether every webhook trusts exactly so many CAs.
pub(crate) fn each_bundle_has(store: &Store, count: usize) -> bool {
    bundles(store).iter().all(|bundle| bundle.len() == count)
}

/// The signing CA that the Secret holds.
pub(crate) fn stored_ca(store: &Store) -> Option<CertificateDer<'static>> {
    let object = store.get(&secret())?;
    certificates(&object["data"]["ca.crt"]).pop()
}

pub(crate) fn stored_leaf(store: &Store) -> Option<CertificateDer<'static>> {
    let object = store.get(&secret())?;
    certificates(&object["data"]["tls.crt"]).pop()
}

fn certificates(base64: &Value) -> Vec<CertificateDer<'static>> {
    use base64::Engine as _;
    let Some(text) = base64.as_str() else {
        return Vec::new();
    };
    let pem = base64::engine::general_purpose::STANDARD
        .decode(text)
        .unwrap();
    CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .unwrap()
}
