//! Whether the API server trusts the webhook. In: the MutatingWebhookConfiguration and the Secret
//! with the certificate. Out: what is wrong, one sentence each.

use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use serde_json::Value;

use crate::cluster::certificates::trust::verify;

/// The Secret in which an injector that makes its own certificates keeps them.
pub(super) const SECRET: &str = "mtls-injector-tls";

/// Compares each webhook's `caBundle` with the certificate that is served.
pub(super) fn problems(configuration: &Value, secret: Option<&Value>) -> Vec<String> {
    let webhooks = configuration.get("webhooks").and_then(Value::as_array);
    let problems = webhooks.into_iter().flatten().filter_map(|webhook| {
        let name = webhook
            .get("name")
            .and_then(Value::as_str)
            .unwrap_or_default();
        let problem = problem(webhook, secret)?;
        Some(format!("webhook {name}: {problem}"))
    });
    problems.collect()
}

fn problem(webhook: &Value, secret: Option<&Value>) -> Option<String> {
    let bundle = webhook
        .pointer("/clientConfig/caBundle")
        .and_then(Value::as_str);
    let anchors = certificates(bundle.unwrap_or_default());
    if anchors.is_empty() {
        return Some("its caBundle holds no certificate, so the API server trusts none".to_owned());
    }
    let served = secret?.pointer("/data/tls.crt").and_then(Value::as_str)?;
    let chain = certificates(served);
    let part = |key: &str| {
        webhook
            .pointer(&format!("/clientConfig/service/{key}"))
            .and_then(Value::as_str)
    };
    let name = format!("{}.{}.svc", part("name")?, part("namespace")?);
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let trusted = verify(&provider, &chain, &anchors, &name, SystemTime::now());
    let error = trusted.err()?;
    Some(format!(
        "its caBundle does not fit the certificate in Secret {SECRET}: {error}"
    ))
}

fn certificates(base64: &str) -> Vec<CertificateDer<'static>> {
    let pem = STANDARD.decode(base64).unwrap_or_default();
    CertificateDer::pem_slice_iter(&pem)
        .filter_map(Result::ok)
        .collect()
}
