//! `mtls-injector serve` as a process of its own, beside the API server.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api_server::{ApiServer, DEADLINE, Key, Store};
use crate::load;
use crate::replica::*;

pub(crate) struct Program {
    child: Child,
    log: watch::Receiver<Vec<Value>>,
    _folder: TempDir,
}

impl Program {
    pub(crate) fn start(server: &ApiServer) -> Self {
        Self::start_with(server, &[])
    }

    pub(crate) fn start_with(server: &ApiServer, arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let kubeconfig = folder.path().join("kubeconfig");
        std::fs::write(&kubeconfig, kubeconfig_for(server.address())).unwrap();
        let mut child = serve(&["--namespace", NAMESPACE, "--shutdown-delay", "0s"])
            .arg("--kubeconfig")
            .arg(&kubeconfig)
            .args(arguments)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let (sender, log) = watch::channel(Vec::new());
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                sender.send_modify(|log| log.push(line));
            }
        });
        Self {
            child,
            log,
            _folder: folder,
        }
    }

    /// Waits for a line of the log.
    pub(crate) async fn logged(&self, what: impl Fn(&Value) -> bool) -> Value {
        let mut log = self.log.clone();
        let wait = log.wait_for(|log| log.iter().any(&what));
        let reached = tokio::time::timeout(DEADLINE, wait)
            .await
            .is_ok_and(|found| found.is_ok());
        let log = self.log.borrow();
        assert!(reached, "not logged: {log:#?}");
        log.iter().find(|line| what(line)).unwrap().clone()
    }

    async fn address(&self, which: &str) -> SocketAddr {
        let listening = self.logged(|line| line["message"] == "listening").await;
        listening[format!("{which}.address")]
            .as_str()
            .unwrap()
            .parse()
            .unwrap()
    }

    /// Asks the admin port until it answers with a status; returns what it says.
    pub(crate) async fn admin_says(&self, path: &str, status: StatusCode) -> String {
        self.admin_until(path, |found, _| found == status).await
    }

    /// Waits until the metrics have a line: what was done is counted a moment after it shows.
    pub(crate) async fn counts(&self, line: &str) {
        let counted = |_, text: &str| text.lines().any(|one| one == line);
        self.admin_until("/metrics", counted).await;
    }

    async fn admin_until(&self, path: &str, holds: impl Fn(StatusCode, &str) -> bool) -> String {
        let address = self.address("admin").await;
        let ask = async {
            loop {
                let (status, text) = get(address, path).await;
                if holds(status, &text) {
                    return text;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(DEADLINE, ask)
            .await
            .expect("the admin port answers so")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mtls-injector"));
    let anywhere = ["--listen", "127.0.0.1:0", "--admin-listen", "127.0.0.1:0"];
    command.arg("serve").args(anywhere).args(arguments);
    command
}

fn kubeconfig_for(address: SocketAddr) -> String {
    json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "stand-in",
        "clusters": [{"name": "stand-in", "cluster": {"server": format!("http://{address}")}}],
        "users": [{"name": "nobody", "user": {}}],
        "contexts": [{"name": "stand-in", "context": {"cluster": "stand-in", "user": "nobody"}}],
    })
    .to_string()
}

async fn get(address: SocketAddr, path: &str) -> (StatusCode, String) {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let mut driver = JoinSet::new();
    driver.spawn(async { drop(connection.await) });
    let request = Request::get(path)
        .header("host", "admin")
        .body(Full::new(Bytes::new()))
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8_lossy(&body).into_owned())
}

fn ended(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = serve(arguments).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

/// A pod of a ReplicaSet in the namespace `shop`, with these annotations.
pub(crate) fn review(annotations: &Value, dry_run: bool) -> Value {
    let mut review: Value = serde_json::from_slice(load::REVIEW).unwrap();
    let request = &mut review["request"];
    request["namespace"] = "shop".into();
    request["dryRun"] = dry_run.into();
    request["object"]["metadata"]["namespace"] = "shop".into();
    request["object"]["metadata"]["annotations"] = annotations.clone();
    review
}

pub(crate) async fn mutate(program: &Program, store: &Store, review: &Value) -> Value {
    let address = program.address("webhook").await;
    let mut connection = load::connect(store, address).await.unwrap().0;
    load::answer(&mut connection, review.to_string().into())
        .await
        .unwrap()
}

pub(crate) fn patch(answer: &Value) -> String {
    use base64::Engine as _;
    let patch = answer["response"]["patch"].as_str().unwrap_or_default();
    let patch = base64::engine::general_purpose::STANDARD
        .decode(patch)
        .unwrap();
    String::from_utf8(patch).unwrap()
}

pub(crate) fn namespace(store: &Store, annotations: &Value) {
    let metadata = json!({"name": "shop", "annotations": annotations});
    let object = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata});
    store
        .create(&Key::new("namespaces", "", "shop"), object, "kubectl")
        .unwrap();
}

#[tokio::test]
async fn it_issues_its_certificate_and_answers_with_the_namespaces_defaults() {
    let server = installed().await;
    let egress = json!({"mtls-injector.io/egress": "external.system.com"});
    let program = Program::start(&server);
    program.admin_says("/readyz", StatusCode::OK).await;
    let secret = json!({"mtls-injector.io/secret": "external-system-mtls-data"});

    let answer = mutate(&program, &server.store, &review(&secret, false)).await;
    assert!(!patch(&answer).contains("external.system.com"), "{answer}");
    assert!(
        answer["response"]["warnings"]
            .to_string()
            .contains("are not known here"),
        "{answer}"
    );
    // Its watch cannot have told of a namespace that is this young.
    namespace(&server.store, &egress);
    let answer = mutate(&program, &server.store, &review(&secret, false)).await;
    assert!(patch(&answer).contains("external.system.com"), "{answer}");

    let metrics = program.admin_says("/metrics", StatusCode::OK).await;
    assert!(
        metrics.contains("mtls_injector_ca_bundle_matches 1\n"),
        "{metrics}"
    );
    let expiry = metrics
        .lines()
        .find_map(|line| line.strip_prefix("mtls_injector_certificate_not_after_seconds "))
        .unwrap();
    let expiry = SystemTime::UNIX_EPOCH + Duration::from_secs(expiry.parse().unwrap());
    let left = expiry.duration_since(SystemTime::now()).unwrap();
    assert!(left > 89 * DAY && left < 91 * DAY, "{left:?}");
}

