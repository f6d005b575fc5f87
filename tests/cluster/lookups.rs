//! What is read from the cluster: namespaces, versions, Secrets' keys; and Events written to it.

use mtls_injector::cluster::client::Cluster;
use mtls_injector::cluster::events::{Events, Fate, Occasion, Owner};
use mtls_injector::cluster::istio::IstioCache;
use mtls_injector::cluster::metrics::ClusterMetrics;
use mtls_injector::cluster::namespaces::Namespaces;
use mtls_injector::cluster::secrets::{SecretKeys, Secrets};
use mtls_injector::cluster::version::{ServerVersion, server_version};
use mtls_injector::istio::{Declared, Labels, Workload};
use mtls_proxy::config::{InboundMode, InboundPort, Port};
use prometheus::Registry;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::api_server::{ApiServer, DEADLINE, Key};

fn namespace(name: &str, note: &str) -> (Key, Value) {
    let key = Key::new("namespaces", "", name);
    let metadata = json!({"name": name, "annotations": {"note": note}});
    (
        key,
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}),
    )
}

/// Starts the cache and waits for its first listing.
async fn cache(cluster: &Cluster, tasks: &mut JoinSet<()>) -> Namespaces {
    let (namespaces, watch) = Namespaces::new(cluster);
    tasks.spawn(watch.run(CancellationToken::new()));
    tokio::time::timeout(DEADLINE, namespaces.ready())
        .await
        .expect("a first listing");
    namespaces
}

/// Waits until the cache holds an annotation; the cache offers no event to wait for.
async fn holds(namespaces: &Namespaces, name: &str, note: Option<&str>) {
    let poll = async {
        let held = || namespaces.annotations(name)?.get("note").cloned();
        while held().as_deref() != note {
            tokio::task::yield_now().await;
        }
    };
    let held = tokio::time::timeout(DEADLINE, poll).await;
    assert!(held.is_ok(), "{name} is {:?}", namespaces.get(name));
}

#[tokio::test]
async fn the_cache_follows_namespaces_as_they_come_change_and_go() {
    let server = ApiServer::start().await;
    let (key, object) = namespace("shop", "first");
    server.store.create(&key, object, "kubectl").unwrap();
    let mut tasks = JoinSet::new();
    let namespaces = cache(&server.connect(), &mut tasks).await;
    holds(&namespaces, "shop", Some("first")).await;
    assert_eq!(namespaces.annotations("elsewhere"), None);

    server.store.edit(&key, "kubectl", |object| {
        object["metadata"]["annotations"]["note"] = "second".into();
    });
    holds(&namespaces, "shop", Some("second")).await;
    server.store.delete(&key).unwrap();
    holds(&namespaces, "shop", None).await;
}

#[tokio::test]
async fn the_cache_serves_while_the_api_server_is_away_and_catches_up() {
    let mut server = ApiServer::start().await;
    let (key, object) = namespace("shop", "first");
    server.store.create(&key, object, "kubectl").unwrap();
    let mut tasks = JoinSet::new();
    let namespaces = cache(&server.connect(), &mut tasks).await;
    server.stop().await;
    server.store.edit(&key, "kubectl", |object| {
        object["metadata"]["annotations"]["note"] = "second".into();
    });
    assert_eq!(namespaces.annotations("shop").unwrap()["note"], "first");
    let error = namespaces.look_up("unknown").await.unwrap_err();
    assert_eq!(error.to_string(), "cannot get namespaces \"unknown\"");
    server.resume().await;
    holds(&namespaces, "shop", Some("second")).await;
}

#[tokio::test]
async fn the_cache_begins_anew_when_its_watch_expired() {
    let server = ApiServer::start().await;
    let mut tasks = JoinSet::new();
    let namespaces = cache(&server.connect(), &mut tasks).await;
    server.store.expire_watches();
    let (key, object) = namespace("shop", "first");
    server.store.create(&key, object, "kubectl").unwrap();
    holds(&namespaces, "shop", Some("first")).await;
    assert!(server.store.count("watch", "namespaces", 410) > 0);
}

