//! Revoking the active certificate when it is asked for.

use super::bench::*;
use crate::api::certificate::RotationPolicy;
use crate::api::keys;
use crate::api::revocation::RevocationReason;
use crate::decide::backoff::Pace;

fn ask(bench: &mut Bench, reason: &str) {
    let annotations = bench.object.metadata.annotations.get_or_insert_default();
    annotations.insert(keys::REVOKE.to_owned(), reason.to_owned());
}

#[test]
fn it_is_revoked_once_and_replaced_with_another_key() {
    let mut bench = Bench::acme();
    bench.edit(|s| s.options.private_key.rotation.policy = RotationPolicy::Never);
    bench.settle();
    let first = bench.active();
    ask(&mut bench, "keyCompromise");
    bench.settle();
    assert_eq!(bench.ca.revoked, [(first.serial.clone(), RevocationReason::KeyCompromise)]);
    let second = bench.active();
    assert_eq!(second.revision, 2);
    assert_ne!(second.spki_sha256, first.spki_sha256, "a key that others have is not kept");
    let revocation = bench.status().revocation.unwrap();
    assert_eq!((revocation.serial, revocation.reason.as_str()), (first.serial, "keyCompromise"));
    bench.assert_ready();
    bench.settle_after(days(2));
    assert_eq!(bench.ca.revoked.len(), 1, "the annotation that stays is acted upon once");
    ask(&mut bench, "superseded: rebuilt the server");
    bench.settle();
    assert_eq!((bench.ca.revoked.len(), bench.active().revision), (2, 3));
}

#[test]
fn a_crash_anywhere_revokes_no_other_certificate() {
    for after in 0..20 {
        let mut bench = Bench::acme();
        bench.settle();
        let first = bench.active().serial;
        ask(&mut bench, "superseded");
        bench.crash_after = Some(after);
        bench.settle();
        assert!(bench.ca.revoked.iter().all(|(serial, _)| *serial == first), "crash after {after}");
        assert!(!bench.ca.revoked.is_empty());
        assert_eq!(bench.active().revision, 2, "crash after {after}");
        bench.assert_ready();
    }
}

#[test]
fn a_ca_that_does_not_answer_is_asked_again() {
    let mut bench = Bench::acme();
    bench.settle();
    bench.faults.push(("revoke", failure(Pace::Transient, "ServerUnavailable", "no answer")));
    ask(&mut bench, "superseded");
    bench.settle_within(secs(5));
    bench.assert_condition(
        "Issuing",
        "True",
        "ServerUnavailable",
        &format!("no answer (next try at {})", bench.wake.unwrap()),
    );
    assert_eq!(bench.active().revision, 1);
    bench.faults.clear();
    bench.now = bench.wake.unwrap();
    bench.settle();
    assert_eq!((bench.ca.revoked.len(), bench.active().revision), (1, 2));
}

#[test]
fn a_reason_that_no_ca_knows_revokes_nothing() {
    let mut bench = Bench::acme();
    bench.settle();
    ask(&mut bench, "because");
    bench.settle();
    bench.assert_ready();
    assert_eq!((bench.ca.revoked.len(), bench.active().revision), (0, 1));
    let findings = bench.status().findings;
    let finding = findings.iter().find(|f| f.reason == "NotRevoked").unwrap();
    assert_eq!(
        finding.message,
        "the annotation mailcert.dev/revoke does not name a reason, so nothing is revoked: use one of unspecified, \
         keyCompromise, affiliationChanged, superseded, cessationOfOperation"
    );
}

#[test]
fn an_issuer_that_revokes_nothing_still_gives_another_key() {
    let mut bench = Bench::with_ca();
    bench.settle();
    let first = bench.active();
    ask(&mut bench, "keyCompromise");
    bench.settle();
    let second = bench.active();
    assert_eq!(second.revision, 2);
    assert_ne!(second.spki_sha256, first.spki_sha256);
    bench.assert_ready();
}
