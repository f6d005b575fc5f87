//! Hands a script to the `nft` program, which loads it in one transaction.
//!
//! In: a script. Out: done, or what stood against it and what would help.

use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use rustix::thread::{CapabilitySet, capabilities};

/// Why rules were not loaded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NftError {
    /// The kernel would refuse.
    #[error(
        "the capability NET_ADMIN is missing: run this in the init container that mtls-injector \
         adds, or give the container capabilities.add: [NET_ADMIN]"
    )]
    NoCapability,
    /// There is no `nft` program.
    #[error(
        "the program nft is missing: use the proxy's init image, or install the package nftables"
    )]
    NoProgram,
    /// It could not be started, or did not listen.
    #[error("run nft")]
    Run(#[source] io::Error),
    /// It found fault with the script, or the kernel did.
    #[error("nft refused the rules: {said}{advice}")]
    Refused {
        /// Its own words.
        said: String,
        /// What would help, if that is known.
        advice: &'static str,
    },
}

/// Loads a script: all of it, or nothing.
///
/// # Errors
/// What stood against it.
pub(crate) fn load(script: &str) -> Result<(), NftError> {
    let mine = capabilities(None).map_err(|errno| NftError::Run(errno.into()))?;
    if !mine.effective.contains(CapabilitySet::NET_ADMIN) {
        return Err(NftError::NoCapability);
    }
    let mut nft = start()?;
    // Dropping the pipe is the end of the script. If nft has gone, its words say why.
    let written = nft
        .stdin
        .take()
        .map(|mut pipe| pipe.write_all(script.as_bytes()));
    let output = nft.wait_with_output().map_err(NftError::Run)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let advice = advice(&said);
        return Err(NftError::Refused { said, advice });
    }
    written.transpose().map_err(NftError::Run)?;
    Ok(())
}

fn start() -> Result<std::process::Child, NftError> {
    // An ordinary user's PATH may lack the directory of system programs.
    for program in ["nft", "/usr/sbin/nft", "/sbin/nft"] {
        let started = Command::new(program)
            .args(["-f", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        match started {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            started => return started.map_err(NftError::Run),
        }
    }
    Err(NftError::NoProgram)
}

fn advice(said: &str) -> &'static str {
    if said.contains("Operation not permitted") {
        "; the capability NET_ADMIN does not reach this network namespace"
    } else if said.contains("not supported") || said.contains("No such file or directory") {
        "; the kernel has no nftables NAT (Linux 5.2 or later with nf_tables, nft_nat and \
         nft_redir): load these modules on the node, or use capture hosts"
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_would_help() {
        assert!(
            advice("Error: Could not process rule: Operation not supported").contains("nft_redir")
        );
        assert!(
            advice("netlink: Error: cache initialization failed: Operation not permitted")
                .contains("NET_ADMIN")
        );
        assert_eq!(advice("Error: syntax error"), "");
    }
}
