//! The configuration as a contract: what it renders it reads back, and each mistake has its sentence.

use mtls_proxy::config::{
    AllowRule, AppProbe, ClientTls, Config, EgressRoute, ForwardClientCert, HeaderMatch, Host,
    HostPort, InboundMode, InboundPort, InboundTraffic, IpRange, KeyStore, LogLevel,
    MinProtocolVersion, OutboundTraffic, PathMatch, Port, ProbeKind, ProbeTarget, Protocol,
    Redirect, RedirectCode, RequestMatch, Retries, RetryOn, Rewrite, Scheme, ServerTls, Span,
    SubjectAltName, TextMatch, Timeouts, TrafficRedirect, Uid, UpstreamMode,
};
use proptest::prelude::*;
use proptest::{collection, option, sample};

/// Parses what a strategy made as text; the strategies make only right text.
fn parsed<T: std::str::FromStr<Err: std::fmt::Debug> + std::fmt::Debug>(
    text: &'static str,
) -> impl Strategy<Value = T> {
    proptest::string::string_regex(text)
        .expect("a regular expression")
        .prop_filter_map("is not a value", |text| text.parse().ok())
}

fn one_of<T: Copy + std::fmt::Debug + 'static>(all: &'static [T]) -> impl Strategy<Value = T> {
    sample::select(all)
}

fn span() -> impl Strategy<Value = Span> {
    parsed("[1-9][0-9]{0,3}(ms|s)")
}

fn path() -> impl Strategy<Value = std::path::PathBuf> {
    "/[ -~é]{1,12}".prop_map(Into::into)
}

fn key_store() -> impl Strategy<Value = KeyStore> {
    (path(), option::of(path())).prop_map(|(file, password_file)| KeyStore {
        file,
        password_file,
    })
}

fn pair() -> impl Strategy<Value = (Option<std::path::PathBuf>, Option<std::path::PathBuf>)> {
    option::of((path(), path())).prop_map(Option::unzip)
}

fn client_tls() -> impl Strategy<Value = ClientTls> {
    let files = (
        pair(),
        option::of(path()),
        option::of(path()),
        option::of(path()),
    );
    let names = (
        option::of(parsed("[a-z]{1,8}\\.[a-z]{2,3}")),
        collection::vec(
            prop_oneof![
                parsed::<SubjectAltName>("[a-z]{1,8}\\.[a-z]{2,3}"),
                parsed("spiffe://[a-z]{1,8}/ns/[a-z]{1,8}"),
                parsed("10\\.1\\.2\\.[1-9]"),
                parsed("uri:urn:[a-z]{3}:[0-9]{3}"),
            ],
            0..3,
        ),
    );
    let rest = (
        one_of(UpstreamMode::ALL),
        one_of(MinProtocolVersion::ALL),
        any::<bool>(),
    );
    (files, names, rest, option::of(key_store())).prop_map(|(files, names, rest, key_store)| {
        ClientTls {
            mode: rest.0,
            client_certificate: files.0.0,
            private_key: files.0.1,
            ca_certificates: files.1,
            crl: files.2,
            credential_directory: files.3,
            key_store,
            sni: names.0,
            subject_alt_names: names.1,
            min_protocol_version: rest.1,
            insecure_skip_verify: rest.2,
        }
    })
}

fn text_match() -> impl Strategy<Value = TextMatch> {
    let text = || proptest::string::string_regex("[a-z0-9.:-]{1,8}").expect("an expression");
    prop_oneof![
        text().prop_map(TextMatch::Exact),
        text().prop_map(TextMatch::Prefix),
    ]
}

fn request_match() -> impl Strategy<Value = RequestMatch> {
    let path = prop_oneof![
        parsed("/[a-z/]{0,8}").prop_map(PathMatch::Prefix),
        parsed("/[a-z/]{0,8}").prop_map(PathMatch::Start),
        parsed("/[a-z/]{0,8}").prop_map(PathMatch::Exact),
    ];
    let header = (parsed("x-[a-z]{1,8}"), option::of(text_match()))
        .prop_map(|(name, value)| HeaderMatch { name, value });
    let rest = (
        option::of(parsed("GET|POST|[A-Z]{1,6}")),
        option::of(text_match()),
        collection::vec(header, 0..3),
    );
    (path, rest).prop_map(|(path, (method, authority, headers))| RequestMatch {
        path: Some(path),
        method,
        authority,
        headers,
    })
}

