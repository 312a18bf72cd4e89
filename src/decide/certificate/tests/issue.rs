//! First issuance and renewal with `selfSigned` and `ca`.

use super::bench::*;
use crate::api::certificate::{RotationPolicy, Usage};
use crate::decide::certificate::world::IssuerView;

#[test]
fn a_self_signed_certificate_takes_one_write() {
    let mut bench = Bench::self_signed();
    assert!(bench.pass());
    assert_eq!(bench.take_log(), ["sign revision 1 for mail.example.com", "write revision 1 to the active Secret"]);
    let active = bench.active();
    assert_eq!((active.revision, active.secret_resource_version.as_deref()), (1, Some("101")));
    assert_eq!(active.dns_names, ["mail.example.com"]);
    assert_eq!(active.issuer_ref.as_ref().unwrap().namespace.as_deref(), Some("post"));
    let renewal = bench.status().renewal_time.unwrap().0;
    let message = format!("revision 1 is valid until 2030-09-13T12:00:00Z, renewed from {renewal} on");
    bench.assert_condition("Ready", "True", "Active", &message);
    assert_eq!(bench.status().conditions.len(), 1);
    assert_eq!(bench.wake, Some(renewal));
    let fingerprint = active.fingerprint_sha256;
    let told =
        format!("revision 1 is active: mail.example.com, valid until 2030-09-13T12:00:00Z, fingerprint {fingerprint}");
    assert_eq!(bench.take_notes(), [(false, "Issued".to_owned(), told)]);
    bench.settle();
    assert_eq!(bench.take_log(), [""; 0]);
}

#[test]
fn a_ca_signs_and_is_remembered() {
    let mut bench = Bench::with_ca();
    bench.settle();
    let active = bench.active();
    assert_eq!(active.authority_spki_sha256, Some(bench.ca.pair.certificate().spki_sha256.to_string()));
    assert_eq!(active.issuer, "CN=Root");
    bench.assert_ready();
}

#[test]
fn a_renewal_has_a_key_of_its_own_and_keeps_the_old_one() {
    let mut bench = Bench::with_ca();
    bench.settle();
    let first = bench.active();
    bench.take_log();
    bench.now = bench.wake.unwrap();
    bench.settle();
    let log = bench.take_log();
    assert_eq!(log.len(), 5, "{log:#?}");
    assert_eq!(log[0], "sign revision 2 for mail.example.com");
    assert_eq!(log[1], "read the active Secret");
    assert!(log[2].starts_with("store revision 2 in Secret mail-tls-r2-"), "{log:#?}");
    assert!(log[3].starts_with("store revision 1 in Secret mail-tls-r1-"), "{log:#?}");
    assert_eq!(log[4], "write revision 2 to the active Secret");
    let second = bench.active();
    assert_eq!(second.revision, 2);
    assert_ne!(first.spki_sha256, second.spki_sha256);
    assert_eq!(bench.status().previous[0].fingerprint_sha256, first.fingerprint_sha256);
    assert_eq!(bench.status().previous[0].secret_name.as_ref(), Some(&bench.revisions[&1].0));
    assert_eq!(bench.status().previous[0].secret_resource_version, None);
    assert_eq!(second.secret_name.as_ref(), Some(&bench.revisions[&2].0));
    bench.assert_ready();
}

#[test]
fn a_renewal_keeps_the_key_where_rotation_is_never() {
    let mut bench = Bench::with_ca();
    bench.edit(|s| s.options.private_key.rotation.policy = RotationPolicy::Never);
    bench.settle();
    let first = bench.active();
    bench.now = bench.wake.unwrap();
    bench.settle();
    assert_eq!(bench.active().revision, 2);
    assert_eq!(bench.active().spki_sha256, first.spki_sha256);
    assert_ne!(bench.active().serial, first.serial);
}

#[test]
fn history_is_cut_to_its_length() {
    let mut bench = Bench::with_ca();
    bench.edit(|s| s.options.history.revisions = 2);
    for _ in 0..5 {
        bench.settle();
        bench.now = bench.wake.unwrap();
    }
    bench.settle();
    assert_eq!(bench.active().revision, 6);
    assert_eq!(bench.revisions.keys().copied().collect::<Vec<_>>(), [4, 5, 6]);
    assert_eq!(bench.status().previous.iter().map(|r| r.revision).collect::<Vec<_>>(), [5, 4]);
    assert_eq!(bench.status().findings, [], "what the operator deletes itself is not lost");
    bench.edit(|s| s.options.history.revisions = 0);
    bench.settle();
    assert_eq!(bench.revisions.keys().copied().collect::<Vec<_>>(), [6]);
    assert!(bench.status().previous.is_empty());
}

