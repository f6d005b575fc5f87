//! What the cluster around us adds to the server. In: how to reach the API server and how our
//! objects are called. Out: namespaces, Events and the certificate's life, as tasks that run beside
//! the server.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use anyhow::anyhow;
use arc_swap::ArcSwap;
use clap::Args;
use serde_json::Value;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::beside::Beside;
use super::certificate::Issuer;
use super::lookups::{Cached, ClusterNamespaces};
use crate::admit::Admission;
use crate::admit::ending::ended;
use crate::admit::refresh::{self, refresh};
use crate::cli::Failure;
use crate::cluster::acceptance::Acceptance;
use crate::cluster::annotating::Wanted;
use crate::cluster::certificates::Keeping;
use crate::cluster::certificates::authority::Anchor;
use crate::cluster::certificates::stored::CertificatePolicy;
use crate::cluster::client::{Access, Cluster, Pace};
use crate::cluster::events::{Events, Fate, Occasion, Owner};
use crate::cluster::istio::IstioCache;
use crate::cluster::jobs::JobEnder;
use crate::cluster::life::{Shown, WebhookLife};
use crate::cluster::metrics::ClusterMetrics;
use crate::cluster::namespaces::Namespaces as Cache;
use crate::cluster::pods::PodRefresher;
use crate::cluster::secrets::Secrets;
use crate::cluster::serving::Judge;
use crate::cluster::version::{ServerVersion, server_version};
use crate::config::{ClusterVersion, Config, NativeSidecars};
use crate::decision::Decision;
use crate::metrics::Metrics;
use crate::readiness::{NotReady, Readiness};
use crate::server::Webhook;
use crate::tls::{ServedCertificate, provider};

/// Readiness waits for the first listing of namespaces no longer than this: without them the
/// annotations of pods still count.
const LISTING_PATIENCE: Duration = Duration::from_secs(10);

const ACCEPTANCE: &str = "the API server to trust the certificate";

/// How the API server is reached, and how our own objects are called.
#[derive(Args, Debug)]
#[command(next_help_heading = "Cluster")]
pub(super) struct ClusterArguments {
    /// How to reach the API server; without it the pod's service account, and outside of a pod no
    /// API server at all
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig, if not its current one
    #[arg(long, value_name = "NAME", requires = "kubeconfig")]
    context: Option<String>,
    /// Our own namespace, if not that of the service account or context
    #[arg(long, value_name = "NAME")]
    namespace: Option<String>,
    /// The Service through which the API server calls us
    #[arg(long, value_name = "NAME", default_value = "mtls-injector")]
    service_name: String,
    /// The MutatingWebhookConfiguration that names us
    #[arg(long, value_name = "NAME", default_value = "mtls-injector")]
    webhook_configuration: String,
    /// The Secret in which the replicas share their certificates (certificate mode self)
    #[arg(long, value_name = "NAME", default_value = "mtls-injector-tls")]
    tls_secret: String,
    /// Bring running pods up to date when the defaults of their namespace change; needs to get, list
    /// and patch pods
    #[arg(long)]
    update_running_pods: bool,
    /// End the proxies of Jobs when their application has ended, where they are no native sidecars;
    /// needs to get, list, watch and patch pods
    #[arg(long)]
    end_jobs: bool,
    /// Warn of Secrets that are missing or lack a key that the proxy needs; needs to get Secrets
    #[arg(long)]
    check_secrets: bool,
}

impl ClusterArguments {
    /// Prepares the connection; `None` outside of a cluster, where only files hold a certificate.
    pub(super) async fn connect(
        self,
        issuer: Issuer,
    ) -> Result<Option<Arc<Surroundings>>, Failure> {
        let kubeconfig = self.kubeconfig.map(|path| Access::Kubeconfig {
            path: Some(path),
            context: self.context,
        });
        let Some(access) = kubeconfig.or_else(Access::in_cluster) else {
            return match issuer {
                Issuer::Files => Ok(None),
                Issuer::Ourselves => Err(nowhere()),
            };
        };
        let connected = Cluster::connect(&access, Pace::default()).await;
        let cluster = connected.map_err(|error| Failure::Usage(error.into()))?;
        let namespace = self
            .namespace
            .unwrap_or_else(|| cluster.namespace().to_owned());
        Ok(Some(Arc::new(Surroundings {
            namespace,
            service: self.service_name,
            configuration: self.webhook_configuration,
            secret: self.tls_secret,
            update_running_pods: self.update_running_pods,
            end_jobs: self.end_jobs,
            check_secrets: self.check_secrets,
            version: OnceLock::new(),
            cluster,
        })))
    }
}

