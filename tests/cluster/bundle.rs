//! The caBundle is ours, and nothing else is.

use serde_json::Value;

use crate::api_server::{Store, webhook_configuration};
use crate::replica::*;

/// What is left of an object without what the server and we write.
fn without_ours(mut object: Value) -> Value {
    let metadata = object["metadata"].as_object_mut().unwrap();
    metadata.retain(|key, _| key == "name");
    for webhook in object["webhooks"].as_array_mut().unwrap() {
        webhook["clientConfig"]
            .as_object_mut()
            .unwrap()
            .remove("caBundle");
    }
    object
}

fn healed(store: &Store) -> Option<()> {
    let ca = stored_ca(store)?;
    bundles(store)
        .iter()
        .all(|bundle| *bundle == [ca.clone()])
        .then_some(())
}

#[tokio::test]
async fn a_bundle_that_was_overwritten_is_healed() {
    let server = installed().await;
    let mut replica = Replica::start(&server, &TestClock::default(), policy());
    replica.accepted().await;
    for foreign in ["", "bm90IGEgY2VydGlmaWNhdGU="] {
        server
            .store
            .edit(&configuration(), "kubectl-edit", |object| {
                object["webhooks"][1]["clientConfig"]["caBundle"] = foreign.into();
            });
        server.until("healing", healed).await;
        replica.accepted().await;
    }
    assert!(
        replica
            .metrics()
            .contains("mtls_injector_ca_bundle_matches 1")
    );
    assert!(
        replica
            .metrics()
            .contains("mtls_injector_ca_bundle_patches_total{outcome=\"patched\"} 3")
    );
}

#[tokio::test]
async fn a_foreign_ca_beside_ours_is_taken_out() {
    let server = installed().await;
    let mut replica = Replica::start(&server, &TestClock::default(), policy());
    replica.accepted().await;
    server
        .store
        .edit(&configuration(), "kubectl-edit", |object| {
            let bundle = &mut object["webhooks"][0]["clientConfig"]["caBundle"];
            let ours = bundle.as_str().unwrap().trim_end_matches('=').to_owned();
            *bundle = twice(&ours).into();
        });
    assert!(
        healed(&server.store).is_none(),
        "the test has to change something"
    );
    server.until("healing", healed).await;
    replica.accepted().await;
}

#[tokio::test]
async fn a_late_watch_does_not_bring_an_old_bundle_back() {
    let webhooks = "mutatingwebhookconfigurations";
    let server = installed().await;
    server.store.delay_watches(webhooks);
    let clock = TestClock::default();
    let mut replica = Replica::start(&server, &clock, long_lived());
    replica.accepted().await;
    let before = replica.leaf();
    clock.advance(2 * 365 * DAY + HOUR);
    replica.shows_another(&before).await;

    server.store.resume_watches(webhooks);
    server
        .until("a look at what counts", |store| {
            (store.count("get", webhooks, 200) >= 1).then_some(())
        })
        .await;
    let conflicts = server.store.count("patch", webhooks, 409);
    assert_eq!(conflicts, 0, "it wrote what it had written");
    assert!(each_bundle_has(&server.store, 2));
}

/// The bundle with itself appended: more than is wanted, nothing lacking.
fn twice(base64: &str) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};
    let pem = STANDARD_NO_PAD.decode(base64).unwrap();
    STANDARD.encode([pem.as_slice(), pem.as_slice()].concat())
}

#[tokio::test]
async fn only_the_bundle_is_ours() {
    let server = installed().await;
    let mut replica = Replica::start(&server, &TestClock::default(), policy());
    replica.accepted().await;
    let owned = server.store.owned_by(&configuration(), "mtls-injector-ca");
    let path =
        |webhook: &str, field: &str| format!(".webhooks[name={webhook}.mtls-injector.io]{field}");
    assert_eq!(
        owned,
        [
            path("namespace", ".clientConfig.caBundle"),
            path("namespace", ".name"),
            path("object", ".clientConfig.caBundle"),
            path("object", ".name"),
        ]
    );
    let object = server.store.get(&configuration()).unwrap();
    assert_eq!(without_ours(object), webhook_configuration(CONFIGURATION));
}

