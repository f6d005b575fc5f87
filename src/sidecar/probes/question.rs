//! How kubelet asks a container, read as kubelet reads it. In: a container and where its probe is.
//! Out: the port and the kind of question. Decides nothing.

use mtls_proxy::config::{Port, ProbeKind};
use serde_json::Value;

use crate::review::name_of;

/// What kubelet asks of a container.
pub(super) struct Question<'a> {
    /// The field that says so.
    pub(super) field: &'static str,
    pub(super) kind: ProbeKind,
    /// The value of that field.
    pub(super) handler: &'a Value,
    /// The port that kubelet dials.
    pub(super) port: Port,
    pub(super) timeout_seconds: u64,
}

impl<'a> Question<'a> {
    /// Reads the probe or hook at these keys, unless it is none that goes over the network. Of a hook
    /// only `httpGet` does.
    pub(super) fn of(container: &'a Value, keys: &[&str]) -> Option<Self> {
        let probe = keys
            .iter()
            .try_fold(container, |value, key| value.get(key))?;
        let fields: &[_] = match keys {
            [_] => &["httpGet", "tcpSocket", "grpc"],
            _ => &["httpGet"],
        };
        let (field, handler) = fields.iter().find_map(|field| {
            let handler = probe.get(field).filter(|handler| handler.is_object())?;
            Some((*field, handler))
        })?;
        let kind = match field {
            "httpGet"
                if handler
                    .get("scheme")
                    .is_some_and(|scheme| scheme == "HTTPS") =>
            {
                ProbeKind::Https
            }
            "httpGet" => ProbeKind::Http,
            "tcpSocket" => ProbeKind::Tcp,
            _ => ProbeKind::Grpc,
        };
        Some(Self {
            field,
            kind,
            handler,
            port: port(container, handler.get("port")?)?,
            timeout_seconds: probe
                .get("timeoutSeconds")
                .and_then(Value::as_u64)
                .unwrap_or(1),
        })
    }

    /// Returns the host that kubelet dials instead of the pod.
    pub(super) fn host(&self) -> Option<&'a str> {
        let host = self.handler.get("host").and_then(Value::as_str);
        host.filter(|host| !host.is_empty())
    }
}

/// A number, the name of one of the container's own ports, or a number in quotes.
fn port(container: &Value, written: &Value) -> Option<Port> {
    let number = match written {
        Value::String(name) => {
            let ports = container.get("ports").and_then(Value::as_array);
            let mut ports = ports.into_iter().flatten();
            let declared = ports.find(|port| name_of(port) == name);
            match declared {
                Some(port) => port.get("containerPort")?.as_u64()?,
                None => return name.parse().ok(),
            }
        }
        other => other.as_u64()?,
    };
    Port::new(u16::try_from(number).ok()?)
}