/// None of the two, or one of them: they exclude each other.
fn detour() -> impl Strategy<Value = (Option<Rewrite>, Option<Redirect>)> {
    let authority = || option::of(parsed::<HostPort>("[a-z]{1,8}(:[1-9][0-9]{0,3})?"));
    let rewrite = (parsed("/[a-z/]{0,8}"), authority()).prop_map(|(path, authority)| Rewrite {
        path: Some(path),
        authority,
    });
    let place = (
        authority(),
        option::of(parsed("[1-9][0-9]{0,3}")),
        option::of(parsed("/[a-z]{0,8}")),
    );
    let redirect = (one_of(RedirectCode::ALL), one_of(Scheme::ALL), place).prop_map(
        |(code, scheme, (authority, port, path))| Redirect {
            code,
            scheme: Some(scheme),
            authority,
            port,
            path,
        },
    );
    prop_oneof![
        Just((None, None)),
        rewrite.prop_map(|rewrite| (Some(rewrite), None)),
        redirect.prop_map(|redirect| (None, Some(redirect))),
    ]
}

/// Routes on distinct ports, since two that take the same connections are a mistake.
fn egress() -> impl Strategy<Value = EgressRoute> {
    let host = prop_oneof![
        parsed::<Host>("[a-z]{1,8}(\\.[a-z]{2,5}){1,2}"),
        parsed("\\*\\.[a-z]{3,5}\\.com"),
        parsed("fd00::[1-9a-f]{1,4}"),
    ];
    let listen = collection::vec(parsed("127\\.77\\.0\\.[1-9]"), 0..2);
    let times = (
        span(),
        span(),
        span(),
        0_u8..11,
        collection::vec(one_of(RetryOn::ALL), 1..3),
    );
    let http = (
        collection::vec(request_match(), 0..3),
        any::<bool>(),
        (any::<u16>(), detour()),
    );
    let tail = (
        parsed("[1-9][0-9]{0,3}"),
        option::of(parsed("10\\.0\\.0\\.[1-9]")),
        any::<bool>(),
    );
    (host, listen, times, http, tail, client_tls()).prop_map(
        |(host, listen, times, http, (target_port, address, tcp), tls)| EgressRoute {
            listen,
            target_port,
            address,
            protocol: if tcp { Protocol::Tcp } else { Protocol::Http },
            secret: tcp.then(|| "a-secret".to_owned()),
            matches: if tcp { Vec::new() } else { http.0 },
            rank: http.2.0,
            redirect_to_https: http.1 && !tcp && http.2.1.1.is_none(),
            rewrite: http.2.1.0.filter(|_| !tcp),
            redirect: http.2.1.1.filter(|_| !tcp),
            retries: Retries {
                attempts: times.3,
                on: times.4,
            },
            timeouts: Timeouts {
                connect: times.0,
                request: times.1,
                idle: times.2,
            },
            tls,
            ..EgressRoute::to_host(host)
        },
    )
}

fn inbound() -> impl Strategy<Value = InboundPort> {
    let allow = collection::vec(
        prop_oneof![
            parsed::<AllowRule>("spiffe://[a-z]{1,8}/ns/\\*/sa/(\\*\\*|[a-z]{2})"),
            parsed("dns:\\*\\.[a-z]{3}\\.com"),
            parsed("cn:[a-zA-Z ]{1,8}"),
            parsed("uri:urn:[a-z]{3}"),
        ],
        1..3,
    );
    let tls = (
        pair(),
        option::of(path()),
        option::of(path()),
        option::of(path()),
        option::of(key_store()),
    );
    let modes = (
        one_of(InboundMode::ALL),
        one_of(ForwardClientCert::ALL),
        one_of(Protocol::ALL),
    );
    (parsed("[1-9][0-9]{0,3}"), modes, allow, tls, span()).prop_map(
        |(target_port, modes, allow, tls, age)| {
            let asks = !matches!(modes.0, InboundMode::Simple | InboundMode::Disable);
            InboundPort {
                mode: modes.0,
                forward_client_cert: modes.1,
                protocol: modes.2,
                allow: if asks { allow } else { Vec::new() },
                tls: ServerTls {
                    server_certificate: tls.0.0,
                    private_key: tls.0.1,
                    ca_certificates: tls.1,
                    crl: tls.2,
                    credential_directory: tls.3,
                    key_store: tls.4,
                    ..ServerTls::default()
                },
                max_connection_age: age,
                ..InboundPort::new(Port::HTTP, target_port)
            }
        },
    )
}

