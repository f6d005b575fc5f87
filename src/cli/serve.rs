//! `mtls-injector serve`: the admission webhook. In: addresses, certificate files, a configuration
//! file. Out: a running server, until a signal ends it.

mod beside;
mod certificate;
mod lookups;
mod settings;
mod surroundings;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context;
use clap::{Args, ValueEnum};
use mtls_proxy::config::{LogLevel, Span};
use serde_json::{Map, Value};
use tracing::info;

use self::beside::Beside;
use self::certificate::CertificateArguments;
use self::settings::Settings;
use self::surroundings::ClusterArguments;
use super::Failure;
use crate::admit::Namespaces;
use crate::server::{Listeners, Pace, Server, Shutdown, Signals, Webhook};
use crate::telemetry::{LogFormat, log_to_stderr};

/// Serve the admission webhook over HTTPS
///
/// Answers POST /mutate (admission.k8s.io/v1) on the webhook port, and /livez, /readyz and /metrics
/// over plain HTTP on the admin port. Certificate, key and configuration are read again when their
/// files change. SIGTERM ends it without losing a request; a second one ends it at once.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  # What the Deployment runs: certificates and caBundle are kept by the replicas themselves
  mtls-injector serve --config /etc/mtls-injector/config.yaml

  # With a certificate that somebody else keeps in a mounted Secret
  mtls-injector serve --cert-file /etc/webhook/tls.crt --key-file /etc/webhook/tls.key

  # On your own machine
  mtls-injector serve --listen 127.0.0.1:8443 --admin-listen 127.0.0.1:9090 \\
    --cert-file server.crt --key-file server.key --log-format text
  curl --cacert ca.crt -H 'Content-Type: application/json' -d @review.json https://localhost:8443/mutate")]
pub(super) struct Serve {
    /// Where the API server calls, HTTPS
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8443")]
    listen: SocketAddr,
    /// Where kubelet and Prometheus call, HTTP
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:9090")]
    admin_listen: SocketAddr,
    /// The platform's settings, YAML; the defaults without it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How a log line is written
    #[arg(long, value_enum, value_name = "FORMAT", default_value = "json")]
    log_format: Format,
    /// The least severe events that are logged: trace, debug, info, warning, error, off
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    log_level: LogLevel,
    /// How long after SIGTERM requests are still accepted: as long as a cluster takes to notice
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    shutdown_delay: Span,
    /// How long after that requests in flight may take
    #[arg(long, value_name = "DURATION", default_value = "20s")]
    shutdown_deadline: Span,
    #[command(flatten)]
    certificate: CertificateArguments,
    #[command(flatten)]
    cluster: ClusterArguments,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Json,
    Text,
}

impl From<Format> for LogFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Json => Self::Json,
            Format::Text => Self::Text,
        }
    }
}

impl Serve {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        log_to_stderr(self.log_format.into(), self.log_level);
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build();
        let runtime = runtime.context("failed to start threads")?;
        runtime.block_on(self.serve())?;
        Ok(ExitCode::SUCCESS)
    }

    async fn serve(self) -> Result<(), Failure> {
        let signals = Signals::listen().context("failed to handle signals")?;
        let mut beside = Beside::default();
        let starting = beside.readiness.wait_for("the listeners");
        let tls = self.certificate.tls(&mut beside)?;
        let certificate = self.certificate.open(&beside)?;
        let around = self.cluster.connect(certificate.issuer()).await?;
        let settings = Settings::open(self.config, around.clone(), &beside)?;
        let listeners = Listeners::bind(self.listen, self.admin_listen).await;
        let listeners = listeners.map_err(anyhow::Error::from)?;
        announce(&listeners)?;
        let config = settings.current();
        let webhook = match around {
            Some(around) => around.attach(certificate.issuer(), config, &mut beside),
            None => Webhook::new(config, Arc::new(Unknown), Arc::clone(&beside.metrics)),
        };
        beside.tasks.spawn(certificate.follow(beside.stop.clone()));
        beside.tasks.spawn(settings.follow(beside.stop.clone()));
        let server = Server {
            webhook,
            tls: Arc::new(tls),
            readiness: beside.readiness.clone(),
        };
        let pace = Pace {
            delay: self.shutdown_delay.get(),
            deadline: self.shutdown_deadline.get(),
        };
        let (phase, shutdown) = Shutdown::new();
        drop(starting);
        let served = tokio::select! {
            served = server.run(listeners, shutdown) => served,
            () = keep(signals.drive(phase, beside.readiness.clone(), pace)) => Ok(()),
        };
        served.map_err(anyhow::Error::from)?;
        info!("stopped");
        Ok(())
    }
}

/// Runs something beside the server: it may end, the server decides when all ends.
async fn keep(beside: impl Future<Output = ()>) {
    beside.await;
    std::future::pending::<()>().await;
}

fn announce(listeners: &Listeners) -> Result<(), Failure> {
    let webhook = listeners.webhook.local_addr();
    let admin = listeners.admin.local_addr();
    let (webhook, admin) = webhook
        .and_then(|webhook| Ok((webhook, admin?)))
        .context("no address")?;
    info!(webhook.address = %webhook, admin.address = %admin, "listening");
    Ok(())
}

/// Without a cluster, no namespace is known.
struct Unknown;

impl Namespaces for Unknown {
    fn annotations(&self, _namespace: &str) -> Option<Map<String, Value>> {
        None
    }
}
