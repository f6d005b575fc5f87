//! The application of the sample: it speaks plain HTTP/1.1 and knows nothing of TLS. In: a URL.
//! Out: each answer's body to stdout; what went wrong to stderr.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use clap::Args;
use http::Uri;
use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper_util::rt::TokioIo;
use mtls_proxy::config::Span;
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// How long one call may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Call a URL as an application would, in plain HTTP
///
/// Exits with 1 when the last answer was none or no success.
#[derive(Args, Debug)]
pub(super) struct Client {
    /// What to call, http only
    url: Uri,
    /// Call again after this time, forever
    #[arg(long, value_name = "DURATION")]
    every: Option<Span>,
}

impl Client {
    pub(super) async fn call(self) -> anyhow::Result<ExitCode> {
        loop {
            let called = timeout(PATIENCE, get(&self.url)).await;
            let called = called.unwrap_or_else(|_| bail!("no answer in time"));
            let Some(every) = self.every else {
                super::say(called?.trim_end())?;
                return Ok(ExitCode::SUCCESS);
            };
            match called {
                Ok(body) => super::say(body.trim_end())?,
                Err(error) => super::say(&format!("failed: {error:#}"))?,
            }
            sleep(every.get()).await;
        }
    }
}

async fn get(url: &Uri) -> anyhow::Result<String> {
    ensure!(
        url.scheme_str() == Some("http"),
        "{url} does not begin with http://"
    );
    let authority = url.authority().context("the URL has no host")?;
    let port = authority.port_u16().unwrap_or(80);
    let host = authority.host().trim_matches(['[', ']']);
    // Names are resolved as every program does it, so /etc/hosts and with it hostAliases count.
    let stream = TcpStream::connect((host, port)).await;
    let stream = stream.with_context(|| format!("connect to {host}:{port}"))?;
    let request = Request::get(url.path_and_query().map_or("/", |path| path.as_str()))
        .header("host", authority.as_str())
        .body(Empty::<Bytes>::new())?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async move {
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        let body = answer.into_body().collect().await?.to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        ensure!(status.is_success(), "{status}: {}", body.trim_end());
        Ok(body)
    };
    let (body, _) = tokio::join!(exchange, connection);
    body
}
