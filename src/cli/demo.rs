//! `mtls-injector demo`: the main job on an embedded example, on loopback alone. Every step is the
//! real thing (the webhook over TLS, the patch, the `mtls-proxy` program, mutual TLS) except for
//! what only a node can do: the paths and ports of the pod are mapped to ones that an ordinary user
//! may have, and each mapping is printed.

mod authority;
mod call;
mod external;
mod pod;
mod program;
mod proxy;
mod secret;
mod webhook;

use std::io::{IsTerminal, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, ensure};
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;

use super::Failure;
use authority::Authority;
use external::External;
use pod::InjectedPod;
use proxy::Proxy;
use webhook::Webhook;

/// What the application calls; nobody owns this name.
const HOST: &str = "external.system.com";
const PATH: &str = "/secured-endpoint";

/// Show the main job on this machine, with no cluster.
///
/// Starts an external HTTPS server that demands a client certificate and the webhook, sends the
/// webhook a recorded AdmissionReview, applies its patch, starts mtls-proxy with the configuration
/// from the patched pod, and calls http://external.system.com through it. Exits with 0 only if every
/// step was verified.
#[derive(Debug, clap::Args)]
pub(super) struct Demo {
    /// Leave everything running until Ctrl-C and print the curl line to try.
    #[arg(long)]
    keep: bool,
    /// The mtls-proxy program; found beside this one by default.
    #[arg(long, value_name = "FILE")]
    proxy: Option<PathBuf>,
}

impl Demo {
    pub(super) fn run(self) -> Result<ExitCode, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build();
        runtime
            .context("start the runtime")?
            .block_on(demonstrate(self))?;
        Ok(ExitCode::SUCCESS)
    }
}

async fn demonstrate(args: Demo) -> anyhow::Result<()> {
    let mut show = Show::new();
    let folder = tempfile::Builder::new().prefix("mtls-demo-").tempdir()?;
    let authority = Authority::new()?;

    show.step("An external system that demands a client certificate")?;
    let external = External::start(&authority).await?;
    show.line(&format!("https://{HOST} is {} today", external.address))?;

    show.step("The webhook, over TLS")?;
    let webhook = Webhook::start(&authority, folder.path()).await?;
    show.line(&format!("listening on https://{}/mutate", webhook.address))?;

    let pod = inject(&mut show, &webhook, external.address).await?;

    show.step("The Secret, as kubelet would mount it; the proxy, as the pod would run it")?;
    let files = secret::mount(&authority, folder.path())?;
    let program = program::find_proxy(args.proxy.as_deref())?;
    let proxy = Proxy::start(&program, &pod, &files, folder.path()).await?;
    show.block(&proxy.mappings.join("\n"))?;

    verify_the_call(&mut show, &proxy, &external).await?;
    show.step("The same call without the proxy is refused")?;
    show.line(&refused_without_certificate(&external, &authority).await?)?;
    show.line(&refused_in_plaintext(&external).await?)?;
    ensure!(
        external.answered() == 1,
        "the external system answered {} calls",
        external.answered()
    );

    show.step("Every step was verified")?;
    if args.keep {
        show.line(&format!("try: {}", proxy.curl_line(HOST, PATH)))?;
        show.line("Ctrl-C ends the demonstration")?;
        tokio::signal::ctrl_c().await.context("wait for Ctrl-C")?;
    }
    proxy.stop().await?;
    webhook.stop().await
}

/// Has the sample pod injected, as the API server would.
async fn inject(
    show: &mut Show,
    webhook: &Webhook,
    external: SocketAddr,
) -> anyhow::Result<InjectedPod> {
    show.step("The API server asks: a pod of the Deployment sample-app is to be created")?;
    let review = pod::sample_review(external)?;
    show.line(&pod::asked(&review))?;
    let reply = webhook.mutate(&review).await.context("ask the webhook")?;
    let pod = InjectedPod::from_reply(&review, &reply)?;
    show.step("The pod after the patch (only what the webhook changed)")?;
    show.diff(&pod.diff())?;
    Ok(pod)
}

