//! Ways into a pod: the application's own port has no way around its policy.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::net::{Families, Net, Pod};
use crate::programs::{Proxy, Running, Stage, curl, eventually, nginx};

/// A pod with an application on 8080, and a client's pod.
struct Scene {
    _net: Net,
    stage: Stage,
    server: Pod,
    client: Pod,
    _nginx: Running,
}

impl Scene {
    fn new() -> Option<Self> {
        let mut net = Net::new(Families::Both)?;
        let stage = Stage::new(&["server.shop"]);
        let server = net.pod("srv", "");
        let client = net.pod("cli", &format!("{} server.shop", server.v4));
        Some(Self {
            _nginx: nginx(&stage, &server),
            _net: net,
            stage,
            server,
            client,
        })
    }

    fn config(&self, inbound: Value) -> Value {
        let mut ports = inbound;
        for port in ports.as_array_mut().unwrap() {
            port["tls"] = json!({"credentialDirectory": self.stage.server});
        }
        json!({"redirect": {"proxyUid": 15100}, "inbound": ports})
    }

    fn start(&self, inbound: Value) -> Proxy {
        let config = self.config(inbound);
        self.stage.redirect(&self.server, &config);
        Proxy::start(&self.stage, &self.server, &config)
    }

    fn plain(&self, port: u16) -> String {
        curl(
            &self.client,
            &["-i", &format!("http://server.shop:{port}/")],
        )
    }

