//! PeerAuthentication: what a client of a pod has to show. Also its forerunner, the Policy of
//! `authentication.istio.io/v1alpha1`.
//! <https://istio.io/latest/docs/reference/config/security/peer_authentication/>

use std::str::FromStr;

use mtls_proxy::config::{InboundMode, Port};

use super::reader::{Labels, Reader, scalar};

/// The spec of a PeerAuthentication.
#[derive(Clone, Debug)]
pub(super) struct PeerAuthentication {
    pub(super) selects: Selects,
    pub(super) mode: Mode,
    by_port: Vec<(Port, Mode)>,
}

/// Which pods of its namespace a policy means.
#[derive(Clone, Debug)]
pub(super) enum Selects {
    /// All of them.
    All,
    /// Those with labels.
    Labels(Labels),
    /// Those behind Services, as the forerunner named them.
    Services(Vec<String>),
}

/// A mode that may be left to the next wider policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Unset,
    Set(InboundMode),
}

impl PeerAuthentication {
    pub(super) fn read(reader: &mut Reader<'_, '_>) -> Option<Self> {
        reader.deny_unknown();
        let selector = reader.object("selector", |selector| {
            selector.deny_unknown();
            selector.labels("matchLabels")
        });
        let selector = selector.unwrap_or_default();
        let mode = reader.object("mtls", read_mode).unwrap_or(Mode::Unset);
        let by_port = reader.map("portLevelMtls", |port, value, path, findings| {
            let port = scalar(&port.into(), path, findings)?;
            Some((port, Reader::read(value, path, findings, read_mode)?))
        });
        if selector.is_empty() && !by_port.is_empty() {
            reader.deny("portLevelMtls", "needs a selector with labels");
        }
        Some(Self {
            selects: match selector.is_empty() {
                true => Selects::All,
                false => Selects::Labels(selector),
            },
            mode,
            by_port,
        })
    }

    /// Reads the spec of a Policy or MeshPolicy of `authentication.istio.io/v1alpha1`.
    pub(super) fn from_old_policy(reader: &mut Reader<'_, '_>) -> Option<Self> {
        reader.deny_unknown();
        reader.warn(
            "",
            "authentication.istio.io/v1alpha1 is gone since Istio 1.6; write a PeerAuthentication of security.istio.io",
        );
        let targets = reader.objects("targets", |target| {
            target.refuse(
                "ports",
                "is not supported; use portLevelMtls of a PeerAuthentication",
            );
            target.get::<String>("name")
        });
        let optional = reader.flag("peerIsOptional");
        let peers = reader.objects("peers", read_peer);
        let asked = peers.into_iter().flatten().next();
        let mode = match asked {
            None => InboundMode::Disable,
            Some(_) if optional => InboundMode::Permissive,
            Some(mode) => mode,
        };
        let services: Vec<_> = targets.into_iter().flatten().collect();
        Some(Self {
            selects: match services.is_empty() {
                true => Selects::All,
                false => Selects::Services(services),
            },
            mode: Mode::Set(mode),
            by_port: Vec::new(),
        })
    }

    /// Returns what is said for a port of the application.
    pub(super) fn mode(&self, port: Port) -> Mode {
        let own = self.by_port.iter().find(|(number, _)| *number == port);
        match own {
            Some(&(_, Mode::Set(mode))) => Mode::Set(mode),
            _ => self.mode,
        }
    }
}

fn read_mode(reader: &mut Reader<'_, '_>) -> Mode {
    reader.get("mode").unwrap_or(Mode::Unset)
}

/// `mtls` without a mode, or with nothing at all, meant STRICT.
fn read_peer(reader: &mut Reader<'_, '_>) -> Option<InboundMode> {
    reader.deny_unknown();
    let Some(mtls) = reader.object("mtls", |mtls| {
        mtls.ignore(&["allowTls"]);
        read_mode(mtls)
    }) else {
        return Some(InboundMode::Strict);
    };
    match mtls {
        Mode::Unset => Some(InboundMode::Strict),
        Mode::Set(mode) => Some(mode),
    }
}

impl FromStr for Mode {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "UNSET" => Ok(Self::Unset),
            "STRICT" => Ok(Self::Set(InboundMode::Strict)),
            "PERMISSIVE" => Ok(Self::Set(InboundMode::Permissive)),
            "DISABLE" => Ok(Self::Set(InboundMode::Disable)),
            _ => Err("is not one of UNSET, DISABLE, PERMISSIVE, STRICT"),
        }
    }
}