#[tokio::test]
async fn a_gitops_tool_that_applies_again_sees_no_drift_and_changes_nothing() {
    let server = installed().await;
    let mut replica = Replica::start(&server, &TestClock::default(), policy());
    replica.accepted().await;
    let before = server.store.get(&configuration()).unwrap();
    // Without force: a field of ours in the manifests would be a conflict.
    let manifest = webhook_configuration(CONFIGURATION);
    let after = server
        .store
        .apply(&configuration(), &manifest, "kustomize-controller", false)
        .unwrap();
    assert_eq!(after, before);
}

#[tokio::test]
async fn a_webhook_that_is_added_later_gets_its_bundle() {
    let server = installed().await;
    let mut replica = Replica::start(&server, &TestClock::default(), policy());
    replica.accepted().await;
    let mut manifest = webhook_configuration(CONFIGURATION);
    let mut third = manifest["webhooks"][0].clone();
    third["name"] = "third.mtls-injector.io".into();
    manifest["webhooks"].as_array_mut().unwrap().push(third);
    server
        .store
        .apply(&configuration(), &manifest, "kustomize-controller", false)
        .unwrap();
    server.until("a bundle for the third", healed).await;
    assert_eq!(bundles(&server.store).len(), 3);
}

#[tokio::test]
async fn a_replica_without_its_webhook_is_not_ready_and_does_not_make_one() {
    let server = installed().await;
    let mut replica = Replica::start(&server, &TestClock::default(), policy());
    replica.accepted().await;
    server.store.delete(&configuration()).unwrap();
    replica.acceptance_is("no_configuration").await;
    assert!(server.store.get(&configuration()).is_none());
    assert!(
        replica
            .metrics()
            .contains("mtls_injector_ca_bundle_matches 0")
    );
    let manifest = webhook_configuration(CONFIGURATION);
    server
        .store
        .apply(&configuration(), &manifest, "kustomize-controller", false)
        .unwrap();
    replica.accepted().await;
}

#[tokio::test]
async fn is_not_ready_while_the_bundle_may_not_be_written() {
    let server = installed().await;
    server
        .store
        .forbid("patch", "mutatingwebhookconfigurations");
    let mut replica = Replica::start(&server, &TestClock::default(), policy());
    replica.acceptance_is("not_trusted").await;
    assert_eq!(
        replica.acceptance.borrow().to_string(),
        "the caBundle of webhook \"namespace.mtls-injector.io\" does not vouch for the certificate \
         that is served: there is no CA certificate to verify with"
    );
    server
        .store
        .permit("patch", "mutatingwebhookconfigurations");
    replica.accepted().await;
}

#[tokio::test]
async fn heals_after_its_watches_expired() {
    let server = installed().await;
    let mut replica = Replica::start(&server, &TestClock::default(), policy());
    replica.accepted().await;
    server.store.expire_watches();
    server
        .until("410 Gone on both watches", |store| {
            let gone = |plural| store.count("watch", plural, 410) > 0;
            (gone("mutatingwebhookconfigurations") && gone("secrets")).then_some(())
        })
        .await;
    server
        .store
        .edit(&configuration(), "kubectl-edit", |object| {
            object["webhooks"][0]["clientConfig"]["caBundle"] = "".into();
        });
    server.until("healing", healed).await;
    let before = replica.leaf();
    server.store.delete(&secret()).unwrap();
    replica.shows_another(&before).await;
}

#[tokio::test]
async fn a_watch_that_only_saw_bookmarks_goes_on_from_the_last_one() {
    let server = installed().await;
    let mut replica = Replica::start(&server, &TestClock::default(), policy());
    replica.accepted().await;
    let seen = server.store.bookmarks();
    let other = crate::api_server::Key::new("configmaps", NAMESPACE, "unrelated");
    let object = serde_json::json!({"metadata": {"name": "unrelated", "namespace": NAMESPACE}});
    server.store.create(&other, object, "kubectl").unwrap();
    server
        .until("bookmarks", |store| {
            (store.bookmarks() >= seen + 2).then_some(())
        })
        .await;
    // Everything up to the bookmark is forgotten, but not what comes after it.
    server.store.close_watches_and_forget();
    server
        .store
        .edit(&configuration(), "kubectl-edit", |object| {
            object["webhooks"][0]["clientConfig"]["caBundle"] = "".into();
        });
    server.until("healing", healed).await;
    assert_eq!(
        server
            .store
            .count("watch", "mutatingwebhookconfigurations", 410),
        0
    );
}
