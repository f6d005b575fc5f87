//! Answers kubelet's probes of the application by asking the application, from within the pod: from
//! without, its ports may ask for a client certificate.
//!
//! In: a probe of the configuration and kubelet's request. Out: a status and a line that says why.
//! Nothing of the application's answer but its status is passed on.

mod grpc;

use std::fmt;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, HOST};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::client::UnbufferedClientConnection;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::config::{ADMIN_PORT, AppProbe, Port, ProbeKind};
use crate::stream::secured::Secured;
use crate::tls;
use crate::upstream;
use crate::upstream::failure::ConnectFailure;

/// How kubelet asked.
pub(crate) struct Asked<'a> {
    pub(crate) headers: &'a HeaderMap,
    /// The admin port's address that kubelet dialled: the pod's own.
    pub(crate) at: SocketAddr,
}

/// Why the application's answer is no good one.
#[derive(Debug)]
enum Unwell {
    Connect(Port, String),
    Broken(&'static str, String),
    Status(StatusCode),
    NotServing(String),
    Timeout(Duration),
}

impl fmt::Display for Unwell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect(port, why) => write!(f, "cannot connect to port {port}: {why}"),
            Self::Broken(doing, why) => write!(f, "{doing}: {why}"),
            Self::Status(status) => write!(f, "the application answered {status}"),
            Self::NotServing(said) => write!(f, "the application says {said}"),
            Self::Timeout(limit) => write!(f, "no answer within {} ms", limit.as_millis()),
        }
    }
}

/// Asks the application, for as long as the probe allows.
pub(crate) async fn ask(probe: &AppProbe, asked: Asked<'_>) -> (StatusCode, String) {
    let limit = probe.timeout.get();
    let asking = async {
        let tcp = connect(probe.port, asked.at).await?;
        match probe.kind {
            ProbeKind::Tcp => Ok(()),
            ProbeKind::Http => http(probe, &asked, tcp).await,
            ProbeKind::Https => http(probe, &asked, encrypted(tcp, asked.at).await?).await,
            ProbeKind::Grpc => grpc::check(tcp, probe.service.as_deref()).await,
        }
    };
    let answer = timeout(limit, asking).await;
    match answer.unwrap_or(Err(Unwell::Timeout(limit))) {
        Ok(()) => (StatusCode::OK, "ok\n".to_owned()),
        Err(Unwell::Status(status)) => (status, format!("{}\n", Unwell::Status(status))),
        Err(unwell) => (StatusCode::SERVICE_UNAVAILABLE, format!("{unwell}\n")),
    }
}

async fn connect(port: Port, pod: SocketAddr) -> Result<TcpStream, Unwell> {
    let addresses = upstream::application(port.get(), pod.ip().to_canonical());
    let connecting = upstream::dial::first_to_answer(&addresses);
    connecting.await.map_err(|failure| {
        let why = match failure {
            ConnectFailure::Dial(_, error) => error.to_string(),
            failure => failure.to_string(),
        };
        Unwell::Connect(port, why)
    })
}

/// Like kubelet, verifies nothing: this asks whether the application is well, not who it is.
async fn encrypted(
    tcp: TcpStream,
    pod: SocketAddr,
) -> Result<Secured<UnbufferedClientConnection>, Unwell> {
    let config = Arc::clone(tls::client::of_anyone());
    let session = UnbufferedClientConnection::new(config, ServerName::from(pod.ip()))
        .map_err(|error| Unwell::Broken("TLS", error.to_string()))?;
    let shaken = Secured::shake_hands(tcp, session).await;
    shaken.map_err(|error| Unwell::Broken("TLS handshake", error.to_string()))
}

async fn http<S>(probe: &AppProbe, asked: &Asked<'_>, stream: S) -> Result<(), Unwell>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let broken = |error: hyper::Error| Unwell::Broken("HTTP", error.to_string());
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(broken)?;
    let target = probe.target.as_ref().map_or("/", |target| target.as_str());
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.uri_mut() = target
        .parse()
        .expect("a target of the configuration is one");
    *request.headers_mut() = headers(asked, probe.port);
    let response = driven(connection, sender.send_request(request))
        .await
        .map_err(broken)?;
    let status = response.status();
    // Kubelet takes everything below 400 for success; a redirect is one it need not follow here.
    if status.as_u16() < 400 {
        Ok(())
    } else {
        Err(Unwell::Status(status))
    }
}

/// Waits for an answer while its connection is driven, and no longer: dropped with this future, the
/// connection ends however far the answer's body has come.
async fn driven<T>(
    connection: impl Future<Output = hyper::Result<()>>,
    answer: impl Future<Output = T>,
) -> T {
    let mut answer = pin!(answer);
    tokio::select! {
        biased;
        answer = answer.as_mut() => answer,
        // Its end may be the answer's end, or the reason why there is none.
        _ended = connection => answer.await,
    }
}

/// What kubelet sent, but for the port in `Host` that is the admin port's.
fn headers(asked: &Asked<'_>, port: Port) -> HeaderMap {
    let mut headers = asked.headers.clone();
    headers.insert(CONNECTION, HeaderValue::from_static("close"));
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let admin = format!(":{ADMIN_PORT}");
    let own = host.and_then(|host| host.strip_suffix(admin.as_str()));
    if let Some(own) = own.and_then(|own| HeaderValue::try_from(format!("{own}:{port}")).ok()) {
        headers.insert(HOST, own);
    }
    headers
}
