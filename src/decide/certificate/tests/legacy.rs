//! Old names never block the others.

use super::bench::*;
use crate::api::certificate::OnUnreachable;
use crate::decide::backoff::Pace;
use crate::decide::certificate::world::IssuerView;

const OLD: &str = "old.example.com";

fn bench() -> Bench {
    let mut bench = Bench::acme();
    bench.legacy(OLD, OnUnreachable::Report);
    bench
}

fn omitted(bench: &Bench) -> Vec<(String, String)> {
    bench.status().omitted_names.into_iter().map(|o| (o.name, o.problem)).collect()
}

#[test]
fn one_that_can_be_validated_is_in() {
    let mut bench = bench();
    bench.settle();
    assert_eq!(bench.active().dns_names, ["mail.example.com", OLD]);
    assert_eq!(omitted(&bench), []);
}

#[test]
fn one_that_cannot_be_reached_is_left_out_after_three_looks() {
    let mut bench = bench();
    bench.ca.unreachable.insert(OLD.to_owned());
    bench.settle();
    assert_eq!(bench.active().dns_names, ["mail.example.com"]);
    assert_eq!(omitted(&bench), [(OLD.to_owned(), "404 Not Found".to_owned())]);
    assert_eq!(bench.ca.orders.len(), 2);
    assert!(!bench.ca.exposed);
    bench.assert_ready();
    // The next renewal tries it again.
    bench.ca.unreachable.clear();
    bench.now = bench.wake.unwrap();
    bench.settle();
    assert_eq!(bench.active().dns_names, ["mail.example.com", OLD]);
    assert_eq!(omitted(&bench), []);
}

#[test]
fn one_that_the_ca_cannot_validate_is_left_out() {
    let mut bench = bench();
    bench.ca.refuses.insert(OLD.to_owned(), "connection refused".to_owned());
    bench.settle();
    assert_eq!(bench.active().dns_names, ["mail.example.com"]);
    assert_eq!(omitted(&bench), [(OLD.to_owned(), "connection refused".to_owned())]);
    bench.assert_ready();
}

#[test]
fn one_that_the_ca_refuses_by_name_is_left_out_of_the_next_try() {
    let mut bench = bench();
    let words = "the CA refuses the order: Cannot issue for \"old.example.com\": forbidden by policy";
    bench.faults.push((OLD, failure(Pace::Refusal, "OrderRefused", words)));
    bench.settle();
    assert_eq!(bench.condition("Ready").1, "OrderRefused");
    bench.settle_after(secs(60));
    assert_eq!(bench.active().dns_names, ["mail.example.com"]);
    assert_eq!(omitted(&bench), [(OLD.to_owned(), words.to_owned())]);
    bench.assert_ready();
}

#[test]
fn a_refusal_of_the_whole_order_names_nobody() {
    for words in ["no", "mail.example.com and old.example.com", "very-old.example.com", "old.example.community"] {
        let mut bench = bench();
        bench.faults.push(("create", failure(Pace::Refusal, "OrderRefused", words)));
        bench.settle();
        assert_eq!(bench.attempt().omitted_names, [], "{words}");
    }
}

#[test]
fn an_issuer_that_signs_itself_leaves_nothing_out() {
    let mut bench = bench();
    bench.ca.unreachable.insert(OLD.to_owned());
    bench.settle();
    bench.edit(|s| s.issuer_ref = named("other"));
    bench.issuer = IssuerView::SelfSigned;
    bench.settle();
    assert_eq!((bench.active().revision, bench.active().dns_names.len()), (2, 2));
    assert_eq!(omitted(&bench), []);
}

#[test]
fn one_left_out_and_then_taken_back_is_forgotten() {
    let mut bench = bench();
    bench.ca.unreachable.insert(OLD.to_owned());
    bench.settle();
    bench.edit(|s| s.legacy_dns_names.clear());
    bench.settle();
    assert_eq!((bench.active().revision, omitted(&bench)), (1, vec![]));
    bench.edit(|s| s.dns_names.push(OLD.to_owned()));
    bench.pass();
    let (ready, reason, message) = bench.condition("Ready");
    assert_eq!((ready.as_str(), reason.as_str()), ("False", "NamesChanged"));
    assert!(message.starts_with("the certificate lacks old.example.com"), "{message}");
}
