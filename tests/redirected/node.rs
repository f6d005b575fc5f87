//! Two network namespaces and a cable: one is the pod's, the other that of everybody else.

use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A process that ends with its value.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The namespaces, removed with their value, and certificates for all who speak TLS.
pub(crate) struct Node {
    pub(crate) pod: String,
    others: String,
    certificates: TempDir,
}

impl Node {
    /// Makes them. `None`, with the reason printed, where namespaces are impossible.
    pub(crate) fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("injected{}x{number}", std::process::id());
        let node = Self {
            pod: format!("{prefix}pod"),
            others: format!("{prefix}others"),
            certificates: tempfile::tempdir().unwrap(),
        };
        if let Err(why) = ip(&format!("netns add {}", node.pod)) {
            eprintln!("SKIPPED: network namespaces cannot be made here: {why}");
            return None;
        }
        let (pod, others) = (&node.pod, &node.others);
        for command in [
            format!("netns add {others}"),
            format!("-n {pod} link add eth0 type veth peer name eth0 netns {others}"),
            format!("-n {pod} addr add 10.79.0.1/24 dev eth0"),
            format!("-n {others} addr add 10.79.0.2/24 dev eth0"),
            format!("-n {pod} link set lo up"),
            format!("-n {others} link set lo up"),
            format!("-n {pod} link set eth0 up"),
            format!("-n {others} link set eth0 up"),
            format!("-n {pod} route add default via 10.79.0.2"),
        ] {
            ip(&command).unwrap();
        }
        node.issue();
        Some(node)
    }

    /// Certificates of one authority, in the names of a Secret's keys, which the proxy's user can read.
    fn issue(&self) {
        let mut issue = Command::new(env!("CARGO_BIN_EXE_mtls-injector"));
        issue.args(["sample", "certificates"]);
        issue.arg(self.certificates.path());
        issue.args(["--server-name", "external.system.com"]);
        issue.args(["--server-name", "app.shop.svc"]);
        let issued = issue.output().unwrap();
        assert!(issued.status.success(), "{issued:?}");
        let readable = Command::new("chmod")
            .args(["-R", "a+rX"])
            .arg(self.certificates.path())
            .status();
        assert!(readable.unwrap().success());
    }

    pub(crate) fn file(&self, name: &str) -> String {
        self.certificates
            .path()
            .join(name)
            .to_str()
            .unwrap()
            .to_owned()
    }

    /// A server that demands a client certificate.
    pub(crate) fn external_system(&self) -> Process {
        let mut server = within(&self.others, env!("CARGO_BIN_EXE_mtls-injector"));
        server.args(["sample", "server", "--listen=10.79.0.2:8443"]);
        server.arg(format!("--tls={}", self.file("server")));
        let server = Process(server.stdout(Stdio::null()).spawn().unwrap());
        // Its refusal of a client without a certificate shows that it listens.
        until("the external system listens", || {
            let (code, _) = self.curl(&["--insecure"], "https://10.79.0.2:8443/");
            code != 7
        });
        server
    }

    /// Calls from outside of the pod; returns curl's exit code and what was answered.
    pub(crate) fn curl(&self, arguments: &[&str], url: &str) -> (i32, String) {
        let mut curl = within(&self.others, "curl");
        let output = asked(curl.args(arguments).arg(url));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code().unwrap(), said)
    }

    /// The arguments with which curl shows the client's certificate, and knows where a name leads.
    pub(crate) fn as_client(&self, resolved: &str) -> [String; 8] {
        let file = |name: &str| self.file(&format!("client/{name}"));
        [
            "--cert".to_owned(),
            file("cert"),
            "--key".to_owned(),
            file("key"),
            "--cacert".to_owned(),
            file("cacert"),
            "--resolve".to_owned(),
            resolved.to_owned(),
        ]
    }

    /// Waits until a call is answered with a status.
    pub(crate) fn until_answered(&self, url: &str, status: &str) {
        let arguments = ["--output", "/dev/null", "--write-out", "%{http_code}"];
        until(&format!("{status} from {url}"), || {
            self.curl(&arguments, url).1 == status
        });
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for namespace in [&self.pod, &self.others] {
            let _gone = ip(&format!("netns del {namespace}"));
        }
    }
}

/// A command in a namespace.
pub(crate) fn within(namespace: &str, program: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", namespace, program]);
    command
}

/// Runs curl, which has to end.
pub(crate) fn asked(curl: &mut Command) -> Output {
    curl.args(["--silent", "--max-time", "10"])
        .output()
        .unwrap()
}

/// Tries again and again, as no event tells of it.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < deadline, "never came: {what}");
        std::thread::yield_now();
    }
}

fn ip(arguments: &str) -> Result<(), String> {
    let output = Command::new("ip").args(arguments.split(' ')).output();
    let output = output.map_err(|error| format!("the program ip cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
}
