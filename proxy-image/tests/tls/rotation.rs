//! Credentials follow their files, and only to better ones.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use mtls_proxy::config::{InboundMode, Material};
use mtls_proxy::credentials::{CredentialError, Credentials, Side};
use mtls_proxy::rotation::{Live, Options, ReloadOutcome, Rotation};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::mount::Mount;
use crate::pki::{Ca, Issued, Leaf, Valid};

/// So long that only a watch can have told.
const NEVER: Duration = Duration::from_secs(3600);
const OFTEN: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(20);

/// What is in use: told apart by the serial numbers of the certificate and of the CA's subject.
#[derive(Debug, PartialEq, Eq)]
struct InUse {
    generation: u64,
    serial: u64,
    ca: String,
    crls: usize,
}

fn read(credentials: &Credentials, generation: u64) -> Result<InUse, CredentialError> {
    let own = credentials.certificate.as_ref().unwrap();
    let (_, own) = X509Certificate::from_der(&own.cert[0]).unwrap();
    let (_, ca) = X509Certificate::from_der(&credentials.ca.as_ref().unwrap()[0]).unwrap();
    Ok(InUse {
        generation,
        serial: own.serial.iter_u64_digits().next().unwrap(),
        ca: ca.subject().to_string(),
        crls: credentials.crls.len(),
    })
}

/// A rotation of one value that runs until it is dropped.
struct Running {
    live: Live<InUse>,
    rotation: Rotation,
    outcomes: mpsc::UnboundedReceiver<ReloadOutcome>,
    task: JoinHandle<()>,
}

impl Running {
    fn start(directory: &Path, poll: Duration) -> Self {
        let (sender, outcomes) = mpsc::unbounded_channel();
        let rotation = Rotation::new(Options {
            poll,
            on_reload: Arc::new(move |outcome| {
                let _ = sender.send(outcome);
            }),
        });
        let material = Material {
            directory: Some(directory.to_owned()),
            ..Material::default()
        };
        let side = Side::Inbound(InboundMode::Strict);
        let live = rotation.live("inbound:8443".to_owned(), material, side, read);
        let running = rotation.clone();
        #[expect(clippy::disallowed_methods, reason = "the test aborts it when it ends")]
        let task = tokio::spawn(async move { running.run().await });
        Self {
            live,
            rotation,
            outcomes,
            task,
        }
    }

    fn serial(&self) -> u64 {
        self.live.current().unwrap().serial
    }

    async fn outcome(&mut self) -> ReloadOutcome {
        let outcome = tokio::time::timeout(PATIENCE, self.outcomes.recv()).await;
        outcome.expect("a load ends in time").unwrap()
    }

