//! The proxies of Jobs that are ordinary containers end with their application.

use http::StatusCode;
use mtls_injector::admit::{Namespaces, inject_pod};
use mtls_injector::config::{Config, NativeSidecars};
use mtls_proxy::config as proxy;
use serde_json::{Map, Value, json};

use crate::api_server::{ApiServer, Key, Store};
use crate::program::{Program, mutate, namespace, patch, review};
use crate::replica::*;

const PROXY_CONFIG: &str = "mtls-injector.io/proxy-config";

struct NoDefaults;

impl Namespaces for NoDefaults {
    fn annotations(&self, _namespace: &str) -> Option<Map<String, Value>> {
        Some(Map::new())
    }
}

fn key(name: &str) -> Key {
    Key::new("pods", "shop", name)
}

/// Has an injected pod run; those of Jobs bear the label that Kubernetes gives them.
fn run(store: &Store, name: &str, labels: &Value) {
    let mut pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": labels, "annotations": {
            "mtls-injector.io/egress": "external.system.com", "mtls-injector.io/secret": "mtls-data"}},
        "spec": {"restartPolicy": "Never", "containers": [{"name": "app", "image": "app"}]},
        "status": {"phase": "Running"},
    });
    let config = Config {
        native_sidecars: NativeSidecars::Off,
        ..Config::default()
    };
    let outcome = inject_pod(&config, &NoDefaults, "shop", &pod);
    json_patch::patch(&mut pod, &outcome.patch).unwrap();
    store.create(&key(name), pod, "kubelet").unwrap();
    status(store, name, &json!({"running": {}}));
}

fn status(store: &Store, name: &str, of_app: &Value) {
    store.edit(&key(name), "kubelet", |pod| {
        pod["status"]["containerStatuses"] = json!([
            {"name": "app", "state": of_app}, {"name": "mtls-proxy", "state": {"running": {}}}]);
    });
}

fn end(store: &Store, name: &str) {
    status(store, name, &json!({"terminated": {"exitCode": 0}}));
}

fn is_told(store: &Store, name: &str) -> bool {
    let pod = store.get(&key(name)).unwrap();
    let text = pod["metadata"]["annotations"][PROXY_CONFIG].as_str();
    proxy::Config::parse(text.unwrap())
        .unwrap()
        .application_ended
}

async fn told(server: &ApiServer, name: &str) {
    server
        .until("the proxy is told", |store| {
            is_told(store, name).then_some(())
        })
        .await;
}

fn of_job() -> Value {
    json!({"job-name": "job", "batch.kubernetes.io/job-name": "job"})
}

async fn started(server: &ApiServer) -> Program {
    let program = Program::start_with(server, &["--end-jobs"]);
    program.admin_says("/readyz", StatusCode::OK).await;
    program
}

#[tokio::test]
async fn a_proxy_is_told_once_its_application_has_ended() {
    let server = installed().await;
    for name in ["first", "second", "ended-before"] {
        run(&server.store, name, &of_job());
    }
    run(&server.store, "no-job", &json!({}));
    end(&server.store, "ended-before");
    end(&server.store, "no-job");
    let program = started(&server).await;
    told(&server, "ended-before").await;
    end(&server.store, "first");
    told(&server, "first").await;
    // Each change before has been heard of by now.
    assert!(!is_told(&server.store, "second"), "its application runs");
    assert!(!is_told(&server.store, "no-job"), "nobody watches it");
    assert_eq!(server.store.count("patch", "pods", 200), 2);
    program
        .counts("mtls_injector_job_ends_total{outcome=\"patched\"} 2")
        .await;
}

#[tokio::test]
async fn two_replicas_tell_each_proxy_once() {
    let server = installed().await;
    run(&server.store, "job", &of_job());
    server.store.let_meet("patch", "pods", 2);
    let _programs = [started(&server).await, started(&server).await];
    end(&server.store, "job");
    server
        .until("both attempts", |store| {
            let count = |code| store.count("patch", "pods", code);
            (count(200) == 1 && count(409) == 1).then_some(())
        })
        .await;
    assert!(is_told(&server.store, "job"));
}

#[tokio::test]
async fn a_missing_permission_is_named_and_the_proxy_is_told_when_it_is_granted() {
    let server = installed().await;
    server.store.forbid("patch", "pods");
    run(&server.store, "job", &of_job());
    end(&server.store, "job");
    let program = started(&server).await;
    let refusal = "cannot patch pods \"job\" in namespace \"shop\": forbidden; needs patch on pods \
                   in namespace \"shop\"";
    program.logged(|line| line["error"] == refusal).await;
    server.store.permit("patch", "pods");
    told(&server, "job").await;
}

#[tokio::test]
async fn the_watch_goes_on_after_it_expired_and_after_the_api_server_was_away() {
    let mut server = installed().await;
    for name in ["expired", "away"] {
        run(&server.store, name, &of_job());
    }
    let _program = started(&server).await;
    server.store.expire_watches();
    end(&server.store, "expired");
    told(&server, "expired").await;
    server.stop().await;
    end(&server.store, "away");
    server.resume().await;
    told(&server, "away").await;
}

#[tokio::test]
async fn the_warning_about_jobs_is_for_injectors_that_do_not_end_them() {
    let server = installed().await;
    namespace(&server.store, &json!({}));
    let mut asks = review(
        &json!({"mtls-injector.io/egress": "external.system.com", "mtls-injector.io/secret": "s",
                "mtls-injector.io/nativeSidecar": "false"}),
        true,
    );
    asks["request"]["object"]["spec"]["restartPolicy"] = "Never".into();
    for (arguments, warned) in [(&["--end-jobs"][..], false), (&[], true)] {
        let program = Program::start_with(&server, arguments);
        program.admin_says("/readyz", StatusCode::OK).await;
        let answer = mutate(&program, &server.store, &asks).await;
        assert!(patch(&answer).contains("mtls-proxy"), "{answer}");
        let warnings = answer["response"]["warnings"].to_string();
        assert_eq!(warnings.contains("outlives"), warned, "{warnings}");
    }
}
