//! `redirect`: prints, applies or removes the kernel's rules. What the init container runs.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::run::complain;
use super::{USAGE, check_config};
use crate::config::{Config, TrafficRedirect};
use crate::redirect::{self, Family, NftError, Verified};

/// What to do with the rules.
#[derive(Debug, Args)]
pub(super) struct RedirectOptions {
    #[command(flatten)]
    action: Action,
    /// The configuration, YAML or JSON; its field `redirect` says what is redirected.
    #[arg(long, value_name = "FILE", required_unless_present = "remove")]
    config: Option<PathBuf>,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Action {
    /// Print the rules, a script for nft -f, and change nothing.
    #[arg(long)]
    print: bool,
    /// Load the rules, in one transaction and in place of earlier ones, and try whether they work.
    /// Needs the program nft and the capability NET_ADMIN.
    #[arg(long)]
    apply: bool,
    /// Remove the rules, if there are any.
    #[arg(long)]
    remove: bool,
}

pub(super) fn redirect(options: &RedirectOptions) -> ExitCode {
    let Some(file) = options.config.as_ref().filter(|_| !options.action.remove) else {
        return done(redirect::load(&redirect::remove()));
    };
    let config = match check_config::read(file) {
        Ok(config) => config,
        Err(mistakes) => {
            complain(&mistakes);
            return ExitCode::from(USAGE);
        }
    };
    let Some(rules) = config.redirect.clone() else {
        complain(&format!(
            "{}: redirect: is required, such as redirect: {{proxyUid: 15100}}\n",
            file.display()
        ));
        return ExitCode::from(USAGE);
    };
    if options.action.print {
        say(&redirect::install(&config, &rules));
        return ExitCode::SUCCESS;
    }
    apply(&config, &rules)
}

fn apply(config: &Config, rules: &TrafficRedirect) -> ExitCode {
    if let Err(error) = redirect::load(&redirect::install(config, rules)) {
        return done(Err(error));
    }
    say("rules loaded: table inet mtls_proxy\n");
    let mut escaped = false;
    for family in [Family::V4, Family::V6] {
        let verified = redirect::verify(family, rules);
        say(&format!("{family}: {verified}\n"));
        escaped |= matches!(verified, Verified::Escaped(..));
    }
    if escaped {
        complain("mtls-proxy: the rules were loaded and do not work; see the line above\n");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn done(outcome: Result<(), NftError>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("mtls-proxy: {:#}\n", anyhow::Error::from(error)));
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) {
    let _closed = std::io::stdout().write_all(text.as_bytes());
}