fn nowhere() -> Failure {
    Failure::Usage(anyhow!(
        "there is no API server to share a certificate through: run in a pod, name a --kubeconfig, \
         or bring a certificate with --cert-file and --key-file"
    ))
}

/// A cluster that can be asked.
pub(super) struct Surroundings {
    cluster: Cluster,
    namespace: String,
    service: String,
    configuration: String,
    secret: String,
    update_running_pods: bool,
    end_jobs: bool,
    check_secrets: bool,
    version: OnceLock<ClusterVersion>,
}

impl Surroundings {
    /// Completes the settings with what the cluster tells: its version, and our own namespace.
    pub(super) fn complete(&self, mut config: Config) -> Config {
        config
            .own_namespace
            .get_or_insert_with(|| self.namespace.clone());
        config.ends_jobs = self.end_jobs;
        if let NativeSidecars::Auto(known) = &mut config.native_sidecars {
            *known = self.version.get().copied();
        }
        config
    }

    /// Waits for the cluster's version, which [`Surroundings::complete`] uses from then on.
    pub(super) async fn learn_version(&self, stop: &CancellationToken) {
        if let Some(ServerVersion { major, minor }) = server_version(&self.cluster, stop).await {
            // It is asked for once, so nothing is there yet.
            let _ = self.version.set(ClusterVersion { major, minor });
        }
    }

    /// Starts everything that runs beside the server, and makes the webhook that uses it.
    pub(super) fn attach(
        &self,
        issuer: Issuer,
        config: Arc<ArcSwap<Config>>,
        beside: &mut Beside,
    ) -> Webhook {
        let istio = self.follow_istio(beside);
        let Beside {
            metrics,
            readiness,
            served,
            stop,
            tasks,
        } = beside;
        let own = ClusterMetrics::new(metrics.registry()).expect("each metric is registered once");
        let life = self.life(issuer, served, &own);
        if issuer == Issuer::Ourselves {
            tasks.spawn(measure_expiry(life.shown(), Arc::clone(metrics)));
        }
        let guard = readiness.wait_for(ACCEPTANCE);
        tasks.spawn(delay_until_accepted(
            life.acceptance(),
            readiness.clone(),
            guard,
        ));
        tasks.spawn(life.run(stop.clone()));
        let (cache, mut watch) = Cache::new(&self.cluster);
        if self.update_running_pods {
            let known = Cached {
                cache: cache.clone(),
                istio: istio.clone(),
            };
            let refresh = refresher(Arc::clone(&config), known);
            let refresher = PodRefresher::new(&self.cluster, watch.changed(), refresh, &own);
            tasks.spawn(refresher.run(stop.clone()));
        }
        self.end_jobs(&own, tasks, stop);
        tasks.spawn(watch.run(stop.clone()));
        tasks.spawn(delay_until_listed(
            cache.clone(),
            readiness.wait_for("the namespaces"),
        ));
        let (events, publisher) = Events::new(&self.cluster, None, &own);
        tasks.spawn(publisher.run(stop.clone()));
        let namespaces = ClusterNamespaces {
            cache,
            istio,
            secrets: self.check_secrets.then(|| Secrets::new(&self.cluster)),
            runtime: Handle::current(),
        };
        Webhook::new(config, Arc::new(namespaces), Arc::clone(metrics)).telling(move |admission| {
            if let Some(occasion) = occasion(admission) {
                events.record(occasion);
            }
        })
    }

    fn end_jobs(
        &self,
        metrics: &ClusterMetrics,
        tasks: &mut JoinSet<()>,
        stop: &CancellationToken,
    ) {
        if self.end_jobs {
            let wanted = Box::new(|_namespace: &str, pod: &Value| ended(pod));
            let ender = JobEnder::new(&self.cluster, wanted, metrics);
            tasks.spawn(ender.run(stop.clone()));
        }
    }

    fn follow_istio(&self, beside: &mut Beside) -> IstioCache {
        let (istio, watch) = IstioCache::new(&self.cluster);
        beside.tasks.spawn(watch.run(beside.stop.clone()));
        let guard = beside.readiness.wait_for("Istio's resources");
        let listed = delay_until_istio_is_listed(istio.clone(), guard);
        beside.tasks.spawn(listed);
        istio
    }

