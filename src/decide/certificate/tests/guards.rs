//! What stops it, and what works meanwhile.

use super::bench::*;
use crate::decide::certificate::world::IssuerView;

const CONFLICT: &str = "the Secret mail-tls is claimed by MailCertificate first, which was there first: choose another \
                        secretName";

#[test]
fn the_secret_of_somebody_else_is_left_alone() {
    let mut bench = Bench::acme();
    let mut other = Bench::self_signed();
    other.settle();
    bench.secret = other.secret.take();
    bench.secret.as_mut().unwrap().owner = None;
    bench.settle();
    let message = "the Secret mail-tls belongs to something else";
    bench.assert_condition("Ready", "False", "SecretConflict", message);
    bench.assert_condition("Stalled", "True", "SecretConflict", message);
    assert_eq!(bench.take_log(), [""; 0]);
    assert_eq!(bench.take_notes(), [(true, "SecretConflict".to_owned(), message.to_owned())]);
}

#[test]
fn a_rival_that_was_there_first_wins() {
    let mut bench = Bench::acme();
    bench.rival = Some("first".to_owned());
    bench.settle();
    bench.assert_condition("Ready", "False", "SecretConflict", CONFLICT);
    assert_eq!(bench.take_log(), [""; 0]);
    bench.rival = None;
    bench.settle();
    bench.assert_ready();
    bench.rival = Some("first".to_owned());
    bench.settle();
    bench.assert_condition("Ready", "False", "SecretConflict", CONFLICT);
}

#[test]
fn what_works_stays_ready_while_the_issuer_is_not() {
    for (issuer, stalled, reason, message) in [
        (
            IssuerView::NotFound,
            true,
            "IssuerNotFound",
            "MailIssuer post/issuer does not exist: create it, or correct issuerRef",
        ),
        (IssuerView::NotAllowed("not from here".to_owned()), true, "IssuerNotAllowed", "not from here"),
        (
            IssuerView::NotReady("no account".to_owned()),
            false,
            "IssuerNotReady",
            "MailIssuer post/issuer is not ready: no account",
        ),
    ] {
        let mut bench = Bench::with_ca();
        bench.settle();
        let secret = bench.secret.as_ref().unwrap().version;
        bench.take_log();
        bench.take_notes();
        bench.issuer = issuer.clone();
        bench.settle();
        bench.now = bench.wake.unwrap();
        bench.settle();
        bench.assert_ready();
        bench.assert_condition("Issuing", if stalled { "False" } else { "True" }, reason, message);
        assert_eq!(bench.condition("Stalled").0 == "True", stalled);
        assert_eq!(bench.condition("Reconciling").0 == "True", !stalled);
        assert_eq!(bench.secret.as_ref().unwrap().version, secret);
        assert_eq!(bench.take_log(), [""; 0]);

        let mut bench = Bench::self_signed();
        bench.issuer = issuer;
        bench.settle();
        bench.assert_condition("Ready", "False", reason, message);
    }
}

#[test]
fn what_is_not_permitted_is_said_and_tried_again() {
    let mut bench = Bench::self_signed();
    bench.forbidden = Some("Secrets may not be read here: create the RoleBinding".to_owned());
    bench.pass();
    bench.assert_condition("Ready", "False", "Forbidden", "Secrets may not be read here: create the RoleBinding");
    assert_eq!(bench.wake, Some(bench.now + secs(60)));
    bench.forbidden = None;
    bench.settle();
    bench.assert_ready();
    bench.forbidden = Some("gone".to_owned());
    bench.pass();
    bench.assert_ready();
}

#[test]
fn names_that_cannot_be_used_are_named() {
    let mut bench = Bench::self_signed();
    bench.edit(|s| s.dns_names.push("mail..example.com".to_owned()));
    bench.settle();
    let (ready, reason, message) = bench.condition("Ready");
    assert_eq!((ready.as_str(), reason.as_str()), ("False", "InvalidSpec"));
    assert!(message.starts_with("spec.dnsNames[1]: "), "{message}");
    assert_eq!(bench.take_log(), [""; 0]);
}

#[test]
fn a_certificate_of_tomorrow_is_not_ready() {
    let mut bench = Bench::self_signed();
    bench.settle();
    let start = bench.active().not_before.0;
    bench.now = start - days(2);
    bench.settle();
    bench.assert_condition(
        "Ready",
        "False",
        "NotYetValid",
        "the certificate is not valid before 2030-06-15T11:55:00Z: check the clocks of CA and cluster, then set the \
         annotation mailcert.dev/renew to a new value if a certificate that is valid now is needed",
    );
    assert_eq!(bench.wake, Some(start));
    bench.now = start;
    bench.settle();
    bench.assert_ready();
    assert_eq!(bench.active().revision, 1);
}