#[tokio::test]
async fn it_knows_by_a_namespaces_label_that_redirection_is_forbidden() {
    let server = installed().await;
    let program = Program::start(&server);
    program.admin_says("/readyz", StatusCode::OK).await;
    let redirect = json!({
        "mtls-injector.io/capture": "redirect",
        "mtls-injector.io/egress": "external.system.com",
        "mtls-injector.io/secret": "external-system-mtls-data",
    });
    let labels = json!({"pod-security.kubernetes.io/enforce": "baseline"});
    let object = json!({"apiVersion": "v1", "kind": "Namespace",
                        "metadata": {"name": "shop", "labels": labels}});
    let key = Key::new("namespaces", "", "shop");
    server.store.create(&key, object, "kubectl").unwrap();
    // Whether or not its watch has told of the namespace by now.
    let denied = mutate(&program, &server.store, &review(&redirect, false)).await;
    let message = denied["response"]["status"]["message"].to_string();
    assert!(message.contains("enforce=baseline"), "{denied}");
    server.store.edit(&key, "kubectl", |object| {
        object["metadata"]["labels"] = json!({});
    });
    let allowed = async {
        loop {
            let answer = mutate(&program, &server.store, &review(&redirect, false)).await;
            if patch(&answer).contains("mtls-init") {
                return;
            }
        }
    };
    tokio::time::timeout(DEADLINE, allowed)
        .await
        .expect("the watch tells that the label is gone");
}

#[tokio::test]
async fn a_denial_is_told_to_the_owner_and_a_dry_run_to_nobody() {
    let server = installed().await;
    namespace(&server.store, &json!({}));
    let program = Program::start(&server);
    program.admin_says("/readyz", StatusCode::OK).await;
    let wrong = json!({"mtls-injector.io/egres": "external.system.com"});
    let denied = mutate(&program, &server.store, &review(&wrong, true)).await;
    assert_eq!(denied["response"]["allowed"], false, "{denied}");
    mutate(&program, &server.store, &review(&wrong, false)).await;
    let event = server
        .until("an Event", |store| store.list("events").pop())
        .await;
    assert_eq!(event["reason"], "MutualTLSDenied");
    assert_eq!(event["regarding"]["kind"], "ReplicaSet");
    assert!(
        event["note"]
            .as_str()
            .unwrap()
            .contains("mtls-injector.io/egres"),
        "{event}"
    );
    // Events are published in order: the dry run's would have come first.
    assert_eq!(event["series"], Value::Null);
    assert_eq!(server.store.list("events").len(), 1);
}

#[tokio::test]
async fn a_missing_permission_is_logged_with_its_name_and_keeps_it_unready() {
    let server = installed().await;
    server
        .store
        .forbid("patch", "mutatingwebhookconfigurations");
    let program = Program::start(&server);
    let line = program
        .logged(|line| line["message"] == "caBundle not written")
        .await;
    assert_eq!(
        line["error"],
        "cannot patch mutatingwebhookconfigurations \"mtls-injector\": forbidden; needs patch on \
         mutatingwebhookconfigurations.admissionregistration.k8s.io"
    );
    let why = program
        .admin_says("/readyz", StatusCode::SERVICE_UNAVAILABLE)
        .await;
    assert!(
        why.contains("the API server to trust the certificate"),
        "{why}"
    );
    server
        .store
        .permit("patch", "mutatingwebhookconfigurations");
    program.admin_says("/readyz", StatusCode::OK).await;
}

#[test]
fn without_an_api_server_it_says_what_to_do_instead() {
    let (code, said) = ended(&[]);
    assert_eq!(code, Some(64));
    assert!(
        said.contains("run in a pod, name a --kubeconfig, or bring a certificate"),
        "{said}"
    );
}

#[test]
fn contradictory_certificate_sources_are_refused() {
    let (code, said) = ended(&["--certificate-mode", "files"]);
    assert_eq!(code, Some(64));
    assert!(
        said.contains("--certificate-mode files needs --cert-file and --key-file"),
        "{said}"
    );
    let files = [
        "--cert-file",
        "a",
        "--key-file",
        "b",
        "--certificate-mode",
        "self",
    ];
    let (code, said) = ended(&files);
    assert_eq!(code, Some(64));
    assert!(said.contains("take out --cert-file"), "{said}");
}

#[tokio::test]
async fn it_serves_on_while_the_api_server_is_away() {
    let mut server = installed().await;
    namespace(
        &server.store,
        &json!({"mtls-injector.io/egress": "external.system.com"}),
    );
    let program = Program::start(&server);
    program.admin_says("/readyz", StatusCode::OK).await;
    let secret = json!({"mtls-injector.io/secret": "external-system-mtls-data"});
    let store = Arc::clone(&server.store);
    let before = mutate(&program, &store, &review(&secret, false)).await;
    server.stop().await;
    let after = mutate(&program, &store, &review(&secret, false)).await;
    assert!(patch(&after).contains("external.system.com"), "{after}");
    assert_eq!(patch(&after), patch(&before));
    program.admin_says("/readyz", StatusCode::OK).await;
}
