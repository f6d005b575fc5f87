//! The real programs: mtls-injector, mtls-proxy, nginx, curl, openssl. Each ends with its value.

use std::fs::{self, File};
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::ports::free_port;

/// Tries again and again, as no event tells of it.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

/// Runs `mtls-injector` on a text and returns what it prints.
pub(crate) fn injector(arguments: &[&str], stdin: &str) -> String {
    let mut child = Command::new(env!("CARGO_BIN_EXE_mtls-injector"))
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
    let output = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    String::from_utf8(output.stdout).unwrap()
}

/// The proxy's program, built beside the injector's. Cargo offers a test only the binaries of its own
/// package.
static PROXY: LazyLock<PathBuf> = LazyLock::new(|| {
    let injector = Path::new(env!("CARGO_BIN_EXE_mtls-injector"));
    let target = injector.parent().and_then(Path::parent).unwrap();
    let built = Command::new(env!("CARGO"))
        .args(["build", "--package", "mtls-proxy", "--bin", "mtls-proxy"])
        .arg("--target-dir")
        .arg(target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .status()
        .unwrap();
    assert!(built.success());
    injector.with_file_name("mtls-proxy")
});

/// `mtls-proxy run`, ready.
pub(crate) struct Proxy {
    process: Child,
    home: TempDir,
}

impl Proxy {
    pub(crate) fn ready(config: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let file = home.path().join("config.yaml");
        fs::write(&file, config).unwrap();
        let (admin, control) = (free_port(), free_port());
        let log = File::create(home.path().join("log")).unwrap();
        let process = Command::new(&*PROXY)
            .arg("run")
            .arg("--config")
            .arg(&file)
            .arg(format!("--admin-listen=127.0.0.1:{admin}"))
            .arg(format!("--control-listen=127.0.0.1:{control}"))
            .arg("--workers=1")
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let proxy = Self { process, home };
        until("the proxy is ready", || {
            curl(&[&format!("http://127.0.0.1:{admin}/readyz")]).status == 200
        });
        proxy
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.home.path().join("log"));
            eprintln!("the proxy's log:\n{}", log.unwrap_or_default());
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// nginx with one server.
pub(crate) struct Nginx {
    process: Child,
    _home: TempDir,
}

impl Nginx {
    /// `listen` follows the port, `block` stands in the server's block.
    pub(crate) fn start(port: u16, listen: &str, block: &str) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut config = "daemon off; master_process off; pid nginx.pid; error_log errors;\n\
            events { worker_connections 64; } http { access_log off;\n"
            .to_owned();
        for place in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
            config += &format!("{place}_temp_path {place};\n");
        }
        config += &format!("server {{ listen 127.0.0.1:{port} {listen}; {block} }} }}\n");
        fs::write(home.path().join("nginx.conf"), config).unwrap();
        let process = Command::new("nginx")
            .args(["-c", "nginx.conf", "-e", "errors", "-p"])
            .arg(home.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nginx is installed");
        let nginx = Self {
            process,
            _home: home,
        };
        until("nginx answers", || {
            TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
        });
        nginx
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What curl got; status 0: no answer, and then `error` says why.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) text: String,
    pub(crate) error: String,
}

/// Runs curl once.
pub(crate) fn curl(arguments: &[&str]) -> Reply {
    let output = Command::new("curl")
        .args(["--silent", "--show-error", "--include", "--max-time", "20"])
        .args(arguments)
        .output()
        .expect("curl is installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok());
    Reply {
        status: status.unwrap_or_default(),
        text,
        error: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

/// A CA and certificates made by `openssl`, in a directory of their own: `ca.crt`, `NAME.crt`,
/// `NAME.key`.
pub(crate) struct Certificates(TempDir);

impl Certificates {
    pub(crate) fn new() -> Self {
        let made = Self(tempfile::tempdir().unwrap());
        let subject = "/O=example/CN=example CA";
        made.openssl(&format!(
            "req|-x509|-newkey|rsa:2048|-nodes|-days|30|-subj|{subject}|-keyout|ca.key|-out|ca.crt"
        ));
        made
    }

    /// Issues a certificate for a DNS name, to a server or a client.
    pub(crate) fn issue(&self, name: &str, usage: &str) {
        let extensions = format!(
            "subjectAltName=DNS:{name}\nextendedKeyUsage={usage}\nbasicConstraints=CA:FALSE\n"
        );
        fs::write(self.path("ext"), extensions).unwrap();
        self.openssl(&format!(
            "req|-newkey|rsa:2048|-nodes|-subj|/O=example/CN={name}|-keyout|{name}.key|-out|{name}.csr"
        ));
        self.openssl(&format!(
            "x509|-req|-days|30|-CA|ca.crt|-CAkey|ca.key|-CAcreateserial|-in|{name}.csr|-out|{name}.crt|-extfile|ext"
        ));
    }

    pub(crate) fn path(&self, file: &str) -> PathBuf {
        self.0.path().join(file)
    }

    pub(crate) fn text(&self, file: &str) -> String {
        self.path(file).display().to_string()
    }

    /// Makes a directory as kubelet mounts a Secret of type tls, with the CA.
    pub(crate) fn mount(&self, directory: &str, name: &str) {
        let place = self.path(directory);
        fs::create_dir(&place).unwrap();
        for (from, to) in [
            (format!("{name}.crt"), "tls.crt"),
            (format!("{name}.key"), "tls.key"),
            ("ca.crt".to_owned(), "ca.crt"),
        ] {
            fs::copy(self.path(&from), place.join(to)).unwrap();
        }
    }

    fn openssl(&self, arguments: &str) {
        let output = Command::new("openssl")
            .args(arguments.split('|'))
            .current_dir(self.0.path())
            .output()
            .expect("openssl is installed");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments}: {said}");
    }
}