    fn life(
        &self,
        issuer: Issuer,
        served: &ServedCertificate,
        metrics: &ClusterMetrics,
    ) -> WebhookLife {
        let keeping = Keeping {
            namespace: self.namespace.clone(),
            secret: self.secret.clone(),
            policy: CertificatePolicy::for_service(&self.service, &self.namespace),
            provider: provider(),
            clock: Arc::new(SystemTime::now),
        };
        let (cluster, configuration) = (&self.cluster, &self.configuration);
        match issuer {
            Issuer::Ourselves => {
                let shown = served.sender();
                WebhookLife::with_own_certificates(cluster, keeping, shown, configuration, metrics)
            }
            Issuer::Files => {
                let judge = Judge::of(&keeping);
                let shown = served.followed();
                WebhookLife::with_mounted_certificate(cluster, shown, judge, configuration, metrics)
            }
        }
    }
}

/// Tells when each certificate that is served expires.
async fn measure_expiry(mut shown: Shown, metrics: Arc<Metrics>) {
    while shown.changed().await.is_ok() {
        let leaf = shown
            .borrow_and_update()
            .as_ref()
            .and_then(|shown| shown.cert.first().cloned());
        if let Some(Ok(anchor)) = leaf.map(Anchor::of) {
            let since = anchor
                .validity
                .not_after
                .duration_since(SystemTime::UNIX_EPOCH);
            let seconds = since.unwrap_or_default().as_secs();
            metrics.set_certificate_not_after(i64::try_from(seconds).unwrap_or(i64::MAX));
        }
    }
}

/// Is unready whenever the API server would refuse what we serve. It begins with the guard, so that
/// there is no moment of readiness before the task runs.
async fn delay_until_accepted(
    mut acceptance: watch::Receiver<Acceptance>,
    readiness: Readiness,
    guard: NotReady,
) {
    let mut waiting = Some(guard);
    loop {
        if acceptance.borrow_and_update().is_accepted() {
            waiting = None;
        } else if waiting.is_none() {
            waiting = Some(readiness.wait_for(ACCEPTANCE));
        }
        if acceptance.changed().await.is_err() {
            return;
        }
    }
}

async fn delay_until_listed(namespaces: Cache, _guard: NotReady) {
    if timeout(LISTING_PATIENCE, namespaces.ready()).await.is_err() {
        warn!("namespaces not listed; only the annotations of pods count until they are");
    }
}

/// Decides about running pods with the settings and defaults of the moment.
fn refresher(config: Arc<ArcSwap<Config>>, known: Cached) -> Wanted {
    Box::new(move |namespace, pod| {
        // Without Istio's resources a pod would lose what they gave it.
        if !known.istio.is_listed() {
            return None;
        }
        match refresh(&config.load(), &known, namespace, pod) {
            refresh::Refresh::Annotate(annotations) => Some(annotations),
            refresh::Refresh::NewPod(fixed) => {
                debug!(
                    namespace,
                    reason = %fixed,
                    "running pod needs to be replaced to follow its namespace"
                );
                None
            }
            refresh::Refresh::Foreign | refresh::Refresh::Current => None,
        }
    })
}

async fn delay_until_istio_is_listed(istio: IstioCache, _guard: NotReady) {
    if timeout(LISTING_PATIENCE, istio.ready()).await.is_err() {
        warn!("Istio's resources not listed; pods are injected without them until they are");
    }
}

/// What an admission gives occasion to tell; nothing on a dry run.
pub(super) fn occasion(admission: &Admission) -> Option<Occasion> {
    let fate = match &admission.decision {
        Decision::Deny(_) => Fate::Denied,
        Decision::Skip(reason) if admission.asked && reason.surprises() => Fate::Skipped,
        Decision::Skip(_) | Decision::Inject => return None,
    };
    let owner = admission.owner.as_ref().filter(|_| !admission.dry_run)?;
    Some(Occasion {
        namespace: admission.namespace.clone(),
        owner: Owner {
            api_version: owner.api_version.clone(),
            kind: owner.kind.clone(),
            name: owner.name.clone(),
            uid: owner.uid.clone(),
        },
        fate,
        note: admission.decision.to_string(),
    })
}
