//! What the API server trusts, and what is wrong with it. In: a MutatingWebhookConfiguration, and the
//! CAs to trust. Out: its bundles, and their fault.

use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::cluster::certificates::Issued;

/// What the API server was last seen to trust.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bundle {
    /// Not seen yet.
    Unknown,
    /// There is no such MutatingWebhookConfiguration.
    Absent,
    /// The CAs of each of its webhooks.
    Present(Vec<WebhookBundle>),
}

/// The CAs that one webhook is verified with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookBundle {
    /// The name of the webhook.
    pub webhook: String,
    /// Its `caBundle`, PEM; empty when it is not set.
    pub pem: Vec<u8>,
    /// The certificates in it that can be read.
    pub anchors: Vec<CertificateDer<'static>>,
}

impl Bundle {
    pub(super) fn of(object: Option<&MutatingWebhookConfiguration>) -> Self {
        let Some(object) = object else {
            return Self::Absent;
        };
        let webhooks = object.webhooks.iter().flatten().map(|webhook| {
            let pem = webhook
                .client_config
                .ca_bundle
                .clone()
                .map(|bytes| bytes.0)
                .unwrap_or_default();
            let anchors = CertificateDer::pem_slice_iter(&pem)
                .filter_map(Result::ok)
                .collect();
            WebhookBundle {
                webhook: webhook.name.clone(),
                pem,
                anchors,
            }
        });
        Self::Present(webhooks.collect())
    }
}

/// What is wrong with the bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A CA that is needed now is not in it.
    Lacking,
    /// All that we know of is in it, and something more: another replica may know better.
    Surplus,
}

impl Fault {
    pub(super) fn of(bundle: &Bundle, wanted: &Issued) -> Option<Self> {
        let Bundle::Present(webhooks) = bundle else {
            return None;
        };
        let pem = wanted.bundle();
        if webhooks.iter().all(|webhook| webhook.pem == pem.as_bytes()) {
            return None;
        }
        let lacks = |webhook: &WebhookBundle| {
            wanted
                .anchors
                .iter()
                .any(|anchor| !webhook.anchors.contains(anchor))
        };
        Some(if webhooks.iter().any(lacks) {
            Self::Lacking
        } else {
            Self::Surplus
        })
    }
}
