//! What makes a new revision, and what does not.

use super::bench::*;
use super::fake_ca::ca;
use crate::api::MailCertificateSpec;
use crate::api::certificate::{KeyAlgorithm, SecretTemplate, Usage};
use crate::decide::backoff::Pace;
use crate::decide::certificate::world::IssuerView;

fn reissued_for(change: impl FnOnce(&mut MailCertificateSpec), reason: &str, message: &str) {
    let mut bench = Bench::with_ca();
    bench.settle();
    bench.edit(change);
    bench.faults.push(("sign", failure(Pace::Transient, "SigningFailed", "no")));
    bench.pass();
    let message = format!("{message}: no (next try at 2030-06-15T12:00:10Z)");
    bench.assert_condition("Ready", "False", reason, &message);
    assert_eq!(bench.attempt().reason, reason);
    bench.faults.clear();
    bench.settle_after(secs(10));
    assert_eq!(bench.active().revision, 2);
    bench.assert_ready();
}

#[test]
fn every_change_of_substance_is_a_new_revision() {
    reissued_for(
        |s| s.dns_names = vec!["imap.example.com".to_owned()],
        "NamesChanged",
        "the certificate lacks imap.example.com and still has mail.example.com",
    );
    reissued_for(
        |s| s.options.private_key.algorithm = KeyAlgorithm::Ed25519,
        "KeyChanged",
        "the key is ECDSA P-256, wanted is Ed25519",
    );
    reissued_for(
        |s| s.options.usages = vec![Usage::ClientAuth],
        "SubjectChanged",
        "subject, mail addresses or usages have changed",
    );
    reissued_for(
        |s| s.issuer_ref = named("other"),
        "IssuerChanged",
        "the certificate is from MailIssuer post/issuer, and shall be from MailIssuer post/other",
    );
}

#[test]
fn another_key_pair_of_the_ca_is_a_new_revision() {
    let mut bench = Bench::with_ca();
    bench.settle();
    bench.issuer = IssuerView::Ca(ca("Root", at("2040-01-01T00:00:00Z")));
    bench.settle();
    assert_eq!((bench.active().revision, bench.status().previous.len()), (2, 1));
    bench.assert_ready();
}

#[test]
fn order_and_spelling_of_names_are_no_change() {
    let mut bench = Bench::with_ca();
    bench.edit(|s| s.dns_names = vec!["a.example.com".to_owned(), "b.example.com".to_owned()]);
    bench.settle();
    bench.edit(|s| {
        s.dns_names = vec!["B.example.com".to_owned(), "a.example.com".to_owned(), "b.example.com".to_owned()];
        s.options.renewal.before_percentage = Some(20);
        s.options.duration = Some(std::time::Duration::from_secs(3600 * 500).into());
    });
    bench.settle();
    assert_eq!(bench.active().revision, 1);
    assert_eq!(bench.status().observed_generation, Some(3));
}

#[test]
fn labels_asked_for_are_written_with_the_same_pair() {
    let mut bench = Bench::with_ca();
    bench.settle();
    let before = bench.active();
    for team in ["post", "mail"] {
        bench.take_log();
        bench.take_notes();
        bench.edit(|s| {
            let labels = [("team".to_owned(), team.to_owned())].into();
            s.options.secret_template = Some(SecretTemplate { labels, ..SecretTemplate::default() });
        });
        bench.settle();
        assert_eq!(bench.take_log(), ["read the active Secret", "write revision 1 to the active Secret"]);
        assert_eq!(bench.take_notes(), []);
        assert_eq!(bench.status().repairs, None, "nobody else changed it");
    }
    assert_eq!(bench.active().fingerprint_sha256, before.fingerprint_sha256);
    bench.assert_ready();
}

#[test]
fn labels_and_names_at_once_keep_the_old_key() {
    let mut bench = Bench::with_ca();
    bench.settle();
    let old = bench.active();
    bench.edit(|s| {
        s.options.secret_template = Some(SecretTemplate::default());
        s.dns_names.push("imap.example.com".to_owned());
    });
    bench.settle();
    assert_eq!(bench.active().revision, 2);
    let kept = bench.revisions[&1].1.content.as_ref().unwrap();
    assert_eq!(kept.chain.leaf().fingerprint.to_string(), old.fingerprint_sha256);
}

#[test]
fn the_annotation_renews_once_for_each_value() {
    for mut bench in [Bench::with_ca(), Bench::acme()] {
        bench.settle();
        for (n, value) in ["a", "b", "c"].into_iter().enumerate() {
            bench.ask_to_renew(value);
            bench.settle();
            assert_eq!(bench.active().revision, n as i64 + 2);
            assert_eq!(bench.status().last_renew_request.as_deref(), Some(value));
            bench.assert_ready();
        }
    }
}

#[test]
fn an_annotation_on_a_new_object_asks_for_nothing_more() {
    let mut bench = Bench::with_ca();
    bench.ask_to_renew("a");
    bench.settle();
    assert_eq!(bench.active().revision, 1);
    assert_eq!(bench.status().last_renew_request.as_deref(), Some("a"));
}

#[test]
fn a_renewal_asked_for_outlives_failures_and_does_not_pass_the_pause_twice() {
    for seen in [None, Some("earlier")] {
        let mut bench = Bench::acme();
        bench.settle();
        if let Some(value) = seen {
            bench.ask_to_renew(value);
            bench.settle();
        }
        let before = bench.active().revision;
        bench.faults.push(("create", failure(Pace::Transient, "ServerUnavailable", "down")));
        bench.ask_to_renew("now");
        bench.settle_within(secs(0));
        bench.assert_ready();
        bench.assert_condition(
            "Issuing",
            "True",
            "ServerUnavailable",
            &format!("down (next try at {})", bench.now + secs(10)),
        );
        assert_eq!((bench.attempt().reason.as_str(), bench.attempt().failures), ("RenewalRequested", 1));
        bench.take_log();
        bench.pass();
        assert_eq!(bench.take_log(), [""; 0]);
        bench.ask_to_renew("now, please");
        bench.pass();
        assert_eq!(bench.attempt().failures, 2, "another value is another request");
        bench.pass();
        assert_eq!(bench.attempt().failures, 2);
        // Another reason that comes and goes does not make it forget.
        bench.edit(|s| s.dns_names.push("imap.example.com".to_owned()));
        bench.pass();
        bench.edit(|s| s.dns_names.truncate(1));
        bench.pass();
        assert_eq!(bench.attempt().reason, "RenewalRequested");
        bench.faults.clear();
        bench.settle_after(secs(60));
        assert_eq!(bench.active().revision, before + 1);
        assert_eq!(bench.status().attempt, None);
    }
}
