//! The external system: an HTTPS server that answers only clients with a certificate, and remembers
//! the last one that it saw.

use std::convert::Infallible;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls_pki_types::CertificateDer;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use x509_parser::parse_x509_certificate;

use super::HOST;
use super::authority::Authority;
use super::call::PATIENCE;

/// A running server; it ends with the demonstration.
pub(super) struct External {
    /// Where it listens.
    pub(super) address: SocketAddr,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    client: Mutex<Option<Client>>,
    answered: AtomicUsize,
}

/// What the server read from a client's certificate.
#[derive(Clone)]
pub(super) struct Client {
    /// The subject's distinguished name.
    pub(super) subject: String,
    issuer: String,
    serial: String,
    version: &'static str,
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            subject,
            issuer,
            serial,
            version,
        } = self;
        write!(
            f,
            "{subject} (issuer {issuer}, serial {serial}) over {version}"
        )
    }
}

impl External {
    pub(super) async fn start(authority: &Authority) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let acceptor = TlsAcceptor::from(Arc::new(authority.strict_server_config(&[HOST])?));
        let seen = Arc::new(Seen::default());
        let tasks = TaskTracker::new();
        tasks.spawn(accept(listener, acceptor, Arc::clone(&seen), tasks.clone()));
        Ok(Self { address, seen })
    }

    /// Returns the client of the last handshake that came to an end.
    pub(super) fn last_client(&self) -> Option<Client> {
        self.seen
            .client
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Returns how many requests were answered.
    pub(super) fn answered(&self) -> usize {
        self.seen.answered.load(Ordering::Relaxed)
    }
}

async fn accept(listener: TcpListener, acceptor: TlsAcceptor, seen: Arc<Seen>, tasks: TaskTracker) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, seen) = (acceptor.clone(), Arc::clone(&seen));
        // A client that is refused learns why from the alert; the demonstration shows its side.
        tasks.spawn(async move { serve(stream, &acceptor, &seen).await.ok() });
    }
}

async fn serve(stream: TcpStream, acceptor: &TlsAcceptor, seen: &Seen) -> anyhow::Result<()> {
    let stream = tokio::time::timeout(PATIENCE, acceptor.accept(stream)).await??;
    let (_, session) = stream.get_ref();
    let leaf = session
        .peer_certificates()
        .and_then(|chain| chain.first())
        .context("no client")?;
    let version = match session.protocol_version() {
        Some(rustls::ProtocolVersion::TLSv1_3) => "TLS 1.3",
        _ => "TLS 1.2",
    };
    let client = describe(leaf, version)?;
    let answer = format!(
        "Hello {}, welcome to the secured endpoint.\n",
        client.subject
    );
    *seen.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(client);
    let service = service_fn(|_request: Request<hyper::body::Incoming>| {
        seen.answered.fetch_add(1, Ordering::Relaxed);
        let body = Full::new(Bytes::from(answer.clone()));
        async { Ok::<_, Infallible>(Response::new(body)) }
    });
    hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await?;
    Ok(())
}

fn describe(leaf: &CertificateDer<'_>, version: &'static str) -> anyhow::Result<Client> {
    let (_, certificate) = parse_x509_certificate(leaf)?;
    Ok(Client {
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        serial: certificate.raw_serial_as_string(),
        version,
    })
}
