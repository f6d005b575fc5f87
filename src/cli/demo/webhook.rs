//! The webhook as a process of its own, and the API server's side of the conversation.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;

use anyhow::{Context, ensure};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Request;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use serde_json::Value;
use tokio::process::{Child, Command};

use super::authority::Authority;
use super::{call, free_address, program, wait_until_listening};

/// A running webhook. Dropped, it is killed.
pub(super) struct Webhook {
    /// Where it serves `/mutate`.
    pub(super) address: SocketAddr,
    child: Child,
    trust: Arc<ClientConfig>,
}

impl Webhook {
    pub(super) async fn start(authority: &Authority, folder: &Path) -> anyhow::Result<Self> {
        let identity = authority.server(&["localhost"])?;
        let (certificate, key) = (folder.join("webhook.crt"), folder.join("webhook.key"));
        fs::write(&certificate, identity.certificate)?;
        fs::write(&key, identity.key)?;
        let address = free_address()?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("serve")
            .args(["--listen", &address.to_string()])
            .args(["--admin-listen", &free_address()?.to_string()])
            .args(["--log-level", "warn", "--shutdown-delay", "0s"])
            .arg("--cert-file")
            .arg(&certificate)
            .arg("--key-file")
            .arg(&key)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .context("start the webhook")?;
        wait_until_listening(address, &mut child)
            .await
            .context("start the webhook")?;
        Ok(Self {
            address,
            child,
            trust: authority.client_config()?,
        })
    }

    /// Posts a review as an API server does and returns the answer.
    pub(super) async fn mutate(&self, review: &Value) -> anyhow::Result<Value> {
        let stream = call::connect(self.address).await?;
        let stream = call::tls(
            stream,
            ServerName::try_from("localhost")?,
            Arc::clone(&self.trust),
        )
        .await?;
        let request = Request::post("/mutate?timeout=5s")
            .header("host", "localhost")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(serde_json::to_vec(review)?)))?;
        let answer = call::exchange(stream, request).await?;
        ensure!(
            answer.status == 200,
            "the webhook answered {}: {}",
            answer.status,
            answer.body
        );
        Ok(serde_json::from_str(&answer.body)?)
    }

    /// Asks the process to end, as kubelet does, and checks that it ended well.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        program::stop(self.child, "the webhook").await
    }
}
