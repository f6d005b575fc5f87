//! `mtls-injector serve` as a process of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::authority::{Authority, Leaf, MountedSecret};

/// How long anything that should happen may take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Program {
    pub(crate) authority: Authority,
    pub(crate) leaf: Leaf,
    pub(crate) secret: MountedSecret,
    pub(crate) address: SocketAddr,
    pub(crate) admin: SocketAddr,
    pub(crate) directory: TempDir,
    child: Child,
    log: Log,
}

impl Program {
    pub(crate) fn start() -> Self {
        Self::start_with(&["--shutdown-delay", "0s"])
    }

    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let leaf = authority.leaf();
        let secret = MountedSecret::new(directory.path(), &leaf);
        let mut child = Command::new(env!("CARGO_BIN_EXE_mtls-injector"))
            .args([
                "serve",
                "--listen",
                "127.0.0.1:0",
                "--admin-listen",
                "127.0.0.1:0",
            ])
            .arg("--cert-file")
            .arg(secret.certificate())
            .arg("--key-file")
            .arg(secret.key())
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Log::follow(child.stderr.take().unwrap());
        let listening = log.wait_for("listening");
        let address = |field: &str| listening[field].as_str().unwrap().parse().unwrap();
        Self {
            authority,
            leaf,
            secret,
            address: address("webhook.address"),
            admin: address("admin.address"),
            directory,
            child,
            log,
        }
    }

    /// Waits for a log line with this message.
    pub(crate) fn wait_for_log(&self, message: &str) -> Value {
        self.log.wait_for(message)
    }

    /// Returns every log line so far.
    pub(crate) fn log(&self) -> Vec<Value> {
        self.log.0.lines.lock().unwrap().clone()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, name: &str) {
        let pid = self.pid().to_string();
        let sent = Command::new("kill")
            .args([&format!("-{name}"), &pid])
            .status();
        assert!(sent.unwrap().success());
    }

    /// Waits for the process to end.
    pub(crate) fn ended(mut self) -> (ExitStatus, Vec<Value>) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                // Its last line may still be on the way.
                wait_until("the log's end", || self.log.0.ended.load(Ordering::Acquire));
                return (status, self.log());
            }
            assert!(
                Instant::now() < deadline,
                "the process did not end: {:#?}",
                self.log()
            );
            thread::yield_now();
        }
    }

    /// Asks the admin port; returns status line and body.
    pub(crate) fn admin(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.admin);
        let output = Command::new("curl")
            .args([
                "--silent",
                "--max-time",
                "5",
                "--write-out",
                "\n%{http_code}",
                &url,
            ])
            .output()
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let (body, status) = text.rsplit_once('\n').unwrap();
        (status.parse().unwrap(), body.to_owned())
    }

    /// Waits until a metric has a value.
    pub(crate) fn wait_for_metric(&self, line: &str) {
        wait_until(line, || {
            self.admin("/metrics").1.lines().any(|found| found == line)
        });
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Polls a condition for which there is no event to wait for.
pub(crate) fn wait_until(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        thread::yield_now();
    }
}

/// The lines that a process logs, as they come.
#[derive(Clone)]
struct Log(Arc<Lines>);

#[derive(Default)]
struct Lines {
    lines: Mutex<Vec<Value>>,
    more: Condvar,
    ended: AtomicBool,
}

impl Log {
    fn follow(stderr: ChildStderr) -> Self {
        let log = Self(Arc::default());
        let lines = Arc::clone(&log.0);
        thread::spawn(move || {
            for line in BufReader::new(stderr).lines() {
                let line = line.unwrap();
                let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
                lines.lines.lock().unwrap().push(line);
                lines.more.notify_all();
            }
            lines.ended.store(true, Ordering::Release);
        });
        log
    }

    fn wait_for(&self, message: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = self.0.lines.lock().unwrap();
        loop {
            if let Some(line) = lines.iter().find(|line| line["message"] == message) {
                return line.clone();
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{message:?} was not logged: {lines:#?}");
            lines = self.0.more.wait_timeout(lines, left).unwrap().0;
        }
    }
}
