//! Starts the real program with a configuration and waits until it is ready.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

use crate::ports::free_port;
use crate::program::mtls_proxy;

/// The longest that anything here is waited for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A running proxy. Dropped, it is killed; its log is printed when a test fails.
pub(crate) struct Proxy {
    pub(crate) admin: SocketAddr,
    pub(crate) control: SocketAddr,
    child: Child,
    folder: TempDir,
}

impl Proxy {
    /// Starts a proxy and waits until it is ready.
    pub(crate) async fn start(config: &Value) -> Self {
        let proxy = Self::spawn(config, &[]).await;
        proxy.wait_ready().await;
        proxy
    }

    /// Starts a proxy with more flags and waits until it answers at all.
    pub(crate) async fn spawn(config: &Value, flags: &[&str]) -> Self {
        Self::spawn_below(config, flags, &[]).await
    }

    /// Starts a proxy below another program, such as prlimit.
    pub(crate) async fn spawn_below(config: &Value, flags: &[&str], below: &[&str]) -> Self {
        let folder = TempDir::new().unwrap();
        let file = folder.path().join("config.json");
        fs::write(&file, config.to_string()).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let (admin, control) = (local(free_port()), local(free_port()));
        let program = mtls_proxy();
        let mut words = below.iter().copied().chain([program.as_str()]);
        let child = Command::new(words.next().unwrap())
            .args(words)
            .args(["run", "--config"])
            .arg(&file)
            .args(["--admin-listen", &admin.to_string()])
            .args(["--control-listen", &control.to_string()])
            .args(["--workers", "2"])
            .args(flags)
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let proxy = Self {
            admin,
            control,
            child,
            folder,
        };
        eventually("the proxy answers", async || {
            get(admin, "/livez").await.starts_with("HTTP/1.1 200")
        })
        .await;
        proxy
    }

    /// Waits until `/readyz` says so.
    pub(crate) async fn wait_ready(&self) {
        eventually("the proxy is ready", async || {
            get(self.admin, "/readyz").await.starts_with("HTTP/1.1 200")
        })
        .await;
    }

    /// Returns the value of a metric, 0 when it has none yet. `labels` is as Prometheus writes it.
    pub(crate) async fn metric(&self, series: &str) -> u64 {
        let text = get(self.admin, "/metrics").await;
        let line = text.lines().find_map(|line| line.strip_prefix(series));
        line.map_or(0, |value| value.trim().parse().unwrap())
    }

    /// Waits until a metric has come to `count`, and no further: whoever is answered, or refused, may
    /// know of it before it is counted.
    pub(crate) async fn counts(&self, series: &str, count: u64) {
        let what = format!("{series} is {count}");
        eventually(&what, async || self.metric(series).await >= count).await;
        assert_eq!(self.metric(series).await, count, "{series}");
    }

    /// Returns all that was logged until now: a scrape writes the lines that wait.
    pub(crate) fn log(&self) -> String {
        use std::io::{Read as _, Write as _};
        if let Ok(mut admin) = std::net::TcpStream::connect(self.admin) {
            admin
                .set_read_timeout(Some(Duration::from_secs(1)))
                .unwrap();
            let request = b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n";
            let _ended_meanwhile = admin
                .write_all(request)
                .and_then(|()| admin.read_to_end(&mut Vec::new()));
        }
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// Replaces the configuration's file at once, as a mounted volume does.
    pub(crate) fn reconfigure(&self, text: &str) {
        let next = self.folder.path().join("next");
        fs::write(&next, text).unwrap();
        fs::rename(next, self.folder.path().join("config.json")).unwrap();
    }

    pub(crate) fn signal(&self, name: &str) {
        let mut kill = std::process::Command::new("kill");
        let kill = kill.args(["-s", name, &self.pid().to_string()]);
        assert!(kill.status().unwrap().success());
    }

    /// Waits for the end of the process.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(PATIENCE, self.child.wait()).await;
        ended.expect("the proxy ends").unwrap()
    }

    /// Returns how many file descriptors the process has open.
    pub(crate) fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid()))
            .unwrap()
            .count()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            const LINES: usize = 40;
            let log = self.log();
            let lines: Vec<_> = log.lines().collect();
            let tail = lines.len().saturating_sub(LINES);
            eprintln!("the end of the proxy's log:\n{}", lines[tail..].join("\n"));
        }
    }
}

/// Runs the program to its end.
pub(crate) fn run_program(arguments: &[&str], stdin: &str) -> Output {
    use std::io::Write as _;
    let mut child = std::process::Command::new(mtls_proxy())
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    // A program that does not read its input may have closed it.
    let _closed = input.write_all(stdin.as_bytes());
    drop(input);
    child.wait_with_output().unwrap()
}

/// Runs curl as an application would, and returns all that it printed.
pub(crate) async fn curl(arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["-sS", "--max-time", "20"])
        .args(arguments)
        .kill_on_drop(true)
        .output()
        .await
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text + &String::from_utf8_lossy(&output.stderr)
}

/// Sends bytes, closes nothing, and returns all that comes until the peer closes.
pub(crate) async fn exchange(address: SocketAddr, request: &[u8]) -> String {
    let answer = async {
        let mut tcp = TcpStream::connect(address).await?;
        tcp.write_all(request).await?;
        let mut answer = Vec::new();
        // What came before a reset counts, too.
        let _reset = tcp.read_to_end(&mut answer).await;
        std::io::Result::Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    let answer = tokio::time::timeout(PATIENCE, answer).await;
    answer.expect("an answer in time").unwrap_or_default()
}

/// Asks for a path with HTTP/1.1, and no more after that.
pub(crate) async fn get(address: SocketAddr, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n\r\n");
    exchange(address, request.as_bytes()).await
}

/// Waits until something is true.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// Returns a path as text for a configuration.
pub(crate) fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

/// A folder for the files of one test.
pub(crate) fn folder() -> (TempDir, PathBuf) {
    let folder = TempDir::new().unwrap();
    let path = folder.path().to_owned();
    (folder, path)
}
