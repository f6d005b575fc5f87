//! The API server is away for a minute, as in an upgrade of a cluster with one: nothing that is needed
//! for an admission is missed, and what happened meanwhile is caught up with.

use std::time::Duration;

use http::StatusCode;
use serde_json::json;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::api_server::{ApiServer, Key};
use crate::program::{Program, mutate, namespace, patch, review};
use crate::replica::*;

const MINUTE: Duration = Duration::from_secs(60);
/// Pauses between attempts grow to 15 s, and up to twice that by jitter.
const CATCHING_UP: Duration = Duration::from_secs(45);

#[tokio::test]
async fn a_minute_without_an_api_server_fails_no_review_and_is_caught_up_with() {
    let mut server = installed().await;
    namespace(
        &server.store,
        &json!({"mtls-injector.io/egress": "external.system.com"}),
    );
    let program = Program::start(&server);
    program.admin_says("/readyz", StatusCode::OK).await;
    let before = bundles(&server.store);

    server.stop().await;
    let reviews = reviews_for_a_minute(&program, &server).await;
    assert!(reviews >= 50, "only {reviews} in a minute");
    program.admin_says("/readyz", StatusCode::OK).await;

    // What others do on another API server, or the moment this one is back.
    let webhook = Key::new("mutatingwebhookconfigurations", "", "mtls-injector");
    server.store.edit(&webhook, "kubectl", |webhook| {
        webhook["webhooks"][0]["clientConfig"]["caBundle"] = json!("");
    });
    let shop = Key::new("namespaces", "", "shop");
    server.store.edit(&shop, "kubectl", |namespace| {
        namespace["metadata"]["annotations"] =
            json!({"mtls-injector.io/egress": "other.system.com"});
    });
    server.resume().await;
    let healed = |store: &crate::api_server::Store| {
        let bundle = &store.get(&webhook)?["webhooks"][0]["clientConfig"]["caBundle"];
        (bundle != "").then_some(())
    };
    server
        .until_within(CATCHING_UP, "the bundle healed", healed)
        .await;
    assert_eq!(bundles(&server.store), before);
    let deadline = Instant::now() + CATCHING_UP;
    while !egress(&program, &server).await.contains("other.system.com") {
        assert!(Instant::now() < deadline, "the new defaults are not known");
    }
    program.admin_says("/readyz", StatusCode::OK).await;
}

/// Sends a review each second, of which each must be answered with what was known before.
async fn reviews_for_a_minute(program: &Program, server: &ApiServer) -> usize {
    let mut pace = interval(Duration::from_secs(1));
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let end = Instant::now() + MINUTE;
    let mut reviews = 0;
    while Instant::now() < end {
        pace.tick().await;
        let added = egress(program, server).await;
        assert!(added.contains("external.system.com"), "{added}");
        reviews += 1;
    }
    reviews
}

async fn egress(program: &Program, server: &ApiServer) -> String {
    let secret = json!({"mtls-injector.io/secret": "external-system-mtls-data"});
    patch(&mutate(program, &server.store, &review(&secret, false)).await)
}
