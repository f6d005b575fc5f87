//! Findings about a cluster. In: pods and namespaces that were named. Out: whether each has the
//! proxy it should have, and whether the webhook can do its work.

use std::time::Duration;

use anyhow::{Context, anyhow};
use serde_json::Value;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Check;
use super::bundle;
use super::called::{called, labels};
use super::finding::{Finding, Verdict};
use super::lookups::Lookups;
use super::manifests::judged;
use super::target::Target;
use crate::admit::inject_pod;
use crate::admit::refresh::{Fixed, Refresh, refresh};
use crate::annotations::Key;
use crate::cli::Failure;
use crate::cluster::client::{Access, Cluster, Pace};
use crate::cluster::survey::Survey;
use crate::cluster::version::server_version;
use crate::config::{ClusterVersion, Config, NativeSidecars};
use crate::decision::{Decision, SkipReason};
use crate::review::Pod;
use crate::sidecar::Status;

/// Namespaces with this label are injected as a whole.
const LABEL: &str = "mtls-injection";

pub(super) async fn check(check: &Check, config: Config) -> Result<Vec<Finding>, Failure> {
    let access = Access::Kubeconfig {
        path: check.kubeconfig.clone(),
        context: check.context.clone(),
    };
    let cluster = Cluster::connect(&access, Pace::default()).await;
    let cluster = cluster.map_err(|error| Failure::Usage(error.into()))?;
    let survey = Survey::new(cluster.clone());
    let view = View::open(check, config, &cluster, survey).await?;
    let mut findings = vec![view.about_webhook()];
    for target in &check.targets {
        match target {
            Target::Pod(name) => {
                let namespace = view.namespace(&check.namespace).await?;
                let pod = view.survey.pod(&check.namespace, name).await;
                let pod = pod.map_err(anyhow::Error::from)?;
                let missing = || anyhow!("there is no pod {}/{name}", check.namespace);
                let pod = pod.ok_or_else(missing)?;
                findings.push(view.about_pod(&namespace, &pod).await);
            }
            Target::Namespace(name) => findings.extend(view.about_namespace(name).await?),
        }
    }
    Ok(findings)
}

/// What is the same for all that is looked at.
struct View {
    survey: Survey,
    lookups: Lookups,
    config: Config,
    configuration: Option<Value>,
    configuration_name: String,
    /// What is wrong with the caBundle.
    bundle: Vec<String>,
    notes: Vec<String>,
}

impl View {
    async fn open(
        check: &Check,
        config: Config,
        cluster: &Cluster,
        survey: Survey,
    ) -> anyhow::Result<Self> {
        let configuration = survey.webhook(&check.webhook_configuration).await?;
        let mut notes = Vec::new();
        let mut view = Self {
            lookups: Lookups::open(survey.clone(), &mut notes).await,
            survey,
            config,
            configuration,
            configuration_name: check.webhook_configuration.clone(),
            bundle: Vec::new(),
            notes,
        };
        let home = view.home();
        if let (Some(home), None) = (&home, &check.config) {
            view.take_settings(home).await;
        }
        if let (Some(home), Some(configuration)) = (&home, &view.configuration) {
            let secret = view.survey.secret(home, bundle::SECRET).await;
            view.bundle =
                bundle::problems(configuration, secret.as_ref().ok().and_then(Option::as_ref));
            match secret {
                Ok(Some(_)) => {}
                Ok(None) => view.notes.push(format!(
                    "there is no Secret {} to compare the caBundle with",
                    bundle::SECRET
                )),
                Err(error) => view
                    .notes
                    .push(format!("the caBundle is not compared: {error}")),
            }
        }
        view.config.own_namespace = view.config.own_namespace.take().or(home);
        view.know_version(cluster).await;
        Ok(view)
    }

    /// The injector's own namespace, as the webhook names it.
    fn home(&self) -> Option<String> {
        let webhook = self
            .configuration
            .as_ref()?
            .pointer("/webhooks/0/clientConfig/service")?;
        Some(webhook.get("namespace")?.as_str()?.to_owned())
    }

    /// Takes the injector's own settings, so that what is current there is current here.
    async fn take_settings(&mut self, home: &str) {
        let name = &self.configuration_name;
        let settings = match self.survey.config_map(home, name).await {
            Ok(Some(settings)) => settings,
            Ok(None) => return,
            Err(error) => {
                return self
                    .notes
                    .push(format!("the defaults are taken for settings: {error}"));
            }
        };
        let text = settings
            .pointer("/data/config.yaml")
            .and_then(Value::as_str);
        match Config::parse(text.unwrap_or_default()) {
            Ok(config) => self.config = config,
            Err(mistakes) => {
                let mistakes = mistakes.into_iter().map(|mistake| mistake.to_string());
                self.bundle
                    .extend(mistakes.map(|text| format!("ConfigMap {home}/{name}: {text}")));
            }
        }
    }

