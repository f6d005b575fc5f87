//! Kubelet's probes of the application, put to the proxy's admin port instead: at a redirected port
//! the proxy may ask kubelet for a certificate, and kubelet has none. In: the pod and what is
//! redirected. Out: what takes the place of each probe, and what the proxy has to ask for it.

mod question;

use mtls_proxy::config::{ADMIN_PORT, AppProbe, ProbeKind, ProbeTarget, Span};
use serde_json::{Value, json};

use self::question::Question;
use super::init::is_restartable;
use super::redirect::Captures;
use super::{Draft, Placement};
use crate::review::name_of;

/// A probe or hook for which kubelet asks the proxy instead of the application.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MovedProbe {
    /// The list of containers in the pod's `spec`.
    pub list: &'static str,
    /// Which container of the list it is.
    pub index: usize,
    /// The name of the container.
    pub container: String,
    /// Which probe of the container it is.
    pub place: ProbePlace,
    /// How the application was asked: `httpGet`, `tcpSocket` or `grpc`.
    pub field: &'static str,
    /// The value of that field.
    pub handler: Value,
    /// The `httpGet` that takes its place.
    pub http_get: Value,
}

/// A probe or a hook of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProbePlace {
    /// Its own key.
    pub key: &'static str,
    /// The keys that lead to it in the container.
    pub keys: &'static [&'static str],
    /// How its path on the admin port ends.
    end: &'static str,
}

impl ProbePlace {
    /// Everything that is moved.
    pub const ALL: [Self; 4] = [
        Self::probe(&["livenessProbe"], "livez"),
        Self::probe(&["readinessProbe"], "readyz"),
        Self::probe(&["startupProbe"], "startupz"),
        PRE_STOP,
    ];

    const fn probe(keys: &'static [&'static str; 1], end: &'static str) -> Self {
        let [key] = *keys;
        Self { key, keys, end }
    }

    const fn hook(keys: &'static [&'static str; 2], end: &'static str) -> Self {
        let [_, key] = *keys;
        Self { key, keys, end }
    }

    const fn is_hook(self) -> bool {
        self.keys.len() > 1
    }
}

const PRE_STOP: ProbePlace = ProbePlace::hook(&["lifecycle", "preStop"], "prestop");

/// Never moved. Kubelet looks at no status of a hook's answer, so a call that comes before the
/// application listens would be lost, where it now ends in an error that restarts the container.
const POST_START: ProbePlace = ProbePlace::hook(&["lifecycle", "postStart"], "poststart");

/// A container of the application, as it is looked at.
struct Asked<'a> {
    list: &'static str,
    index: usize,
    container: &'a Value,
}

