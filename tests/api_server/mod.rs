//! A stand-in for the Kubernetes API server, in this process and over plain HTTP. It keeps any
//! object in memory and does what clients must be able to live with: resourceVersion conflicts,
//! server-side apply with field ownership, watches with bookmarks that expire with 410 Gone,
//! forbidden calls, and going away to come back on the same port.
//!
//! Followed: <https://kubernetes.io/docs/reference/using-api/api-concepts/> and
//! <https://kubernetes.io/docs/reference/using-api/server-side-apply/>.

mod apply;
mod http;
mod store;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use mtls_injector::cluster::client::{Cluster, Pace};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

pub(crate) use store::{Key, Store};

/// How long a test waits for what must happen.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A running (or stopped) stand-in. Dropping it stops it.
pub(crate) struct ApiServer {
    pub(crate) store: Arc<Store>,
    pub(crate) address: SocketAddr,
    tasks: JoinSet<()>,
}

impl ApiServer {
    /// Starts an empty cluster on a free port.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = Self {
            store: Arc::new(Store::default()),
            address,
            tasks: JoinSet::new(),
        };
        server.serve(listener);
        server
    }

    /// Goes away: the port is closed and every connection is cut. The objects stay.
    pub(crate) async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }

    /// Comes back on the same port.
    pub(crate) async fn resume(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.serve(listener);
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connects as one replica would, with pauses short enough for a test.
    pub(crate) fn connect(&self) -> Cluster {
        let uri = format!("http://{}", self.address).parse().unwrap();
        let pace = Pace {
            call_timeout: Duration::from_secs(5),
            backoff_min: Duration::from_millis(10),
            backoff_max: Duration::from_millis(200),
            resync: Duration::from_millis(100),
            settle: Duration::from_millis(200),
        };
        Cluster::with_config(kube::Config::new(uri), pace).unwrap()
    }

    /// Waits until the store satisfies a condition, looking again after every change.
    pub(crate) async fn until<T>(
        &self,
        what: &str,
        condition: impl FnMut(&Store) -> Option<T>,
    ) -> T {
        self.until_within(DEADLINE, what, condition).await
    }

    /// The same, for what may take longer.
    pub(crate) async fn until_within<T>(
        &self,
        deadline: Duration,
        what: &str,
        mut condition: impl FnMut(&Store) -> Option<T>,
    ) -> T {
        let mut changes = self.store.changes();
        let wait = async {
            loop {
                changes.borrow_and_update();
                if let Some(found) = condition(&self.store) {
                    return found;
                }
                changes.changed().await.unwrap();
            }
        };
        match tokio::time::timeout(deadline, wait).await {
            Ok(found) => found,
            Err(_) => panic!(
                "{what} did not happen; requests: {:#?}",
                self.store.requests()
            ),
        }
    }

    fn serve(&mut self, listener: TcpListener) {
        let router = http::router(Arc::clone(&self.store));
        self.tasks.spawn(async move {
            // Dropped with this task, and with it every connection.
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = TowerToHyperService::new(router.clone());
                connections.spawn(async move {
                    let server = auto::Builder::new(TokioExecutor::new());
                    // A client that hangs up is no concern of the server's.
                    let _ = server.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
    }
}

/// A MutatingWebhookConfiguration as the manifests install it: without any `caBundle`.
pub(crate) fn webhook_configuration(name: &str) -> Value {
    let webhook = |entry: &str| {
        serde_json::json!({
            "name": format!("{entry}.mtls-injector.io"),
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "failurePolicy": "Fail",
            "clientConfig": {
                "service": {"name": "mtls-injector", "namespace": "mtls-system", "path": "/mutate"}
            },
            "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"],
                       "resources": ["pods"]}],
        })
    };
    serde_json::json!({
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": "MutatingWebhookConfiguration",
        "metadata": {"name": name},
        "webhooks": [webhook("namespace"), webhook("object")],
    })
}
