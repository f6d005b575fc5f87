//! The real programs: the proxy's binary, nginx, curl. Each ends with its value.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::ports::free_port;

const PATIENCE: Duration = Duration::from_secs(20);

/// Asks again and again, as no event tells of it.
pub(crate) fn eventually<T>(what: &str, mut attempt: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = attempt() {
            return value;
        }
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

fn answers(port: u16) -> Option<()> {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port))
        .ok()
        .map(drop)
}

/// `mtls-proxy run`.
pub(crate) struct Proxy {
    process: Child,
    admin: u16,
    home: TempDir,
}

impl Proxy {
    /// Starts the proxy and waits for its admin port.
    pub(crate) fn start(config: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("config.yaml");
        fs::write(&file, config).unwrap();
        let (admin, control) = (free_port(), free_port());
        let log = File::create(home.path().join("log")).unwrap();
        let process = Command::new(crate::program::mtls_proxy())
            .arg("run")
            .arg("--config")
            .arg(&file)
            .arg(format!("--admin-listen=127.0.0.1:{admin}"))
            .arg(format!("--control-listen=127.0.0.1:{control}"))
            .arg("--workers=2")
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        eventually("the admin port answers", || answers(admin));
        Self {
            process,
            admin,
            home,
        }
    }

    /// Starts the proxy and waits until it is ready.
    pub(crate) fn ready(config: &str) -> Self {
        let proxy = Self::start(config);
        eventually("the proxy is ready", || {
            (proxy.readyz().status == 200).then_some(())
        });
        proxy
    }

    pub(crate) fn readyz(&self) -> Reply {
        curl(&[&format!("http://127.0.0.1:{}/readyz", self.admin)])
    }

    /// Returns a metric's value; 0 when it is not there.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let metrics = curl(&[&format!("http://127.0.0.1:{}/metrics", self.admin)]);
        let mut lines = metrics.body.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// Waits until a metric has come to `count`, and no further: whoever is answered, or refused, may
    /// know of it before it is counted.
    pub(crate) fn counts(&self, series: &str, count: u64) {
        let what = format!("{series} is {count}");
        eventually(&what, || (self.metric(series) >= count).then_some(()));
        assert_eq!(self.metric(series), count, "{series}");
    }

    /// Returns all that was logged until now: a scrape writes the lines that wait.
    pub(crate) fn log(&self) -> String {
        let _ended_meanwhile = curl(&[&format!("http://127.0.0.1:{}/metrics", self.admin)]);
        fs::read_to_string(self.home.path().join("log")).unwrap()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the proxy's log:\n{}", self.log());
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// One server of an nginx.
pub(crate) struct Site {
    pub(crate) port: u16,
    /// What follows `listen PORT` and stands in the server's block.
    pub(crate) listen: &'static str,
    pub(crate) block: String,
}

/// nginx in the foreground.
pub(crate) struct Nginx {
    process: Child,
    home: TempDir,
}

impl Nginx {
    pub(crate) fn start(site: &Site) -> Self {
        Self::start_all([site])
    }

    pub(crate) fn start_all<'a>(sites: impl IntoIterator<Item = &'a Site>) -> Self {
        let sites: Vec<_> = sites.into_iter().collect();
        let home = tempfile::tempdir().unwrap();
        let mut config = "daemon off; master_process off; worker_processes 1; pid nginx.pid;\n\
            error_log errors; events { worker_connections 512; }\n\
            http { access_log requests; keepalive_requests 1000000;\n"
            .to_owned();
        for place in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            config += &format!("{place}_temp_path {place};\n");
        }
        for Site {
            port,
            listen,
            block,
        } in &sites
        {
            config += &format!("server {{ listen 127.0.0.1:{port} {listen}; {block} }}\n");
        }
        fs::write(home.path().join("nginx.conf"), config + "}\n").unwrap();
        let process = Command::new("nginx")
            .args(["-c", "nginx.conf", "-e", "errors", "-p"])
            .arg(home.path())
            .stdout(Stdio::null())
            .stderr(File::create(home.path().join("stderr")).unwrap())
            .spawn()
            .expect("nginx is installed");
        let nginx = Self { process, home };
        for site in sites {
            eventually("nginx answers", || answers(site.port));
        }
        nginx
    }

    /// Returns the requests that were logged.
    pub(crate) fn requests(&self) -> usize {
        let log = fs::read_to_string(self.home.path().join("requests")).unwrap_or_default();
        log.lines().count()
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for file in ["stderr", "errors"] {
                let log = fs::read_to_string(self.home.path().join(file));
                eprintln!("nginx's {file}:\n{}", log.unwrap_or_default());
            }
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What curl got; status 0: no answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// Runs curl once.
pub(crate) fn curl(arguments: &[&str]) -> Reply {
    let output = Command::new("curl")
        .args(["--silent", "--include", "--max-time", "20"])
        .args(arguments)
        .output()
        .expect("curl is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((text.as_str(), ""));
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Reply {
        status: status.unwrap_or_default(),
        head: head.to_owned(),
        body: body.to_owned(),
    }
}

/// Sends a request through `openssl s_client` and returns what came back, as text.
pub(crate) fn s_client(port: u16, directory: &Path, arguments: &[&str]) -> String {
    let mut process = Command::new("openssl")
        .args([
            "s_client",
            "-connect",
            &format!("127.0.0.1:{port}"),
            "-CAfile",
            "cacert",
        ])
        .arg("-ign_eof")
        .args(arguments)
        .current_dir(directory)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("openssl is installed");
    let request = b"GET /marker HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n";
    // A refusal may come first.
    let _ = process.stdin.take().unwrap().write_all(request);
    let output = process.wait_with_output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

/// Returns a path for nginx and YAML, both of which read quoted text.
pub(crate) fn quoted(path: &Path) -> String {
    format!("\"{}\"", path.display())
}
