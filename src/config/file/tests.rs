//! What a configuration file may say, and what is said of one that is wrong.

use mtls_proxy::config::{LogLevel, MinProtocolVersion};

use super::*;
use crate::config::Capture;

const WHOLE: &str = "\
proxyImage: registry.example.com/mtls-proxy:1.2.3
initImage: registry.example.com/redirect:4
proxyUser: none
resources:
  requests: {cpu: 20m, memory: 32Mi}
  limits: {cpu: 1, memory: none}
logLevel: debug
capture: redirect
nativeSidecars: off
istioKeys: off
allowedVolumeSources: [secret, projected]
tls: {minProtocolVersion: TLSV1_3}
systemNamespaces: [kube-system, monitoring]
ownNamespace: mtls
";

#[test]
fn an_empty_file_is_the_defaults() {
    for text in ["", "# nothing\n", "{}"] {
        let config = Config::parse(text).unwrap();
        assert_eq!(format!("{config:?}"), format!("{:?}", Config::default()));
    }
}

#[test]
fn every_field_is_read() {
    let config = Config::parse(WHOLE).unwrap();
    assert_eq!(config.proxy_image, "registry.example.com/mtls-proxy:1.2.3");
    assert_eq!(
        config.init_image.as_deref(),
        Some("registry.example.com/redirect:4")
    );
    assert_eq!(config.proxy_user, None);
    assert_eq!(config.resources.cpu.as_str(), "20m");
    assert_eq!(config.resources.memory.as_str(), "32Mi");
    assert_eq!(config.resources.cpu_limit, "1".parse().ok());
    assert_eq!(config.resources.memory_limit, None);
    assert_eq!(config.log_level, LogLevel::Debug);
    assert_eq!(config.capture, Capture::Redirect);
    assert_eq!(config.native_sidecars, NativeSidecars::Off);
    assert_eq!(config.istio_keys, IstioKeys::Ignore);
    let sources = config.allowed_volume_sources.unwrap();
    assert_eq!(
        sources.iter().map(String::as_str).collect::<Vec<_>>(),
        ["projected", "secret"]
    );
    assert_eq!(config.min_protocol_version, MinProtocolVersion::TlsV1_3);
    assert!(config.system_namespaces.contains("monitoring"));
    assert!(!config.system_namespaces.contains("kube-public"));
    assert_eq!(config.own_namespace.as_deref(), Some("mtls"));
}

#[test]
fn the_init_image_stands_beside_the_proxys_unless_it_is_named() {
    let image = |text: &str| Config::parse(text).unwrap().init_image();
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(
        image(""),
        Some(format!("ghcr.io/mtls-injector/mtls-proxy-init:{version}"))
    );
    for (proxy, init) in [
        (
            "host:5000/team/proxy:7",
            Some("host:5000/team/proxy-init:7"),
        ),
        ("host:5000/team/proxy", Some("host:5000/team/proxy-init")),
        ("proxy:7", Some("proxy-init:7")),
        ("host/proxy:7@sha256:00e1", None),
        ("host/proxy@sha256:00e1", None),
    ] {
        let found = image(&format!("proxyImage: {proxy}"));
        assert_eq!(found.as_deref(), init, "{proxy}");
        let named = image(&format!("{{proxyImage: \"{proxy}\", initImage: \"x:1\"}}"));
        assert_eq!(named.as_deref(), Some("x:1"));
    }
}

#[test]
fn no_allowed_source_is_not_the_same_as_no_limit() {
    let none = Config::parse("allowedVolumeSources: []").unwrap();
    assert_eq!(none.allowed_volume_sources, Some(BTreeSet::new()));
    assert_eq!(Config::parse("").unwrap().allowed_volume_sources, None);
}

#[test]
fn every_mistake_is_reported_at_once() {
    let wrong = "\
proxyImage: a b
proxyUser: 0
resources:
  requests: {cpu: lots, memory: 128Mi}
  limits: {memory: 64MB}
capture: host
nativeSidecars: maybe
istioKeys: some
allowedVolumeSources: [host path]
tls: {minProtocolVersion: TLSV1_1}
systemNamespaces: [Kube]
proxyImag: x
";
    let said = Config::parse(wrong).unwrap_err().to_string();
    let expected = [
        r#"proxyImage: "a b" is not an image reference such as registry.example.com/mtls-proxy:1.0.0"#,
        r#"proxyUser: "0" is not a uid (1-2147483647) or none"#,
        r#"resources.requests.cpu: "lots" is not a quantity such as 100m, 0.5, 64Mi or 1Gi"#,
        r#"resources.limits.memory: "64MB" is not a quantity such as 100m, 0.5, 64Mi or 1Gi, or none"#,
        r"resources.requests.memory: is 128Mi, more than the limit 64Mi",
        r#"capture: "host" is not one of hosts, redirect, none; did you mean "hosts"?"#,
        r#"nativeSidecars: "maybe" is not one of auto, on, off"#,
        r#"istioKeys: "some" is not one of on, off"#,
        r#"allowedVolumeSources[0]: "host path" is not a volume source such as secret, configMap or projected"#,
        r#"tls.minProtocolVersion: "TLSV1_1" is not one of TLSV1_2, TLSV1_3; did you mean "TLSV1_2"?"#,
        r#"systemNamespaces[0]: "Kube" is not the name of a namespace"#,
        r#"proxyImag: is not a known field; did you mean "proxyImage"?"#,
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), expected);
}

#[test]
fn what_is_no_object_is_said_to_be_none() {
    let said = |text| Config::parse(text).unwrap_err().to_string();
    assert_eq!(said("- a"), "\"[\\\"a\\\"]\" is not an object of fields");
    assert!(
        said("a: [").starts_with("is not YAML: "),
        "{}",
        said("a: [")
    );
}

#[test]
fn a_misspelt_list_names_the_nearest() {
    let mistakes =
        Config::parse("systemNamespace: [a]\nallowedVolumeSource: [secret]").unwrap_err();
    assert_eq!(
        mistakes.to_string(),
        "systemNamespace: is not a known field; did you mean \"systemNamespaces\"?\n\
         allowedVolumeSource: is not a known field; did you mean \"allowedVolumeSources\"?"
    );
}
