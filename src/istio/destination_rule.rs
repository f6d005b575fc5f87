//! DestinationRule: how a service is spoken to, once a request is on its way there.
//! <https://istio.io/latest/docs/reference/config/networking/destination-rule/>

use std::path::PathBuf;
use std::str::FromStr;

use mtls_proxy::config::{ClientTls, Host, Port, Span, SubjectAltName, UpstreamMode};

use super::object::ExportTo;
use super::reader::{Labels, Reader};

/// The spec of a DestinationRule.
#[derive(Clone, Debug)]
pub(super) struct DestinationRule {
    pub(super) host: String,
    policy: TrafficPolicy,
    by_port: Vec<(Port, TrafficPolicy)>,
    /// Subsets with TLS settings of their own, which nothing here can honour.
    pub(super) tls_subsets: Vec<String>,
    pub(super) export_to: ExportTo,
    pub(super) workload_selector: Option<Labels>,
}

/// What holds for the connections to a service, or to one of its ports.
#[derive(Clone, Debug, Default)]
pub(super) struct TrafficPolicy {
    pub(super) tls: Option<UpstreamTls>,
    pub(super) connect_timeout: Option<Span>,
    pub(super) idle_timeout: Option<Span>,
}

/// The TLS settings, ready for a route.
#[derive(Clone, Debug)]
pub(super) enum UpstreamTls {
    /// Istio's own identities, of which there are none here.
    IstioMutual,
    /// Anything that the proxy can do.
    Settings {
        tls: Box<ClientTls>,
        /// The Secret that `credentialName` names.
        secret: Option<String>,
    },
}

impl DestinationRule {
    pub(super) fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        let host: Option<String> = reader.get("host");
        if host.is_none() {
            reader.deny("host", "is required");
        }
        let (policy, by_port) = reader
            .object("trafficPolicy", read_top_policy)
            .unwrap_or_default();
        let subsets = reader.objects("subsets", read_subset);
        if !subsets.is_empty() {
            reader.warn(
                "subsets",
                "have no effect; a host is one place, without versions",
            );
        }
        let workload_selector = reader.object("workloadSelector", |selector| {
            selector.deny_unknown();
            selector.labels("matchLabels")
        });
        Some(Self {
            host: host?,
            policy,
            by_port,
            tls_subsets: subsets.into_iter().flatten().collect(),
            export_to: ExportTo::read(reader),
            workload_selector,
        })
    }

    /// Returns the policy for a port. One that is written for the port stands alone: nothing of the
    /// destination's own is inherited by it.
    pub(super) fn policy(&self, port: Port) -> &TrafficPolicy {
        let own = self.by_port.iter().find(|(number, _)| *number == port);
        own.map_or(&self.policy, |(_, policy)| policy)
    }

    /// Returns the ports that have a policy of their own.
    pub(super) fn ports(&self) -> impl Iterator<Item = Port> {
        self.by_port.iter().map(|&(port, _)| port)
    }

    /// Returns whether Istio's own identities are asked for at any port.
    pub(super) fn is_istio_mutual(&self) -> bool {
        let policies = self.by_port.iter().map(|(_, policy)| policy);
        let mut all = policies.chain([&self.policy]);
        all.any(|policy| matches!(policy.tls, Some(UpstreamTls::IstioMutual)))
    }

    /// Returns whether TLS is asked for at any port.
    pub(super) fn asks_for_tls(&self) -> bool {
        let policies = self.by_port.iter().map(|(_, policy)| policy);
        policies
            .chain([&self.policy])
            .any(TrafficPolicy::asks_for_tls)
    }
}

impl TrafficPolicy {
    pub(super) fn asks_for_tls(&self) -> bool {
        match &self.tls {
            None => false,
            Some(UpstreamTls::IstioMutual) => true,
            Some(UpstreamTls::Settings { tls, .. }) => tls.mode != UpstreamMode::Disable,
        }
    }
}

fn read_top_policy(reader: &mut Reader<'_, '_>) -> (TrafficPolicy, Vec<(Port, TrafficPolicy)>) {
    let policy = read_policy(reader);
    let by_port: Vec<_> = reader
        .objects("portLevelSettings", read_port_policy)
        .into_iter()
        .flatten()
        .collect();
    for (port, own) in &by_port {
        if policy.asks_for_tls() && own.tls.is_none() {
            let reason = format!(
                "has no tls for port {port}, which would turn that of trafficPolicy off; repeat it or write mode DISABLE"
            );
            reader.deny("portLevelSettings", &reason);
        }
    }
    (policy, by_port)
}

fn read_port_policy(reader: &mut Reader<'_, '_>) -> Option<(Port, TrafficPolicy)> {
    let port = reader
        .object("port", |port| port.get::<Port>("number"))
        .flatten();
    let policy = read_policy(reader);
    if port.is_none() {
        reader.deny("port", "needs a number");
    }
    Some((port?, policy))
}

