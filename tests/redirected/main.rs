//! A pod with capture by the kernel as a node would run it: each container with the arguments, the
//! user and the capabilities that the injector wrote, in a network namespace of its own. In another
//! one are kubelet, clients and the external system.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test that cannot go on fails"
)]

mod node;
mod pod;

use crate::node::Node;
use crate::pod::{Injected, free_of_root};

/// The pod's manifest: nothing of the application knows of TLS.
const POD: &str = r#"
apiVersion: v1
kind: Pod
metadata:
  name: app
  namespace: shop
  annotations:
    mtls-injector.io/capture: redirect
    mtls-injector.io/secret: "certs:/certs/server"
    mtls-injector.io/inbound: "8080:8080"
    mtls-injector.io/egress: |
      - host: external.system.com
        targetPort: 8443
        address: 10.79.0.2
        tls:
          clientCertificate: /certs/client/cert
          privateKey: /certs/client/key
          caCertificates: /certs/client/cacert
spec:
  containers:
  - name: app
    image: app:1
    ports: [{name: http, containerPort: 8080}]
    livenessProbe: {tcpSocket: {port: http}}
    readinessProbe: {httpGet: {path: /healthz, port: http}}
"#;

#[test]
fn the_containers_of_an_injected_pod_do_together_what_it_asks_for() {
    let Some(node) = Node::new() else { return };
    let pod = Injected::new(POD, &node);
    let external = node.external_system();

    // As kubelet does: the init container to its end, then the proxy, then the application.
    let said = pod.load_rules();
    assert!(said.contains("rules loaded"), "{said}");
    let proxy = pod.proxy();
    node.until_answered("http://10.79.0.1:15020/readyz", "200");
    let application = pod.application();

    for path in pod.probes() {
        node.until_answered(&format!("http://10.79.0.1:15020{path}"), "200");
    }
    // By name, wherever it leads: no alias, no listener, no sysctl.
    let resolved = ["--resolve", "external.system.com:80:192.0.2.1"];
    let seen = pod.curl(&resolved, "http://external.system.com/secured-endpoint");
    assert!(seen.contains(r#""subject":"CN=sample-app""#), "{seen}");
    // What is no route's passes through as it is: the application's own TLS, from end to end.
    let certificate = node.as_client("external.system.com:8443:10.79.0.2");
    let certificate: Vec<_> = certificate.iter().map(String::as_str).collect();
    let seen = pod.curl(&certificate, "https://external.system.com:8443/its-own");
    assert!(seen.contains(r#""path":"/its-own""#), "{seen}");

    let certificate = node.as_client("app.shop.svc:8080:10.79.0.1");
    let certificate: Vec<_> = certificate.iter().map(String::as_str).collect();
    let (code, seen) = node.curl(&certificate, "https://app.shop.svc:8080/stock");
    assert_eq!(code, 0, "{seen}");
    assert!(seen.contains("x-forwarded-client-cert"), "{seen}");
    assert!(seen.contains("sample-app"), "{seen}");
    let (code, seen) = node.curl(&[], "http://10.79.0.1:8080/stock");
    assert_ne!(code, 0, "plaintext reached the application: {seen}");

    drop(application);
    for path in pod.probes() {
        node.until_answered(&format!("http://10.79.0.1:15020{path}"), "503");
    }
    drop((proxy, external));
}

#[test]
fn the_proxy_needs_no_power_and_the_rules_one() {
    let Some(node) = Node::new() else { return };
    let pod = Injected::new(POD, &node);
    let (init, proxy) = (pod.container("mtls-init"), pod.container("mtls-proxy"));
    assert!(free_of_root(&proxy) && !free_of_root(&init));
    // The same command as the proxy's user is refused by the kernel.
    let refused = pod.load_rules_as(&proxy);
    assert!(!refused.status.success(), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("NET_ADMIN"), "{said}");
}
