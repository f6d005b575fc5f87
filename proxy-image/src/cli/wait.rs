//! `wait`: returns once the proxy that already runs is ready. Kubernetes runs it as the `postStart`
//! hook of a classic sidecar: kubelet starts no further container of the pod before it returns.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::{USAGE, run::complain};
use crate::config::Span;

/// Where to ask, and for how long.
#[derive(Debug, Args)]
pub(super) struct WaitOptions {
    /// Where the proxy serves /readyz.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:15020")]
    admin: SocketAddr,
    /// How long to wait.
    #[arg(long, value_name = "DURATION", default_value = "120s")]
    timeout: Span,
}

pub(super) fn wait(options: &WaitOptions) -> ExitCode {
    let Some(limit) = options.timeout.limit() else {
        complain("mtls-proxy: --timeout must be longer than 0s\n");
        return ExitCode::from(USAGE);
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("mtls-proxy: start the runtime: {error}\n"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(ready(options.admin, limit)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(last) => {
            let waited = options.timeout;
            complain(&format!("mtls-proxy: not ready after {waited}: {last}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Asks until the answer is yes; what was last in the way, when the time is up.
async fn ready(admin: SocketAddr, limit: Duration) -> Result<(), String> {
    const BETWEEN: Duration = Duration::from_millis(50);
    const ANSWER: Duration = Duration::from_secs(1);
    let mut last = "nothing asked yet".to_owned();
    let asked = timeout(limit, async {
        let mut ticks = interval(BETWEEN);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            last = match timeout(ANSWER, ask(admin)).await {
                Ok(Ok(answer)) if is_ok(&answer) => return,
                Ok(Ok(answer)) => answer.lines().last().unwrap_or_default().to_owned(),
                Ok(Err(error)) => error.to_string(),
                Err(_elapsed) => "no answer".to_owned(),
            };
        }
    });
    asked.await.map_err(|_elapsed| last)
}

async fn ask(admin: SocketAddr) -> std::io::Result<String> {
    const LONGEST: u64 = 64 * 1024;
    let mut stream = TcpStream::connect(admin).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nhost: {admin}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(LONGEST).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// Whether the status is 200 (RFC 9112 section 4).
fn is_ok(answer: &str) -> bool {
    answer.split(' ').nth(1) == Some("200")
}
