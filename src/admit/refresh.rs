//! What new defaults of a namespace mean for a pod that runs already. Pure. Only annotations of a
//! running pod can be changed; whatever else would have to change waits for the next pod.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::{Namespaces, inject_pod, rules};
use crate::annotations::Key;
use crate::config::Config;
use crate::decision::Decision;
use crate::review::Pod;
use crate::sidecar::VERSION;

/// What is to be done with a running pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refresh {
    /// It has no proxy of ours, or one of another version, which only its own injector understands.
    Foreign,
    /// It is as a new pod would be, or a new one would be refused.
    Current,
    /// These annotations bring it up to date.
    Annotate(BTreeMap<String, String>),
    /// A new pod would differ in more than annotations.
    NewPod(Fixed),
}

/// What cannot change while a pod runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fixed {
    /// Its containers, volumes and aliases.
    Spec,
    /// What the kernel redirects: its rules are loaded when the pod starts.
    KernelRules,
}

impl fmt::Display for Fixed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Spec => "the spec of a running pod cannot change",
            Self::KernelRules => {
                "the kernel redirects what it was told when the pod started, and other ports or addresses would differ"
            }
        })
    }
}

/// Decides about a running pod under the present defaults of its namespace.
#[must_use]
pub fn refresh(
    config: &Config,
    namespaces: &dyn Namespaces,
    namespace: &str,
    raw: &Value,
) -> Refresh {
    let pod = Pod::new(raw);
    let Some(status) = rules::injected(pod).filter(|status| status.version == VERSION) else {
        return Refresh::Foreign;
    };
    let outcome = inject_pod(config, namespaces, namespace, raw);
    if outcome.decision != Decision::Inject {
        return Refresh::Current;
    }
    let mut fresh = raw.clone();
    json_patch::patch(&mut fresh, &outcome.patch).expect("the patch was made for this very pod");
    let fresh = Pod::new(&fresh);
    if !covers(pod.at(&["spec"]), fresh.at(&["spec"])) {
        return Refresh::NewPod(Fixed::Spec);
    }
    let current = rules::injected(fresh);
    if current.is_none_or(|current| current.kernel_rules != status.kernel_rules) {
        return Refresh::NewPod(Fixed::KernelRules);
    }
    let written = [Key::ProxyConfig, Key::Status].map(|key| {
        let value = fresh.annotations()?.get(key.name())?.as_str()?;
        Some((key.name().to_owned(), value.to_owned()))
    });
    Refresh::Annotate(written.into_iter().flatten().collect())
}

