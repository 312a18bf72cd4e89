//! Renewal when the CA suggests it (RFC 9773).

use std::sync::Arc;

use k8s_openapi::jiff::SignedDuration;

use super::super::world::*;
use super::bench::*;
use super::fake_ca::acme_view;
use crate::decide::backoff::Pace;

fn bench() -> Bench {
    let IssuerView::Acme(view) = acme_view(How::Dns01, true) else { panic!("an ACME issuer") };
    let view = AcmeView { renewal_info: true, ..Arc::unwrap_or_clone(view) };
    Bench::new(IssuerView::Acme(Arc::new(view)))
}

fn window(start: &str, end: &str) -> Option<Result<RenewalWindow, String>> {
    let explanation_url = Some("https://ca.test/why".to_owned());
    Some(Ok(RenewalWindow { start: at(start), end: at(end), explanation_url }))
}

#[test]
fn the_certificate_is_renewed_in_the_window_and_the_order_says_what_it_replaces() {
    let mut bench = bench();
    bench.ca.renewal = window("2030-07-01T00:00:00Z", "2030-07-03T00:00:00Z");
    bench.settle();
    let (status, active) = (bench.status(), bench.active());
    let info = status.renewal_info.unwrap();
    assert_eq!(Some(&info.certificate_id), active.ari_id.as_ref());
    assert_eq!(status.renewal_time.unwrap().0, info.renew_at.0);
    assert!(info.start.0 <= info.renew_at.0 && info.renew_at.0 < info.end.0);
    assert_eq!(bench.ca.replaced, [None]);
    // Asked again and again, nothing changes.
    for _ in 0..5 {
        bench.now = bench.wake.unwrap();
        bench.settle();
        assert_eq!(bench.status().renewal_time.unwrap().0, info.renew_at.0);
    }
    bench.ca.renewal = window("2030-09-01T00:00:00Z", "2030-09-03T00:00:00Z");
    bench.now = info.renew_at.0;
    bench.take_log();
    bench.next_renewal_check = Some((info.certificate_id.clone(), info.renew_at.0 + days(1)));
    bench.settle();
    assert_eq!(bench.active().revision, 2);
    assert_eq!(bench.ca.replaced, [None, Some(info.certificate_id.clone())]);
    assert_ne!(bench.status().renewal_info.unwrap().certificate_id, info.certificate_id);
}

#[test]
fn a_ca_that_moves_the_window_forward_gets_its_way_at_once() {
    let mut bench = bench();
    bench.ca.renewal = window("2030-08-01T00:00:00Z", "2030-08-03T00:00:00Z");
    bench.settle();
    bench.ca.renewal = window("2030-06-15T00:00:00Z", "2030-06-15T06:00:00Z");
    bench.settle_after(days(1));
    assert_eq!(bench.active().revision, 2, "the CA revokes soon");
}

#[test]
fn a_shorter_lifetime_than_before_is_the_cas_choice() {
    let mut bench = bench();
    bench.settle();
    let until = bench.active().not_after.0;
    bench.ca.lifetime = SignedDuration::from_hours(6 * 24);
    bench.ca.renewal = window("2030-06-15T00:00:00Z", "2030-06-15T06:00:00Z");
    bench.settle_after(days(1));
    let active = bench.active();
    assert_eq!(active.revision, 2);
    assert!(active.not_after.0 < until);
}

#[test]
fn an_answer_that_makes_no_sense_is_said_and_ignored() {
    let mut bench = bench();
    bench.ca.renewal = window("2030-08-01T00:00:00Z", "2030-07-01T00:00:00Z");
    bench.settle();
    let status = bench.status();
    assert_eq!(status.renewal_info, None);
    assert_eq!(status.findings.iter().filter(|f| f.reason == "RenewalInfoIgnored").count(), 1);
    // A third of 90 days is left, or a little more.
    let left = bench.active().not_after.0.duration_since(status.renewal_time.unwrap().0);
    assert!(left >= days(30) && left < days(34), "{left}");
    bench.ca.renewal = window("2030-07-01T00:00:00Z", "2030-07-03T00:00:00Z");
    bench.now = bench.wake.unwrap();
    bench.settle();
    assert!(bench.status().findings.iter().all(|f| f.reason != "RenewalInfoIgnored"));
    assert!(bench.status().renewal_info.is_some());
}

#[test]
fn a_server_that_fails_is_asked_again_later_and_does_not_disturb() {
    let mut bench = bench();
    bench.ca.renewal = window("2030-07-01T00:00:00Z", "2030-07-03T00:00:00Z");
    bench.settle();
    let info = bench.status().renewal_info;
    bench.ca.renewal = Some(Err("503".to_owned()));
    bench.now = bench.wake.unwrap();
    bench.settle();
    assert_eq!(bench.status().renewal_info, info, "what was known still counts");
    bench.assert_ready();
    assert!(bench.wake.unwrap() >= bench.now + secs(3600));
}

#[test]
fn who_wants_no_advice_is_not_given_any() {
    let mut bench = bench();
    bench.edit(|s| s.options.renewal.ari = false);
    bench.ca.renewal = window("2030-06-16T00:00:00Z", "2030-06-17T00:00:00Z");
    bench.settle();
    assert_eq!(bench.status().renewal_info, None);
    assert!(bench.take_log().iter().all(|l| !l.contains("ask when")));
}

#[test]
fn an_own_time_counts_unless_the_ca_wants_it_earlier() {
    let mut bench = bench();
    bench.edit(|s| s.options.renewal.before = Some(std::time::Duration::from_secs(60 * 86_400).into()));
    bench.ca.renewal = window("2030-08-10T00:00:00Z", "2030-08-12T00:00:00Z");
    bench.settle();
    let due = bench.status().renewal_time.unwrap().0;
    assert!(due < at("2030-07-16T00:00:00Z"), "{due}");
}

#[test]
fn a_renewal_that_fails_meanwhile_is_retried_by_its_own_pace() {
    let mut bench = bench();
    bench.ca.renewal = window("2030-07-01T00:00:00Z", "2030-07-03T00:00:00Z");
    bench.settle();
    bench.faults.push(("create an ACME order", failure(Pace::Transient, "ServerUnavailable", "no answer")));
    bench.now = at("2030-07-03T00:00:00Z");
    bench.settle_within(secs(5));
    assert_eq!(bench.attempt().failures, 1);
    bench.faults.clear();
    bench.now = bench.wake.unwrap();
    bench.settle();
    assert_eq!(bench.active().revision, 2);
}