fn ip_range() -> impl Strategy<Value = IpRange> {
    prop_oneof![
        parsed::<IpRange>("10\\.[0-9]\\.0\\.0/(8|16|24|32)"),
        parsed("fd0[0-9]::/(16|64|128)"),
        parsed("192\\.0\\.2\\.[1-9]"),
    ]
}

fn redirect() -> impl Strategy<Value = TrafficRedirect> {
    let ports = || collection::vec(parsed::<Port>("[1-9][0-9]{0,3}"), 0..3);
    let ranges = || collection::vec(ip_range(), 0..3);
    let outbound = (ports(), ports(), option::of(ranges()), ranges());
    let inbound = (any::<bool>(), ports(), ports());
    (1..u32::MAX, outbound, inbound).prop_map(|(uid, outbound, inbound)| TrafficRedirect {
        proxy_uid: Uid::new(uid).expect("not root"),
        outbound: OutboundTraffic {
            include_ports: outbound.0,
            exclude_ports: outbound.1,
            include_ip_ranges: outbound.2,
            exclude_ip_ranges: outbound.3,
        },
        inbound: InboundTraffic {
            all_ports: inbound.0,
            include_ports: inbound.1,
            exclude_ports: inbound.2,
        },
    })
}

fn probe() -> impl Strategy<Value = AppProbe> {
    let path = parsed("/app-health/[a-z]{1,8}/(livez|readyz)");
    let detail = parsed::<ProbeTarget>("/[a-z]{0,8}(\\?[a-z]=[0-9])?");
    let rest = (option::of(detail), option::of("[a-z.]{1,8}"), span());
    let what = (one_of(ProbeKind::ALL), parsed("[1-9][0-9]{0,3}"));
    (path, what, rest).prop_map(|(path, (kind, port), (target, service, timeout))| {
        let is_http = matches!(kind, ProbeKind::Http | ProbeKind::Https);
        AppProbe {
            path,
            kind,
            port,
            target: target.filter(|_| is_http),
            service: service.filter(|_| kind == ProbeKind::Grpc),
            timeout,
        }
    })
}

fn config() -> impl Strategy<Value = Config> {
    let routes = (
        collection::vec(egress(), 0..4),
        collection::vec(inbound(), 0..4),
    );
    let capture = (option::of(redirect()), collection::vec(probe(), 0..3));
    let life = (one_of(LogLevel::ALL), span(), any::<bool>());
    (life, routes, capture).prop_map(|(life, (egress, inbound), (redirect, probes))| {
        let ports = |index: usize| {
            let number = 10_000 + u16::try_from(index).expect("a short list");
            Port::new(number).expect("not zero")
        };
        let egress = egress.into_iter().enumerate();
        let inbound = inbound.into_iter().enumerate();
        Config {
            log_level: life.0,
            termination_drain_duration: life.1,
            application_ended: life.2,
            egress: egress
                .map(|(i, route)| EgressRoute {
                    port: ports(i),
                    ..route
                })
                .collect(),
            inbound: inbound
                .map(|(i, port)| InboundPort {
                    port: ports(i),
                    ..port
                })
                .collect(),
            redirect,
            probes,
        }
    })
}

proptest! {
    #[test]
    fn what_is_rendered_is_read_back(config in config()) {
        prop_assert_eq!(Config::parse(&config.render()), Ok(config));
    }

    #[test]
    fn any_text_is_a_configuration_or_a_list_of_mistakes(text in "\\PC{0,60}") {
        if let Err(mistakes) = Config::parse(&text) {
            prop_assert!(!mistakes.is_empty());
        }
    }
}

/// Parses a document that is wrong and returns its mistakes as text.
fn mistakes(text: &str) -> String {
    Config::parse(text)
        .expect_err("the document is wrong")
        .to_string()
}

#[test]
fn a_route_needs_no_more_than_its_host() {
    let config = Config::parse("egress: [{host: External.System.com.}]").expect("a short route");
    let route = &config.egress[0];
    assert_eq!(route.host.to_string(), "external.system.com");
    assert_eq!((route.port.get(), route.target_port.get()), (80, 443));
    assert_eq!(route.tls.mode, UpstreamMode::Mutual);
    assert_eq!(route.name(), "external.system.com:80");
}

