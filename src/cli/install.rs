//! `mtls-injector install`: prints every manifest of an installation. In: flags. Out: YAML for
//! `kubectl apply -f -`, the same objects as `kubectl apply -k webhook-config/overlays/…`.
//!
//! The manifests are written once, in the folder `webhook-config`, and compiled in; here they are
//! put together and set on parsed values, never as text.

mod kustomization;
mod manifests;
mod setting;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, ValueEnum};
use serde_json::Value;

use super::Failure;
use kustomization::Kustomization;
use setting::{ImageReference, NamespaceName};

/// Print the manifests of an installation
///
/// Prints YAML to stdout, to be looked at, kept in a repository or applied. A second apply changes
/// nothing; certificates that a running injector made are left alone.
#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub(super) struct Install {
    /// How a pod asks for its proxy
    #[arg(long, value_enum, default_value_t = Mode::NamespaceOptIn)]
    mode: Mode,
    /// The namespace of the injector itself
    #[arg(long, value_name = "NAME", default_value = setting::NAMESPACE)]
    namespace: NamespaceName,
    /// The image of the injector; the released one of this version by default
    #[arg(long, value_name = "IMAGE")]
    image: Option<ImageReference>,
    /// The image of the proxy that pods get; the released one of this version by default
    #[arg(long, value_name = "IMAGE")]
    proxy_image: Option<ImageReference>,
    /// The image that redirects traffic for capture redirect; beside the proxy's by default
    #[arg(long, value_name = "IMAGE")]
    init_image: Option<ImageReference>,
    /// How many injectors run side by side
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=100))]
    replicas: Option<u16>,
    /// What becomes of a pod that asked while no injector answers: Fail refuses it, Ignore lets it
    /// start without its proxy, in plaintext
    #[arg(long, value_enum, ignore_case = true)]
    failure_policy: Option<FailurePolicy>,
    /// Take the serving certificate from cert-manager, which must be installed already
    #[arg(long)]
    cert_manager: bool,
    /// Let Istio's labels ask too: istio-injection=enabled and sidecar.istio.io/inject=true
    #[arg(long)]
    istio_labels: bool,
    /// Add a policy of the API server's own that refuses a pod that asked but has no proxy
    /// (Kubernetes 1.30 and later)
    #[arg(long)]
    validating_policy: bool,
    /// Have the injector warn of a missing Secret or key; it may then read every Secret of the cluster
    #[arg(long)]
    check_secrets: bool,
    /// Have the injector bring running pods up to date when the defaults of their namespace change; it
    /// may then patch every pod of the cluster
    #[arg(long)]
    update_running_pods: bool,
    /// Have the injector end the proxies of Jobs where they are no native sidecars (Kubernetes before
    /// 1.29); it may then patch every pod of the cluster
    #[arg(long)]
    end_jobs: bool,
    /// Add scraping, alert rules and a dashboard; the Prometheus Operator must be installed already
    #[arg(long)]
    monitoring: bool,
}

const EXAMPLES: &str = "\
Examples:
  mtls-injector install | kubectl apply -f -
  mtls-injector install --mode cluster-wide --replicas 3 | kubectl diff -f -
  mtls-injector install --cert-manager --namespace platform-mtls > mtls-injector.yaml
  mtls-injector install | kubectl delete -f -

Then let a namespace take part, or a single pod by its label:
  kubectl label namespace shop mtls-injection=enabled
  mtls-injector.io/inject: \"true\"";

/// How a pod asks for its proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// By the label of its namespace (mtls-injection=enabled) or its own label
    /// (mtls-injector.io/inject="true")
    NamespaceOptIn,
    /// By a label as above or by any of our annotations, anywhere
    ClusterWide,
}

/// What the API server does with a pod when the webhook does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "PascalCase")]
enum FailurePolicy {
    Fail,
    Ignore,
}

impl FailurePolicy {
    fn label(self) -> &'static str {
        match self {
            Self::Fail => "Fail",
            Self::Ignore => "Ignore",
        }
    }
}

impl Install {
    pub(super) fn run(&self) -> Result<ExitCode, Failure> {
        let mut out = BufWriter::new(io::stdout().lock());
        let printed = self.print(&mut out).and_then(|()| out.flush());
        printed.context("failed to write to stdout")?;
        Ok(ExitCode::SUCCESS)
    }

    /// Writes the manifests as a stream of YAML documents.
    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        for object in self.objects() {
            let yaml = serde_saphyr::to_string(&object).map_err(io::Error::other)?;
            write!(out, "---\n{yaml}")?;
        }
        Ok(())
    }

    fn objects(&self) -> Vec<Value> {
        let mut objects = Vec::new();
        Kustomization::open("base").build(&mut objects);
        for component in self.components() {
            Kustomization::open(component).build(&mut objects);
        }
        self.set(&mut objects);
        // The API server begins to call a webhook at once, so it comes after all that answers it.
        objects.sort_by_key(setting::is_admission);
        objects
    }

    fn components(&self) -> impl Iterator<Item = &'static str> {
        [
            (self.mode == Mode::ClusterWide, "components/cluster-wide"),
            (self.cert_manager, "components/cert-manager"),
            (self.istio_labels, "components/istio-labels"),
            (self.validating_policy, "components/validating-policy"),
            (self.check_secrets, "components/check-secrets"),
            (self.update_running_pods, "components/update-running-pods"),
            (self.end_jobs, "components/end-jobs"),
            (self.monitoring, "components/monitoring"),
        ]
        .into_iter()
        .filter_map(|(chosen, component)| chosen.then_some(component))
    }

    fn set(&self, objects: &mut [Value]) {
        for object in objects {
            if let Some(image) = &self.image {
                setting::image(object, image);
            }
            if let Some(image) = &self.proxy_image {
                setting::configured_image(object, "proxyImage", image);
            }
            if let Some(image) = &self.init_image {
                setting::configured_image(object, "initImage", image);
            }
            if let Some(replicas) = self.replicas {
                setting::replicas(object, replicas);
            }
            if let Some(policy) = self.failure_policy {
                setting::failure_policy(object, policy.label());
            }
            setting::namespace(object, &self.namespace);
        }
    }
}
