//! What a check of a cluster knows besides pods: Istio's resources, and Secrets.

use serde_json::{Value, json};

use crate::shop::{Shop, asking, injected, injected_beside};

const WEBHOOK: &str = "MutatingWebhookConfiguration mtls-injector";
const SECRET: &str = "external-mtls";

fn destination_rule() -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1beta1", "kind": "DestinationRule",
        "metadata": {"name": "bank", "namespace": "shop"},
        "spec": {"host": "bank.example.com", "trafficPolicy": {"tls": {"mode": "SIMPLE"}}},
    })
}

fn service_entry() -> Value {
    json!({
        "apiVersion": "networking.istio.io/v1beta1", "kind": "ServiceEntry",
        "metadata": {"name": "bank", "namespace": "shop"},
        "spec": {"hosts": ["bank.example.com"], "location": "MESH_EXTERNAL", "resolution": "DNS",
                 "ports": [{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 443}]},
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_with_routes_of_istios_resources_is_current_until_they_change() {
    let shop = Shop::open().await;
    let resources = [destination_rule(), service_entry()];
    let pod = injected_beside(&resources, "shop", "web");
    assert!(pod.to_string().contains("bank.example.com"), "{pod:#}");
    shop.add(pod);
    for (plural, resource) in ["destinationrules", "serviceentries"].iter().zip(resources) {
        shop.create(plural, "shop", resource);
    }
    let said = shop.check(&["pod/web", "-n", "shop"]).await;
    assert_eq!(
        said.about("Pod shop/web")["verdict"],
        "current",
        "{}",
        said.stdout
    );
    assert_eq!(said.code, 0);

    let key = crate::api_server::Key::new("destinationrules", "shop", "bank");
    shop.server.store.edit(&key, "kubectl", |rule| {
        rule["spec"]["trafficPolicy"]["tls"]["sni"] = "www.bank.example.com".into();
    });
    let said = shop.check(&["pod/web", "-n", "shop"]).await;
    assert_eq!(
        said.about("Pod shop/web")["verdict"],
        "stale",
        "{}",
        said.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn resources_that_may_not_be_listed_are_a_note() {
    let shop = Shop::open().await;
    shop.server.store.forbid("list", "serviceentries");
    shop.add(injected("shop", "web"));
    let said = shop.check(&["pod/web", "-n", "shop"]).await;
    assert_eq!(said.code, 0, "{}", said.stdout);
    let note = said.about(WEBHOOK)["warnings"].to_string();
    let expected = "Istio's resources are not counted in: cannot list serviceentries: forbidden; \
                    needs list on serviceentries.networking.istio.io";
    assert!(note.contains(expected), "{note}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_that_is_missing_or_lacks_a_key_is_a_problem() {
    let shop = Shop::open().await;
    let key = |namespace| crate::api_server::Key::new("secrets", namespace, SECRET);
    shop.server.store.delete(&key("shop")).unwrap();
    shop.server
        .store
        .edit(&key("elsewhere"), "kubectl", |secret| {
            secret["data"] = json!({"cert": ""});
        });
    shop.add(injected("shop", "web"));
    shop.add(asking("elsewhere", "early"));
    let said = shop.check(&["ns/shop", "ns/elsewhere"]).await;
    assert_eq!(said.code, 1);
    let problems = |pod: &str| said.about(pod)["problems"].to_string();
    let missing = r#"Secret \"external-mtls\" does not exist in namespace \"shop\""#;
    assert!(
        problems("Pod shop/web").contains(missing),
        "{}",
        said.stdout
    );
    let lacks = r#"Secret \"external-mtls\" lacks what the proxy needs: cert and key, or tls.crt"#;
    assert!(
        problems("Pod elsewhere/early").contains(lacks),
        "{}",
        said.stdout
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_that_may_not_be_read_are_a_note() {
    let shop = Shop::open().await;
    shop.server.store.forbid("get", "secrets");
    shop.add(injected("shop", "web"));
    let said = shop.check(&["pod/web", "-n", "shop"]).await;
    assert_eq!(said.code, 0, "{}", said.stdout);
    let web = said.about("Pod shop/web");
    let note = web["warnings"][0].as_str().unwrap();
    assert!(
        note.contains("needs get on secrets in namespace \"shop\""),
        "{note}"
    );
}
