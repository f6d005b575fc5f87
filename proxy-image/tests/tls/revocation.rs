//! A client is revoked while the proxy runs, through the real binary.

use std::fs;

use mtls_proxy::config::InboundMode;
use rcgen::date_time_ymd;

use crate::end_to_end::{application, inbound, refused};
use crate::pki::{Ca, Leaf};
use crate::ports::free_port;
use crate::processes::{Nginx, Proxy, eventually, s_client};

#[test]
fn a_revoked_client_is_refused_even_with_a_session_from_before() {
    let (ca, home) = (Ca::new("ca"), tempfile::tempdir().unwrap());
    let own = ca
        .issue(&Leaf::default())
        .write(&home.path().join("own"), &ca);
    let client = Leaf {
        common_name: "inventory",
        serial: 7,
        ..Leaf::default()
    };
    let client = ca.issue(&client).write(&home.path().join("client"), &ca);
    let (port, app) = (free_port(), application(free_port()));
    let nginx = Nginx::start(&app);
    let config = inbound(port, app.port, InboundMode::Strict, &own);
    let proxy = Proxy::ready(&format!("inbound: [{config}]"));
    let call = |session: &[&str]| {
        let arguments = [
            &["-cert", "cert", "-key", "key", "-sess_out", "session"],
            session,
        ];
        s_client(port, &client, &arguments.concat())
    };

    let full = call(&[]);
    assert!(
        full.contains("CN=inventory|Hash=") && full.contains("New, TLSv1.3"),
        "{full}"
    );
    let resumed = call(&["-sess_in", "session"]);
    assert!(
        resumed.contains("CN=inventory|Hash="),
        "who calls is still known: {resumed}"
    );
    assert!(resumed.contains("Reused, TLSv1.3"), "{resumed}");

    let list = ca.crl(&[7], date_time_ymd(2100, 1, 1));
    fs::write(own.join("crl"), list.pem().unwrap()).unwrap();
    let loaded = "mtls_proxy_reloads_total{outcome=\"loaded\"}";
    eventually("the list is loaded", || {
        (proxy.metric(loaded) == 2).then_some(())
    });
    let late = call(&["-sess_in", "session"]);
    assert!(!late.contains("200 OK"), "{late}");
    proxy.counts(&refused("revoked"), 1);
    assert_eq!(nginx.requests(), 2);
}