#[tokio::test]
async fn a_namespace_that_the_cache_does_not_hold_is_asked_for() {
    let server = ApiServer::start().await;
    // Never run: a cache that is always behind.
    let (namespaces, _watch) = Namespaces::new(&server.connect());
    let (key, object) = namespace("shop", "first");
    server.store.create(&key, object, "kubectl").unwrap();
    assert_eq!(namespaces.annotations("shop"), None);
    let found = namespaces.look_up("shop").await.unwrap();
    assert_eq!(found.annotations["note"], "first");
    assert!(
        namespaces
            .look_up("elsewhere")
            .await
            .unwrap_err()
            .is_missing()
    );
}

#[tokio::test]
async fn a_namespace_that_may_not_be_read_names_the_permission() {
    let server = ApiServer::start().await;
    server.store.forbid("get", "namespaces");
    let (namespaces, _watch) = Namespaces::new(&server.connect());
    let error = namespaces.look_up("shop").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot get namespaces \"shop\": forbidden; needs get on namespaces"
    );
}

#[tokio::test]
async fn the_version_is_read_even_if_the_api_server_comes_later() {
    let mut server = ApiServer::start().await;
    server.stop().await;
    let cluster = server.connect();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { server_version(&cluster, &CancellationToken::new()).await });
    // Whoever asks now is refused, and so was the task or will be.
    Namespaces::new(&server.connect())
        .0
        .look_up("any")
        .await
        .unwrap_err();
    server.resume().await;
    let version = tokio::time::timeout(DEADLINE, tasks.join_next())
        .await
        .unwrap();
    assert_eq!(
        version.unwrap().unwrap(),
        Some(ServerVersion {
            major: 1,
            minor: 33
        })
    );
}

#[tokio::test]
async fn the_keys_of_a_secret_are_told_and_its_absence() {
    let server = ApiServer::start().await;
    let key = Key::new("secrets", "shop", "tls");
    let object = json!({"metadata": {"name": "tls", "namespace": "shop"},
                        "data": {"tls.key": "", "tls.crt": ""}});
    server.store.create(&key, object, "kubectl").unwrap();
    let secrets = Secrets::new(&server.connect());
    let present = SecretKeys::Present(vec!["tls.crt".to_owned(), "tls.key".to_owned()]);
    assert_eq!(secrets.keys("shop", "tls").await, present);
    assert_eq!(secrets.keys("shop", "tls").await, present);
    assert_eq!(
        server.store.count("get", "secrets", 200),
        1,
        "an answer is remembered"
    );
    assert_eq!(secrets.keys("shop", "other").await, SecretKeys::Missing);
}

#[tokio::test]
async fn secrets_that_may_not_be_read_are_not_asked_for_again() {
    let server = ApiServer::start().await;
    server.store.forbid("get", "secrets");
    let secrets = Secrets::new(&server.connect());
    for name in ["one", "two", "three"] {
        assert_eq!(secrets.keys("shop", name).await, SecretKeys::Unknown);
    }
    assert_eq!(server.store.count("get", "secrets", 403), 1);
}

fn occasion(note: &str) -> Occasion {
    Occasion {
        namespace: "shop".to_owned(),
        owner: Owner {
            api_version: "apps/v1".to_owned(),
            kind: "ReplicaSet".to_owned(),
            name: "cart-5d8f".to_owned(),
            uid: "0b5c".to_owned(),
        },
        fate: Fate::Denied,
        note: note.to_owned(),
    }
}

fn metrics() -> ClusterMetrics {
    ClusterMetrics::new(&Registry::new()).unwrap()
}

