//! Whether the application of a pod has ended, so that its proxy is to end, too. Pure. In: a running
//! pod. Out: the annotation that tells the proxy, when there is something to tell.
//!
//! A native sidecar is ended by the kubelet. A proxy that is an ordinary container sees nothing of the
//! others: they share no processes with it, and a socket that is gone says little. The API server
//! knows, and an annotation of the pod is a file of the proxy.

use std::collections::BTreeMap;

use mtls_proxy::config::Config;
use serde_json::Value;

use super::rules;
use crate::annotations::Key;
use crate::review::{Pod, name_of};
use crate::sidecar::{CONTAINER, VERSION};

/// Returns the annotations of a pod whose application has ended while its proxy runs on; `None` for
/// every other pod, and for one that has been told.
#[must_use]
pub fn ended(raw: &Value) -> Option<BTreeMap<String, String>> {
    let pod = Pod::new(raw);
    let status = rules::injected(pod)?;
    // A proxy of another version may not know the word.
    if status.version != VERSION || status.containers.is_empty() || !application_ended(pod) {
        return None;
    }
    let key = Key::ProxyConfig.name();
    let text = pod.annotations()?.get(key)?.as_str()?;
    // What somebody made unreadable by hand is of no use to a proxy that is to end.
    let config = Config::parse(text).unwrap_or_default();
    if config.application_ended {
        return None;
    }
    let ended = Config {
        application_ended: true,
        ..config
    };
    Some(BTreeMap::from([(key.to_owned(), ended.render())]))
}

/// Whether every container but the proxy has ended, and none of them is started again.
fn application_ended(pod: Pod<'_>) -> bool {
    let restarted_when_failed = match pod.at(&["spec", "restartPolicy"]).and_then(Value::as_str) {
        Some("Never") => false,
        Some("OnFailure") => true,
        _ => return false,
    };
    let statuses = pod.at(&["status", "containerStatuses"]);
    let statuses = statuses
        .and_then(Value::as_array)
        .map_or(&[][..], Vec::as_slice);
    let has_ended = |container: &&Value| {
        let own = |status: &&Value| name_of(status) == name_of(container);
        let end = statuses
            .iter()
            .find(own)
            .and_then(|status| status.pointer("/state/terminated"));
        let code = end.and_then(|end| end.get("exitCode")?.as_i64());
        code.is_some_and(|code| code == 0 || !restarted_when_failed)
    };
    let containers = pod.list("containers").iter();
    let mut application = containers
        .filter(|container| name_of(container) != CONTAINER)
        .peekable();
    application.peek().is_some() && application.all(|container| has_ended(&container))
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;
    use crate::admit::{Namespaces, inject_pod};
    use crate::config::{self, NativeSidecars};

    struct NoDefaults;

    impl Namespaces for NoDefaults {
        fn annotations(&self, _namespace: &str) -> Option<Map<String, Value>> {
            Some(Map::new())
        }
    }

    /// A pod of a Job with two containers, which have come to these ends.
    fn pod(sidecars: NativeSidecars, policy: &str, ends: [Option<i64>; 2]) -> Value {
        let mut pod = json!({
            "metadata": {"name": "job-1", "annotations": {
                "mtls-injector.io/egress": "external.system.com",
                "mtls-injector.io/secret": "mtls-data",
            }},
            "spec": {"restartPolicy": policy, "containers": [{"name": "one"}, {"name": "two"}]},
        });
        let config = config::Config {
            native_sidecars: sidecars,
            ..config::Config::default()
        };
        let outcome = inject_pod(&config, &NoDefaults, "shop", &pod);
        json_patch::patch(&mut pod, &outcome.patch).unwrap();
        let state = |end: Option<i64>| match end {
            Some(code) => json!({"terminated": {"exitCode": code}}),
            None => json!({"running": {}}),
        };
        let [one, two] = ends.map(state);
        pod["status"] = json!({"phase": "Running", "containerStatuses": [
            {"name": "mtls-proxy", "state": {"running": {}}},
            {"name": "one", "state": one}, {"name": "two", "state": two},
        ]});
        pod
    }

    fn has_ended(policy: &str, ends: [Option<i64>; 2]) -> bool {
        ended(&pod(NativeSidecars::Off, policy, ends)).is_some()
    }

    #[test]
    fn the_application_has_ended_when_none_of_it_runs_or_will_run() {
        assert!(has_ended("Never", [Some(0), Some(0)]));
        assert!(has_ended("Never", [Some(0), Some(1)]));
        assert!(!has_ended("Never", [Some(0), None]));
        assert!(has_ended("OnFailure", [Some(0), Some(0)]));
        assert!(
            !has_ended("OnFailure", [Some(0), Some(1)]),
            "it is started again"
        );
        assert!(
            !has_ended("Always", [Some(0), Some(0)]),
            "it is started again"
        );
    }

    #[test]
    fn the_proxy_is_told_once_and_keeps_its_configuration() {
        let mut pod = pod(NativeSidecars::Off, "Never", [Some(0), Some(0)]);
        let key = "mtls-injector.io/proxy-config";
        let annotation = |pod: &Value| {
            let text = pod["metadata"]["annotations"][key].as_str();
            Config::parse(text.unwrap()).unwrap()
        };
        let before = annotation(&pod);
        let told = ended(&pod).unwrap();
        assert_eq!(told.keys().collect::<Vec<_>>(), [key]);
        pod["metadata"]["annotations"][key] = told[key].clone().into();
        let after = annotation(&pod);
        assert!(!before.application_ended && after.application_ended);
        assert_eq!(after.egress, before.egress);
        assert_eq!(ended(&pod), None);
    }

    #[test]
    fn others_proxies_are_left_alone() {
        let ends = [Some(0), Some(0)];
        assert_eq!(ended(&pod(NativeSidecars::On, "Never", ends)), None);
        let mut older = pod(NativeSidecars::Off, "Never", ends);
        let status = &mut older["metadata"]["annotations"]["mtls-injector.io/status"];
        *status = status.as_str().unwrap().replace(VERSION, "0.0.1").into();
        assert_eq!(ended(&older), None);
        let mut bare = pod(NativeSidecars::Off, "Never", ends);
        bare["metadata"]["annotations"] = json!({});
        assert_eq!(ended(&bare), None);
    }
}
