//! The programs that run in pods: the proxy, nginx as the application and as the external system, and
//! curl. Each ends with its value.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Ipv6Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::net::Pod;
use crate::pki::{Ca, Leaf};
use crate::program::mtls_proxy;

/// The user that the proxy runs as, and that the rules exempt.
pub(crate) const PROXY: u32 = 15100;
/// The user of applications.
pub(crate) const APP: u32 = 1000;
/// The longest that anything here is waited for.
const PATIENCE: Duration = Duration::from_secs(20);

/// A folder that the users of pods may read, with credentials `server` and `client` of one CA.
pub(crate) struct Stage {
    folder: TempDir,
    pub(crate) server: PathBuf,
    pub(crate) client: PathBuf,
}

impl Stage {
    /// Issues the server's certificate for these names.
    pub(crate) fn new(names: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let ca = Ca::new("the CA");
        let server = Leaf {
            common_name: "server",
            dns: names,
            uris: &["spiffe://cluster.local/ns/shop/sa/server"],
            ..Leaf::default()
        };
        let client = Leaf {
            common_name: "client",
            uris: &["spiffe://cluster.local/ns/shop/sa/client"],
            ..Leaf::default()
        };
        let server = ca.issue(&server).write(&folder.path().join("server"), &ca);
        let client = ca.issue(&client).write(&folder.path().join("client"), &ca);
        fs::hard_link(mtls_proxy(), folder.path().join("mtls-proxy"))
            .or_else(|_| fs::copy(mtls_proxy(), folder.path().join("mtls-proxy")).map(drop))
            .unwrap();
        Self {
            folder,
            server,
            client,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs the proxy's program to its end, as a user of a pod.
    pub(crate) fn program(&self, pod: &Pod, user: u32, arguments: &[&str]) -> Output {
        let program = self.path("mtls-proxy");
        let mut command = pod.command(user, program.to_str().unwrap());
        command.args(arguments).output().unwrap()
    }

    /// Has the init container's command load the rules of a configuration.
    pub(crate) fn redirect(&self, pod: &Pod, config: &Value) -> String {
        let file = self.path(&format!("{}.init.json", pod.namespace));
        fs::write(&file, config.to_string()).unwrap();
        let file = file.to_str().unwrap();
        let output = self.program(pod, 0, &["redirect", "--apply", "--config", file]);
        assert!(output.status.success(), "{}", both(&output));
        both(&output)
    }
}

/// A running program. Dropped, it is killed.
pub(crate) struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// A running proxy.
pub(crate) struct Proxy {
    pub(crate) pod: Pod,
    running: Running,
    log: PathBuf,
    config: PathBuf,
}

impl Proxy {
    /// Starts a proxy as its user and waits until it is ready.
    pub(crate) fn start(stage: &Stage, pod: &Pod, config: &Value) -> Self {
        let proxy = Self::spawn(stage, pod, PROXY, config);
        eventually("the proxy is ready", || {
            proxy.admin("/readyz").contains(" 200 ")
        });
        proxy
    }

    pub(crate) fn spawn(stage: &Stage, pod: &Pod, user: u32, config: &Value) -> Self {
        let (file, log) = (
            stage.path(&format!("{}.json", pod.namespace)),
            stage.path(&format!("{}.log", pod.namespace)),
        );
        fs::write(&file, config.to_string()).unwrap();
        let output = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .unwrap();
        let program = stage.path("mtls-proxy");
        let child = pod
            .command(user, program.to_str().unwrap())
            .args(["run", "--workers", "2", "--config"])
            .arg(&file)
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        let proxy = Self {
            pod: pod.clone(),
            running: Running(child),
            log,
            config: file,
        };
        eventually("the proxy answers", || {
            proxy.admin("/livez").contains(" 200 ")
        });
        proxy
    }

    /// Asks the admin port from within the pod.
    pub(crate) fn admin(&self, path: &str) -> String {
        let admin = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 15020);
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: pod:15020\r\nconnection: close\r\n\r\n");
        self.pod
            .connect(admin)
            .map(|tcp| exchange(tcp, &request))
            .unwrap_or_default()
    }

    /// Returns the value of a metric, 0 when it has none yet.
    pub(crate) fn metric(&self, series: &str) -> u64 {
        let text = self.admin("/metrics");
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.map_or(0, |value| value.trim().parse().unwrap())
    }

    /// Waits until a metric has come to `count`, and no further: whoever is answered, or refused, may
    /// know of it before it is counted.
    pub(crate) fn counts(&self, series: &str, count: u64) {
        let what = format!("{series} is {count}");
        eventually(&what, || self.metric(series) >= count);
        assert_eq!(self.metric(series), count, "{series}");
    }

    pub(crate) fn log(&self) -> String {
        let _flushed = self.admin("/metrics");
        fs::read_to_string(&self.log).unwrap()
    }

    /// Replaces the configuration's file at once, as a mounted volume does.
    pub(crate) fn reconfigure(&self, config: &Value) {
        let next = self.config.with_extension("next");
        fs::write(&next, config.to_string()).unwrap();
        fs::rename(next, &self.config).unwrap();
    }

    pub(crate) fn signal(&self, name: &str) {
        let mut kill = std::process::Command::new("kill");
        let kill = kill.args(["-s", name, &self.running.0.id().to_string()]);
        assert!(kill.status().unwrap().success());
    }

    pub(crate) fn ended(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the proxy ends", || {
            status = self.running.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the proxy's log:\n{}", self.log());
        }
    }
}

