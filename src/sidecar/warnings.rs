//! What works otherwise than its author may think. In: the finished configuration. Out: one sentence
//! each, short enough for a `Warning` header.

use std::path::Path;

use mtls_proxy::config::{self as proxy, InboundMode};
use serde_json::Value;

use super::volumes::Volumes;
use super::{Draft, Placement};
use crate::review::name_of;

impl Draft<'_> {
    pub(super) fn warn(&mut self, config: &proxy::Config, volumes: &Volumes) {
        self.warn_of_idleness(config);
        match &config.redirect {
            Some(redirect) => self.warn_of_ways_around(&redirect.outbound, config),
            None => self.warn_of_plaintext(config),
        }
        self.warn_of_unverified(config);
        self.warn_of_missing_files(config, volumes);
        self.warn_of_unreadable(volumes);
        self.warn_of_endless_job();
    }

    fn warn_of_idleness(&mut self, config: &proxy::Config) {
        if config.egress.is_empty() && config.inbound.is_empty() {
            self.warnings.push(
                "the proxy has nothing to do: neither mtls-injector.io/egress nor mtls-injector.io/inbound is set"
                    .to_owned(),
            );
        }
    }

    fn warn_of_plaintext(&mut self, config: &proxy::Config) {
        let ports = config.inbound.iter();
        let guarded = ports.filter(|port| port.mode != InboundMode::Disable);
        let targets: Vec<_> = guarded.map(|port| port.target_port.to_string()).collect();
        if !targets.is_empty() {
            self.warnings.push(format!(
                "the application's own port {} stays reachable in plaintext from other pods unless it listens on 127.0.0.1 only",
                targets.join(", ")
            ));
        }
    }

    fn warn_of_unverified(&mut self, config: &proxy::Config) {
        let routes = config.egress.iter().enumerate();
        for (index, _) in routes.filter(|(_, route)| route.tls.insecure_skip_verify) {
            self.warnings.push(format!(
                "{}[{index}].tls.insecureSkipVerify: anyone can pose as this host",
                self.wishes.egress.path
            ));
        }
    }

    fn warn_of_missing_files(&mut self, config: &proxy::Config, volumes: &Volumes) {
        let egress = config.egress.iter().map(|route| route.tls.material());
        let inbound = config.inbound.iter().map(|port| port.tls.material());
        let mut missing: Vec<String> = Vec::new();
        for material in egress.chain(inbound) {
            let store = material.key_store.map(|store| store.file);
            let files = [
                material.certificate,
                material.key,
                material.ca,
                material.crl,
                store,
            ];
            for file in files.into_iter().flatten() {
                let file = file.display().to_string();
                if !volumes.cover(&file) && !missing.contains(&file) {
                    missing.push(file);
                }
            }
        }
        for file in missing {
            let directory = Path::new(&file).parent().unwrap_or_else(|| Path::new("/"));
            self.warnings.push(format!(
                "nothing is mounted at {} for the proxy, so {file} will be missing",
                directory.display()
            ));
        }
    }

    /// Kubelet gives the files of a Secret to root. With an `fsGroup` it gives them to that group, to
    /// which every container of the pod belongs, and lets it read.
    fn warn_of_unreadable(&mut self, volumes: &Volumes) {
        let group = self.pod.at(&["spec", "securityContext", "fsGroup"]);
        if group.is_some() || self.config.proxy_user.is_none_or(|user| user == 0) {
            return;
        }
        let in_pod = self.pod.list("volumes").iter();
        for volume in in_pod.chain(&volumes.added) {
            let name = name_of(volume);
            let mounted = volumes.mounts.iter().any(|mount| name_of(mount) == name);
            if mounted && let Some(mode) = unreadable_mode(volume) {
                self.warnings.push(format!(
                    "volume {name}: files of mode {mode:04o} cannot be read by the proxy's user; use 0444, or set an fsGroup"
                ));
            }
        }
    }

    fn warn_of_endless_job(&mut self) {
        let classic = self.placement() != Placement::Native;
        if self.pod.runs_to_completion() && classic && !self.config.ends_jobs {
            self.warnings.push(
                "a classic proxy outlives the application: use a native one (mtls-injector.io/nativeSidecar: \"true\", Kubernetes 1.29), run the injector with --end-jobs, or let the application POST to http://127.0.0.1:15000/quitquitquit at its end"
                    .to_owned(),
            );
        }
    }
}

/// Returns a mode of the volume's files that keeps everyone but owner and group from reading.
fn unreadable_mode(volume: &Value) -> Option<u64> {
    let source = volume.get("secret").or_else(|| volume.get("projected"))?;
    let modes = source.get("items").and_then(Value::as_array);
    let modes = modes.into_iter().flatten().map(|item| item.get("mode"));
    let mut modes = modes.chain([source.get("defaultMode")]).flatten();
    modes.find_map(|mode| mode.as_u64().filter(|mode| mode & 0o004 == 0))
}