    /// Waits until a certificate is in use, however many loads that takes.
    async fn until_serial(&mut self, serial: u64) {
        while self.live.current().map(|in_use| in_use.serial) != Ok(serial) {
            self.outcome().await;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn issue(ca: &Ca, serial: u64) -> Issued {
    ca.issue(&Leaf {
        serial,
        ..Leaf::default()
    })
}

pub(crate) fn files(issued: &Issued, ca: &Ca) -> [(&'static str, String); 3] {
    [
        ("cert", issued.certificate.pem()),
        ("key", issued.key.serialize_pem()),
        ("cacert", ca.pem()),
    ]
}

#[tokio::test]
async fn follows_five_swaps_of_the_data_link_in_a_row() {
    let ca = Ca::new("ca");
    let home = tempfile::tempdir().unwrap();
    let mut mount = Mount::new(home.path());
    mount.swap(&files(&issue(&ca, 1), &ca));
    let mut running = Running::start(home.path(), NEVER);
    assert_eq!(running.outcome().await, ReloadOutcome::Loaded);
    let mut generations = running.live.subscribe();
    for serial in 2..=6 {
        mount.swap(&files(&issue(&ca, serial), &ca));
        assert_eq!(running.outcome().await, ReloadOutcome::Loaded);
        assert_eq!(running.serial(), serial);
        assert_eq!(*generations.borrow_and_update(), serial);
    }
}

#[tokio::test]
async fn follows_files_written_in_place_one_after_the_other() {
    let ca = Ca::new("ca");
    let home = tempfile::tempdir().unwrap();
    issue(&ca, 1).write(home.path(), &ca);
    let mut running = Running::start(home.path(), NEVER);
    for serial in 2..=4 {
        issue(&ca, serial).write(home.path(), &ca);
        running.until_serial(serial).await;
    }
}

#[tokio::test]
async fn finds_by_polling_what_no_watch_tells() {
    let ca = Ca::new("ca");
    let home = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let watched = home.path().join("watched");
    issue(&ca, 1).write(&watched, &ca);
    // A write through a link of another directory is no event of this one.
    for name in ["cert", "key"] {
        fs::hard_link(watched.join(name), elsewhere.path().join(name)).unwrap();
    }
    let mut running = Running::start(&watched, OFTEN);
    let next = issue(&ca, 2);
    fs::write(elsewhere.path().join("key"), next.key.serialize_pem()).unwrap();
    fs::write(elsewhere.path().join("cert"), next.certificate.pem()).unwrap();
    running.until_serial(2).await;
}

#[tokio::test]
async fn waits_for_files_that_are_not_there_and_names_them() {
    let ca = Ca::new("ca");
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("etc/mtlsfiles");
    let mut running = Running::start(&directory, OFTEN);
    assert_eq!(running.outcome().await, ReloadOutcome::Failed);
    assert_eq!(
        running.live.current().unwrap_err().to_string(),
        format!(
            "credentials are not loaded: no certificate and key: the directory {} does not exist",
            directory.display()
        )
    );
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("cert"), issue(&ca, 1).certificate.pem()).unwrap();
    let missing = format!("{} does not exist", directory.join("key").display());
    while *running.live.current().unwrap_err().reason != *missing {
        assert_eq!(running.outcome().await, ReloadOutcome::Failed);
    }
    issue(&ca, 2).write(&directory, &ca);
    running.until_serial(2).await;
}

#[tokio::test]
async fn follows_a_secret_that_is_deleted_and_made_again() {
    let ca = Ca::new("ca");
    let home = tempfile::tempdir().unwrap();
    let directory = home.path().join("mtlsfiles");
    issue(&ca, 1).write(&directory, &ca);
    let mut running = Running::start(&directory, OFTEN);
    assert_eq!(running.outcome().await, ReloadOutcome::Loaded);
    for serial in 2..=3 {
        fs::remove_dir_all(&directory).unwrap();
        assert_eq!(running.outcome().await, ReloadOutcome::Failed);
        assert_eq!(running.serial(), serial - 1, "the old stay in use");
        issue(&ca, serial).write(&directory, &ca);
        running.until_serial(serial).await;
    }
}

#[tokio::test]
async fn keeps_what_is_in_use_when_the_new_files_are_wrong() {
    let ca = Ca::new("ca");
    let home = tempfile::tempdir().unwrap();
    let mut mount = Mount::new(home.path());
    let (first, second) = (issue(&ca, 1), issue(&ca, 2));
    mount.swap(&files(&first, &ca));
    let mut running = Running::start(home.path(), NEVER);
    assert_eq!(running.outcome().await, ReloadOutcome::Loaded);

    let [certificate, key, cacert] = files(&second, &ca);
    let truncated = ("cert", certificate.1[..certificate.1.len() / 2].to_owned());
    let foreign_key = ("key", first.key.serialize_pem());
    let expired = ca.issue(&Leaf {
        valid: Valid::Past,
        ..Leaf::default()
    });
    let empty = ("cacert", String::new());
    for wrong in [
        [certificate.clone(), foreign_key, cacert.clone()],
        [truncated, key.clone(), cacert.clone()],
        [certificate.clone(), key.clone(), empty],
        files(&expired, &ca),
    ] {
        mount.swap(&wrong);
        assert_eq!(running.outcome().await, ReloadOutcome::Failed);
        let in_use = running.live.current().unwrap();
        assert_eq!((in_use.generation, in_use.serial), (1, 1));
    }
    mount.swap(&[certificate, key, cacert]);
    assert_eq!(running.outcome().await, ReloadOutcome::Loaded);
    assert_eq!(running.serial(), 2);
}

#[tokio::test]
async fn a_change_of_the_ca_or_of_the_revocation_list_alone_is_a_generation() {
    let (ca, next_ca) = (Ca::new("ca"), Ca::new("next"));
    let home = tempfile::tempdir().unwrap();
    let mut mount = Mount::new(home.path());
    let issued = issue(&ca, 1);
    mount.swap(&files(&issued, &ca));
    let mut running = Running::start(home.path(), NEVER);
    assert_eq!(running.outcome().await, ReloadOutcome::Loaded);

    mount.swap(&files(&issued, &next_ca));
    assert_eq!(running.outcome().await, ReloadOutcome::Loaded);
    let in_use = running.live.current().unwrap();
    assert_eq!((in_use.generation, in_use.ca.as_str()), (2, "CN=next"));

    let crl = ca
        .crl(&[7], rcgen::date_time_ymd(2100, 1, 1))
        .pem()
        .unwrap();
    let [certificate, key, cacert] = files(&issued, &next_ca);
    mount.swap(&[certificate, key, cacert, ("crl", crl)]);
    assert_eq!(running.outcome().await, ReloadOutcome::Loaded);
    let in_use = running.live.current().unwrap();
    assert_eq!((in_use.generation, in_use.crls), (3, 1));
    let listed: Vec<_> = running
        .rotation
        .expiries()
        .into_iter()
        .map(|e| e.file)
        .collect();
    assert_eq!(
        listed,
        ["cacert", "cert", "crl"].map(|name| home.path().join(name))
    );
}

#[tokio::test]
async fn certificate_and_ca_are_always_those_of_one_moment() {
    let cas = [Ca::new("1"), Ca::new("2")];
    let moments = [1, 2].map(|serial| {
        let ca = &cas[serial - 1];
        files(&issue(ca, serial as u64), ca)
    });
    let home = tempfile::tempdir().unwrap();
    let mut mount = Mount::new(home.path());
    mount.swap(&moments[0]);
    let running = Running::start(home.path(), Duration::from_millis(1));
    let mut round = 0;
    loop {
        round += 1;
        mount.swap(&moments[round % 2]);
        tokio::task::yield_now().await;
        let in_use = running.live.current().unwrap();
        assert_eq!(in_use.ca, format!("CN={}", in_use.serial));
        if in_use.generation > 8 {
            break;
        }
    }
}