/// Whether a live value is what was wanted, plus the defaults that the API server has filled in.
fn covers(live: Option<&Value>, wanted: Option<&Value>) -> bool {
    match (live, wanted) {
        (Some(Value::Object(live)), Some(Value::Object(wanted))) => wanted
            .iter()
            .all(|(key, wanted)| covers(live.get(key), Some(wanted))),
        (Some(Value::Array(live)), Some(Value::Array(wanted))) => {
            live.len() == wanted.len()
                && live
                    .iter()
                    .zip(wanted)
                    .all(|(live, wanted)| covers(Some(live), Some(wanted)))
        }
        (live, wanted) => live == wanted,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, json};

    use super::*;

    /// The defaults of every namespace.
    struct Defaults(Map<String, Value>);

    impl Namespaces for Defaults {
        fn annotations(&self, _namespace: &str) -> Option<Map<String, Value>> {
            Some(self.0.clone())
        }
    }

    fn defaults(egress: &str) -> Defaults {
        let entries = [
            ("mtls-injector.io/egress", egress),
            ("mtls-injector.io/secret", "external-system-mtls-data"),
        ];
        Defaults(
            entries
                .map(|(key, value)| (key.to_owned(), value.into()))
                .into_iter()
                .collect(),
        )
    }

    /// A running pod that was injected under these defaults.
    fn running(defaults: &Defaults) -> Value {
        let mut pod = json!({
            "metadata": {"name": "app", "annotations": {"mtls-injector.io/inject": "true"}},
            "spec": {"containers": [{"name": "app", "image": "app"}]},
        });
        let outcome = inject_pod(&Config::default(), defaults, "shop", &pod);
        assert_eq!(outcome.decision, Decision::Inject);
        json_patch::patch(&mut pod, &outcome.patch).unwrap();
        // As the API server fills in.
        pod["spec"]["restartPolicy"] = "Always".into();
        for container in pod["spec"]["initContainers"].as_array_mut().unwrap() {
            container["imagePullPolicy"] = "IfNotPresent".into();
        }
        pod
    }

    fn check(pod: &Value, now: &str) -> Refresh {
        refresh(&Config::default(), &defaults(now), "shop", pod)
    }

    const BEFORE: &str = r#"[{"host": "external.system.com", "timeouts": {"connect": "5s"}}]"#;
    const SLOWER: &str = r#"[{"host": "external.system.com", "timeouts": {"connect": "9s"}}]"#;
    const ANOTHER: &str = r#"[{"host": "external.system.com"}, {"host": "another.system.com"}]"#;

    #[test]
    fn unchanged_defaults_change_nothing() {
        assert_eq!(check(&running(&defaults(BEFORE)), BEFORE), Refresh::Current);
    }

    #[test]
    fn a_setting_of_a_route_reaches_the_running_pod_and_makes_it_current() {
        let mut pod = running(&defaults(BEFORE));
        let Refresh::Annotate(annotations) = check(&pod, SLOWER) else {
            panic!("the pod is not annotated")
        };
        assert!(
            annotations["mtls-injector.io/proxy-config"].contains("9s"),
            "{annotations:?}"
        );
        for (key, value) in annotations {
            pod["metadata"]["annotations"][key] = value.into();
        }
        assert_eq!(check(&pod, SLOWER), Refresh::Current);
    }

    #[test]
    fn a_further_host_needs_a_new_pod_as_it_needs_an_alias() {
        assert_eq!(
            check(&running(&defaults(BEFORE)), ANOTHER),
            Refresh::NewPod(Fixed::Spec)
        );
    }

    /// The defaults of a namespace whose pods are redirected.
    fn redirected(inbound: &str, egress: &str) -> Defaults {
        let mut defaults = defaults(egress);
        let entries = [
            ("mtls-injector.io/capture", "redirect"),
            ("mtls-injector.io/inbound", inbound),
        ];
        let entries = entries.map(|(key, value)| (key.to_owned(), value.into()));
        defaults.0.extend(entries);
        defaults
    }

    #[test]
    fn what_the_kernel_redirects_is_settled_for_a_running_pod_and_all_else_follows() {
        const LAX: &str = "[{port: 8443, targetPort: 8080, mode: PERMISSIVE}]";
        let pod = running(&redirected(LAX, BEFORE));
        let check = |inbound: &str, egress: &str| {
            let now = redirected(inbound, egress);
            refresh(&Config::default(), &now, "shop", &pod)
        };
        assert_eq!(check(LAX, BEFORE), Refresh::Current);
        let Refresh::Annotate(annotations) = check("8443:8080", ANOTHER) else {
            panic!("a mode and a further host need no new pod")
        };
        let config = &annotations["mtls-injector.io/proxy-config"];
        assert!(config.contains("STRICT") && config.contains("another"));
        for inbound in ["8443:8081", "8443:8080,9443:9090"] {
            let rules = Refresh::NewPod(Fixed::KernelRules);
            assert_eq!(check(inbound, BEFORE), rules, "{inbound}");
        }
        assert_eq!(
            refresh(&Config::default(), &defaults(BEFORE), "shop", &pod),
            Refresh::NewPod(Fixed::Spec),
            "without redirection the init container is too many"
        );
    }

    #[test]
    fn defaults_that_are_wrong_leave_running_pods_alone() {
        assert_eq!(check(&running(&defaults(BEFORE)), "[{"), Refresh::Current);
    }

    #[test]
    fn pods_of_another_version_and_without_a_proxy_are_left_alone() {
        let mut pod = running(&defaults(BEFORE));
        let status = &mut pod["metadata"]["annotations"]["mtls-injector.io/status"];
        *status = status.as_str().unwrap().replace(VERSION, "0.0.1").into();
        assert_eq!(check(&pod, SLOWER), Refresh::Foreign);
        let bare = json!({"metadata": {}, "spec": {"containers": [{"name": "app"}]}});
        assert_eq!(check(&bare, SLOWER), Refresh::Foreign);
    }
}
