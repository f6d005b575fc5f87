//! What works otherwise than an author may think.

use mtls_injector::config::{Config, NativeSidecars};

use crate::pods::{Defaults, EGRESS, INBOUND, SECRET, outcome_with, pod_with, warned};

#[test]
fn what_could_surprise_is_warned_of() {
    let base = [(SECRET, "certs:/c")];
    let with = |annotations: &[(&'static str, &'static str)]| {
        let all: Vec<_> = base.iter().chain(annotations).copied().collect();
        warned(&all)
    };
    assert_eq!(
        with(&[]),
        [
            "the proxy has nothing to do: neither mtls-injector.io/egress nor mtls-injector.io/inbound is set"
        ]
    );
    assert_eq!(
        with(&[(INBOUND, "8443:8080,9443:9090")]),
        [
            "the application's own port 8080, 9090 stays reachable in plaintext from other pods unless it listens on 127.0.0.1 only"
        ]
    );
    assert_eq!(
        with(&[(
            EGRESS,
            "[{host: a.example.com, tls: {insecureSkipVerify: true}}]"
        )]),
        ["mtls-injector.io/egress[0].tls.insecureSkipVerify: anyone can pose as this host"]
    );
    assert_eq!(
        with(&[(
            EGRESS,
            "[{host: a.example.com, tls: {caCertificates: /x/ca}}]"
        )]),
        ["nothing is mounted at /x for the proxy, so /x/ca will be missing"]
    );
    assert_eq!(
        with(&[
            (EGRESS, "a.example.com"),
            ("mtls-injector.io/terminationDrainDuration", "40s")
        ]),
        [
            "mtls-injector.io/terminationDrainDuration: 40s is longer than the pod's grace period of 30s, which ends the drain"
        ]
    );
}

#[test]
fn keys_of_istio_that_mean_nothing_here_are_warned_of() {
    assert_eq!(
        warned(&[
            (SECRET, "certs"),
            (EGRESS, "a.example.com"),
            ("sidecar.istio.io/statsInclusionPrefixes", "x"),
            ("traffic.sidecar.istio.io/excludeInterfaces", "eth1"),
            (
                "proxy.istio.io/config",
                "{concurrency: 2, holdApplicationUntilProxyStarts: true}"
            ),
        ]),
        [
            "proxy.istio.io/config.concurrency is not supported and has no effect",
            "sidecar.istio.io/statsInclusionPrefixes is not supported and has no effect",
            "traffic.sidecar.istio.io/excludeInterfaces is not supported and has no effect",
        ]
    );
}

#[test]
fn a_job_with_a_classic_proxy_is_warned_of_its_end() {
    let config = Config {
        native_sidecars: NativeSidecars::Off,
        ..Config::default()
    };
    let mut pod = pod_with(&[(SECRET, "certs"), (EGRESS, "a.example.com")]);
    pod["spec"]["restartPolicy"] = "OnFailure".into();
    let outcome = outcome_with(&config, &Defaults(vec![]), &pod);
    assert_eq!(
        outcome.warnings,
        [
            "a classic proxy outlives the application: use a native one (mtls-injector.io/nativeSidecar: \"true\", Kubernetes 1.29), run the injector with --end-jobs, or let the application POST to http://127.0.0.1:15000/quitquitquit at its end"
        ]
    );
    let ends_jobs = Config {
        ends_jobs: true,
        ..config
    };
    for config in [Config::default(), ends_jobs] {
        let outcome = outcome_with(&config, &Defaults(vec![]), &pod);
        assert_eq!(outcome.warnings, [""; 0]);
    }
}
