//! Gateway: what a proxy at the edge listens on.
//! <https://istio.io/latest/docs/reference/config/networking/gateway/>

use std::path::PathBuf;

use mtls_proxy::config::{
    AllowRule, InboundMode, MinProtocolVersion, Port, ServerTls, SubjectAltName,
};

use super::destination_rule::{file, pair};
use super::host::{covers, full_name};
use super::reader::{Labels, Reader};

/// Where the Secrets of gateways are mounted: a directory of this one for each name.
pub const GATEWAY_CREDENTIALS: &str = "/etc/mtls-proxy/credentials";

/// The spec of a Gateway.
#[derive(Clone, Debug)]
pub(super) struct Gateway {
    pub(super) selector: Labels,
    pub(super) servers: Vec<Server>,
}

/// One port of a gateway and the hosts that are served there.
#[derive(Clone, Debug)]
pub(super) struct Server {
    pub(super) port: Port,
    pub(super) hosts: Vec<ServedHost>,
    pub(super) serves: Serves,
}

/// What is served at a port.
#[derive(Clone, Debug)]
pub(super) enum Serves {
    /// Plain HTTP.
    Http,
    /// Plain HTTP, answered only with a redirect to HTTPS.
    Redirect,
    /// HTTP in TLS.
    Https(Box<Termination>),
}

/// How TLS is ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Termination {
    pub(super) mode: InboundMode,
    pub(super) tls: ServerTls,
    pub(super) allow: Vec<AllowRule>,
}

/// A host of a server, and whose VirtualServices may serve it.
#[derive(Clone, Debug)]
pub(super) struct ServedHost {
    namespace: String,
    pub(super) host: String,
}

impl Gateway {
    pub(super) fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        let selector = reader.labels("selector");
        let servers = reader.objects("servers", Server::read);
        Some(Self {
            selector,
            servers: servers.into_iter().flatten().collect(),
        })
    }
}

impl Server {
    fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        reader.ignore(&["name"]);
        let port = reader.object("port", |port| {
            port.ignore(&["name"]);
            let protocol: Option<String> = port.get("protocol");
            Some((port.get::<Port>("number")?, protocol.unwrap_or_default()))
        });
        let hosts: Vec<String> = reader.list("hosts");
        let tls = reader.object("tls", read_tls);
        let Some((number, protocol)) = port.flatten() else {
            reader.deny("port", "needs a number and a protocol");
            return None;
        };
        let is_https = match protocol.as_str() {
            "HTTP" | "HTTP2" | "GRPC" => false,
            "HTTPS" => true,
            other => {
                let reason = format!("{other:?} is not supported; HTTP, HTTP2, GRPC and HTTPS are");
                reader.deny("port.protocol", &reason);
                return None;
            }
        };
        let serves = match (is_https, tls) {
            (false, Some(ServerSettings { redirect: true, .. })) => Serves::Redirect,
            (false, _) => Serves::Http,
            (true, Some(settings)) => Serves::Https(settings.termination?),
            (true, None) => {
                reader.deny("tls", "is required with protocol HTTPS");
                return None;
            }
        };
        Some(Self {
            port: number,
            hosts: hosts.iter().map(|host| ServedHost::parse(host)).collect(),
            serves,
        })
    }
}

impl ServedHost {
    fn parse(text: &str) -> Self {
        let (namespace, host) = text.split_once('/').unwrap_or(("*", text));
        Self {
            namespace: namespace.to_owned(),
            host: host.to_ascii_lowercase(),
        }
    }

    /// Returns the host that a VirtualService serves here: the narrower of the server's and its own.
    pub(super) fn served_by(
        &self,
        host: &str,
        its_namespace: &str,
        gateway_namespace: &str,
    ) -> Option<String> {
        let open = match self.namespace.as_str() {
            "*" => true,
            "." => its_namespace == gateway_namespace,
            own => own == its_namespace,
        };
        let host = full_name(host, its_namespace);
        if !open {
            None
        } else if covers(&self.host, &host) {
            Some(host)
        } else if covers(&host, &self.host) {
            Some(self.host.clone())
        } else {
            None
        }
    }
}

struct ServerSettings {
    redirect: bool,
    termination: Option<Box<Termination>>,
}

fn read_tls(reader: &mut Reader<'_, '_>) -> ServerSettings {
    reader.deny_unknown();
    let redirect = reader.flag("httpsRedirect");
    let mode: Option<String> = reader.get("mode");
    let mode = match mode.as_deref() {
        Some("SIMPLE") => Some(InboundMode::Simple),
        Some("MUTUAL") => Some(InboundMode::Strict),
        Some("OPTIONAL_MUTUAL") => Some(InboundMode::OptionalMutual),
        None if redirect => None,
        None => Some(InboundMode::Simple),
        Some(other) => {
            let reason =
                format!("{other:?} is not supported; SIMPLE, MUTUAL and OPTIONAL_MUTUAL are");
            reader.deny("mode", &reason);
            None
        }
    };
    if reader.value("cipherSuites").is_some() {
        reader.warn(
            "cipherSuites",
            "has no effect: only sound suites are offered",
        );
    }
    let tls = read_server_tls(reader);
    let allow = reader.list::<SubjectAltName>("subjectAltNames");
    let allow: Vec<_> = allow
        .iter()
        .filter_map(|name| allow_rule(reader, name))
        .collect();
    let asks = matches!(
        mode,
        Some(InboundMode::Strict | InboundMode::OptionalMutual)
    );
    if !allow.is_empty() && !asks {
        reader.deny("subjectAltNames", "needs mode MUTUAL");
    }
    ServerSettings {
        redirect,
        termination: mode.map(|mode| Box::new(Termination { mode, tls, allow })),
    }
}

fn read_server_tls(reader: &mut Reader<'_, '_>) -> ServerTls {
    let secret: Option<String> = reader.get("credentialName");
    let (server_certificate, private_key) = pair(reader, "serverCertificate", "privateKey");
    ServerTls {
        server_certificate,
        private_key,
        ca_certificates: file(reader, "caCertificates"),
        crl: file(reader, "caCrl"),
        credential_directory: secret.map(|name| PathBuf::from(GATEWAY_CREDENTIALS).join(name)),
        min_protocol_version: read_version(reader),
        ..ServerTls::default()
    }
}

fn read_version(reader: &mut Reader<'_, '_>) -> MinProtocolVersion {
    let version: Option<String> = reader.get("minProtocolVersion");
    match version.as_deref() {
        None | Some("TLS_AUTO" | "TLSV1_2") => {}
        Some("TLSV1_3") => return MinProtocolVersion::TlsV1_3,
        Some("TLSV1_0" | "TLSV1_1") => {
            reader.warn("minProtocolVersion", "is raised to TLSV1_2");
        }
        Some(other) => {
            let reason = format!("{other:?} is not one of TLSV1_2, TLSV1_3");
            reader.deny("minProtocolVersion", &reason);
        }
    }
    MinProtocolVersion::TlsV1_2
}

/// A name that a client's certificate must bear, as a rule.
fn allow_rule(reader: &mut Reader<'_, '_>, name: &SubjectAltName) -> Option<AllowRule> {
    let rule = name.to_string().parse();
    if rule.is_err() {
        let reason = format!("{name} cannot be asked of a client; a DNS name or a URI can");
        reader.deny("subjectAltNames", &reason);
    }
    rule.ok()
}