#[tokio::test]
async fn a_denial_becomes_an_event_on_the_owner_and_repetitions_a_series() {
    let server = ApiServer::start().await;
    let metrics = metrics();
    let (events, publisher) = Events::new(&server.connect(), Some("pod-1".to_owned()), &metrics);
    events.record(occasion("egress[0].host is missing"));
    events.record(occasion("egress[0].host is missing"));
    let mut tasks = JoinSet::new();
    tasks.spawn(publisher.run(CancellationToken::new()));
    let event = server
        .until("a series", |store| {
            let event = store.list("events").pop()?;
            (event["series"]["count"] == 2).then_some(event)
        })
        .await;
    assert_eq!(server.store.list("events").len(), 1);
    assert_eq!(event["reason"], "MutualTLSDenied");
    assert_eq!(event["type"], "Warning");
    assert_eq!(event["note"], "egress[0].host is missing");
    assert_eq!(event["reportingInstance"], "pod-1");
    assert_eq!(event["regarding"]["kind"], "ReplicaSet");
    assert_eq!(event["regarding"]["name"], "cart-5d8f");
    assert_eq!(event["regarding"]["uid"], "0b5c");
}

#[tokio::test]
async fn events_that_may_not_be_written_are_counted_and_hold_nothing_up() {
    let server = ApiServer::start().await;
    server.store.forbid("create", "events");
    let metrics = metrics();
    let (events, publisher) = Events::new(&server.connect(), None, &metrics);
    events.record(occasion("first"));
    let mut tasks = JoinSet::new();
    tasks.spawn(publisher.run(CancellationToken::new()));
    let refused = |store: &crate::api_server::Store| {
        (store.count("create", "events", 403) == 1).then_some(())
    };
    server.until("a refusal", refused).await;
    server.store.permit("create", "events");
    events.record(occasion("second"));
    let notes = server
        .until("the second", |store| {
            store
                .list("events")
                .pop()
                .map(|event| event["note"].clone())
        })
        .await;
    assert_eq!(notes, "second");
    assert_eq!(metrics.events.with_label_values(&["failed"]).get(), 1);
}

#[tokio::test]
async fn a_full_queue_drops_events_and_counts_them() {
    let server = ApiServer::start().await;
    let metrics = metrics();
    let (events, _publisher) = Events::new(&server.connect(), None, &metrics);
    for _ in 0..300 {
        events.record(occasion("again"));
    }
    assert_eq!(
        metrics.events.with_label_values(&["dropped"]).get(),
        300 - 256
    );
}

fn permissive() -> (Key, Value) {
    let key = Key::new("peerauthentications", "shop", "default");
    let object = json!({"apiVersion": "security.istio.io/v1beta1", "kind": "PeerAuthentication",
        "metadata": {"name": "default", "namespace": "shop"}, "spec": {"mtls": {"mode": "PERMISSIVE"}}});
    (key, object)
}

/// Waits until the mode that Istio's resources set for a port is this.
async fn sets(cache: &IstioCache, mode: InboundMode) {
    let port = |number| Port::new(number).expect("a port");
    let declared = Declared {
        port: InboundPort::new(port(8443), port(8080)),
        mode_is_written: false,
    };
    let labels = Labels::new();
    let workload = Workload {
        namespace: "shop",
        labels: &labels,
    };
    let poll = async {
        let declared = std::slice::from_ref(&declared);
        while cache.resources().inbound(&workload, declared, &[]).ports[0].mode != mode {
            tokio::task::yield_now().await;
        }
    };
    assert!(tokio::time::timeout(DEADLINE, poll).await.is_ok(), "{mode}");
}

#[tokio::test]
async fn istios_resources_are_followed_as_they_come_change_and_go() {
    let server = ApiServer::start().await;
    let (key, object) = permissive();
    server.store.create(&key, object, "kubectl").unwrap();
    let mut tasks = JoinSet::new();
    let (cache, watch) = IstioCache::new(&server.connect());
    tasks.spawn(watch.run(CancellationToken::new()));
    let listed = tokio::time::timeout(DEADLINE, cache.ready()).await;
    assert!(listed.is_ok());
    sets(&cache, InboundMode::Permissive).await;
    server.store.edit(&key, "kubectl", |object| {
        object["spec"]["mtls"]["mode"] = "DISABLE".into();
    });
    sets(&cache, InboundMode::Disable).await;
    server.store.delete(&key).unwrap();
    sets(&cache, InboundMode::Strict).await;
    assert!(cache.resources().is_empty());
}
