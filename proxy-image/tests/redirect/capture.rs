//! Ways out of a pod: by hosts capture and by redirection, known hosts and others.

use std::net::IpAddr;

use serde_json::{Value, json};

use crate::net::{Families, Net, Pod};
use crate::programs::{Proxy, Running, Stage, curl, eventually, exchange, nginx, route};

const HOST: &str = "external.system.com";
const CALL: &str = "http://external.system.com/secured-endpoint";

/// An application's pod, an external system and another one.
pub(crate) struct Scene {
    pub(crate) net: Net,
    pub(crate) stage: Stage,
    pub(crate) app: Pod,
    pub(crate) external: Pod,
    pub(crate) other: Pod,
    _servers: [Running; 2],
}

impl Scene {
    pub(crate) fn new(families: Families, host_aliases: &str) -> Option<Self> {
        let mut net = Net::new(families)?;
        let stage = Stage::new(&[HOST, "a.wild.example"]);
        let app = net.pod("app", host_aliases);
        let external = net.pod("ext", "");
        let other = net.pod("oth", "");
        let addresses = |pod: &Pod| -> Vec<IpAddr> {
            match families {
                Families::Both => vec![pod.v4.into(), pod.v6.into()],
                Families::V6 => vec![pod.v6.into()],
            }
        };
        for name in [HOST, "a.wild.example", "neighbour.example"] {
            net.zone.set(name, &addresses(&external));
        }
        net.zone.set("other.example", &addresses(&other));
        let servers = [nginx(&stage, &external), nginx(&stage, &other)];
        Some(Self {
            net,
            stage,
            app,
            external,
            other,
            _servers: servers,
        })
    }

    pub(crate) fn route(&self) -> Value {
        route(HOST, &self.stage.client)
    }

    /// The same host's port 8080, whose bytes are passed on as they come.
    fn tcp_route(&self) -> Value {
        let mut route = self.route();
        route["protocol"] = json!("tcp");
        route["port"] = json!(8080);
        route["targetPort"] = json!(443);
        route
    }

    /// Loads the rules of a configuration with redirection, and starts its proxy.
    pub(crate) fn redirected(&self, mut config: Value) -> Proxy {
        if config.get("redirect").is_none() {
            config["redirect"] = json!({"proxyUid": 15100});
        }
        let said = self.stage.redirect(&self.app, &config);
        assert!(said.contains("is redirected"), "{said}");
        Proxy::start(&self.stage, &self.app, &config)
    }
}

fn through(proxy: &Proxy) -> u64 {
    proxy.metric(
        "mtls_proxy_connections_total{direction=\"egress\",outcome=\"closed\",route=\"passthrough\"}",
    )
}

/// Waits until so many connections have passed through: each is counted when its end was seen, which
/// may be after curl has gone.
fn passed_through(proxy: &Proxy, connections: u64) {
    eventually("all are counted", || through(proxy) >= connections);
    assert_eq!(through(proxy), connections);
}

#[tokio::test(flavor = "multi_thread")]
async fn hosts_capture_leads_a_name_through_the_proxy() {
    let aliases = "127.77.0.1 external.system.com";
    let Some(scene) = Scene::new(Families::Both, aliases) else {
        return;
    };
    let mut route = scene.route();
    route["listen"] = json!(["127.77.0.1"]);
    let _proxy = Proxy::start(&scene.stage, &scene.app, &json!({"egress": [route]}));
    let answer = curl(&scene.app, &[CALL]);
    let expected = "mutual client=CN=client host=external.system.com uri=/secured-endpoint";
    assert!(answer.contains(expected), "{answer}");
    // Another pod has no such alias, and its plain call stays plain.
    assert!(curl(&scene.other, &[CALL]).contains("plain port=80"));
}

