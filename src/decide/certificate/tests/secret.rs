//! The active Secret in the hands of others.

use super::bench::*;
use crate::api::certificate::Repairs;
use crate::decide::certificate::world::{IssuerView, KeyPair};

fn renewed() -> Bench {
    let mut bench = Bench::with_ca();
    bench.settle();
    bench.ask_to_renew("a");
    bench.settle();
    assert_eq!(bench.active().revision, 2);
    bench.take_log();
    bench.take_notes();
    bench
}

#[test]
fn deleted_with_a_copy_kept_it_is_restored_without_an_order() {
    let mut bench = renewed();
    let before = bench.active().fingerprint_sha256;
    bench.issuer = IssuerView::NotFound;
    bench.secret = None;
    bench.settle();
    let name = bench.revisions[&2].0.clone();
    let read = format!("read the revision Secret {name}");
    assert_eq!(bench.take_log(), [read.as_str(), "write revision 2 to the active Secret"]);
    assert_eq!(bench.pair().chain.leaf().fingerprint.to_string(), before);
    assert_eq!(bench.status().repairs.map(|r| r.count), Some(1));
    let told = "the active Secret was changed or deleted by somebody else and is as it was again";
    assert_eq!(bench.take_notes(), [(true, "SecretRestored".to_owned(), told.to_owned())]);
    bench.assert_ready();
}

#[test]
fn deleted_without_a_copy_it_is_issued_anew() {
    let mut bench = Bench::with_ca();
    bench.settle();
    bench.secret = None;
    bench.take_notes();
    bench.settle();
    assert_eq!(bench.active().revision, 2);
    assert!(bench.status().previous.is_empty(), "the key of revision 1 is gone");
    assert_eq!(bench.status().repairs.as_ref().map(|r| r.count), Some(1));
    let reasons: Vec<String> = bench.take_notes().into_iter().map(|n| n.1).collect();
    assert_eq!(reasons, ["Issued"]);
    bench.assert_ready();
}

#[test]
fn without_copy_and_issuer_it_says_what_is_missing() {
    let mut bench = Bench::with_ca();
    bench.settle();
    bench.secret = None;
    bench.issuer = IssuerView::NotFound;
    bench.settle();
    bench.assert_condition(
        "Ready",
        "False",
        "SecretMissing",
        "the Secret mail-tls is gone and no copy of its key is kept: MailIssuer post/issuer does not exist: create it, \
         or correct issuerRef",
    );
}

#[test]
fn damaged_by_hand_it_is_put_right() {
    let mut bench = renewed();
    let before = bench.active().fingerprint_sha256;
    bench.tamper(|s| s.content = Err("tls.key is not PEM".to_owned()));
    bench.settle();
    assert_eq!(bench.pair().chain.leaf().fingerprint.to_string(), before);
    assert_eq!(bench.active().revision, 2);
    let mut bench = Bench::self_signed();
    bench.settle();
    bench.tamper(|s| s.content = Err("tls.key is not PEM".to_owned()));
    bench.settle();
    assert_eq!(bench.active().revision, 2, "only a new one can replace it");
}

#[test]
fn another_pair_in_it_is_not_taken_for_ours() {
    use crate::api::certificate::RotationPolicy;
    let mut other = Bench::self_signed();
    other.settle();
    let pair = other.pair().clone();
    for policy in [RotationPolicy::Always, RotationPolicy::Never] {
        let mut bench = Bench::self_signed();
        bench.edit(|s| s.options.private_key.rotation.policy = policy);
        bench.settle();
        bench.tamper(|s| s.content = Ok(pair.clone()));
        bench.settle();
        assert_eq!(bench.active().revision, 2);
        assert_ne!(bench.pair().key.spki_der(), pair.key.spki_der());
    }
}

#[test]
fn other_keys_and_a_touch_change_nothing() {
    let mut bench = renewed();
    bench.tamper(|_| {});
    bench.settle();
    assert_eq!(bench.take_log(), ["read the active Secret"]);
    let version = bench.secret.as_ref().unwrap().version.to_string();
    assert_eq!(bench.active().secret_resource_version, Some(version));
    assert_eq!(bench.status().repairs, None);
}

#[test]
fn another_number_on_it_is_put_right() {
    for number in [Some(99), Some(i64::MAX), Some(-1), None] {
        let mut bench = renewed();
        bench.tamper(|s| {
            s.revision = number;
            s.content = s.content.clone().map(|pair| KeyPair { canonical: false, ..pair });
        });
        bench.settle();
        assert_eq!(bench.active().revision, 2);
        assert_eq!(bench.secret.as_ref().unwrap().revision, Some(2));
    }
}

#[test]
fn somebody_who_keeps_writing_is_met_less_and_less() {
    let mut bench = renewed();
    let start = bench.now;
    let mut repairs = Vec::new();
    while bench.now < start + secs(4 * 3600) {
        bench.secret = None;
        bench.pass();
        match bench.secret {
            Some(_) => repairs.push(bench.now.duration_since(start).as_secs()),
            None => {
                assert_eq!(bench.condition("Ready").1, "SecretContested");
                assert_eq!(bench.condition("Stalled").0, "True");
                bench.now = bench.wake.unwrap();
            }
        }
        assert!(repairs.len() < 25, "{repairs:?}");
    }
    assert_eq!(repairs[..5], [0, 10, 30, 70, 150]);
    let last: Vec<i64> = repairs.windows(2).map(|w| w[1] - w[0]).rev().take(2).collect();
    assert_eq!(last, [1800, 1800]);
    bench.secret = None;
    bench.object.status.as_mut().unwrap().repairs =
        Some(Repairs { count: 1, last_time: k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(bench.now) });
    bench.pass();
    let again = bench.now + secs(10);
    bench.assert_condition(
        "Ready",
        "False",
        "SecretContested",
        &format!(
            "the Secret mail-tls was changed or deleted by somebody else again, after a repair: find out who writes it \
             (kubectl get secret mail-tls -o yaml --show-managed-fields) and stop that; it is put right again at {again}"
        ),
    );
}

#[test]
fn a_secret_kept_from_a_deleted_object_is_adopted_with_its_history() {
    let mut bench = renewed();
    let before = bench.active();
    bench.object.status = None;
    bench.object.metadata.uid = Some("another".to_owned());
    bench.object.metadata.generation = Some(1);
    bench.settle();
    assert_eq!(bench.take_log(), ["read the active Secret"]);
    let now = bench.active();
    assert_eq!((now.revision, &now.fingerprint_sha256), (2, &before.fingerprint_sha256));
    assert_eq!(now.request_sha256, before.request_sha256);
    assert_eq!(bench.revisions.len(), 2, "no key is lost");
    bench.ask_to_renew("b");
    bench.settle();
    assert_eq!(bench.active().revision, 3);
    assert_eq!(bench.revisions.keys().copied().collect::<Vec<_>>(), [1, 2, 3]);
    bench.assert_ready();
}

#[test]
fn a_secret_that_does_not_fit_is_adopted_and_renewed() {
    let mut bench = renewed();
    bench.object.status = None;
    bench.edit(|s| s.dns_names = vec!["imap.example.com".to_owned()]);
    bench.settle();
    assert_eq!((bench.active().revision, bench.status().previous.len()), (3, 1));
    bench.assert_ready();
}
