//! The server of the sample. In: HTTP, over mutual TLS or plain. Out: what the server saw of its
//! client, as JSON, so that a test can tell who called.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use clap::Args;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Map, Value, json};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use x509_parser::parse_x509_certificate;

/// How long a client may take for its handshake.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// Serve HTTP and answer with what was seen of the client
#[derive(Args, Debug)]
pub(super) struct Server {
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "[::]:8080")]
    listen: SocketAddr,
    /// Speak mutual TLS with tls.crt, tls.key and ca.crt of this folder; without it, plain HTTP
    #[arg(long, value_name = "DIR")]
    tls: Option<PathBuf>,
}

impl Server {
    pub(super) async fn serve(self) -> anyhow::Result<ExitCode> {
        let acceptor = self.tls.as_deref().map(acceptor).transpose()?;
        let listener = TcpListener::bind(self.listen).await;
        let listener = listener.with_context(|| format!("listen on {}", self.listen))?;
        super::say(&format!("listening on {}", listener.local_addr()?))?;
        let tasks = TaskTracker::new();
        loop {
            // A client that went away between its knock and our accept concerns nobody else.
            let Ok((stream, _)) = listener.accept().await else {
                continue;
            };
            let acceptor = acceptor.clone();
            tasks.spawn(async move {
                if let Err(error) = answer(stream, acceptor).await {
                    // The client is told by its own side; the log helps whoever runs the sample.
                    super::say(&format!("refused: {error:#}")).ok();
                }
            });
        }
    }
}

fn acceptor(folder: &Path) -> anyhow::Result<TlsAcceptor> {
    let file = |name: &str| folder.join(name);
    let chain = CertificateDer::pem_file_iter(file("tls.crt")).context("read tls.crt")?;
    let chain = chain
        .collect::<Result<Vec<_>, _>>()
        .context("parse tls.crt")?;
    let key = PrivateKeyDer::from_pem_file(file("tls.key")).context("read tls.key")?;
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(file("ca.crt")).context("read ca.crt")? {
        roots.add(root.context("parse ca.crt")?)?;
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier.build()?)
        .with_single_cert(chain, key)
        .context("use tls.crt and tls.key")?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

async fn answer(stream: TcpStream, acceptor: Option<TlsAcceptor>) -> anyhow::Result<()> {
    let Some(acceptor) = acceptor else {
        return converse(stream, Value::Null).await;
    };
    let stream = timeout(HANDSHAKE, acceptor.accept(stream))
        .await
        .context("no handshake in time")??;
    let (_, session) = stream.get_ref();
    let leaf = session.peer_certificates().and_then(|chain| chain.first());
    let client = describe(leaf.context("no client certificate")?)?;
    converse(stream, client).await
}

fn describe(leaf: &CertificateDer<'_>) -> anyhow::Result<Value> {
    let (_, certificate) = parse_x509_certificate(leaf)?;
    Ok(json!({
        "subject": certificate.subject().to_string(),
        "issuer": certificate.issuer().to_string(),
        "serial": certificate.raw_serial_as_string(),
    }))
}

async fn converse<S>(stream: S, client: Value) -> anyhow::Result<()>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|request: Request<Incoming>| {
        let seen = json!({
            "path": request.uri().path(),
            "client": client,
            "headers": identity_headers(&request),
        });
        async move { Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(format!("{seen}\n"))))) }
    });
    let connection = hyper::server::conn::http1::Builder::new();
    connection
        .serve_connection(TokioIo::new(stream), service)
        .await?;
    Ok(())
}

/// What a proxy in front of this server says about the client.
fn identity_headers(request: &Request<Incoming>) -> Map<String, Value> {
    let headers = request.headers().iter();
    headers
        .filter(|(name, _)| name.as_str().contains("client-cert"))
        .map(|(name, value)| {
            (
                name.to_string(),
                json!(String::from_utf8_lossy(value.as_bytes())),
            )
        })
        .collect()
}
