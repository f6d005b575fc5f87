//! What is found in a cluster.

use serde_json::{Value, json};

use crate::shop::{HOME, Shop, asking, certificates, injected, through_the_webhook};

const WEBHOOK: &str = "MutatingWebhookConfiguration mtls-injector";

fn problem(finding: &Value) -> &str {
    finding["problems"][0]
        .as_str()
        .unwrap_or_else(|| panic!("no problem: {finding:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_in_order_has_no_problems() {
    let shop = Shop::open().await;
    shop.add(injected("shop", "web"));
    let plain = json!({ "apiVersion": "v1", "kind": "Pod",
        "metadata": { "name": "plain", "namespace": "elsewhere" },
        "spec": { "containers": [{ "name": "app", "image": "app:1" }] } });
    shop.add(plain);
    let said = shop.check(&["namespace/shop", "namespace/elsewhere"]).await;
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    assert_eq!(said.about(WEBHOOK)["verdict"], "right");
    assert_eq!(
        said.about("Namespace shop")["rule"],
        "it is labelled mtls-injection=enabled"
    );
    assert_eq!(said.about("Namespace elsewhere")["verdict"], "skip");
    let web = said.about("Pod shop/web");
    assert_eq!(web["verdict"], "current", "{web:#}");
    let rule = "it has the proxy that it would get today (called: namespace.mtls-injector.io)";
    assert_eq!(web["rule"], rule);
    let plain = said.about("Pod elsewhere/plain");
    assert_eq!(
        plain["rule"],
        "neither the pod nor its namespace asks for the proxy"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_with_another_version_or_configuration_is_stale() {
    let shop = Shop::open().await;
    let status = "mtls-injector.io/status";
    for (name, field, value) in [("old", "version", "0.0.1"), ("other", "configHash", "00")] {
        let mut pod = injected("shop", name);
        let annotation = &mut pod["metadata"]["annotations"][status];
        let mut status: Value = serde_json::from_str(annotation.as_str().unwrap()).unwrap();
        status[field] = value.into();
        *annotation = status.to_string().into();
        shop.add(pod);
    }
    let said = shop.check(&["pod/old", "pod/other", "-n", "shop"]).await;
    assert_eq!(said.code, 1, "{}", said.stdout);
    let old = said.about("Pod shop/old");
    assert_eq!(old["verdict"], "stale");
    assert!(
        problem(&old).starts_with("it was injected by version 0.0.1, and this is "),
        "{old}"
    );
    let other = said.about("Pod shop/other");
    assert_eq!(other["verdict"], "stale");
    assert!(
        problem(&other).contains("differs from what it would get today"),
        "{other}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_redirected_pod_whose_ports_changed_needs_a_new_one() {
    let shop = Shop::open().await;
    let annotated = |name: &str, inbound: &str| {
        let mut pod = asking("shop", name);
        let annotations = &mut pod["metadata"]["annotations"];
        annotations["mtls-injector.io/capture"] = "redirect".into();
        annotations["mtls-injector.io/inbound"] = inbound.into();
        pod
    };
    shop.add(through_the_webhook(&[], annotated("web", "8443:8080")));
    let mut changed = through_the_webhook(&[], annotated("changed", "8443:8080"));
    changed["metadata"]["annotations"]["mtls-injector.io/inbound"] = "8443:8081".into();
    shop.add(changed);
    let said = shop.check(&["pod/web", "pod/changed", "-n", "shop"]).await;
    let web = said.about("Pod shop/web");
    assert_eq!(
        (&web["verdict"], &web["capture"]),
        (&"current".into(), &"redirect".into())
    );
    let changed = said.about("Pod shop/changed");
    assert_eq!(changed["verdict"], "stale");
    assert_eq!(
        problem(&changed),
        "what it was injected with differs from what it would get today; the kernel redirects what it was told when the pod started, and other ports or addresses would differ; restart its workload (kubectl rollout restart)"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_that_forbids_redirection_is_told_before_the_next_pod() {
    let shop = Shop::open().await;
    let mut pod = asking("shop", "web");
    pod["metadata"]["annotations"]["mtls-injector.io/capture"] = "redirect".into();
    shop.add(through_the_webhook(&[], pod));
    shop.label("shop", "pod-security.kubernetes.io/enforce", "restricted");
    let said = shop.check(&["pod/web", "-n", "shop"]).await;
    let web = said.about("Pod shop/web");
    assert_eq!(web["verdict"], "deny");
    let expected = "pod-security.kubernetes.io/enforce=restricted; use capture hosts";
    assert!(problem(&web).contains(expected), "{web}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_without_its_proxy_is_told_what_to_do() {
    let shop = Shop::open().await;
    shop.add(asking("shop", "early"));
    shop.add(asking("elsewhere", "unlabelled"));
    let mut labelled = asking("elsewhere", "labelled");
    labelled["metadata"]["labels"] = json!({ "mtls-injector.io/inject": "true" });
    shop.add(labelled);
    let said = shop.check(&["ns/shop", "ns/elsewhere"]).await;
    assert_eq!(said.code, 1);
    let early = said.about("Pod shop/early");
    assert_eq!(early["verdict"], "missing");
    assert!(
        problem(&early).contains("kubectl rollout restart"),
        "{early}"
    );
    let unlabelled = said.about("Pod elsewhere/unlabelled");
    let expected = "no webhook is called for it: label its namespace mtls-injection=enabled, or \
                    the pod mtls-injector.io/inject=true";
    assert_eq!(problem(&unlabelled), expected);
    let labelled = said.about("Pod elsewhere/labelled");
    let rule = labelled["rule"].as_str().unwrap();
    assert!(
        rule.ends_with("(called: object.mtls-injector.io)"),
        "{rule}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ca_bundle_that_does_not_fit_is_a_problem_of_the_webhook() {
    let shop = Shop::open().await;
    let (other, _) = certificates();
    for (bundle, text) in [
        (
            other.as_str(),
            "its caBundle does not fit the certificate in Secret mtls-injector-tls",
        ),
        (
            "",
            "its caBundle holds no certificate, so the API server trusts none",
        ),
    ] {
        shop.server
            .store
            .edit(&Shop::configuration(), "kubectl", |configuration| {
                configuration["webhooks"][1]["clientConfig"]["caBundle"] = bundle.into();
            });
        let said = shop.check(&["namespace/shop"]).await;
        assert_eq!(said.code, 1);
        let webhook = said.about(WEBHOOK);
        assert_eq!(webhook["verdict"], "wrong");
        assert_eq!(
            webhook["problems"].as_array().unwrap().len(),
            1,
            "{webhook}"
        );
        let expected = format!("webhook object.mtls-injector.io: {text}");
        assert!(problem(&webhook).starts_with(&expected), "{webhook}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_be_read_is_said_and_is_no_problem() {
    let shop = Shop::open().await;
    shop.server.store.forbid("get", "secrets");
    let said = shop.check(&["namespace/shop"]).await;
    assert_eq!(said.code, 0, "{}", said.stdout);
    let webhook = said.about(WEBHOOK);
    let expected = format!(
        "the caBundle is not compared: cannot get secrets \"mtls-injector-tls\" in namespace \"{HOME}\": \
         forbidden; needs get on secrets in namespace \"{HOME}\""
    );
    assert_eq!(webhook["warnings"][0], expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_named() {
    let shop = Shop::open().await;
    let said = shop.check(&["pod/nobody", "-n", "shop"]).await;
    assert_eq!(
        (said.code, said.stderr.as_str()),
        (1, "mtls-injector: there is no pod shop/nobody\n")
    );
    let said = shop.check(&["namespace/nowhere"]).await;
    assert_eq!(
        (said.code, said.stderr.as_str()),
        (1, "mtls-injector: there is no namespace nowhere\n")
    );
    shop.server.store.delete(&Shop::configuration()).unwrap();
    let said = shop.check(&["namespace/shop"]).await;
    assert_eq!(said.code, 1);
    assert!(problem(&said.about(WEBHOOK)).starts_with("there is no MutatingWebhookConfiguration"));
}
