//! Whatever leads back to the proxy ends there at once: its own ports, its own addresses, loopback in
//! each way of writing it, and rules that do not exempt the proxy.

use std::net::SocketAddr;

use serde_json::json;

use crate::capture::Scene;
use crate::net::Families;
use crate::programs::{Proxy, curl, eventually, exchange, route};

const REQUEST: &str = "GET / HTTP/1.1\r\nhost: external.system.com\r\nconnection: close\r\n\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn who_dials_the_redirect_ports_is_refused() {
    let Some(scene) = Scene::new(Families::Both, "") else {
        return;
    };
    let config = json!({"egress": [scene.route()], "inbound": [{"port": 8443, "targetPort": 8080,
        "mode": "DISABLE"}]});
    let proxy = scene.redirected(config);
    let (v4, v6) = (scene.app.v4, scene.app.v6);
    let own = [
        "127.0.0.1:15001".to_owned(),
        "[::1]:15001".to_owned(),
        "[::ffff:127.0.0.1]:15001".to_owned(),
        "127.0.0.1:15006".to_owned(),
        "[::1]:15006".to_owned(),
        format!("{v4}:15006"),
        format!("[{v6}]:15006"),
        format!("[::ffff:{v4}]:15006"),
    ];
    for address in &own {
        let to: SocketAddr = address.parse().unwrap();
        let answer = exchange(scene.app.connect(to).unwrap(), REQUEST);
        assert_eq!(answer, "", "{address}");
    }
    // From another pod: the outbound port is not to be had, the inbound one takes no detour.
    assert!(scene.other.connect(scene.app.address(15001)).is_err());
    let outside = exchange(
        scene.other.connect(scene.app.address(15006)).unwrap(),
        REQUEST,
    );
    assert_eq!(outside, "");
    for (direction, count) in [("egress", 3), ("inbound", 6)] {
        let refused = format!(
            "mtls_proxy_connections_total{{direction=\"{direction}\",outcome=\"refused\",route=\"passthrough\"}}"
        );
        proxy.counts(&refused, count);
    }
    let why = "loop: 127.0.0.1:15001 takes redirected connections only";
    eventually("it is logged", || proxy.log().contains(why));
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_that_lead_back_are_refused() {
    let Some(scene) = Scene::new(Families::Both, "") else {
        return;
    };
    let targets = [
        ("127.0.0.1".to_owned(), 15001),
        ("::1".to_owned(), 15001),
        ("::ffff:127.0.0.1".to_owned(), 15001),
    ];
    let routes: Vec<_> = targets
        .iter()
        .enumerate()
        .map(|(index, (address, port))| {
            let mut route = route(&format!("r{index}.example"), &scene.stage.client);
            route["address"] = json!(address);
            route["targetPort"] = json!(port);
            route
        })
        .collect();
    let _proxy = scene.redirected(json!({"egress": routes}));
    for index in 0..targets.len() {
        let host = format!("Host: r{index}.example");
        let url = format!("http://{}/", scene.external.v4);
        let answer = curl(&scene.app, &["-i", "-H", &host, &url]);
        assert!(
            answer.contains("502") && answer.contains("x-mtls-proxy-error"),
            "{answer}"
        );
        assert!(answer.contains("loop"), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_application_that_dials_its_own_pod_is_left_alone() {
    let Some(scene) = Scene::new(Families::Both, "") else {
        return;
    };
    let _own = crate::programs::nginx(&scene.stage, &scene.app);
    let _proxy = scene.redirected(json!({"egress": [scene.route()]}));
    let (v4, v6) = (scene.app.v4, scene.app.v6);
    for host in [
        "127.0.0.1",
        "[::1]",
        &v4.to_string(),
        &format!("[{v6}]"),
        &format!("[::ffff:{v4}]"),
    ] {
        let answer = curl(&scene.app, &[&format!("http://{host}:8080/")]);
        assert!(answer.contains("plain port=8080"), "{host}: {answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ipv4_destination_written_as_ipv6_is_captured_too() {
    let Some(scene) = Scene::new(Families::Both, "") else {
        return;
    };
    let _proxy = scene.redirected(json!({"egress": [scene.route()]}));
    let to = format!("[::ffff:{}]:80", scene.external.v4)
        .parse()
        .unwrap();
    let answer = exchange(scene.app.connect(to).unwrap(), REQUEST);
    assert!(answer.contains("mutual client=CN=client"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_whose_user_is_not_exempt_serves_nobody() {
    let Some(scene) = Scene::new(Families::Both, "") else {
        return;
    };
    let config = json!({"redirect": {"proxyUid": 15100}, "egress": [scene.route()]});
    scene.stage.redirect(&scene.app, &config);
    let proxy = Proxy::spawn(&scene.stage, &scene.app, 15101, &config);
    eventually("the proxy says so", || {
        let ready = proxy.admin("/readyz");
        ready.contains(" 503 ")
            && ready.contains("runs as user 15101, and the rules exempt user 15100")
    });
    let answer = curl(&scene.app, &["http://external.system.com/"]);
    assert!(
        answer.contains("Empty reply") || answer.contains("reset"),
        "{answer}"
    );
}