impl Draft<'_> {
    /// Moves every probe of a port that is redirected, whatever the port's mode: that can be edited
    /// on a running pod, and a probe cannot.
    pub(super) fn probes(&mut self, captures: &Captures<'_>) -> (Vec<MovedProbe>, Vec<AppProbe>) {
        let pod = self.pod;
        let mut moved = Vec::new();
        for list in ["initContainers", "containers"] {
            let containers = pod.list(list).iter().enumerate();
            for (index, container) in containers {
                if list == "initContainers" && !is_restartable(container) {
                    continue;
                }
                let asked = Asked {
                    list,
                    index,
                    container,
                };
                self.refuse_post_start(captures, &asked);
                for place in ProbePlace::ALL {
                    moved.extend(self.moved(captures, &asked, place));
                }
            }
        }
        moved.into_iter().unzip()
    }

    fn moved(
        &mut self,
        captures: &Captures<'_>,
        asked: &Asked<'_>,
        place: ProbePlace,
    ) -> Option<(MovedProbe, AppProbe)> {
        let question = Question::of(asked.container, place.keys)?;
        let container = name_of(asked.container);
        if !captures.take(question.port) {
            return None;
        }
        let what = format!("container {container:?}: {}.{}", place.key, question.field);
        if let Some(host) = question.host() {
            self.warnings.push(format!(
                "{what}.host is {host:?}, so it is not asked through the proxy; leave it out, and kubelet asks the pod itself"
            ));
            return None;
        }
        if place.is_hook() && self.placement() != Placement::Native {
            self.warn_of_hook(captures, &question, &what);
            return None;
        }
        let path = format!("{}{container}/{}", AppProbe::PREFIX, place.end);
        let Some(probe) = self.app_probe(captures, &question, place, &path) else {
            self.warnings.push(format!(
                "{what} has a path that cannot be passed on, so kubelet asks port {} itself, where it shows no certificate",
                question.port
            ));
            return None;
        };
        let moved = MovedProbe {
            list: asked.list,
            index: asked.index,
            container: container.to_owned(),
            place,
            field: question.field,
            handler: question.handler.clone(),
            http_get: question.http_get(&path),
        };
        Some((moved, probe))
    }

    /// Puts together what the proxy has to ask.
    fn app_probe(
        &self,
        captures: &Captures<'_>,
        question: &Question<'_>,
        place: ProbePlace,
        path: &str,
    ) -> Option<AppProbe> {
        // Nothing of the application listens where only the proxy speaks TLS.
        let (port, kind) = match captures.behind(question.port) {
            Some(port) if question.kind == ProbeKind::Https => (port, ProbeKind::Http),
            Some(port) => (port, question.kind),
            None => (question.port, question.kind),
        };
        let target = match kind {
            ProbeKind::Http | ProbeKind::Https => Some(question.target()?),
            ProbeKind::Tcp | ProbeKind::Grpc => None,
        };
        let seconds = if place.is_hook() {
            self.pod.grace_period()
        } else {
            question.timeout_seconds
        };
        Some(AppProbe {
            path: path.parse().ok()?,
            kind,
            port,
            target,
            service: question.service(),
            // Kubelet gives up by its own clock; no probe may hold the proxy longer than a day.
            timeout: Span::from_secs(seconds.clamp(1, 24 * 3600)),
        })
    }

    /// A classic proxy is told to end together with the application, so it may be gone before the
    /// hook is called.
    fn warn_of_hook(&mut self, captures: &Captures<'_>, question: &Question<'_>, what: &str) {
        if captures.guard(question.port) {
            self.warnings.push(format!(
                "{what} calls port {}, where kubelet has no certificate to show; use a native proxy, or exec",
                question.port
            ));
        }
    }

    fn refuse_post_start(&mut self, captures: &Captures<'_>, asked: &Asked<'_>) {
        let Some(question) = Question::of(asked.container, POST_START.keys) else {
            return;
        };
        if question.host().is_none() && captures.guard(question.port) {
            let path = format!(
                "spec.{}[{}].lifecycle.postStart.httpGet",
                asked.list, asked.index
            );
            let reason = format!(
                "calls port {}, where kubelet has no certificate to show, so container {:?} would never start; use exec",
                question.port,
                name_of(asked.container)
            );
            self.mistakes.add(&path, None, &reason);
        }
    }
}

impl Question<'_> {
    /// The request that kubelet sends to the proxy instead, with the headers of its own.
    fn http_get(&self, path: &str) -> Value {
        let is_http = matches!(self.kind, ProbeKind::Http | ProbeKind::Https);
        let mut request = if is_http {
            self.handler.clone()
        } else {
            json!({})
        };
        if let Some(request) = request.as_object_mut() {
            request.insert("path".to_owned(), path.into());
            request.insert("port".to_owned(), ADMIN_PORT.into());
            if request.contains_key("scheme") {
                request.insert("scheme".to_owned(), "HTTP".into());
            }
        }
        request
    }

    /// What is asked for, as kubelet reads it: a path without its first slash is as good.
    fn target(&self) -> Option<ProbeTarget> {
        let path = self.handler.get("path").and_then(Value::as_str);
        let path = path.unwrap_or_default();
        let slash = if path.starts_with('/') { "" } else { "/" };
        format!("{slash}{path}").parse().ok()
    }

    fn service(&self) -> Option<String> {
        let service = self.handler.get("service").and_then(Value::as_str);
        let service = service.filter(|service| !service.is_empty() && self.kind == ProbeKind::Grpc);
        service.map(str::to_owned)
    }
}
