//! How traffic reaches the proxy: aliases, ports, and what stands against them.

use mtls_injector::config::{Config, IpFamily};
use serde_json::json;

use crate::pods::{
    EGRESS, INBOUND, SECRET, applied, denial, denied, injected, pod_with, proxy_config,
};

#[test]
fn each_host_has_one_address_whatever_its_ports() {
    let routes =
        "[{host: a.example.com}, {host: b.example.com}, {host: A.example.com., port: 8080}]";
    let pod = injected(&[(SECRET, "certs"), (EGRESS, routes)]);
    let config = proxy_config(&pod);
    let listen: Vec<_> = config
        .egress
        .iter()
        .map(|route| route.listen[0].to_string())
        .collect();
    assert_eq!(listen, ["127.77.0.1", "127.77.0.2", "127.77.0.1"]);
    assert_eq!(pod["spec"]["hostAliases"].as_array().unwrap().len(), 2);
}

#[test]
fn many_hosts_stay_within_their_range() {
    let hosts: Vec<_> = (0..300).map(|n| format!("h{n}.example.com")).collect();
    let pod = injected(&[(SECRET, "certs"), (EGRESS, &hosts.join(","))]);
    let aliases = pod["spec"]["hostAliases"].as_array().unwrap();
    let addresses: std::collections::BTreeSet<_> = aliases
        .iter()
        .map(|alias| alias["ip"].as_str().unwrap())
        .collect();
    assert_eq!(addresses.len(), 300);
    assert!(
        addresses
            .iter()
            .all(|address| address.starts_with("127.77."))
    );
}

#[test]
fn hosts_share_the_ipv6_loopback_where_there_is_no_ipv4() {
    let config = Config {
        ip_family: IpFamily::V6,
        ..Config::default()
    };
    let pod = pod_with(&[(SECRET, "certs"), (EGRESS, "a.example.com,b.example.com")]);
    let pod = applied(&config, &pod);
    assert_eq!(
        pod["spec"]["hostAliases"],
        json!([{"ip": "::1", "hostnames": ["a.example.com", "b.example.com"]}])
    );
    let routes = "[{host: a.example.com, port: 5432, protocol: tcp}, {host: b.example.com, port: 5432, protocol: tcp}]";
    let pod = pod_with(&[(SECRET, "certs"), (EGRESS, routes)]);
    assert_eq!(
        denial(&config, &pod),
        ["mtls-injector.io/egress[1]: takes the same connections as a.example.com:5432"]
    );
}

#[test]
fn without_capture_the_proxy_listens_on_the_plain_loopback() {
    let pod = injected(&[
        (SECRET, "certs"),
        (
            EGRESS,
            "[{host: \"*.example.com\", port: 8080}, {host: 10.1.2.3, port: 8081}]",
        ),
        ("mtls-injector.io/capture", "none"),
    ]);
    let config = proxy_config(&pod);
    assert!(config.egress.iter().all(|route| route.listen.is_empty()));
    assert_eq!(pod["spec"].get("hostAliases"), None);
    assert_eq!(pod["spec"].get("securityContext"), None);
}

#[test]
fn hosts_that_no_alias_can_stand_for_are_denied_with_the_way_out() {
    let check = |host: &str, reason: &str| {
        let routes = json!([{"host": host}]).to_string();
        let mut pod = pod_with(&[(SECRET, "certs"), (EGRESS, &routes)]);
        pod["spec"]["hostAliases"] =
            json!([{"ip": "10.0.0.1", "hostnames": ["x", "Taken.example.com"]}]);
        let expected = format!("mtls-injector.io/egress[0].host: {host:?} {reason}");
        assert_eq!(denial(&Config::default(), &pod), [expected]);
    };
    check(
        "*.example.com",
        "is a wildcard, which no alias can stand for; list each host, or use capture redirect",
    );
    check(
        "10.1.2.3",
        "is an address, which no alias can stand for; give the host's name and this as its `address`, or use capture redirect",
    );
    check(
        "a_b.example.com",
        "has an underscore, which no alias can have; use capture none",
    );
    check("localhost", "is the pod itself; name the external host");
    check(
        "taken.example.com",
        "is named by the pod's own hostAliases; remove it there and use `address`, or use capture none",
    );
}