    async fn know_version(&mut self, cluster: &Cluster) {
        if let NativeSidecars::Auto(None) = self.config.native_sidecars {
            let stop = CancellationToken::new();
            let asked = timeout(Duration::from_secs(5), server_version(cluster, &stop));
            let version = asked.await.ok().flatten().map(|version| ClusterVersion {
                major: version.major,
                minor: version.minor,
            });
            self.config.native_sidecars = NativeSidecars::Auto(version);
        }
    }

    fn about_webhook(&self) -> Finding {
        let mut problems = self.bundle.clone();
        if self.configuration.is_none() {
            problems.push(format!(
                "there is no MutatingWebhookConfiguration {}, so no pod is injected; mtls-injector install makes one",
                self.configuration_name
            ));
        }
        Finding {
            subject: format!("MutatingWebhookConfiguration {}", self.configuration_name),
            place: None,
            capture: None,
            verdict: if problems.is_empty() {
                Verdict::Right
            } else {
                Verdict::Wrong
            },
            rule: "the API server must find the webhook and trust its certificate".to_owned(),
            problems,
            warnings: self.notes.clone(),
        }
    }

    async fn namespace(&self, name: &str) -> anyhow::Result<Value> {
        let namespace = self.survey.namespace(name).await?;
        namespace.with_context(|| format!("there is no namespace {name}"))
    }

    async fn about_namespace(&self, name: &str) -> anyhow::Result<Vec<Finding>> {
        let namespace = self.namespace(name).await?;
        let pods = self.survey.pods(name).await?;
        let label = labels(&namespace).and_then(|labels| labels.get(LABEL)?.as_str());
        let (verdict, rule) = match label {
            Some("enabled") => (Verdict::Inject, format!("it is labelled {LABEL}=enabled")),
            Some("disabled") => (Verdict::Skip, format!("it is labelled {LABEL}=disabled")),
            _ => (
                Verdict::Skip,
                format!(
                    "it is not labelled {LABEL}=enabled: only pods that ask by their label are injected"
                ),
            ),
        };
        let mut findings = vec![Finding {
            subject: format!("Namespace {name}"),
            place: None,
            capture: None,
            verdict,
            rule,
            problems: Vec::new(),
            warnings: Vec::new(),
        }];
        for pod in &pods {
            findings.push(self.about_pod(&namespace, pod).await);
        }
        Ok(findings)
    }

    async fn about_pod(&self, namespace: &Value, pod: &Value) -> Finding {
        let view = Pod::new(pod);
        let defaults = self.lookups.within(namespace);
        let outcome = inject_pod(&self.config, &defaults, view.namespace(), pod);
        let mut finding = judged(
            format!("Pod {}/{}", view.namespace(), view.name()),
            &outcome,
        );
        let called = self
            .configuration
            .as_ref()
            .map(|found| called(found, namespace, pod));
        let called = called.unwrap_or_default();
        let status = view
            .annotations()
            .and_then(|all| all.get(Key::Status.name())?.as_str());
        let status = status
            .and_then(Status::parse)
            .filter(|status| status.describes(view));
        match (&outcome.decision, status) {
            (Decision::Skip(SkipReason::AlreadyInjected), _) => {
                finding.verdict = Verdict::Current;
                finding.rule = "it has the proxy that it would get today".to_owned();
            }
            (Decision::Inject, Some(status)) => {
                let now = refresh(&self.config, &defaults, view.namespace(), pod);
                stale(&mut finding, &status, &now);
            }
            (Decision::Inject, None) => missing(&mut finding, &called),
            (Decision::Skip(_) | Decision::Deny(_), _) => {}
        }
        let flaws = self
            .lookups
            .secret_flaws(view.namespace(), &outcome.secrets);
        let (flaws, note) = flaws.await;
        finding.problems.extend(flaws);
        finding.warnings.extend(note);
        if !called.is_empty() {
            finding.rule = format!("{} (called: {})", finding.rule, called.join(", "));
        }
        finding
    }
}

fn stale(finding: &mut Finding, status: &Status, now: &Refresh) {
    finding.verdict = Verdict::Stale;
    let version = crate::sidecar::VERSION;
    let what = match now {
        Refresh::Foreign => format!(
            "it was injected by version {}, and this is {version}",
            status.version
        ),
        Refresh::NewPod(Fixed::KernelRules) => format!(
            "what it was injected with differs from what it would get today; {}",
            Fixed::KernelRules
        ),
        Refresh::NewPod(Fixed::Spec) | Refresh::Annotate(_) | Refresh::Current => {
            "what it was injected with differs from what it would get today".to_owned()
        }
    };
    finding.rule = "its proxy is not the one that it would get today".to_owned();
    finding.problems.push(format!(
        "{what}; restart its workload (kubectl rollout restart)"
    ));
}

fn missing(finding: &mut Finding, called: &[String]) {
    finding.verdict = Verdict::Missing;
    finding.problems.push(if called.is_empty() {
        format!(
            "no webhook is called for it: label its namespace {LABEL}=enabled, or the pod {}=true",
            Key::Inject.name()
        )
    } else {
        "it was made while the webhook did not answer, or before it was installed; restart its workload \
         (kubectl rollout restart)"
            .to_owned()
    });
}