#[test]
fn every_mistake_is_reported_with_its_path() {
    let text = "
logLevel: loud
egress:
- {host: https://bank.example/, port: 80a, tagetPort: 443, tls: {mode: mutal, minProtocolVersion: TLSV1_1}}
- {port: 80}
- {host: '*.5', protocol: tcp, match: [{pathPrefix: status}], timeouts: {connect: 0s, idle: soon}}
inbound:
- {port: 0, targetPort: 8080, allow: ['spiffe://a/**/b', 'inventory'], tls: {privateKey: k}}
extra: 1
";
    let expected = "\
logLevel: \"loud\" is not one of trace, debug, info, warning, error, off
egress[0].host: \"https://bank.example/\" is a URL; write the host name alone, such as external.system.com
egress[0].port: \"80a\" is not a port (1-65535)
egress[0].tls.mode: \"mutal\" is not one of MUTUAL, SIMPLE, DISABLE; did you mean \"MUTUAL\"?
egress[0].tls.minProtocolVersion: \"TLSV1_1\" is not one of TLSV1_2, TLSV1_3; did you mean \"TLSV1_2\"?
egress[0].tagetPort: is not a known field; did you mean \"targetPort\"?
egress[1].host: is required
egress[2].host: \"*.5\" is not a host name, an address or a wildcard such as *.example.com
egress[2].match[0].pathPrefix: \"status\" is not a path prefix: it begins with / and has no space, ? or #
egress[2].timeouts.idle: \"soon\" is not a duration such as 250ms, 5s, 1m30s or 1h
egress[2].timeouts.connect: must be longer than 0s: a connection attempt has to end
egress[2].port: is required with protocol tcp
egress[2].protocol: must be http for match, rewrite, redirect and redirectToHttps
inbound[0].port: \"0\" is not a port (1-65535)
inbound[0].tls.serverCertificate: is required beside privateKey
inbound[0].allow[0]: \"spiffe://a/**/b\" has ** before its end; ** stands for the rest and comes last
inbound[0].allow[1]: \"inventory\" is not a rule such as spiffe://cluster.local/ns/shop/sa/*, dns:client.example.com or cn:NAME
extra: is not a known field (known: logLevel, terminationDrainDuration, applicationEnded, egress, inbound, redirect, probes)";
    assert_eq!(mistakes(text), expected);
}

#[test]
fn routes_that_take_the_same_connections_are_refused() {
    let text = "
egress: [{host: a.example}, {host: b.example}, {host: a.example}, {host: c.example, port: 80, protocol: tcp}]
inbound: [{port: 8443, targetPort: 1}, {port: 8443, targetPort: 2}, {port: 9000, targetPort: 9000}]";
    let expected = "\
egress[2]: takes the same connections as a.example:80
egress[3]: takes the same connections as a.example:80
inbound[1].port: is listened on twice
inbound[2].targetPort: is the proxy's own port; name the application's";
    assert_eq!(mistakes(text), expected);
}

#[test]
fn with_redirection_hosts_share_a_port_and_an_application_keeps_its_own() {
    let text = "
redirect: {proxyUid: 15100}
egress: [{host: a.example}, {host: b.example, port: 80, protocol: tcp}]
inbound: [{port: 8080, targetPort: 8080}]";
    let config = Config::parse(text).expect("a configuration");
    let redirect = config.redirect.expect("redirection");
    assert_eq!(
        redirect,
        TrafficRedirect::new(Uid::new(15100).expect("not root"))
    );
    let clash = "{redirect: {proxyUid: 1}, egress: [{host: a.example}, {host: a.example}]}";
    let expected = "egress[1]: takes the same connections as a.example:80";
    assert_eq!(mistakes(clash), expected);
}

#[test]
fn mistakes_of_redirection_and_probes_are_told() {
    let text = "
redirect:
  proxyUid: 0
  outbound: {includeIPRanges: [10.0.0.0/33], excludePorts: [70000]}
  inbound: {allPorts: maybe}
probes:
- {path: /healthz, kind: http, port: 8080, timeout: 0s}
- {path: /app-health/a/livez, kind: tcp, port: 8080, target: /x, service: s}
- {path: /app-health/a/livez, kind: exec, port: 8080, target: x}";
    let expected = "\
redirect.proxyUid: \"0\" is not the id of a user other than root (1-4294967295)
redirect.outbound.includeIPRanges[0]: \"10.0.0.0/33\" is not a range of addresses such as 10.0.0.0/8 or fd00::/8
redirect.outbound.excludePorts[0]: \"70000\" is not a port (1-65535)
redirect.inbound.allPorts: \"maybe\" provided string was not `true` or `false`
probes[0].path: does not begin with /app-health/
probes[0].timeout: must be longer than 0s: a probe has to end
probes[1].target: means something for http and https only
probes[1].service: means something for grpc only
probes[2].kind: \"exec\" is not one of http, https, tcp, grpc
probes[2].target: \"x\" is not a path with a query, such as /healthz?full=1";
    assert_eq!(mistakes(text), expected);
}

#[test]
fn the_short_forms_stand_for_whole_routes() {
    let routes = EgressRoute::parse_list("bank.example, *.shop.example", "egress").expect("hosts");
    assert_eq!(
        routes[0],
        EgressRoute::to_host("bank.example".parse().expect("a host"))
    );
    assert_eq!(routes[1].host.to_string(), "*.shop.example");
    let ports = InboundPort::parse_list("8443:8080, 9443:9090", "inbound").expect("pairs");
    assert_eq!(
        (ports[1].port.get(), ports[1].target_port.get()),
        (9443, 9090)
    );

    let wrong = EgressRoute::parse_list("bank.example, shop_!", "egress").expect_err("no host");
    assert_eq!(
        wrong.to_string(),
        "egress: \"shop_!\" is not a host name, an address or a wildcard such as *.example.com"
    );
    let wrong = InboundPort::parse_list("8443:808O:1", "inbound").expect_err("no pair");
    assert_eq!(
        wrong.to_string(),
        "inbound: \"8443:808O:1\" is not LISTEN:APP, two ports such as 8443:8080"
    );
    let wrong = InboundPort::parse_list("8443", "inbound").expect_err("no pair");
    assert_eq!(
        wrong.to_string(),
        "inbound: \"8443\" is not LISTEN:APP, two ports such as 8443:8080"
    );
}

#[test]
fn a_star_is_one_segment_and_two_stars_are_the_rest() {
    let check = |rule: &str, name: &str, expected: bool| {
        let rule: AllowRule = rule.parse().expect("a rule");
        let (AllowRule::Uri(pattern) | AllowRule::Dns(pattern) | AllowRule::CommonName(pattern)) =
            &rule;
        assert_eq!(pattern.matches(name), expected, "{rule} against {name}");
    };
    check(
        "spiffe://cluster.local/ns/shop/sa/*",
        "spiffe://cluster.local/ns/shop/sa/cart",
        true,
    );
    check(
        "spiffe://cluster.local/ns/shop/sa/*",
        "spiffe://cluster.local/ns/shop/sa/cart/x",
        false,
    );
    check(
        "spiffe://cluster.local/ns/shop/sa/*",
        "spiffe://cluster.local/ns/shop/sa/",
        false,
    );
    check(
        "spiffe://cluster.local/ns/*/sa/a",
        "spiffe://cluster.local/ns/b/sa/a",
        true,
    );
    check(
        "spiffe://cluster.local/**",
        "spiffe://cluster.local/ns/b/sa/a",
        true,
    );
    check("spiffe://cluster.local/**", "spiffe://cluster.local", false);
    check(
        "spiffe://cluster.local/**",
        "spiffe://cluster.local.evil/ns",
        false,
    );
    check("dns:*.example.com", "a.example.com", true);
    check("dns:*.example.com", "a.b.example.com", false);
    check("dns:client.example.com", "client.example.com", true);
    check("cn:inventory-service", "inventory-service", true);
    check("cn:inventory-service", "inventory", false);
}

#[test]
fn a_wildcard_host_is_one_or_more_labels_under_its_parent() {
    let check = |host: &str, dialled: &str, expected: bool| {
        let host: Host = host.parse().expect("a host");
        assert_eq!(host.matches(dialled), expected, "{host} against {dialled}");
    };
    check("*.example.com", "a.example.com", true);
    check("*.example.com", "A.Example.Com.", true);
    check("*.example.com", "example.com", false);
    check("*.example.com", ".example.com", false);
    check("*.example.com", "badexample.com", false);
    check("example.com", "EXAMPLE.com", true);
    check("::1", "[::1]", true);
}