/// Starts nginx in a pod: in plaintext on 80 and 8080, on 443 it demands a client certificate. What it
/// answers says which of them was reached, by whom and for what.
pub(crate) fn nginx(stage: &Stage, pod: &Pod) -> Running {
    let folder = stage.path(&format!("{}.nginx", pod.namespace));
    fs::create_dir(&folder).unwrap();
    let (place, keys) = (folder.display(), stage.server.display());
    let config = format!(
        "daemon off; master_process off; worker_processes 1; pid {place}/pid;
error_log {place}/error.log; worker_rlimit_nofile 8192;
events {{ worker_connections 4096; }}
http {{
  access_log off; client_body_temp_path {place}/body; keepalive_requests 100000;
  proxy_temp_path {place}/p; fastcgi_temp_path {place}/f; uwsgi_temp_path {place}/u; scgi_temp_path {place}/s;
  server {{
    listen 80; listen [::]:80; listen 8080; listen [::]:8080;
    location /slow {{ limit_rate 40k; root {place}; }}
    location / {{ return 200 \"plain port=$server_port host=$http_host xfcc=$http_x_forwarded_client_cert\\n\"; }}
  }}
  server {{
    listen 443 ssl; listen [::]:443 ssl;
    ssl_certificate {keys}/cert; ssl_certificate_key {keys}/key;
    ssl_client_certificate {keys}/cacert; ssl_verify_client on;
    location / {{ return 200 \"mutual client=$ssl_client_s_dn host=$http_host uri=$request_uri\\n\"; }}
  }}
}}
"
    );
    fs::write(folder.join("slow"), vec![b'x'; 100_000]).unwrap();
    let file = folder.join("nginx.conf");
    fs::write(&file, config).unwrap();
    let child = pod
        .command(0, "nginx")
        .args(["-p", folder.to_str().unwrap(), "-c", file.to_str().unwrap()])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let here = SocketAddr::new(Ipv6Addr::LOCALHOST.into(), 8080);
    eventually("nginx listens", || pod.connect(here).is_ok());
    Running(child)
}

/// Runs curl in a pod as the application's user, and returns all that it printed.
pub(crate) fn curl(pod: &Pod, arguments: &[&str]) -> String {
    let mut command = pod.command(APP, "curl");
    both(
        &command
            .args(["-sS", "--max-time", "15"])
            .args(arguments)
            .output()
            .unwrap(),
    )
}

/// Sends text, closes nothing, and returns all that comes until the peer closes.
pub(crate) fn exchange(mut tcp: std::net::TcpStream, request: &str) -> String {
    tcp.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut answer = Vec::new();
    // What came before a reset counts, too.
    let _reset = tcp
        .write_all(request.as_bytes())
        .and_then(|()| tcp.read_to_end(&mut answer));
    String::from_utf8_lossy(&answer).into_owned()
}

pub(crate) fn both(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text + &String::from_utf8_lossy(&output.stderr)
}

/// Waits until something is true.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        #[expect(clippy::disallowed_methods, reason = "there is no event to wait for")]
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A route to the external system, with the client's credentials.
pub(crate) fn route(host: &str, credentials: &Path) -> Value {
    json!({"host": host, "tls": {"credentialDirectory": credentials}})
}