#[test]
fn a_listen_address_is_not_for_capture_by_hosts() {
    assert_eq!(
        denied(&[
            (SECRET, "certs"),
            (EGRESS, "[{host: a.example.com, listen: [127.0.0.2]}]")
        ]),
        [
            "mtls-injector.io/egress[0].listen: is chosen by capture hosts; leave it out, or use capture none"
        ]
    );
}

#[test]
fn a_port_that_is_taken_is_denied() {
    let mut pod = pod_with(&[
        (SECRET, "certs"),
        (
            EGRESS,
            "[{host: a.example.com, port: 8080}, {host: b.example.com, port: 15020}, {host: c.example.com, port: 8443}]",
        ),
        (INBOUND, "9090:9091, 8443:9091"),
    ]);
    pod["spec"]["containers"][0]["ports"] = json!([
        {"containerPort": 8080},
        {"containerPort": 9090, "protocol": "TCP"},
        {"containerPort": 8443, "protocol": "UDP"},
    ]);
    assert_eq!(
        denial(&Config::default(), &pod),
        [
            r#"mtls-injector.io/egress[0].port: "8080" is a port that container "app" declares as its own; choose another"#,
            r#"mtls-injector.io/egress[1].port: "15020" is a port that the proxy needs for itself"#,
            r#"mtls-injector.io/egress[2].port: "8443" is listened on for inbound as well"#,
            r#"mtls-injector.io/inbound[0].port: "9090" is a port that container "app" declares as its own; choose another"#,
        ]
    );
}

#[test]
fn routes_that_take_each_others_connections_are_denied() {
    assert_eq!(
        denied(&[
            (SECRET, "certs"),
            (EGRESS, "a.example.com,a.example.com"),
            (INBOUND, "8443:1,8443:2")
        ]),
        [
            "mtls-injector.io/egress[1]: takes the same connections as a.example.com:80",
            "mtls-injector.io/inbound[1].port: is listened on twice",
        ]
    );
}

#[test]
fn a_sysctl_of_the_pod_is_respected_when_it_is_low_enough() {
    let with_start = |value: &str| {
        let mut pod = pod_with(&[(SECRET, "certs"), (EGRESS, "a.example.com")]);
        let sysctl = json!({"name": "net.ipv4.ip_unprivileged_port_start", "value": value});
        pod["spec"]["securityContext"] = json!({"sysctls": [sysctl]});
        pod
    };
    for low in ["0", "80"] {
        let pod = applied(&Config::default(), &with_start(low));
        let context = &pod["spec"]["securityContext"];
        assert_eq!(context, &with_start(low)["spec"]["securityContext"]);
    }
    for high in ["81", "1024", "", "low"] {
        assert_eq!(
            denial(&Config::default(), &with_start(high)),
            [format!(
                "spec.securityContext.sysctls: net.ipv4.ip_unprivileged_port_start: {high:?} is too high for the proxy to listen on port 80; set it to 0, or choose a port of at least 1024"
            )]
        );
    }
    let mut pod = pod_with(&[(SECRET, "certs"), (EGRESS, "a.example.com")]);
    pod["spec"]["securityContext"] =
        json!({"fsGroup": 1, "sysctls": [{"name": "x", "value": "1"}]});
    let pod = applied(&Config::default(), &pod);
    let sysctls = pod["spec"]["securityContext"]["sysctls"]
        .as_array()
        .unwrap();
    assert_eq!(sysctls.len(), 2);
    assert_eq!(pod["spec"]["securityContext"]["fsGroup"], 1);
}
