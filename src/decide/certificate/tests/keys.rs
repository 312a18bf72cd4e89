//! The life of keys apart from that of certificates.

use super::bench::*;
use super::fake_source::{importing, issued};
use crate::api::certificate::{KeyRotation, RotationPolicy};
use crate::api::keys;

/// Keys are in use for a year, certificates for 90 days.
fn yearly() -> Bench {
    let mut bench = Bench::with_ca();
    let year = std::time::Duration::from_secs(8760 * 3600).into();
    bench.edit(|s| {
        s.options.private_key.rotation =
            KeyRotation { policy: RotationPolicy::After, after: Some(year), remind_before: None, prepare_next: true };
    });
    bench.settle();
    bench
}

#[test]
fn ordinary_renewals_keep_the_key_until_it_is_old() {
    let mut bench = yearly();
    let begin = bench.now;
    let first = bench.active();
    assert_eq!(first.key_since.as_ref().unwrap().0, begin);
    let next = bench.status().next_key.expect("the next key is made ahead");
    assert_ne!(next.spki_sha256, first.spki_sha256);
    bench.take_notes();
    let mut reminded = None;
    while bench.active().spki_sha256 == first.spki_sha256 {
        bench.now = bench.wake.unwrap();
        bench.settle();
        if bench.condition("KeyRotationDue").0 == "True" && reminded.is_none() {
            reminded = Some(bench.now.duration_since(begin).as_hours());
            let due = begin + days(365);
            let number = bench.active().revision;
            let message =
                format!("the key of revision {number} has been in use since {begin}: it is replaced at {due}");
            bench.assert_condition("KeyRotationDue", "True", "KeyRotationDue", &message);
            let told = bench.take_notes();
            assert!(told.contains(&(false, "KeyRotationDue".to_owned(), message)), "{told:?}");
        }
    }
    assert_eq!(reminded, Some(8760 - 720));
    assert_eq!(bench.now.duration_since(begin).as_hours(), 8760);
    assert!(bench.active().revision > 5, "renewals went on");
    assert_eq!(bench.active().spki_sha256, next.spki_sha256);
    assert_eq!(bench.active().reason.as_deref(), Some("KeyRotationDue"));
    assert_eq!(bench.active().key_since.unwrap().0, bench.now);
    assert_ne!(bench.status().next_key.unwrap().spki_sha256, next.spki_sha256);
    assert_eq!(bench.condition("KeyRotationDue").0, "");
    bench.assert_ready();
}

#[test]
fn another_key_is_made_when_it_is_asked_for() {
    for policy in [RotationPolicy::Never, RotationPolicy::Always] {
        let mut bench = Bench::with_ca();
        bench.edit(|s| s.options.private_key.rotation.policy = policy);
        bench.settle();
        let first = bench.active();
        for value in ["a", "b"] {
            let before = bench.active();
            bench.annotate(keys::ROTATE_KEY, value);
            bench.settle();
            assert_eq!(bench.active().revision, before.revision + 1, "once for each value");
            assert_ne!(bench.active().spki_sha256, before.spki_sha256);
            assert_eq!(bench.active().reason.as_deref(), Some("KeyRotationRequested"));
        }
        assert_ne!(bench.active().spki_sha256, first.spki_sha256);
        assert_eq!(bench.status().next_key, None, "none is made ahead where nobody wants it");
    }
}

#[test]
fn an_order_uses_the_key_that_was_made_ahead() {
    let mut bench = Bench::acme();
    bench.edit(|s| s.options.private_key.rotation.prepare_next = true);
    bench.settle();
    let next = bench.status().next_key.unwrap();
    bench.ask_to_renew("a");
    bench.settle();
    assert_eq!(bench.active().spki_sha256, next.spki_sha256);
}

#[test]
fn a_next_key_that_was_deleted_is_told_and_made_again() {
    let mut bench = yearly();
    let lost = bench.status().next_key.unwrap();
    bench.next_key = None;
    bench.take_notes();
    bench.settle();
    let made = bench.status().next_key.unwrap();
    assert_ne!(made.spki_sha256, lost.spki_sha256);
    let told = format!(
        "the Secret {} with the next key (SPKI {}) cannot be used (somebody else deleted it): another one was made, and DNS \
         has to learn of it",
        lost.secret_name, lost.spki_sha256
    );
    assert_eq!(bench.take_notes(), [(true, "NextKeyLost".to_owned(), told)]);
}

#[test]
fn another_kind_of_key_makes_another_next_one() {
    let mut bench = yearly();
    bench.edit(|s| s.options.private_key.size = Some(384));
    bench.settle();
    let status = bench.status();
    assert_eq!(status.active.unwrap().key, "ECDSA P-384");
    assert_eq!(status.next_key.unwrap().key, "ECDSA P-384");
}

#[test]
fn a_crash_loses_no_key_that_was_made_ahead() {
    for step in 0..12 {
        let mut bench = yearly();
        let next = bench.status().next_key.unwrap();
        bench.annotate(keys::ROTATE_KEY, "a");
        bench.crash_after = Some(step);
        bench.settle();
        assert_eq!(bench.active().spki_sha256, next.spki_sha256, "step {step}");
        let after = bench.status().next_key.unwrap();
        assert_eq!(bench.next_key.as_ref().unwrap().spki_sha256().to_string(), after.spki_sha256, "step {step}");
        assert_ne!(after.spki_sha256, next.spki_sha256, "step {step}");
    }
}

#[test]
fn the_key_of_an_imported_certificate_is_reminded_of_and_left_to_its_source() {
    let (mut bench, authority) = importing();
    let year = std::time::Duration::from_secs(8760 * 3600).into();
    bench.edit(|s| {
        let rotation = KeyRotation { policy: RotationPolicy::After, after: Some(year), ..KeyRotation::default() };
        s.options.private_key.rotation = rotation;
    });
    let two_years = issued(&authority, &["mail.example.com"], bench.now, days(730));
    bench.put(&two_years, &authority);
    bench.settle();
    let begin = bench.now;
    bench.settle_after(days(334));
    assert_eq!(bench.condition("KeyRotationDue").0, "");
    bench.take_notes();
    bench.settle_after(days(2));
    let due = begin + days(365);
    let message = format!(
        "the key of revision 1 has been in use since {begin}: import a certificate with another key before {due}"
    );
    bench.assert_condition("KeyRotationDue", "True", "KeyRotationDue", &message);
    assert!(bench.take_notes().contains(&(false, "KeyRotationDue".to_owned(), message)));
    bench.settle_after(days(60));
    assert_eq!(bench.active().revision, 1, "no key is made for it here");
    let another = issued(&authority, &["mail.example.com"], bench.now, days(300));
    bench.put(&another, &authority);
    bench.settle();
    assert_eq!((bench.active().revision, bench.condition("KeyRotationDue").0.as_str()), (2, ""));
}
