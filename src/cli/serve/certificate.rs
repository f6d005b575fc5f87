//! Where the webhook's certificate comes from. In: arguments. Out: files to follow, or that we issue
//! it ourselves.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::anyhow;
use clap::{Args, ValueEnum};
use rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

use super::beside::Beside;
use crate::cli::Failure;
use crate::tls::clients::FollowedClientCa;
use crate::tls::files::{CertificateFiles, FollowedFiles};
use crate::tls::{server_config, server_config_for};

/// The certificate's source.
#[derive(Args, Debug)]
#[command(next_help_heading = "Certificate")]
pub(super) struct CertificateArguments {
    /// Who issues the certificate [default: files with --cert-file, else self]
    #[arg(long, value_enum, value_name = "MODE")]
    certificate_mode: Option<Issuer>,
    /// The certificate chain, leaf first, PEM
    #[arg(long, value_name = "FILE", requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// The certificate's key, PEM
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,
    /// Only clients with a certificate of these CAs may call, PEM; anybody without it
    #[arg(long, value_name = "FILE")]
    client_ca_file: Option<PathBuf>,
}

/// Who issues the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Issuer {
    /// This program: a CA and a certificate in a Secret that all replicas share; it also keeps the
    /// caBundle of the MutatingWebhookConfiguration
    #[value(name = "self")]
    Ourselves,
    /// Somebody else, such as cert-manager: the files are read again when they change
    Files,
}

/// A certificate to serve.
pub(super) enum Certificate {
    /// Issued here, and shown when the API server trusts it.
    Own,
    /// Read from files.
    Files(FollowedFiles),
}

impl CertificateArguments {
    /// Makes the TLS settings, and follows the file of client CAs if there is one.
    pub(super) fn tls(&self, beside: &mut Beside) -> Result<ServerConfig, Failure> {
        let served = Arc::clone(&beside.served);
        let Some(path) = self.client_ca_file.clone() else {
            return Ok(server_config(served));
        };
        let clients = FollowedClientCa::open(path, Arc::clone(&beside.metrics))
            .map_err(|error| Failure::Usage(error.into()))?;
        let config = server_config_for(clients.in_use(), served);
        beside.tasks.spawn(clients.follow(beside.stop.clone()));
        Ok(config)
    }

    /// Settles the source, and serves what is in the files.
    pub(super) fn open(self, beside: &Beside) -> Result<Certificate, Failure> {
        let files = self
            .cert_file
            .zip(self.key_file)
            .map(|(certificate, key)| CertificateFiles { certificate, key });
        let usage = |text| Err(Failure::Usage(anyhow!("{text}")));
        match (self.certificate_mode, files) {
            (Some(Issuer::Files), None) => {
                usage("--certificate-mode files needs --cert-file and --key-file")
            }
            (Some(Issuer::Ourselves), Some(_)) => {
                usage("--certificate-mode self issues the certificate; take out --cert-file")
            }
            (Some(Issuer::Ourselves) | None, None) => Ok(Certificate::Own),
            (Some(Issuer::Files) | None, Some(files)) => FollowedFiles::open(
                files,
                Arc::clone(&beside.served),
                Arc::clone(&beside.metrics),
            )
            .map(Certificate::Files)
            .map_err(|error| Failure::Usage(error.into())),
        }
    }
}

impl Certificate {
    pub(super) fn issuer(&self) -> Issuer {
        match self {
            Self::Own => Issuer::Ourselves,
            Self::Files(_) => Issuer::Files,
        }
    }

    /// Follows the files, if there are any, until told to stop.
    pub(super) async fn follow(self, stop: CancellationToken) {
        if let Self::Files(files) = self {
            files.follow(stop).await;
        }
    }
}
