//! The programs of the demonstration: finding and ending them.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, ensure};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use super::call::PATIENCE;

/// Finds `mtls-proxy`: where it was said to be, or beside this program, as cargo puts it.
pub(super) fn find_proxy(said: Option<&Path>) -> anyhow::Result<PathBuf> {
    let path = match said {
        Some(path) => path.to_owned(),
        None => std::env::current_exe()?.with_file_name("mtls-proxy"),
    };
    ensure!(
        path.is_file(),
        "{} is not there: build it with `cargo build --workspace`, or name it with --proxy FILE",
        path.display()
    );
    Ok(path)
}

/// Ends a program with SIGTERM, as kubelet does, and checks that it ended well.
pub(super) async fn stop(mut child: Child, name: &str) -> anyhow::Result<()> {
    let pid = child
        .id()
        .with_context(|| format!("{name} ended by itself"))?;
    let kill = Command::new("kill")
        .arg(pid.to_string())
        .stdin(Stdio::null())
        .status()
        .await
        .context("run kill")?;
    ensure!(kill.success(), "{name} could not be asked to end");
    let status = timeout(PATIENCE, child.wait()).await;
    let status = status.with_context(|| format!("{name} does not end"))??;
    ensure!(status.success(), "{name} ended with {status}");
    Ok(())
}
