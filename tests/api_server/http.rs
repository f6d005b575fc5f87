//! The HTTP side: paths to objects, methods to verbs, watches as streams of lines.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use futures::stream;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::store::{Failure, Key, Store, missing};

const BOOKMARK_EVERY: Duration = Duration::from_millis(20);

type Query = BTreeMap<String, String>;

pub(crate) fn router(store: Arc<Store>) -> Router {
    Router::new().fallback(answer).with_state(store)
}

async fn answer(State(store): State<Arc<Store>>, request: Request) -> Response {
    let (head, body) = request.into_parts();
    if head.uri.path() == "/version" {
        return json_response(200, &version());
    }
    let query: Query = form(head.uri.query().unwrap_or_default());
    let key = key_of(head.uri.path());
    let verb = verb_of(&head.method, &key, &query);
    if let Some(meeting) = store.meeting(verb, &key.plural) {
        meeting.wait().await;
    }
    if store.is_forbidden(verb, &key.plural) {
        let message = format!(
            "{} is forbidden: User \"stand-in\" cannot {verb} it",
            key.plural
        );
        return finish(&store, verb, &key, Err(Failure(403, "Forbidden", message)));
    }
    if verb == "watch" {
        return watch(store, key, &query);
    }
    let media = head.headers.get("content-type");
    let is_apply = media.is_some_and(|media| media == "application/apply-patch+yaml");
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let body = serde_json::from_slice(&body).unwrap_or_default();
    let manager = query.get("fieldManager").map_or("unknown", String::as_str);
    let outcome = match verb {
        "list" => Ok(list(&store, &key, &query)),
        "get" => store.get(&key).ok_or_else(|| missing(&key)),
        "create" => store.create(&named(&key, &body), body, manager),
        "update" => store.update(&key, body, manager),
        "delete" => store.delete(&key),
        _ if is_apply => {
            let force = query.get("force").is_some_and(|force| force == "true");
            store.apply(&key, &body, manager, force)
        }
        _ => store.merge(&key, &body, manager),
    };
    finish(&store, verb, &key, outcome)
}

/// The version that the stand-in claims to be.
fn version() -> Value {
    json!({"major": "1", "minor": "33+", "gitVersion": "v1.33.1", "gitCommit": "",
           "gitTreeState": "clean", "buildDate": "", "goVersion": "", "compiler": "gc",
           "platform": "linux/amd64"})
}

/// A new object's name is in its body.
fn named(collection: &Key, object: &Value) -> Key {
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    Key::new(&collection.plural, &collection.namespace, name)
}

fn finish(store: &Store, verb: &str, key: &Key, outcome: Result<Value, Failure>) -> Response {
    let (code, body) = match outcome {
        Ok(object) if verb == "create" => (201, object),
        Ok(object) => (200, object),
        Err(failure) => (failure.0, status(&failure)),
    };
    store.record(verb, &key.plural, code);
    json_response(code, &body)
}

fn status(Failure(code, reason, message): &Failure) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
           "code": code, "reason": reason, "message": message})
}

/// `/api/v1/namespaces/shop/secrets/tls`, `/apis/GROUP/VERSION/PLURAL/NAME`, …
fn key_of(path: &str) -> Key {
    let steps: Vec<&str> = path.split('/').filter(|step| !step.is_empty()).collect();
    let rest = if steps.first() == Some(&"api") {
        &steps[2..]
    } else {
        &steps[3..]
    };
    match rest {
        ["namespaces", namespace, plural] => Key::new(plural, namespace, ""),
        ["namespaces", namespace, plural, name] => Key::new(plural, namespace, name),
        [plural, name] => Key::new(plural, "", name),
        [plural] => Key::new(plural, "", ""),
        _ => panic!("no such path: {path}"),
    }
}

fn verb_of(method: &Method, key: &Key, query: &Query) -> &'static str {
    match *method {
        Method::GET if query.get("watch").is_some_and(|watch| watch == "true") => "watch",
        Method::GET if key.name.is_empty() => "list",
        Method::GET => "get",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => panic!("no such method: {method}"),
    }
}

