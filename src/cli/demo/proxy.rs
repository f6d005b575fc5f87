//! The real `mtls-proxy` program with the configuration from the patched pod. What only a node can
//! give is mapped: the mount's path to a temporary folder, ports that may not be bound to free ones.

use std::fs;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context;
use mtls_proxy::config::{Config, Port};
use tokio::process::{Child, Command};

use super::pod::InjectedPod;
use super::{free_address, program, wait_until_listening};

/// A running proxy. Dropped, it is killed.
pub(super) struct Proxy {
    /// What differs from the pod, for people.
    pub(super) mappings: Vec<String>,
    address: SocketAddr,
    host: String,
    child: Child,
}

impl Proxy {
    pub(super) async fn start(
        program: &Path,
        pod: &InjectedPod,
        secret: &Path,
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let mut config = pod.proxy_config()?;
        let mut mappings = vec![map_files(&mut config, pod.secret_path()?, secret)];
        let route = config
            .egress
            .first_mut()
            .context("the configuration has no route")?;
        let host = route.host.to_string();
        let ip: IpAddr = pod
            .resolve(&host)
            .context("no hostAlias for the host")?
            .parse()?;
        if let Some((port, mapping)) = map_port(ip, route.port)? {
            route.port = port;
            mappings.push(mapping);
        }
        let address = SocketAddr::new(ip, route.port.get());
        let file = folder.join("config.yaml");
        fs::write(&file, config.render())?;
        let child = spawn(program, &file, address).await?;
        Ok(Self {
            mappings,
            address,
            host,
            child,
        })
    }

    /// Returns where the application's call to a host goes.
    pub(super) fn address(&self, host: &str) -> anyhow::Result<SocketAddr> {
        (host == self.host)
            .then_some(self.address)
            .context("no such route")
    }

    /// Returns the command that makes the application's call by hand.
    pub(super) fn curl_line(&self, host: &str, path: &str) -> String {
        let (ip, port) = (self.address.ip(), self.address.port());
        let shown = if port == 80 {
            String::new()
        } else {
            format!(":{port}")
        };
        format!("curl --resolve {host}:{port}:{ip} http://{host}{shown}{path}")
    }

    /// Asks the process to end, as kubelet does, and checks that it ended well.
    pub(super) async fn stop(self) -> anyhow::Result<()> {
        program::stop(self.child, "the proxy").await
    }
}

async fn spawn(program: &Path, config: &Path, address: SocketAddr) -> anyhow::Result<Child> {
    let mut child = Command::new(program)
        .arg("run")
        .arg("--config")
        .arg(config)
        .args(["--admin-listen", &free_address()?.to_string()])
        .args(["--control-listen", &free_address()?.to_string()])
        .args(["--log-format", "text"])
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("start {}", program.display()))?;
    wait_until_listening(address, &mut child)
        .await
        .context("start the proxy")?;
    Ok(child)
}

/// Points the routes' files at the temporary folder.
fn map_files(config: &mut Config, mounted: &str, folder: &Path) -> String {
    for route in &mut config.egress {
        let tls = &mut route.tls;
        let paths = [
            &mut tls.client_certificate,
            &mut tls.private_key,
            &mut tls.ca_certificates,
            &mut tls.credential_directory,
        ];
        for path in paths.into_iter().flatten() {
            if let Ok(inside) = path.strip_prefix(mounted) {
                *path = joined(folder, inside);
            }
        }
    }
    format!("{mounted} of the container is {} here", folder.display())
}

fn joined(folder: &Path, inside: &Path) -> PathBuf {
    if inside.as_os_str().is_empty() {
        folder.to_owned()
    } else {
        folder.join(inside)
    }
}

/// Finds another port where this user may not have the wanted one.
fn map_port(ip: IpAddr, wanted: Port) -> anyhow::Result<Option<(Port, String)>> {
    let Err(error) = TcpListener::bind((ip, wanted.get())) else {
        return Ok(None);
    };
    let free = TcpListener::bind((ip, 0))
        .with_context(|| format!("listen on {ip}"))?
        .local_addr()?;
    let port = Port::new(free.port()).context("the system gave port 0")?;
    let mapping =
        format!("port {wanted} of {ip} is {port} here ({error}); in the pod a sysctl opens it");
    Ok(Some((port, mapping)))
}
