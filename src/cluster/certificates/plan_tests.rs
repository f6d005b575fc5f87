use proptest::prelude::*;

use super::*;

const HOUR: Duration = Duration::from_secs(60 * 60);
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::aws_lc_rs::default_provider())
}

fn policy() -> CertificatePolicy {
    CertificatePolicy::for_service("mtls-injector", "mtls-system")
}

/// A whole second, as certificates know no smaller unit.
fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn fresh(at: SystemTime) -> Stored {
    Stored::default().with_new_authority(&policy(), at).unwrap()
}

fn check(stored: &Stored, now: SystemTime, expected: Plan) {
    assert_eq!(plan(&provider(), stored, &policy(), now), expected);
}

/// Takes steps until there are none; returns how many it took.
fn settle(mut stored: Stored, now: SystemTime) -> (Stored, usize) {
    for steps in 0..4 {
        match plan(&provider(), &stored, &policy(), now) {
            Plan::Keep { .. } => return (stored, steps),
            step => stored = step.apply(stored, &policy(), now).unwrap(),
        }
    }
    panic!("the plan does not come to rest");
}

fn accepts(anchors: &[super::super::authority::Anchor], stored: &Stored, at: SystemTime) -> bool {
    let anchors: Vec<_> = anchors.iter().map(|anchor| anchor.der.clone()).collect();
    let leaf = stored.leaf.as_ref().unwrap();
    trust::verify(&provider(), &leaf.chain, &anchors, &policy().names[0], at).is_ok()
}

#[test]
fn an_empty_secret_gets_a_ca() {
    check(
        &Stored::default(),
        start(),
        Plan::ReplaceAuthority(Cause::Absent),
    );
}

#[test]
fn a_fresh_pair_is_kept_until_two_thirds_of_the_leafs_life() {
    check(
        &fresh(start()),
        start(),
        Plan::Keep {
            until: start() + 60 * DAY,
        },
    );
}

#[test]
fn a_leaf_is_renewed_at_two_thirds_of_its_life() {
    check(
        &fresh(start()),
        start() + 60 * DAY,
        Plan::RenewLeaf(Cause::Due),
    );
}

#[test]
fn a_ca_is_replaced_at_two_thirds_of_its_life() {
    let due = start() + 2 * 365 * DAY;
    check(&fresh(start()), due, Plan::ReplaceAuthority(Cause::Due));
}

#[test]
fn a_leaf_for_other_names_is_replaced() {
    let other = CertificatePolicy::for_service("mtls-injector", "elsewhere");
    let stored = Stored::default()
        .with_new_authority(&other, start())
        .unwrap();
    check(&stored, start(), Plan::RenewLeaf(Cause::Unfit));
}

#[test]
fn a_leaf_of_another_ca_is_replaced() {
    let stored = Stored {
        leaf: fresh(start()).leaf,
        ..fresh(start())
    };
    check(&stored, start(), Plan::RenewLeaf(Cause::Unfit));
}

#[test]
fn certificates_from_the_far_future_are_replaced() {
    let stored = fresh(start() + 30 * DAY);
    check(
        &stored,
        start(),
        Plan::ReplaceAuthority(Cause::FromTheFuture),
    );
}

#[test]
fn certificates_of_a_clock_that_is_a_little_ahead_are_kept() {
    let stored = fresh(start() + HOUR);
    assert!(matches!(
        plan(&provider(), &stored, &policy(), start()),
        Plan::Keep { .. }
    ));
}

#[test]
fn a_previous_ca_is_trusted_for_the_overlap_and_no_longer() {
    let stored = fresh(start())
        .with_new_authority(&policy(), start())
        .unwrap();
    check(
        &stored,
        start(),
        Plan::Keep {
            until: start() + HOUR,
        },
    );
    check(&stored, start() + HOUR, Plan::DropPrevious);
}

#[test]
fn a_key_of_another_ca_is_a_flaw_that_leads_to_a_new_ca() {
    let mut entries = fresh(start()).entries();
    entries.insert(
        "ca.key".to_owned(),
        fresh(start()).entries().remove("ca.key").unwrap(),
    );
    let stored = Stored::read(&entries);
    assert_eq!(
        stored.flaws[0].to_string(),
        "the key does not belong to the CA certificate"
    );
    check(&stored, start(), Plan::ReplaceAuthority(Cause::Absent));
}

#[test]
fn keys_do_not_show_in_debug() {
    let stored = fresh(start());
    let shown = format!("{stored:?}");
    let entries = stored.entries();
    for key in ["ca.key", "tls.key"] {
        let pem = String::from_utf8(entries[key].clone()).unwrap();
        let line = pem.lines().nth(1).unwrap();
        assert!(!shown.contains(line), "{key} shows in {shown}");
    }
    assert!(!shown.contains("PRIVATE"), "{shown}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// However long nobody looked, a webhook that follows the plan always has a leaf that its
    /// bundle vouches for, and the leaf shown until then stays vouched for while it is valid.
    #[test]
    fn a_life_of_any_pauses_never_has_a_gap(pauses in prop::collection::vec(0_u64..900, 1..12)) {
        let mut now = start();
        let mut stored = fresh(now);
        for pause in pauses {
            now += Duration::from_secs(pause * 60 * 60 * 24);
            let shown = Stored::read(&stored.entries());
            let was_good = accepts(&shown.anchors(), &shown, now);
            let (settled, steps) = settle(stored, now);
            prop_assert!(accepts(&settled.anchors(), &settled, now));
            prop_assert!(accepts(&settled.anchors(), &settled, now + DAY));
            prop_assert!(settled.previous.len() <= 1, "{} previous", settled.previous.len());
            if was_good && steps > 0 {
                prop_assert!(accepts(&settled.anchors(), &shown, now), "dropped too early");
            }
            stored = settled;
        }
    }

    /// What is written is what is read.
    #[test]
    fn entries_survive_a_round_trip(rotations in 0_usize..3) {
        let mut stored = fresh(start());
        for _ in 0..rotations {
            stored = stored.with_new_authority(&policy(), start()).unwrap();
        }
        let entries = stored.entries();
        let again = Stored::read(&entries);
        prop_assert!(again.flaws.is_empty());
        prop_assert_eq!(again.entries(), entries);
    }

    /// Any bytes in the Secret lead to a working pair, never to a panic.
    #[test]
    fn any_garbage_is_replaced(
        key in prop::sample::select(Stored::keys().to_vec()),
        bytes in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut entries = fresh(start()).entries();
        entries.insert(key.to_owned(), bytes);
        let (settled, _) = settle(Stored::read(&entries), start());
        prop_assert!(accepts(&settled.anchors(), &settled, start()));
    }
}
