//! Throw-away certificates, as files that become Secrets with `kubectl create secret generic
//! --from-file`. In: a folder. Out: `ca.crt`, `ca.key`, `server/` and `client/` in it.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::{Duration, OffsetDateTime};

/// Make a certificate authority, a server certificate and a client certificate
///
/// DIR/server holds tls.crt, tls.key and ca.crt, DIR/client holds cert, key and cacert. An authority
/// that is already in DIR stays, so that a second run makes new certificates that its clients trust.
#[derive(Args, Debug)]
pub(super) struct Certificates {
    /// Where the files go
    #[arg(value_name = "DIR")]
    folder: PathBuf,
    /// A name that the server certificate is for; may be repeated
    #[arg(
        long = "server-name",
        value_name = "NAME",
        default_value = "external.system.com"
    )]
    server_names: Vec<String>,
    /// The common name of the client certificate
    #[arg(long, value_name = "NAME", default_value = "sample-app")]
    client_name: String,
}

impl Certificates {
    pub(super) fn write(&self) -> anyhow::Result<ExitCode> {
        let authority = Authority::open(&self.folder)?;
        let server = self.server_names.first().map_or("server", String::as_str);
        let server = authority.issue(server, &self.server_names, Usage::Server)?;
        server.write(
            &authority,
            &self.folder.join("server"),
            ["tls.crt", "tls.key", "ca.crt"],
        )?;
        let names = std::slice::from_ref(&self.client_name);
        let client = authority.issue(&self.client_name, names, Usage::Client)?;
        client.write(
            &authority,
            &self.folder.join("client"),
            ["cert", "key", "cacert"],
        )?;
        Ok(ExitCode::SUCCESS)
    }
}

struct Authority {
    certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

#[derive(Clone, Copy)]
enum Usage {
    Server,
    Client,
}

/// A certificate with its key, both PEM. Has no `Debug`: the key must not reach a log.
struct Issued {
    certificate: String,
    key: String,
}

impl Authority {
    /// Opens the authority of a folder, or makes one there.
    fn open(folder: &Path) -> anyhow::Result<Self> {
        let (certificate, key) = (folder.join("ca.crt"), folder.join("ca.key"));
        if !key.exists() {
            let made = Self::make()?;
            store(&certificate, &made.certificate)?;
            store(&key, &made.key)?;
        }
        let read = |path: &Path| {
            fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
        };
        let certificate = read(&certificate)?;
        let key =
            KeyPair::from_pem(&read(&key)?).with_context(|| format!("parse {}", key.display()))?;
        let issuer = Issuer::from_ca_cert_pem(&certificate, key).context("parse ca.crt")?;
        Ok(Self {
            certificate,
            issuer,
        })
    }

    fn make() -> anyhow::Result<Issued> {
        let mut params = lasting(CertificateParams::new(Vec::new())?);
        params
            .distinguished_name
            .push(DnType::CommonName, "mtls-injector sample CA");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Issued {
            certificate,
            key: key.serialize_pem(),
        })
    }

    fn issue(&self, name: &str, names: &[String], usage: Usage) -> anyhow::Result<Issued> {
        let mut params = lasting(CertificateParams::new(names)?);
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![match usage {
            Usage::Server => ExtendedKeyUsagePurpose::ServerAuth,
            Usage::Client => ExtendedKeyUsagePurpose::ClientAuth,
        }];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Issued {
            certificate,
            key: key.serialize_pem(),
        })
    }
}

impl Issued {
    /// Writes certificate, key and authority under these names.
    fn write(&self, authority: &Authority, folder: &Path, names: [&str; 3]) -> anyhow::Result<()> {
        let contents = [&self.certificate, &self.key, &authority.certificate];
        for (name, content) in names.into_iter().zip(contents) {
            store(&folder.join(name), content)?;
        }
        Ok(())
    }
}

/// Ninety days, from an hour ago: the clocks of a cluster differ.
fn lasting(mut params: CertificateParams) -> CertificateParams {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::hours(1);
    params.not_after = now + Duration::days(90);
    params
}

/// Writes a file that only its owner reads.
fn store(path: &Path, content: &str) -> anyhow::Result<()> {
    let write = || {
        fs::create_dir_all(path.parent().unwrap_or_else(|| Path::new(".")))?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        options.open(path)?.write_all(content.as_bytes())
    };
    write().with_context(|| format!("write {}", path.display()))
}
