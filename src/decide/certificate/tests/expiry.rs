//! Certificates that nobody renews, and renewals that do not come about, as the end comes near.

use super::bench::*;
use super::fake_ca::ca;
use super::fake_source::*;
use crate::decide::backoff::Pace;

#[test]
fn the_end_is_announced_once_at_each_threshold() {
    let (mut bench, authority) = importing();
    let files = issued(&authority, &["mail.example.com"], bench.now, days(90));
    bench.put(&files, &authority);
    bench.settle();
    assert_eq!(bench.condition("RenewalOverdue").0, "");
    bench.take_notes();
    let end = files.leaf.not_after;
    let mut told = Vec::new();
    while bench.now < end {
        bench.now = bench.wake.expect("a wake time");
        bench.settle();
        let expires_soon = |n: &(bool, String, String)| n.1 == "ExpiresSoon" || n.1 == "Expired";
        told.extend(
            bench
                .take_notes()
                .into_iter()
                .filter(expires_soon)
                .map(|n| (end.duration_since(bench.now).as_hours() / 24, n.2)),
        );
    }
    let advice = "it is not renewed here, so put a new one into the Secret that it is imported from";
    let said =
        |within: &str| format!("the imported certificate expires at {end}, less than {within} from now: {advice}");
    let mut wanted: Vec<(i64, String)> = [30, 14, 7, 3].into_iter().map(|n| (n, said(&format!("{n} days")))).collect();
    wanted.extend([(1, said("1 day")), (0, format!("the certificate expired at {end}"))]);
    assert_eq!(told, wanted);
    bench.assert_condition("Ready", "False", "Expired", &format!("the certificate expired at {end}"));
    assert_eq!(bench.condition("RenewalOverdue").1, "Expired");

    let newer = issued(&authority, &["mail.example.com"], bench.now, days(90));
    bench.put(&newer, &authority);
    bench.settle();
    assert_eq!((bench.condition("RenewalOverdue").0, bench.status().expiring), (String::new(), Vec::new()));
}

#[test]
fn the_spec_can_say_when_to_warn() {
    let (mut bench, authority) = importing();
    let warnings = serde_json::from_value(serde_json::json!(["50%", "36h"])).unwrap();
    bench.edit(|spec| spec.options.expiry_warnings = warnings);
    let files = issued(&authority, &["mail.example.com"], bench.now, days(90));
    bench.put(&files, &authority);
    bench.settle();
    let (start, end) = (files.leaf.not_before, files.leaf.not_after);
    assert_eq!(bench.wake, Some(start + end.duration_since(start) / 2));
    bench.now = bench.wake.unwrap();
    bench.settle();
    assert_eq!(bench.condition("RenewalOverdue").0, "True");
    assert_eq!(bench.wake, Some(end - secs(36 * 3600)));
}

#[test]
fn ca_certificates_that_end_are_announced_too() {
    let (mut bench, _) = importing();
    let short = ca("Short", bench.now + days(20));
    let files = issued(&short, &["mail.example.com"], bench.now, days(15));
    bench.import(|i| i.trust_anchors = Some(short.certificate().to_pem()));
    bench.put(&files, &short);
    bench.settle();
    let told: Vec<_> = bench.take_notes().into_iter().filter(|n| n.1 == "ExpiresSoon").map(|n| n.2).collect();
    let end = short.certificate().not_after;
    assert_eq!(
        told,
        [format!(
            "the trust anchor CN=Short expires at {end}, less than 30 days from now: give those who verify with ca.crt its \
             successor, and put it into the Secret that the certificate is imported from"
        )]
    );
}

#[test]
fn a_renewal_that_does_not_come_about_is_overdue_at_last() {
    let mut bench = Bench::with_ca();
    bench.settle();
    let due = bench.status().renewal_time.unwrap().0;
    let end = bench.active().not_after.0;
    bench.faults = vec![("sign", failure(Pace::Person, "SigningFailed", "the CA is away"))];
    bench.now = due;
    bench.settle_within(secs(59));
    assert_eq!(bench.condition("RenewalOverdue").0, "");
    let since = due + end.duration_since(due) / 2;
    let since = at(&format!("{}Z", &since.to_string()[..19]));
    while bench.now < since {
        bench.now = bench.wake.unwrap();
        bench.pass();
    }
    assert_eq!(bench.now, since, "it wakes up at that moment");
    let wanted =
        format!("the certificate was due for renewal at {due} and expires at {end}: the CA is away (next try at ");
    let (status, reason, message) = bench.condition("RenewalOverdue");
    assert_eq!((status.as_str(), reason.as_str()), ("True", "RenewalOverdue"));
    assert!(message.starts_with(&wanted), "{message}");
    bench.assert_ready();
    let told = bench.take_notes().into_iter().filter(|n| n.1 == "RenewalOverdue").collect::<Vec<_>>();
    assert_eq!(told, [(true, "RenewalOverdue".to_owned(), message)]);
}
