//! The flows of Istio's documentation between real programs: originating mutual TLS, refusing and
//! allowing plaintext, and a gateway at the edge. No annotation of ours, but for the inbound port.

use std::fs;
use std::path::Path;

use mtls_proxy::config::Config;
use serde_json::Value;

use crate::ports::free_port;
use crate::programs::{Certificates, Nginx, Proxy, curl, injector, until};

fn fixture(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    fs::read_to_string(folder.join(name)).unwrap()
}

/// Returns the proxy's configuration in the Deployment of a stream of manifests.
fn proxy_config(stream: &str) -> String {
    let injected = injector(&["inject", "-f", "-"], stream);
    let documents: Vec<Value> = serde_saphyr::from_multiple(&injected).unwrap();
    let deployment = documents.iter().find(|one| one["kind"] == "Deployment");
    let template = &deployment.unwrap()["spec"]["template"];
    let config = &template["metadata"]["annotations"]["mtls-injector.io/proxy-config"];
    config.as_str().unwrap().to_owned()
}

#[test]
fn the_documented_flow_reaches_an_external_system_that_demands_a_certificate() {
    let pki = Certificates::new();
    pki.issue("external.system.com", "serverAuth");
    pki.issue("sample-app", "clientAuth");
    let (listen, target) = (free_port(), free_port());
    let block = format!(
        "ssl_certificate {0}/external.system.com.crt; ssl_certificate_key {0}/external.system.com.key; \
         ssl_client_certificate {0}/ca.crt; ssl_verify_client on; \
         location / {{ return 200 \"seen $ssl_client_s_dn for $host\"; }}",
        pki.text("")
    );
    let _external = Nginx::start(target, "ssl", &block);

    let stream =
        fixture("istio/flow/egress.yaml") + "---\n" + &fixture("objects/deployment-article.yaml");
    let config = proxy_config(&stream);
    let mut parsed = Config::parse(&config).unwrap();
    let [route] = parsed.egress.as_slice() else {
        panic!("{config}");
    };
    assert_eq!(route.name(), "external.system.com:80");
    assert_eq!(route.target_port.get(), 443);
    assert_eq!(
        route.listen_addresses(),
        ["127.77.0.1".parse::<std::net::IpAddr>().unwrap()]
    );

    // What only a node and the world can give: the Secret's files, DNS and the ports under 1024.
    let route = &mut parsed.egress[0];
    route.port = listen.to_string().parse().unwrap();
    route.target_port = target.to_string().parse().unwrap();
    route.address = Some("127.0.0.1".parse().unwrap());
    route.tls.client_certificate = Some(pki.path("sample-app.crt"));
    route.tls.private_key = Some(pki.path("sample-app.key"));
    route.tls.ca_certificates = Some(pki.path("ca.crt"));
    let _proxy = Proxy::ready(&parsed.render());

    let url = format!("http://external.system.com:{listen}/secured-endpoint");
    let resolve = format!("external.system.com:{listen}:127.77.0.1");
    let reply = curl(&["--resolve", &resolve, &url]);
    assert_eq!(reply.status, 200, "{reply:?}");
    let seen =
        reply.text.contains("CN=sample-app") && reply.text.contains("for external.system.com");
    assert!(seen, "{reply:?}");

    // Without the proxy the same call is refused.
    let resolve = format!("external.system.com:{target}:127.0.0.1");
    let url = format!("https://external.system.com:{target}/secured-endpoint");
    let reply = curl(&["--cacert", &pki.text("ca.crt"), "--resolve", &resolve, &url]);
    assert_eq!(reply.status, 400, "{reply:?}");
}

/// What a Deployment with an inbound port gets from a PeerAuthentication, on ports of this machine.
fn inbound(mode: &str, pki: &Certificates, listen: u16, app: u16) -> String {
    let policy = format!(
        "apiVersion: security.istio.io/v1\nkind: PeerAuthentication\n\
         metadata: {{name: default, namespace: devel}}\nspec: {{mtls: {{mode: {mode}}}}}\n---\n"
    );
    let deployment = fixture("objects/deployment-article.yaml").replace(
        "sidecar.istio.io/inject: \"true\"",
        "sidecar.istio.io/inject: \"true\"\n        mtls-injector.io/inbound: 8443:8080",
    );
    let mut config = Config::parse(&proxy_config(&(policy + &deployment))).unwrap();
    assert_eq!(config.inbound.len(), 1);
    let port = &mut config.inbound[0];
    assert_eq!(port.mode.to_string(), mode);
    port.port = listen.to_string().parse().unwrap();
    port.target_port = app.to_string().parse().unwrap();
    port.tls.credential_directory = Some(pki.path("mount"));
    config.render()
}

