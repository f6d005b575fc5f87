//! Whose certificate each route shows: its own, its Secret's, the pod's Secret's, or the files that a
//! mount puts at the default place. In: wishes and volumes. Out: routes that say where to look.

use std::path::PathBuf;

use mtls_proxy::config::{
    DEFAULT_CREDENTIALS, EgressRoute, InboundMode, InboundPort, UpstreamMode,
};

use super::volumes::{SECRETS_DIRECTORY, Volumes};
use super::{Draft, Understood};
use crate::annotations::SecretName;

impl Draft<'_> {
    /// Gives each egress route its credentials.
    pub(super) fn egress(&mut self, volumes: &mut Volumes) -> Vec<EgressRoute> {
        let wishes = self.wishes;
        let mut routes = wishes.egress.value.clone();
        for (index, route) in routes.iter_mut().enumerate() {
            let path = format!("{}[{index}]", wishes.egress.path);
            let tls = &mut route.tls;
            tls.min_protocol_version = tls
                .min_protocol_version
                .max(self.config.min_protocol_version);
            let named = route.secret.as_deref();
            let own = named.and_then(|name| self.route_secret(volumes, name, &path));
            if tls.mode == UpstreamMode::Disable || tls.has_credentials() {
                continue;
            }
            tls.credential_directory = match (own, tls.mode) {
                (Some(directory), _) => Some(directory),
                (None, UpstreamMode::Mutual) if named.is_none() => {
                    self.default_credentials(volumes, &path, "tls: {mode: SIMPLE}")
                }
                _ => None,
            };
        }
        routes
    }

    /// Gives each inbound port its credentials.
    pub(super) fn inbound(&mut self, volumes: &Volumes) -> Vec<InboundPort> {
        let wishes = self.wishes;
        let mut ports = wishes.inbound.value.clone();
        for (index, port) in ports.iter_mut().enumerate() {
            let tls = &mut port.tls;
            tls.min_protocol_version = tls
                .min_protocol_version
                .max(self.config.min_protocol_version);
            if port.mode != InboundMode::Disable && !tls.has_credentials() {
                let path = format!("{}[{index}]", wishes.inbound.path);
                tls.credential_directory =
                    self.default_credentials(volumes, &path, "mode: DISABLE");
            }
        }
        ports
    }

    fn route_secret(&mut self, volumes: &mut Volumes, name: &str, path: &str) -> Option<PathBuf> {
        let path = format!("{path}.secret");
        match name.parse::<SecretName>() {
            Ok(secret) => {
                let directory = format!("{SECRETS_DIRECTORY}/{name}");
                self.add_secret(volumes, &secret, &directory, &path);
                Some(directory.into())
            }
            Err(why) => {
                self.mistakes.add(&path, Some(name), why);
                None
            }
        }
    }

    fn default_credentials(
        &mut self,
        volumes: &Volumes,
        path: &str,
        without: &str,
    ) -> Option<PathBuf> {
        if let Some(secret) = &self.wishes.secret {
            return Some(secret.value.path.clone().into());
        }
        if volumes.cover(DEFAULT_CREDENTIALS) {
            return Some(DEFAULT_CREDENTIALS.into());
        }
        if self.understood == Understood::Wholly {
            let reason = format!(
                "has no certificate to show: set the annotation mtls-injector.io/secret to the name of a Secret, \
                 mount one at {DEFAULT_CREDENTIALS}, name the files under tls, or do without by {without}"
            );
            self.mistakes.add(path, None, &reason);
        }
        None
    }
}