    fn mutual(&self, port: u16) -> String {
        let own = self.stage.client.display();
        let (cert, key, ca) = (
            format!("{own}/cert"),
            format!("{own}/key"),
            format!("{own}/cacert"),
        );
        let url = format!("https://server.shop:{port}/");
        curl(
            &self.client,
            &["--cert", &cert, "--key", &key, "--cacert", &ca, &url],
        )
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strict_has_no_way_around_it() {
    let Some(scene) = Scene::new() else { return };
    assert!(scene.plain(8080).contains("plain port=8080"));
    let proxy = scene.start(json!([{"port": 8443, "targetPort": 8080}]));
    for port in [8443, 8080] {
        let refused = scene.plain(port);
        assert!(!refused.contains("plain port="), "{port}: {refused}");
        let answer = scene.mutual(port);
        assert!(answer.contains("plain port=8080"), "{port}: {answer}");
        assert!(
            answer.contains("URI=spiffe://cluster.local/ns/shop/sa/client"),
            "{answer}"
        );
    }
    // What the policy does not name is not redirected at all.
    assert!(scene.plain(80).contains("plain port=80"));
    let refused =
        "mtls_proxy_handshakes_total{direction=\"inbound\",outcome=\"failed\",reason=\"protocol\"}";
    proxy.counts(refused, 2);
    // Within the pod the application is reached as ever.
    assert!(curl(&scene.server, &["http://127.0.0.1:8080/"]).contains("plain port=8080"));
}

#[tokio::test(flavor = "multi_thread")]
async fn permissive_lets_plaintext_in_and_counts_it() {
    let Some(scene) = Scene::new() else { return };
    let proxy = scene.start(json!([{"port": 8080, "targetPort": 8080, "mode": "PERMISSIVE"}]));
    assert!(scene.plain(8080).contains("plain port=8080"));
    assert!(
        scene
            .mutual(8080)
            .contains("URI=spiffe://cluster.local/ns/shop/sa/client")
    );
    let plaintext = "mtls_proxy_plaintext_connections_total{route=\"inbound:8080\"}";
    proxy.counts(plaintext, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn ports_without_a_policy_pass_through_when_all_are_redirected() {
    let Some(scene) = Scene::new() else { return };
    let mut config = scene.config(json!([{"port": 8080, "targetPort": 8080}]));
    config["redirect"]["inbound"] = json!({"allPorts": true});
    scene.stage.redirect(&scene.server, &config);
    let proxy = Proxy::start(&scene.stage, &scene.server, &config);
    assert!(!scene.plain(8080).contains("plain port="));
    assert!(scene.plain(80).contains("plain port=80"));
    let through = "mtls_proxy_connections_total{direction=\"inbound\",outcome=\"closed\",route=\"passthrough\"}";
    proxy.counts(through, 1);
    // The admin port stays what it is.
    let ready = curl(&scene.client, &["http://server.shop:15020/readyz"]);
    assert_eq!(ready, "ready\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_ports_before_one_of_the_application_do_not_weaken_it() {
    let Some(scene) = Scene::new() else { return };
    let _proxy = scene.start(json!([
        {"port": 9001, "targetPort": 8080, "mode": "PERMISSIVE"},
        {"port": 9002, "targetPort": 8080, "mode": "STRICT"},
    ]));
    assert!(scene.plain(9001).contains("plain port=8080"));
    assert!(!scene.plain(9002).contains("plain port="));
    assert!(!scene.plain(8080).contains("plain port="));
}

/// Clients that call without a pause until they are told to stop, each call a new connection.
fn pump(
    scene: &Arc<Scene>,
    stop: &Arc<AtomicBool>,
    call: fn(&Scene) -> bool,
) -> [Arc<AtomicU64>; 2] {
    let counts = [Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0))];
    let (scene, stop) = (Arc::clone(scene), Arc::clone(stop));
    let [good, bad] = counts.clone();
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            let count = if call(&scene) { &good } else { &bad };
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn permissive_becomes_strict_without_a_lost_request() {
    let Some(scene) = Scene::new() else { return };
    let scene = Arc::new(scene);
    let port = |mode: &str| json!([{"port": 8080, "targetPort": 8080, "mode": mode}]);
    let proxy = scene.start(port("PERMISSIVE"));
    let stop = Arc::new(AtomicBool::new(false));
    let [good, bad] = pump(&scene, &stop, |scene| {
        scene.mutual(8080).contains("plain port=8080")
    });
    let load = |count: &Arc<AtomicU64>| count.load(Ordering::Relaxed);
    // A client of plaintext that keeps its connection is asked to leave, and loses no answer.
    let mut kept = KeepAlive::new(&scene);
    assert!(kept.ask().contains("connection: keep-alive") || kept.stays);
    eventually("calls under PERMISSIVE", || load(&good) > 5);
    proxy.reconfigure(&scene.config(port("STRICT")));
    eventually("plaintext is refused", || {
        !scene.plain(8080).contains("plain port=")
    });
    let last = kept.ask();
    assert!(last.contains("plain port=8080") && !kept.stays, "{last}");
    let seen = load(&good);
    eventually("calls under STRICT", || load(&good) > seen + 5);
    stop.store(true, Ordering::Relaxed);
    assert_eq!(load(&bad), 0);
}

/// A client that keeps its connection.
struct KeepAlive {
    tcp: std::io::BufReader<std::net::TcpStream>,
    stays: bool,
}

impl KeepAlive {
    fn new(scene: &Scene) -> Self {
        let tcp = scene.client.connect(scene.server.address(8080)).unwrap();
        Self {
            tcp: std::io::BufReader::new(tcp),
            stays: true,
        }
    }

    /// Asks, and notes whether the answer is the last.
    fn ask(&mut self) -> String {
        use std::io::{BufRead as _, Read as _, Write as _};
        let request = b"GET / HTTP/1.1\r\nhost: server.shop\r\n\r\n";
        self.tcp.get_mut().write_all(request).unwrap();
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert_ne!(self.tcp.read_line(&mut head).unwrap(), 0, "cut off: {head}");
        }
        let head = head.to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap();
        let length: usize = length.lines().next().unwrap().trim().parse().unwrap();
        let mut body = vec![0; length];
        self.tcp.read_exact(&mut body).unwrap();
        self.stays = !head.contains("connection: close");
        head + &String::from_utf8_lossy(&body)
    }
}
