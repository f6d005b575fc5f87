//! One CA for all replicas, renewed without a gap, whatever happens to the Secret.

use mtls_injector::cluster::certificates::trust;

use crate::api_server::ApiServer;
use crate::replica::*;

async fn race(count: usize) {
    let server = installed().await;
    server.store.let_meet("create", "secrets", count);
    let clock = TestClock::default();
    let mut replicas: Vec<_> = (0..count)
        .map(|_| Replica::start(&server, &clock, policy()))
        .collect();
    for replica in &mut replicas {
        replica.accepted().await;
    }
    assert_eq!(server.store.count("create", "secrets", 201), 1);
    assert_eq!(server.store.count("create", "secrets", 409), count - 1);
    let leaf = stored_leaf(&server.store).unwrap();
    for replica in &replicas {
        assert_eq!(
            replica.leaf(),
            leaf,
            "a replica shows a certificate of its own"
        );
    }
    let ca = stored_ca(&server.store).unwrap();
    assert_eq!(bundles(&server.store), [vec![ca.clone()], vec![ca]]);
}

#[tokio::test]
async fn two_replicas_that_race_from_nothing_share_one_ca() {
    race(2).await;
}

#[tokio::test]
async fn five_replicas_that_race_from_nothing_share_one_ca() {
    race(5).await;
}

#[tokio::test]
async fn five_replicas_that_race_to_renew_share_one_leaf() {
    let server = installed().await;
    let clock = TestClock::default();
    let mut replicas: Vec<_> = (0..5)
        .map(|_| Replica::start(&server, &clock, policy()))
        .collect();
    for replica in &mut replicas {
        replica.accepted().await;
    }
    let (before, ca) = (replicas[0].leaf(), stored_ca(&server.store));
    server.store.let_meet("update", "secrets", 5);
    clock.advance(61 * DAY);
    for replica in &mut replicas {
        replica.shows_another(&before).await;
    }
    let leaf = stored_leaf(&server.store).unwrap();
    assert!(replicas.iter().all(|replica| replica.leaf() == leaf));
    assert_eq!(server.store.count("update", "secrets", 200), 1);
    assert_eq!(server.store.count("update", "secrets", 409), 4);
    assert_eq!(
        stored_ca(&server.store),
        ca,
        "a renewal of the leaf keeps the CA"
    );
}

#[tokio::test]
async fn a_late_watch_does_not_bring_an_old_leaf_back() {
    let server = installed().await;
    server.store.delay_watches("secrets");
    let clock = TestClock::default();
    let mut replica = Replica::start(&server, &clock, policy());
    replica.accepted().await;
    let before = replica.leaf();
    clock.advance(61 * DAY);
    replica.shows_another(&before).await;

    server.store.resume_watches("secrets");
    server
        .until("a look at what counts", |store| {
            (store.count("get", "secrets", 200) >= 1).then_some(())
        })
        .await;
    let conflicts = server.store.count("update", "secrets", 409);
    assert_eq!(conflicts, 0, "it renewed what it had renewed");
    assert_eq!(Some(replica.leaf()), stored_leaf(&server.store));
}

#[tokio::test]
async fn a_secret_that_is_there_but_empty_is_filled_and_keeps_its_labels() {
    let server = installed().await;
    let object = serde_json::json!({
        "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
        "metadata": {"name": secret().name, "namespace": NAMESPACE, "labels": {"team": "platform"}},
    });
    server.store.create(&secret(), object, "kubectl").unwrap();
    let mut replica = Replica::start(&server, &TestClock::default(), policy());
    replica.accepted().await;
    let object = server.store.get(&secret()).unwrap();
    assert_eq!(object["type"], "Opaque");
    assert_eq!(object["metadata"]["labels"]["team"], "platform");
    assert_eq!(server.store.count("create", "secrets", 201), 0);
}

/// Keeps a replica from patching the bundle while the CA is replaced, then lets it.
#[tokio::test]
async fn a_leaf_of_a_new_ca_is_shown_only_once_the_bundle_vouches_for_it() {
    let server = installed().await;
    let clock = TestClock::default();
    let mut replica = Replica::start(&server, &clock, long_lived());
    replica.accepted().await;
    let (old_leaf, old_ca) = (replica.leaf(), stored_ca(&server.store).unwrap());

    server
        .store
        .forbid("patch", "mutatingwebhookconfigurations");
    clock.advance(2 * 365 * DAY + HOUR);
    server
        .until("the refused patch", |store| {
            (store.count("patch", "mutatingwebhookconfigurations", 403) >= 3).then_some(())
        })
        .await;
    assert_ne!(
        stored_ca(&server.store).unwrap(),
        old_ca,
        "the CA was replaced"
    );
    assert_eq!(
        replica.leaf(),
        old_leaf,
        "shown before the API server would accept it"
    );
    assert_eq!(replica.acceptance.borrow().label(), "accepted");

    server
        .store
        .permit("patch", "mutatingwebhookconfigurations");
    replica.shows_another(&old_leaf).await;
    let new_ca = stored_ca(&server.store).unwrap();
    assert_eq!(
        bundles(&server.store),
        [vec![new_ca.clone(), old_ca.clone()], vec![new_ca, old_ca]]
    );
    assert_eq!(replica.acceptance.borrow().label(), "accepted");
}

