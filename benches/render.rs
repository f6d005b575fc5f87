//! How fast a proxy's configuration is written, and read back, by its number of routes.
//! `cargo bench -p mtls-injector --bench render`

#![expect(clippy::unwrap_used, reason = "a benchmark that cannot go on ends")]

use divan::Bencher;
use divan::counter::BytesCount;
use mtls_proxy::config::Config;
use serde_json::json;

fn main() {
    divan::main();
}

#[divan::bench(args = [1, 10, 100])]
fn render(bencher: Bencher<'_, '_>, routes: usize) {
    let config = config(routes);
    let counted = bencher.counter(BytesCount::new(config.render().len()));
    counted.bench_local(|| divan::black_box(&config).render());
}

#[divan::bench(args = [1, 10, 100])]
fn parse(bencher: Bencher<'_, '_>, routes: usize) {
    let text = config(routes).render();
    let counted = bencher.counter(BytesCount::new(text.len()));
    counted.bench_local(|| Config::parse(divan::black_box(&text)).unwrap());
}

fn config(routes: usize) -> Config {
    let route = |n| {
        json!({
            "host": format!("host-{n}.example"),
            "listen": [format!("127.77.0.{}", n + 1)],
            "port": 80,
            "match": [{"pathPrefix": "/status"}],
            "tls": {
                "mode": "MUTUAL",
                "clientCertificate": "/etc/mtlsfiles/cert",
                "privateKey": "/etc/mtlsfiles/key",
                "caCertificates": "/etc/mtlsfiles/cacert",
            },
        })
    };
    let routes: Vec<_> = (0..routes).map(route).collect();
    Config::parse(&json!({"egress": routes}).to_string()).unwrap()
}