/// Calls through the proxy and checks who the external system saw.
async fn verify_the_call(
    show: &mut Show,
    proxy: &Proxy,
    external: &External,
) -> anyhow::Result<()> {
    show.step(&format!("The app calls http://{HOST}{PATH}"))?;
    show.block(&call_as_the_app(proxy).await?)?;
    show.step("The client certificate that the external system saw")?;
    let seen = external
        .last_client()
        .context("the external system saw no client certificate")?;
    ensure!(
        seen.subject.contains(authority::APP_NAME),
        "a stranger called: {}",
        seen.subject
    );
    show.line(&seen.to_string())?;
    Ok(())
}

/// Plain HTTP to the address that the pod's hostAliases give the name.
async fn call_as_the_app(proxy: &Proxy) -> anyhow::Result<String> {
    let stream = call::connect(proxy.address(HOST)?).await?;
    let answer = call::get(stream, HOST, PATH)
        .await
        .context("call through the proxy")?;
    ensure!(
        answer.status == 200,
        "the call came back as {}: {}",
        answer.status,
        answer.body
    );
    Ok(answer.body)
}

/// TLS as any application would speak it, without a client certificate.
async fn refused_without_certificate(
    external: &External,
    authority: &Authority,
) -> anyhow::Result<String> {
    let stream = call::connect(external.address).await?;
    let name = ServerName::try_from(HOST)?;
    let attempt = async {
        let stream = call::tls(stream, name, authority.client_config()?).await?;
        call::get(stream, HOST, PATH).await
    };
    match attempt.await {
        Ok(answer) => anyhow::bail!("served without a client certificate: {}", answer.status),
        Err(error) => {
            let reason = format!("{error:#}");
            ensure!(
                reason.contains("CertificateRequired"),
                "refused, but otherwise: {reason}"
            );
            Ok(format!("https without a client certificate: {reason}"))
        }
    }
}

/// Plain HTTP straight to the external system.
async fn refused_in_plaintext(external: &External) -> anyhow::Result<String> {
    let stream = call::connect(external.address).await?;
    match call::get(stream, HOST, PATH).await {
        Ok(answer) => anyhow::bail!("served in plaintext: {}", answer.status),
        Err(error) => Ok(format!("plain http: {error:#}")),
    }
}

/// Writes the course of events for people.
struct Show {
    out: std::io::Stdout,
    colour: bool,
    steps: usize,
}

impl Show {
    fn new() -> Self {
        let out = std::io::stdout();
        Self {
            colour: out.is_terminal(),
            out,
            steps: 0,
        }
    }

    fn step(&mut self, title: &str) -> std::io::Result<()> {
        self.steps += 1;
        let (bold, plain) = if self.colour {
            ("\x1b[1m", "\x1b[0m")
        } else {
            ("", "")
        };
        writeln!(self.out, "{bold}{}. {title}{plain}", self.steps)
    }

    fn line(&mut self, text: &str) -> std::io::Result<()> {
        writeln!(self.out, "   {text}")
    }

    fn block(&mut self, text: &str) -> std::io::Result<()> {
        text.lines().try_for_each(|line| self.line(line))
    }

    fn diff(&mut self, text: &str) -> std::io::Result<()> {
        for line in text.lines() {
            let colour = match (self.colour, line.as_bytes().first()) {
                (true, Some(b'+')) => "\x1b[32m",
                (true, Some(b'-')) => "\x1b[31m",
                _ => "",
            };
            let plain = if colour.is_empty() { "" } else { "\x1b[0m" };
            writeln!(self.out, "   {colour}{line}{plain}")?;
        }
        Ok(())
    }
}

/// An address on loopback with a port that was free a moment ago.
fn free_address() -> std::io::Result<SocketAddr> {
    std::net::TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Waits until a program that was just started accepts connections, or has ended.
async fn wait_until_listening(
    address: SocketAddr,
    child: &mut tokio::process::Child,
) -> anyhow::Result<()> {
    let attempts = async {
        loop {
            if let Some(status) = child.try_wait()? {
                anyhow::bail!("the program ended with {status}");
            }
            if TcpStream::connect(address).await.is_ok() {
                return Ok(());
            }
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(call::PATIENCE, attempts)
        .await
        .context("nobody listens")?
}
