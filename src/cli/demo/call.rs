//! One HTTP/1.1 call over any stream, as a plain client makes it. Every wait has an end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// How long the demonstration waits for anything.
pub(super) const PATIENCE: Duration = Duration::from_secs(10);

/// An answer that was read to its end.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: String,
}

pub(super) async fn connect(address: SocketAddr) -> anyhow::Result<TcpStream> {
    let stream = timeout(PATIENCE, TcpStream::connect(address)).await;
    stream
        .context("no connection in time")?
        .with_context(|| format!("connect to {address}"))
}

pub(super) async fn tls(
    stream: TcpStream,
    name: ServerName<'static>,
    config: Arc<ClientConfig>,
) -> anyhow::Result<TlsStream<TcpStream>> {
    let handshake = TlsConnector::from(config).connect(name, stream);
    timeout(PATIENCE, handshake)
        .await
        .context("no handshake in time")?
        .context("shake hands")
}

pub(super) async fn get<S>(stream: S, host: &str, path: &str) -> anyhow::Result<Answer>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let request = Request::get(path)
        .header("host", host)
        .body(Full::new(Bytes::new()))?;
    exchange(stream, request).await
}

/// Sends one request and reads its answer to the end.
pub(super) async fn exchange<S>(stream: S, request: Request<Full<Bytes>>) -> anyhow::Result<Answer>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let call = async {
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake::<_, Full<Bytes>>(TokioIo::new(stream)).await?;
        let exchange = async {
            let answer = sender.send_request(request).await?;
            let status = answer.status().as_u16();
            let body = answer.into_body().collect().await?.to_bytes();
            Ok(Answer {
                status,
                body: String::from_utf8_lossy(&body).into_owned(),
            })
        };
        tokio::pin!(exchange);
        tokio::select! {
            answer = &mut exchange => answer,
            // An error of the connection is also the error of the exchange, and says more.
            ended = connection => match ended {
                Ok(()) => exchange.await,
                Err(error) => Err(anyhow::Error::from(error)),
            },
        }
    };
    timeout(PATIENCE, call).await.context("no answer in time")?
}
