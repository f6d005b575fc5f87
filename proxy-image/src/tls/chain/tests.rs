use std::time::Duration;

use proptest::prelude::*;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use time::OffsetDateTime;

use super::*;

/// When day 0 begins, in seconds since 1970.
const DAY_0: i64 = 1_800_000_000;
const DAY: i64 = 86_400;

fn noon(day: i64) -> UnixTime {
    let second = DAY_0 + day * DAY + DAY / 2;
    UnixTime::since_unix_epoch(Duration::from_secs(second.cast_unsigned()))
}

/// A certificate that is valid from the beginning of one day to that of another.
fn params(name: &str, (from, to): (i64, i64), is_ca: bool) -> CertificateParams {
    let mut params = CertificateParams::new(vec![format!("{name}.example")]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    let at = |day| OffsetDateTime::from_unix_timestamp(DAY_0 + day * DAY).unwrap();
    (params.not_before, params.not_after) = (at(from), at(to));
    if is_ca {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    } else {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    }
    params
}

type Der = CertificateDer<'static>;

/// A root, and below it what peers show.
struct Pki {
    root: Der,
    chains: Vec<Vec<Der>>,
}

impl Pki {
    fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let root_params = params("root", (-100, 100), true);
        let root = root_params.self_signed(&key).unwrap().der().clone();
        let root_issuer = Issuer::new(root_params, key);

        let middle_key = KeyPair::generate().unwrap();
        let middle_params = params("middle", (-2, 4), true);
        let middle = middle_params.signed_by(&middle_key, &root_issuer).unwrap();
        let middle = middle.der().clone();
        let middle_issuer = Issuer::new(middle_params, middle_key);

        let issue = |name, days, issuer: &Issuer<'_, KeyPair>| -> Der {
            let key = KeyPair::generate().unwrap();
            let params = params(name, days, false);
            params.signed_by(&key, issuer).unwrap().der().clone()
        };
        let direct = issue("direct", (-3, 2), &root_issuer);
        let below = issue("below", (-1, 6), &middle_issuer);
        let stranger_params = params("middle", (-50, 50), true);
        let stranger = Issuer::new(stranger_params, KeyPair::generate().unwrap());
        let forged = issue("forged", (-50, 50), &stranger);
        let mut tampered = direct.to_vec();
        *tampered.last_mut().unwrap() ^= 1;
        let chains = vec![
            vec![direct.clone()],
            vec![below.clone(), middle.clone()],
            vec![below],
            vec![direct, middle.clone()],
            vec![forged, middle],
            vec![Der::from(tampered)],
        ];
        Self { root, chains }
    }

    fn chain(&self) -> Chain {
        let credentials = Credentials {
            certificate: None,
            ca: Some(vec![self.root.clone()]),
            crls: Vec::new(),
            expiries: Vec::new(),
        };
        Chain::new(&credentials, KeyUsage::client_auth())
    }
}

fn verify(chain: &Chain, shown: &[Der], day: i64) -> Result<(), Error> {
    let leaf = EndEntityCert::try_from(&shown[0]).unwrap();
    chain.verify(&leaf, &shown[1..], noon(day))
}

fn remembers(chain: &Chain, shown: &[Der], day: i64) -> bool {
    let verified = chain.verified.as_ref().unwrap();
    verified.has(&Fingerprint::of(&shown[0], &shown[1..]), noon(day))
}

#[test]
fn a_chain_is_remembered_while_all_of_it_is_valid() {
    let pki = Pki::new();
    let (chain, shown) = (pki.chain(), &pki.chains[1]);
    assert!(!remembers(&chain, shown, 0));
    verify(&chain, shown, 0).unwrap();
    // The leaf begins last, the intermediate ends first.
    for (day, valid) in [(-2, false), (-1, true), (0, true), (3, true), (4, false)] {
        assert_eq!(remembers(&chain, shown, day), valid, "day {day}");
    }
    assert!(!remembers(&pki.chain(), shown, 0), "another verifier");
}

#[test]
fn what_was_refused_is_not_remembered() {
    let pki = Pki::new();
    let chain = pki.chain();
    for shown in [&pki.chains[2], &pki.chains[4], &pki.chains[5]] {
        verify(&chain, shown, 0).unwrap_err();
        assert!(!remembers(&chain, shown, 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever was shown before and whenever, the answer is that of a verifier that knows nothing.
    #[test]
    fn what_is_remembered_changes_no_answer(
        shown in prop::collection::vec((0_usize..6, -5_i64..9), 1..24),
    ) {
        let pki = Pki::new();
        let remembering = pki.chain();
        for (which, day) in shown {
            let shown = &pki.chains[which];
            let (here, fresh) = (verify(&remembering, shown, day), verify(&pki.chain(), shown, day));
            prop_assert_eq!(here.is_ok(), fresh.is_ok(), "chain {} on day {}", which, day);
            if let (Err(here), Err(fresh)) = (here, fresh) {
                prop_assert_eq!(here.to_string(), fresh.to_string());
            }
        }
    }
}