#[tokio::test]
async fn both_cas_are_trusted_during_the_overlap_and_one_after_it() {
    let server = installed().await;
    let clock = TestClock::default();
    let mut replicas = [1, 2].map(|_| Replica::start(&server, &clock, long_lived()));
    for replica in &mut replicas {
        replica.accepted().await;
    }
    let (old_leaf, old_ca) = (replicas[0].leaf(), stored_ca(&server.store).unwrap());

    clock.advance(2 * 365 * DAY + HOUR);
    for replica in &mut replicas {
        replica.shows_another(&old_leaf).await;
    }
    let overlap = bundles(&server.store);
    for leaf in [&old_leaf, &replicas[0].leaf()] {
        for anchors in &overlap {
            let chain = std::slice::from_ref(leaf);
            let name = &policy().names[0];
            trust::verify(&provider(), chain, anchors, name, clock.now()).unwrap();
        }
    }

    clock.advance(HOUR + HOUR);
    let both = |store: &_| each_bundle_has(store, 1).then(|| bundles(store));
    let after = server.until("the end of the overlap", both).await;
    assert!(after.iter().flatten().all(|ca| *ca != old_ca));
    for replica in &mut replicas {
        replica.accepted().await;
    }
}

#[tokio::test]
async fn a_deleted_secret_is_made_anew_and_nothing_stops_being_accepted() {
    let server = installed().await;
    let clock = TestClock::default();
    let mut replicas = [1, 2, 3].map(|_| Replica::start(&server, &clock, policy()));
    for replica in &mut replicas {
        replica.accepted().await;
    }
    let (old_leaf, old_ca) = (replicas[0].leaf(), stored_ca(&server.store).unwrap());
    replicas
        .iter_mut()
        .for_each(|replica| replica.acceptance.mark_unchanged());

    server.store.delete(&secret()).unwrap();
    for replica in &mut replicas {
        replica.shows_another(&old_leaf).await;
        assert!(
            !replica.acceptance.has_changed().unwrap(),
            "was not accepted for a while"
        );
    }
    assert_eq!(server.store.count("create", "secrets", 201), 2);
    assert!(
        bundles(&server.store)
            .iter()
            .all(|bundle| bundle.contains(&old_ca))
    );
    assert!(
        replicas
            .iter()
            .all(|replica| replica.leaf() == stored_leaf(&server.store).unwrap())
    );
}

async fn replaces_a_key_of_garbage(server: &ApiServer) {
    let mut replica = Replica::start(server, &TestClock::default(), policy());
    replica.accepted().await;
    let before = replica.leaf();
    server.store.edit(&secret(), "kubectl-edit", |object| {
        object["data"]["ca.key"] = "bm8ga2V5".into();
    });
    replica.shows_another(&before).await;
    replica.accepted().await;
}

#[tokio::test]
async fn a_key_overwritten_with_garbage_is_replaced() {
    let server = installed().await;
    replaces_a_key_of_garbage(&server).await;
}

#[tokio::test]
async fn without_the_permission_to_get_the_secret_the_watch_is_believed() {
    let server = installed().await;
    server.store.forbid("get", "secrets");
    replaces_a_key_of_garbage(&server).await;
    assert!(server.store.count("get", "secrets", 403) >= 1);
}

#[tokio::test]
async fn nothing_changes_while_the_api_server_is_away_and_what_is_due_follows() {
    let mut server = installed().await;
    let clock = TestClock::default();
    let mut replica = Replica::start(&server, &clock, policy());
    replica.accepted().await;
    let before = replica.leaf();
    replica.acceptance.mark_unchanged();

    server.stop().await;
    clock.advance(61 * DAY);
    let mut newcomer = Replica::start(&server, &clock, policy());
    assert_refused(&server).await;
    assert_eq!(replica.leaf(), before);
    assert!(newcomer.shown.borrow().is_none());
    assert_eq!(newcomer.acceptance.borrow().label(), "no_certificate");

    server.resume().await;
    replica.shows_another(&before).await;
    newcomer.accepted().await;
    assert!(
        !replica.acceptance.has_changed().unwrap(),
        "was not accepted for a while"
    );
}

#[tokio::test]
async fn a_missing_permission_to_write_the_secret_ends_when_it_is_granted() {
    let server = installed().await;
    server.store.forbid("create", "secrets");
    let mut replica = Replica::start(&server, &TestClock::default(), policy());
    let refused = |store: &crate::api_server::Store| {
        (store.count("create", "secrets", 403) >= 2).then_some(())
    };
    server.until("refusals", refused).await;
    assert_eq!(replica.acceptance.borrow().label(), "no_certificate");
    server.store.permit("create", "secrets");
    replica.accepted().await;
}

/// Waits until a connection has been tried and refused: the server is away for certain.
async fn assert_refused(server: &ApiServer) {
    let error = server.connect();
    let version = mtls_injector::cluster::namespaces::Namespaces::new(&error).0;
    version.look_up("anything").await.unwrap_err();
}