#[test]
fn without_history_nothing_of_the_past_is_kept() {
    let mut bench = Bench::with_ca();
    bench.edit(|s| s.options.history.revisions = 0);
    bench.settle();
    bench.now = bench.wake.unwrap();
    bench.settle();
    assert_eq!(bench.revisions.keys().copied().collect::<Vec<_>>(), [2]);
    assert!(bench.status().previous.is_empty());
}

#[test]
fn every_kind_of_key_and_subject_is_issued_once() {
    let mut bench = Bench::with_ca();
    bench.edit(|s| {
        s.dns_names = vec!["*.example.com".to_owned(), "BÜCHER.example".to_owned(), "mail.example.com".to_owned()];
        s.common_name = Some("mail.example.com".to_owned());
        s.options.usages = vec![Usage::ClientAuth, Usage::ServerAuth];
        s.options.email_addresses = vec!["post@example.com".to_owned()];
        s.options.subject =
            Some(crate::api::certificate::Subject { organization: Some("Example".to_owned()), ..Default::default() });
    });
    bench.settle();
    assert_eq!(bench.active().revision, 1);
    assert_eq!(bench.active().dns_names, ["*.example.com", "mail.example.com", "xn--bcher-kva.example"]);
    bench.assert_ready();
}

#[test]
fn a_short_lifetime_is_not_renewed_over_and_over() {
    let mut bench = Bench::with_ca();
    bench.edit(|s| {
        s.options.duration = Some(std::time::Duration::from_secs(3600).into());
        s.options.renewal.before = Some(std::time::Duration::from_secs(62 * 60).into());
    });
    bench.settle();
    assert_eq!(bench.active().revision, 1);
    bench.settle_after(secs(60 * 20));
    assert_eq!(bench.active().revision, 1);
    bench.settle_after(secs(60 * 20));
    assert_eq!(bench.active().revision, 2);
}

#[test]
fn a_ca_that_ends_soon_is_not_asked_over_and_over() {
    let mut bench = Bench::with_ca();
    let end = bench.now + secs(300);
    bench.issuer = IssuerView::Ca(super::fake_ca::ca("Root", end));
    bench.settle_within(secs(30));
    assert_eq!(bench.active().not_after.0, end);
    assert_eq!(bench.active().revision, 1);
    bench.assert_ready();
    bench.assert_condition(
        "Issuing",
        "True",
        "IssuedInvalid",
        "the issuer gave a certificate that ends at 2030-06-15T12:05:00Z, no later than the active one, so it is not \
         used: a certificate never outlives its CA, so see whether the CA has to be renewed (next try at \
         2030-06-15T12:01:01Z)",
    );
}

#[test]
fn expiry_takes_ready_away_without_an_event() {
    let mut bench = Bench::with_ca();
    bench.settle();
    bench.issuer = IssuerView::NotReady("the CA's Secret is gone".to_owned());
    bench.now = bench.wake.unwrap();
    bench.settle();
    bench.assert_ready();
    bench.assert_condition(
        "Issuing",
        "True",
        "IssuerNotReady",
        "MailIssuer post/issuer is not ready: the CA's Secret is gone",
    );
    let end = bench.active().not_after.0;
    bench.now = bench.wake.unwrap();
    bench.settle();
    assert_eq!(bench.condition("RenewalOverdue").1, "RenewalOverdue");
    assert_eq!(bench.wake, Some(end), "the pass says when to look again");
    bench.now = end;
    bench.settle();
    bench.assert_condition(
        "Ready",
        "False",
        "Expired",
        "the certificate expired at 2030-09-13T12:00:00Z: MailIssuer post/issuer is not ready: the CA's Secret is gone",
    );
    bench.issuer = IssuerView::Ca(bench.ca.pair.clone());
    bench.settle();
    bench.assert_ready();
}

#[test]
fn signing_that_fails_waits_for_a_person_or_another_spec() {
    let mut bench = Bench::self_signed();
    bench.edit(|s| s.options.duration = Some(std::time::Duration::from_secs(0).into()));
    bench.settle();
    let (ready, reason, message) = bench.condition("Ready");
    assert_eq!((ready.as_str(), reason.as_str()), ("False", "SigningFailed"));
    assert!(message.ends_with("(next try at 2030-06-15T13:00:00Z)"), "{message}");
    bench.edit(|s| s.options.duration = None);
    bench.settle();
    bench.assert_ready();
    assert_eq!(bench.status().attempt, None);
}