#[tokio::test(flavor = "multi_thread")]
async fn redirection_leads_a_name_through_the_proxy_without_an_alias() {
    let Some(scene) = Scene::new(Families::Both, "") else {
        return;
    };
    let before = curl(&scene.app, &[CALL]);
    assert!(before.contains("plain port=80"), "{before}");
    let proxy = scene.redirected(json!({"egress": [scene.route()]}));
    for family in ["-4", "-6"] {
        let answer = curl(&scene.app, &[family, CALL]);
        let expected = "mutual client=CN=client host=external.system.com uri=/secured-endpoint";
        assert!(answer.contains(expected), "{family}: {answer}");
    }
    assert_eq!(through(&proxy), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_route_is_for_passes_through_untouched_and_counted() {
    let Some(scene) = Scene::new(Families::Both, "") else {
        return;
    };
    let proxy = scene.redirected(json!({"egress": [scene.route()]}));
    // Another system; another site at the route's own address; another port of it.
    let others = [
        "http://other.example/",
        "http://neighbour.example/",
        "http://external.system.com:8080/",
    ];
    for (index, other) in others.iter().enumerate() {
        let answer = curl(&scene.app, &[other]);
        assert!(answer.contains("plain port="), "{other}: {answer}");
        passed_through(&proxy, index as u64 + 1);
    }
    // TLS of the application's own is none of the proxy's business.
    let own = scene.stage.client.display().to_string();
    let (cert, key, ca) = (
        format!("{own}/cert"),
        format!("{own}/key"),
        format!("{own}/cacert"),
    );
    let tls = ["--cert", &cert, "--key", &key, "--cacert", &ca];
    let answer = curl(
        &scene.app,
        &[&tls[..], &["https://external.system.com/"]].concat(),
    );
    assert!(answer.contains("mutual client=CN=client"), "{answer}");
    passed_through(&proxy, 4);
    let received = proxy.metric(
        "mtls_proxy_bytes_total{direction=\"egress\",flow=\"received\",route=\"passthrough\"}",
    );
    assert!(received > 4 * 50, "{received} bytes");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_dials_an_address_gets_the_route_of_its_host() {
    let Some(scene) = Scene::new(Families::Both, "") else {
        return;
    };
    let _proxy = scene.redirected(json!({"egress": [scene.route()]}));
    for url in [
        format!("http://{}/x", scene.external.v4),
        format!("http://[{}]/x", scene.external.v6),
    ] {
        let answer = curl(&scene.app, &[&url]);
        let expected = "mutual client=CN=client host=external.system.com uri=/x";
        assert!(answer.contains(expected), "{url}: {answer}");
    }
    // A name in `Host` counts more than the address that is dialled.
    let host = ["-H", "Host: external.system.com"];
    let answer = curl(
        &scene.app,
        &[&host[..], &[&format!("http://{}/", scene.other.v4)]].concat(),
    );
    assert!(answer.contains("mutual client=CN=client"), "{answer}");
    let bare = exchange(
        scene.app.connect(scene.external.address(80)).unwrap(),
        "GET / HTTP/1.0\r\n\r\n",
    );
    assert!(bare.contains("mutual client=CN=client"), "{bare}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_takes_the_names_below_it_and_no_others() {
    let Some(scene) = Scene::new(Families::Both, "") else {
        return;
    };
    let wild = route("*.wild.example", &scene.stage.client);
    let _proxy = scene.redirected(json!({"egress": [wild]}));
    let answer = curl(&scene.app, &["http://a.wild.example/"]);
    assert!(
        answer.contains("mutual client=CN=client host=a.wild.example"),
        "{answer}"
    );
    assert!(curl(&scene.app, &["http://neighbour.example/"]).contains("plain port=80"));
    // The name in the certificate is still the one that is asked for.
    scene
        .net
        .zone
        .set("b.wild.example", &[scene.external.v4.into()]);
    let refused = curl(&scene.app, &["-i", "http://b.wild.example/"]);
    assert!(
        refused.contains("502") && refused.contains("wrong_name"),
        "{refused}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn http2_by_prior_knowledge_is_told_apart_request_by_request() {
    let Some(scene) = Scene::new(Families::Both, "") else {
        return;
    };
    let wild = route("*.wild.example", &scene.stage.client);
    let _proxy = scene.redirected(json!({"egress": [wild]}));
    let known = curl(
        &scene.app,
        &["--http2-prior-knowledge", "http://a.wild.example/"],
    );
    assert!(
        known.contains("mutual client=CN=client host=a.wild.example"),
        "{known}"
    );
    let other = curl(
        &scene.app,
        &["--http2-prior-knowledge", "http://neighbour.example/"],
    );
    assert!(
        other.contains("plain port=80 host=neighbour.example"),
        "{other}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tcp_route_is_found_by_the_addresses_of_its_host() {
    let Some(scene) = Scene::new(Families::Both, "") else {
        return;
    };
    let _proxy = scene.redirected(json!({"egress": [scene.tcp_route()]}));
    let answer = curl(&scene.app, &["http://external.system.com:8080/"]);
    assert!(answer.contains("mutual client=CN=client"), "{answer}");
    assert!(curl(&scene.app, &["http://other.example:8080/"]).contains("plain port=8080"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_the_host_had_a_moment_ago_is_still_its_own() {
    let Some(scene) = Scene::new(Families::Both, "") else {
        return;
    };
    let mut tcp = scene.tcp_route();
    tcp["address"] = json!("elsewhere.example");
    let elsewhere = [scene.external.v4.into()];
    scene.net.zone.set("elsewhere.example", &elsewhere);
    let _proxy = scene.redirected(json!({"egress": [tcp]}));
    let call = || {
        let to = scene.external.address(8080);
        exchange(scene.app.connect(to).unwrap(), "GET / HTTP/1.0\r\n\r\n")
    };
    assert!(call().contains("mutual client=CN=client"));
    scene.net.zone.set(HOST, &[scene.other.v4.into()]);
    // The answer's TTL of one second ends, and other addresses take its place.
    let to = scene.other.address(8080);
    eventually("the name has moved", || {
        let tcp = scene.app.connect(to).unwrap();
        exchange(tcp, "GET / HTTP/1.0\r\n\r\n").contains("mutual client=CN=client")
    });
    assert!(call().contains("mutual client=CN=client"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_speaks_tls_itself_is_known_by_its_server_name() {
    let Some(scene) = Scene::new(Families::Both, "") else {
        return;
    };
    // TLS is not touched: the route only leads it elsewhere.
    let moved = json!({"host": "*.moved.example", "port": 443, "protocol": "tcp",
        "address": "external.system.com", "tls": {"mode": "DISABLE"}});
    let _proxy = scene.redirected(json!({"egress": [moved]}));
    let own = scene.stage.client.display().to_string();
    let (cert, key) = (format!("{own}/cert"), format!("{own}/key"));
    let resolve = format!("a.moved.example:443:{}", scene.other.v4);
    let tls = ["-k", "--cert", &cert, "--key", &key, "--resolve", &resolve];
    let answer = curl(
        &scene.app,
        &[&tls[..], &["https://a.moved.example/"]].concat(),
    );
    assert!(answer.contains("mutual client=CN=client"), "{answer}");
    scene.net.zone.set(HOST, &[scene.app.v4.into()]);
    eventually("the route's target has moved", || {
        let answer = curl(
            &scene.app,
            &[&tls[..], &["https://a.moved.example/"]].concat(),
        );
        !answer.contains("mutual")
    });
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_cannot_be_resolved_is_never_spoken_to_in_plaintext() {
    let Some(scene) = Scene::new(Families::Both, "") else {
        return;
    };
    let proxy = scene.redirected(json!({"egress": [scene.tcp_route()]}));
    // The application knows the address; the proxy's own question fails, so it may be the route's.
    scene.net.zone.set("external.system.com", &[]);
    let to = scene.external.address(8080);
    let answer = exchange(
        scene.app.connect(to).unwrap(),
        "GET / HTTP/1.1\r\nhost: x\r\n\r\n",
    );
    assert_eq!(answer, "");
    let why = "dns_server_failure: cannot tell whether";
    eventually("it is logged", || proxy.log().contains(why));
}

#[tokio::test(flavor = "multi_thread")]
async fn exclusions_and_other_users_rules_leave_connections_alone() {
    let Some(mut scene) = Scene::new(Families::Both, "") else {
        return;
    };
    let third = scene.net.pod("thi", "");
    scene.net.zone.set("third.example", &[third.v4.into()]);
    let _third = nginx(&scene.stage, &third);
    let redirect = json!({"proxyUid": 15100, "outbound": {
        "excludePorts": [8080],
        "excludeIPRanges": [format!("{}/32", scene.other.v4), scene.other.v6.to_string()],
    }});
    let proxy = scene.redirected(json!({"redirect": redirect, "egress": [scene.route()]}));
    for url in ["http://other.example/", "http://external.system.com:8080/"] {
        assert!(curl(&scene.app, &[url]).contains("plain port="), "{url}");
    }
    assert_eq!(through(&proxy), 0);
    assert!(curl(&scene.app, &["http://third.example/"]).contains("plain port=80"));
    passed_through(&proxy, 1);
    // The proxy's own user is exempt, whoever that is.
    let mut exempt = scene.app.command(15100, "curl");
    let exempt = exempt
        .args(["-sS", "--max-time", "15", CALL])
        .output()
        .unwrap();
    assert!(String::from_utf8_lossy(&exempt.stdout).contains("plain port=80"));
    passed_through(&proxy, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_included_is_redirected() {
    let Some(scene) = Scene::new(Families::Both, "") else {
        return;
    };
    let range = format!("{}/32", scene.external.v4);
    let redirect = json!({"proxyUid": 15100, "outbound": {"includeIPRanges": [range], "includePorts": [8080]}});
    let config = json!({"redirect": redirect, "egress": [scene.route()]});
    let said = scene.stage.redirect(&scene.app, &config);
    assert!(
        said.contains(&format!("IPv4: a connection to {}", scene.external.v4))
            || said.contains("is redirected"),
        "{said}"
    );
    let proxy = Proxy::start(&scene.stage, &scene.app, &config);
    assert!(curl(&scene.app, &["-4", CALL]).contains("mutual client=CN=client"));
    assert!(curl(&scene.app, &["-4", "http://other.example/"]).contains("plain port=80"));
    assert_eq!(through(&proxy), 0);
    assert!(curl(&scene.app, &["-4", "http://other.example:8080/"]).contains("plain port=8080"));
    passed_through(&proxy, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_with_ipv6_alone_is_served_either_way() {
    let aliases = "::1 aliased.example";
    let Some(scene) = Scene::new(Families::V6, aliases) else {
        return;
    };
    let mut by_alias = scene.route();
    by_alias["listen"] = json!(["::1"]);
    by_alias["port"] = json!(8081);
    let proxy = scene.redirected(json!({"egress": [scene.route(), by_alias]}));
    let answer = curl(&scene.app, &[CALL]);
    assert!(answer.contains("mutual client=CN=client"), "{answer}");
    let answer = curl(&scene.app, &["http://aliased.example:8081/"]);
    assert!(
        answer.contains("mutual client=CN=client host=external.system.com"),
        "{answer}"
    );
    assert!(curl(&scene.app, &["http://other.example/"]).contains("plain port=80"));
    passed_through(&proxy, 1);
}
