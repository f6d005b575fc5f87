//! The certificate is replaced while reviews are answered, as kubelet replaces a mounted Secret.

use rustls_pki_types::CertificateDer;

use crate::authority::Authority;
use crate::client::{self, Client, Version};
use crate::program::Program;
use crate::reviews::one;

async fn served(program: &Program) -> CertificateDer<'static> {
    let stream = client::tls(program, Version::Http1).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_served_and_no_review_fails() {
    let mut program = Program::start();
    let leaves = [
        program.authority.leaf(),
        program.authority.leaf(),
        program.authority.leaf(),
    ];
    assert_eq!(served(&program).await, program.leaf.der);
    let mut kept = Client::connect(&program, Version::Http2).await.unwrap();
    for leaf in &leaves {
        program.secret.write(&leaf.certificate, &leaf.key);
        // New connections as fast as they go, until one of them is served with the new leaf.
        let answered = answered_until_served(&program, &leaf.der).await;
        assert!(answered > 0);
        let answer = kept.review(one("pod-bare-name.json")).await.unwrap();
        assert_eq!(answer.status, 200);
    }
    program.wait_for_metric(
        "mtls_injector_reloads_total{outcome=\"applied\",subject=\"certificate\"} 3",
    );
}

async fn answered_until_served(program: &Program, leaf: &CertificateDer<'static>) -> usize {
    let mut answered = 0;
    loop {
        for version in [Version::Http1, Version::Http2] {
            let mut client = Client::connect(program, version).await.unwrap();
            let answer = client.review(one("pod-bare-name.json")).await.unwrap();
            assert_eq!(answer.status, 200);
            answered += 1;
        }
        if served(program).await == *leaf {
            return answered;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_certificate_is_rejected_once_and_the_old_one_stays() {
    let mut program = Program::start();
    let leaf = program.authority.leaf();
    program
        .secret
        .write(&leaf.certificate, &Authority::new().leaf().key);
    let line = program.wait_for_log("new certificate rejected; the old one stays");
    let error = line["error"].as_str().unwrap();
    assert!(
        error.contains("the key does not serve the first certificate"),
        "{error}"
    );
    assert_eq!(served(&program).await, program.leaf.der);
    program.secret.write(&leaf.certificate, &leaf.key);
    program.wait_for_log("certificate replaced");
    assert_eq!(served(&program).await, leaf.der);
    let rejected = "mtls_injector_reloads_total{outcome=\"rejected\",subject=\"certificate\"} 1";
    program.wait_for_metric(rejected);
}