/// Whether an object belongs to a collection, has a field of the value that a selector wants and the
/// label whose presence another one wants.
fn covers(collection: &Key, query: &Query, key: &Key, object: &Value) -> bool {
    let field = query.get("fieldSelector");
    let field = field.and_then(|selector| selector.split_once('='));
    let has_value = |(path, value): (&str, &str)| {
        object.pointer(&format!("/{}", path.replace('.', "/"))) == Some(&json!(value))
    };
    let label = query.get("labelSelector");
    key.plural == collection.plural
        && (collection.namespace.is_empty() || key.namespace == collection.namespace)
        && field.is_none_or(has_value)
        && label.is_none_or(|label| !object["metadata"]["labels"][label].is_null())
}

fn list(store: &Store, collection: &Key, query: &Query) -> Value {
    let version = store.version();
    let items: Vec<Value> = store
        .list(&collection.plural)
        .into_iter()
        .filter(|object| {
            let text = |field: &str| object["metadata"][field].as_str().unwrap_or_default();
            let key = Key::new(&collection.plural, text("namespace"), text("name"));
            covers(collection, query, &key, object)
        })
        .collect();
    json!({"kind": "List", "apiVersion": "v1", "items": items,
           "metadata": {"resourceVersion": version.to_string()}})
}

/// Streams the changes after `resourceVersion`, with bookmarks in between.
fn watch(store: Arc<Store>, collection: Key, query: &Query) -> Response {
    let seconds = query
        .get("timeoutSeconds")
        .and_then(|seconds| seconds.parse().ok());
    let watcher = Watcher {
        sent: query
            .get("resourceVersion")
            .and_then(|version| version.parse().ok())
            .unwrap_or(0),
        end: Instant::now() + Duration::from_secs(seconds.unwrap_or(300)),
        epoch: store.watch_epoch.subscribe(),
        query: query.clone(),
        over: false,
        collection,
        store,
    };
    let code = if watcher.store.changes_since(watcher.sent).is_none() {
        410
    } else {
        200
    };
    watcher
        .store
        .record("watch", &watcher.collection.plural, code);
    let lines = stream::unfold(watcher, |mut watcher| async move {
        let lines = watcher.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(lines)), watcher))
    });
    let body = Body::from_stream(lines);
    Response::builder()
        .header("content-type", "application/json")
        .body(body)
        .unwrap()
}

struct Watcher {
    store: Arc<Store>,
    collection: Key,
    query: Query,
    sent: u64,
    end: Instant,
    epoch: tokio::sync::watch::Receiver<u64>,
    over: bool,
}

impl Watcher {
    /// The next lines, or `None` at the end of the watch.
    async fn next(&mut self) -> Option<String> {
        let mut changes = self.store.changes();
        loop {
            if self.over || Instant::now() >= self.end {
                return None;
            }
            // Before looking, so that what changes meanwhile is looked at again.
            changes.borrow_and_update();
            let Some((later, version)) = self.store.changes_since(self.sent) else {
                self.over = true;
                let gone = Failure(410, "Expired", "too old resource version".to_owned());
                return Some(line("ERROR", &status(&gone)));
            };
            let mine = later.iter().filter(|change| {
                covers(&self.collection, &self.query, &change.key, &change.object)
            });
            let lines: String = mine
                .map(|change| line(change.kind, &change.object))
                .collect();
            let late = self.store.is_late(&self.collection.plural);
            if !lines.is_empty() && !late {
                self.sent = version;
                return Some(lines);
            }
            tokio::select! {
                _ = changes.changed() => {}
                _ = self.epoch.changed() => return None,
                () = tokio::time::sleep(BOOKMARK_EVERY), if version > self.sent && !late => {
                    self.sent = version;
                    self.store.record_bookmark();
                    return Some(self.bookmark());
                }
            }
        }
    }

    fn bookmark(&self) -> String {
        let object = json!({"kind": "Bookmark", "apiVersion": "v1",
                            "metadata": {"resourceVersion": self.sent.to_string()}});
        line("BOOKMARK", &object)
    }
}

fn line(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}

fn json_response(code: u16, body: &Value) -> Response {
    Response::builder()
        .status(StatusCode::from_u16(code).unwrap())
        .header("content-type", "application/json")
        .body(Body::from(body.to_string()))
        .unwrap()
}

/// A query string; the client escapes `=` and `/` in values.
fn form(query: &str) -> Query {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(key, value)| (key.to_owned(), unescape(value)))
        .collect()
}

fn unescape(value: &str) -> String {
    value
        .replace("%3D", "=")
        .replace("%2F", "/")
        .replace("%2C", ",")
}
