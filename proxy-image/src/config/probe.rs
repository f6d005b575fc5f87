//! Probes of the application that kubelet sends to the proxy's admin port, because the application's
//! own port asks kubelet for a client certificate that it does not have.
//!
//! In: the field `probes` of a configuration. Out: what is asked, and what of whom. Sends nothing.

use std::str::FromStr;

use http::uri::PathAndQuery;
use serde::Serialize;

use super::fields::Fields;
use super::request::RequestPath;
use super::scalars::{Port, Span, words};

words! {
    /// How a probe is put to the application.
    ProbeKind {
        /// A request of HTTP; its answer is passed on.
        Http = "http",
        /// The same over TLS. Like kubelet, nobody verifies the certificate.
        Https = "https",
        /// A connection of TCP.
        Tcp = "tcp",
        /// A request of the gRPC Health Checking Protocol.
        Grpc = "grpc",
    }
}

/// One probe that the admin port answers by asking the application.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppProbe {
    /// The path under which kubelet asks the admin port; begins with [`AppProbe::PREFIX`].
    pub path: RequestPath,
    /// How the application is asked.
    pub kind: ProbeKind,
    /// The application's port, dialled on 127.0.0.1, then on the pod's own address.
    pub port: Port,
    /// What is asked for, with its query; http and https only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<ProbeTarget>,
    /// The name of the service; grpc only, absent: the whole server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// How long the application may take.
    pub timeout: Span,
}

impl AppProbe {
    /// What every [`AppProbe::path`] begins with.
    pub const PREFIX: &str = "/app-health/";

    pub(super) fn from_fields(mut fields: Fields<'_>) -> Option<Self> {
        let path = fields.required::<RequestPath>("path");
        let kind = fields.required::<ProbeKind>("kind");
        let port = fields.required("port");
        let target = fields.optional("target");
        let service: Option<String> = fields.optional("service");
        let timeout = fields.or("timeout", Span::from_secs(1));
        if path
            .as_ref()
            .is_some_and(|path| !path.as_str().starts_with(Self::PREFIX))
        {
            fields.mistake("path", "does not begin with /app-health/");
        }
        let is_http = matches!(kind, Some(ProbeKind::Http | ProbeKind::Https) | None);
        if target.is_some() && !is_http {
            fields.mistake("target", "means something for http and https only");
        }
        if service.is_some() && kind.is_some_and(|kind| kind != ProbeKind::Grpc) {
            fields.mistake("service", "means something for grpc only");
        }
        if timeout.limit().is_none() {
            fields.mistake("timeout", "must be longer than 0s: a probe has to end");
        }
        fields.finish();
        Some(Self {
            path: path?,
            kind: kind?,
            port: port?,
            target,
            service,
            timeout,
        })
    }
}

/// A path with its query, such as `/healthz?full=1`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProbeTarget(String);

impl ProbeTarget {
    /// Returns the path and query as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProbeTarget {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let right = text.starts_with('/') && text.parse::<PathAndQuery>().is_ok();
        let target = right.then(|| Self(text.to_owned()));
        target.ok_or("is not a path with a query, such as /healthz?full=1")
    }
}