fn read_policy(reader: &mut Reader<'_, '_>) -> TrafficPolicy {
    let tls = reader.object("tls", read_tls).flatten();
    let times = reader
        .object("connectionPool", read_pool)
        .unwrap_or_default();
    reader.refuse(
        "tunnel",
        "is not supported: the connection would not go through the tunnel",
    );
    TrafficPolicy {
        tls,
        connect_timeout: times.0,
        idle_timeout: times.1,
    }
}

/// The connect timeout and the idle timeout; that of HTTP wins over that of TCP.
fn read_pool(reader: &mut Reader<'_, '_>) -> (Option<Span>, Option<Span>) {
    let tcp = reader.object("tcp", |tcp| {
        let connect = tcp.get::<Span>("connectTimeout");
        (connect, tcp.get::<Span>("idleTimeout"))
    });
    let http = reader.object("http", |http| http.get::<Span>("idleTimeout"));
    let (connect, idle) = tcp.unwrap_or_default();
    // A connection attempt without an end is nothing that the proxy does.
    let connect = connect.filter(|connect| connect.limit().is_some());
    (connect, http.flatten().or(idle))
}

fn read_subset(reader: &mut Reader<'_, '_>) -> Option<String> {
    let name = reader.get("name");
    reader.ignore(&["labels"]);
    let policy = reader.object("trafficPolicy", read_top_policy);
    let has_tls = policy.is_some_and(|(policy, by_port)| {
        policy.tls.is_some() || by_port.iter().any(|(_, policy)| policy.tls.is_some())
    });
    name.filter(|_| has_tls)
}

fn read_tls(reader: &mut Reader<'_, '_>) -> Option<UpstreamTls> {
    reader.deny_unknown();
    let mode = reader.get::<Mode>("mode").unwrap_or(Mode::Disable);
    let (client_certificate, private_key) = pair(reader, "clientCertificate", "privateKey");
    let tls = ClientTls {
        mode: match mode {
            Mode::Disable | Mode::IstioMutual => UpstreamMode::Disable,
            Mode::Simple => UpstreamMode::Simple,
            Mode::Mutual => UpstreamMode::Mutual,
        },
        client_certificate,
        private_key,
        ca_certificates: file(reader, "caCertificates"),
        crl: file(reader, "caCrl"),
        sni: server_name(reader),
        subject_alt_names: reader.list::<SubjectAltName>("subjectAltNames"),
        insecure_skip_verify: reader.flag("insecureSkipVerify"),
        ..ClientTls::default()
    };
    let secret: Option<String> = reader.get("credentialName");
    if tls.client_certificate.is_some() != tls.private_key.is_some() {
        reader.deny(
            "",
            "needs clientCertificate and privateKey, both or neither",
        );
    }
    let files = tls.client_certificate.is_some() || tls.ca_certificates.is_some();
    if secret.is_some() && files {
        reader.deny("credentialName", "cannot stand beside the names of files");
    }
    Some(match mode {
        Mode::IstioMutual => UpstreamTls::IstioMutual,
        Mode::Disable | Mode::Simple | Mode::Mutual => UpstreamTls::Settings {
            tls: Box::new(tls),
            secret,
        },
    })
}

#[derive(Clone, Copy)]
enum Mode {
    Disable,
    Simple,
    Mutual,
    IstioMutual,
}

impl FromStr for Mode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "DISABLE" => Ok(Self::Disable),
            "SIMPLE" => Ok(Self::Simple),
            "MUTUAL" => Ok(Self::Mutual),
            "ISTIO_MUTUAL" => Ok(Self::IstioMutual),
            _ => Err("is not one of DISABLE, SIMPLE, MUTUAL, ISTIO_MUTUAL"),
        }
    }
}

fn server_name(reader: &mut Reader<'_, '_>) -> Option<Host> {
    let name: Option<Host> = reader.get("sni");
    if name.as_ref().is_some_and(|name| name.name().is_none()) {
        reader.deny("sni", "must be a DNS name");
        return None;
    }
    name
}

/// Reads the names of a certificate and its key, which mean nothing alone.
pub(super) fn pair(
    reader: &mut Reader<'_, '_>,
    certificate: &'static str,
    key: &'static str,
) -> (Option<PathBuf>, Option<PathBuf>) {
    match (file(reader, certificate), file(reader, key)) {
        (Some(certificate), Some(key)) => (Some(certificate), Some(key)),
        (None, None) => (None, None),
        _ => {
            let reason = format!("needs {certificate} and {key}, both or neither");
            reader.deny("", &reason);
            (None, None)
        }
    }
}

/// Reads the name of a file; an empty one is none.
pub(super) fn file(reader: &mut Reader<'_, '_>, key: &'static str) -> Option<PathBuf> {
    let path: Option<String> = reader.get(key);
    path.filter(|path| !path.is_empty()).map(PathBuf::from)
}
