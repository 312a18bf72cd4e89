//! A self-signed certificate in the Secret until one is issued.

use super::bench::*;

fn bench() -> Bench {
    let mut bench = Bench::acme();
    bench.edit(|s| s.options.issue_temporary = true);
    bench
}

#[test]
fn it_stands_in_until_the_first_one_is_issued_and_is_never_ready() {
    let mut bench = bench();
    bench.ca.slow = true;
    bench.settle_within(secs(1));
    let temporary = bench.status().temporary.unwrap();
    let pair = bench.pair();
    assert_eq!(pair.chain.leaf().dns_names, ["mail.example.com"]);
    assert!(pair.chain.leaf().is_self_signed());
    assert_eq!(pair.chain.leaf().fingerprint.to_string(), temporary.fingerprint_sha256);
    let (status, reason, message) = bench.condition("Ready");
    assert_eq!((status.as_str(), reason.as_str()), ("False", "Temporary"));
    assert!(message.starts_with("a self-signed certificate, valid until 2030-07-15T12:00:00Z, stands in"), "{message}");
    assert_eq!(bench.status().active, None);
    bench.ca.slow = false;
    bench.settle();
    bench.assert_ready();
    assert_eq!(bench.status().temporary, None);
    assert!(!bench.pair().chain.leaf().is_self_signed());
    assert_eq!(bench.active().revision, 1);
}

#[test]
fn it_is_made_anew_before_it_ends() {
    let mut bench = bench();
    bench.ca.slow = true;
    bench.settle_within(secs(1));
    let first = bench.status().temporary.unwrap();
    bench.now += days(25);
    bench.pass();
    let second = bench.status().temporary.unwrap();
    assert_ne!(second.fingerprint_sha256, first.fingerprint_sha256);
    assert!(second.not_after.0 > first.not_after.0);
}

#[test]
fn a_real_one_is_never_replaced_by_it() {
    let mut bench = bench();
    bench.settle();
    let active = bench.active();
    // The status is lost, and the CA does not answer.
    bench.object.status = None;
    bench.ca.slow = true;
    bench.settle_within(secs(1));
    assert_eq!(bench.active().fingerprint_sha256, active.fingerprint_sha256);
    bench.assert_ready();
    assert!(bench.take_log().iter().filter(|l| l.contains("self-signed")).count() <= 1);
}

#[test]
fn without_the_wish_there_is_none() {
    let mut bench = Bench::acme();
    bench.ca.slow = true;
    bench.settle_within(secs(1));
    assert!(bench.secret.is_none());
}

#[test]
fn a_crash_anywhere_ends_with_the_real_one() {
    for after in 0..20 {
        let mut bench = bench();
        bench.crash_after = Some(after);
        bench.settle();
        bench.assert_ready();
        assert_eq!((bench.active().revision, bench.ca.orders.len() <= 2), (1, true), "crash after {after}");
    }
}