#[test]
fn strict_refuses_plaintext_and_permissive_serves_both() {
    let pki = Certificates::new();
    pki.issue("app.example", "serverAuth");
    pki.issue("client.example", "clientAuth");
    pki.mount("mount", "app.example");
    let app = free_port();
    let _app = Nginx::start(app, "", "location / { return 200 hello; }");
    for (mode, plaintext) in [("STRICT", 0), ("PERMISSIVE", 200)] {
        let listen = free_port();
        let _proxy = Proxy::ready(&inbound(mode, &pki, listen, app));
        let reply = curl(&[&format!("http://127.0.0.1:{listen}/")]);
        assert_eq!(reply.status, plaintext, "{mode}: {reply:?}");
        let (ca, cert) = (pki.text("ca.crt"), pki.text("client.example.crt"));
        let (key, url) = (
            pki.text("client.example.key"),
            format!("https://app.example:{listen}/"),
        );
        let resolve = format!("app.example:{listen}:127.0.0.1");
        let common = ["--cacert", &ca, "--resolve", &resolve, &url];
        let reply = curl(&[&["--cert", &cert, "--key", &key], common.as_slice()].concat());
        assert_eq!(reply.status, 200, "{mode}: {reply:?}");
        let reply = curl(&common);
        assert_eq!(reply.status, 0, "{mode} without a certificate: {reply:?}");
    }
}

const EDGE_HOST: &str = "httpbin.example.com";

/// What a Gateway becomes, on ports of this machine.
fn edge(pki: &Certificates, tls: u16, plain: u16, teapot: u16) -> String {
    let resources = fixture("istio/flow/gateway.yaml")
        .replace("number: 443", &format!("number: {tls}"))
        .replace("number: 80}", &format!("number: {plain}}}"));
    let arguments = ["gateway", "-f", "-", "-l", "istio=ingressgateway"];
    let mut config = Config::parse(&injector(&arguments, &resources)).unwrap();
    config.inbound[0].tls.credential_directory = Some(pki.path("teapot-credential"));
    for route in &mut config.egress {
        if route.address.is_some() {
            route.address = Some("127.0.0.1".parse().unwrap());
            route.target_port = teapot.to_string().parse().unwrap();
        }
    }
    config.render()
}

#[test]
fn a_gateway_demands_a_certificate_and_leads_to_the_teapot() {
    let pki = Certificates::new();
    pki.issue(EDGE_HOST, "serverAuth");
    pki.issue("client.example.com", "clientAuth");
    pki.mount("teapot-credential", EDGE_HOST);
    let (tls, plain, teapot) = (free_port(), free_port(), free_port());
    let _teapot = Nginx::start(teapot, "", "location /status/418 { return 418; }");
    let _proxy = Proxy::ready(&edge(&pki, tls, plain, teapot));

    let resolve = [tls, plain].map(|port| format!("{EDGE_HOST}:{port}:127.0.0.1"));
    let ca = pki.text("ca.crt");
    let ask = |more: &[&str]| {
        let names = ["--resolve", &resolve[0], "--resolve", &resolve[1]];
        curl(&[&["--cacert", &ca], names.as_slice(), more].concat())
    };
    let url = |path: &str| format!("https://{EDGE_HOST}:{tls}{path}");
    // The connection is gone after the alert, which curl sometimes notices before it reads the alert.
    until("the alert is read", || {
        let reply = ask(&[&url("/status/418")]);
        assert_eq!(reply.status, 0, "{reply:?}");
        reply.error.contains("certificate required")
    });

    let file = |end: &str| pki.text(&format!("client.example.com.{end}"));
    let (cert, key) = (file("crt"), file("key"));
    for (path, more, status) in [
        ("/status/418", [].as_slice(), 418),
        ("/other", &[], 404),
        ("/status/418", &["--header", "host: other.example.com"], 404),
    ] {
        let with = ["--cert", &cert, "--key", &key, &url(path)];
        let reply = ask(&[with.as_slice(), more].concat());
        assert_eq!(reply.status, status, "{path} {more:?}: {reply:?}");
    }

    let reply = ask(&[&format!("http://{EDGE_HOST}:{plain}/status/418?x=1")]);
    assert_eq!(reply.status, 301, "{reply:?}");
    let location = format!("location: https://{EDGE_HOST}/status/418?x=1\r\n");
    assert!(reply.text.contains(&location), "{reply:?}");
}
