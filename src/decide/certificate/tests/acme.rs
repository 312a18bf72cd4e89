//! ACME orders: one step after the other, and every way in which they fail.

use super::bench::*;
use super::fake_ca::{Wrong, acme_view};
use crate::decide::backoff::Pace;
use crate::decide::certificate::world::{How, IssuerView};

const NAME: &str = "mail.example.com";

#[test]
fn an_order_goes_its_way() {
    let mut bench = Bench::acme();
    bench.pass();
    let key = format!("store the key of revision 1 in Secret {}", bench.revisions[&1].0);
    let (asked, counted) = ("ask DNS about mail.example.com", "count an order for mail.example.com");
    assert_eq!(bench.take_log(), [key.as_str(), asked, counted, "create an ACME order for mail.example.com"]);
    let order = bench.attempt().order.unwrap();
    assert_eq!((order.url.as_str(), order.dns_names.as_slice()), ("https://ca.test/order/0", &[NAME.to_owned()][..]));
    assert_eq!(order.challenges[0].token, "token-0-mail.example.com");
    bench.assert_condition("Ready", "False", "OrderPending", "the ACME order https://ca.test/order/0 waits for the CA");
    bench.assert_condition(
        "Issuing",
        "True",
        "OrderPending",
        "the ACME order https://ca.test/order/0 waits for the CA",
    );
    bench.settle();
    let name = bench.revisions[&1].0.clone();
    let read = format!("read the revision Secret {name}");
    let look = "look at the ACME order https://ca.test/order/0";
    assert_eq!(
        bench.take_log(),
        [
            &read,
            look,
            "route 1 challenges to the operator",
            "check the challenge of mail.example.com from here",
            "let the CA look at the challenges of mail.example.com",
            &read,
            look,
            "send the CSR to the ACME order https://ca.test/order/0",
            &read,
            look,
            "fetch the certificate of the ACME order https://ca.test/order/0",
            &format!("store revision 1 in Secret {name}"),
            "write revision 1 to the active Secret",
            "remove the challenges' routes",
        ]
    );
    bench.assert_ready();
    assert_eq!(bench.status().attempt, None);
    assert!(!bench.ca.exposed);
}

#[test]
fn without_self_check_and_routes_the_ca_is_asked_at_once() {
    let mut bench = Bench::new(acme_view(How::Http01 { exposes: false }, false));
    bench.ca.exposed = true;
    bench.settle();
    let log = bench.take_log();
    assert!(log.iter().all(|l| !l.contains("route") && !l.contains("check")), "{log:#?}");
    bench.assert_ready();
}

#[test]
fn a_self_check_that_fails_asks_the_ca_nothing() {
    let mut bench = Bench::acme();
    bench.ca.unreachable.insert(NAME.to_owned());
    bench.settle();
    bench.assert_condition(
        "Issuing",
        "True",
        "SelfCheckFailed",
        "the challenge cannot be reached from the operator, so the CA was not asked: mail.example.com: 404 Not Found. \
         Let port 80 of the name lead to the operator's challenge Service, or set selfCheck: Skip where only this look \
         fails (next try at 2030-06-15T12:02:31Z)",
    );
    assert!(bench.ca.orders[0].answered.is_empty());
    assert!(bench.attempt().order.unwrap().challenges[0].failures >= 3);
    bench.ca.unreachable.clear();
    bench.now = bench.wake.unwrap();
    bench.settle();
    bench.assert_ready();
    assert_eq!(bench.ca.orders.len(), 1);
}

#[test]
fn what_the_ca_says_is_passed_on_and_the_pauses_grow() {
    let mut bench = Bench::acme();
    bench.ca.refuses.insert(NAME.to_owned(), "DNS problem: NXDOMAIN looking up A for mail.example.com".to_owned());
    for (orders, pause) in [(1, 60), (2, 600), (3, 6000), (4, 86_400), (5, 86_400)] {
        bench.settle_within(secs(30));
        let attempt = bench.attempt();
        assert_eq!((bench.ca.orders.len(), attempt.failures), (orders, orders as i32));
        let retry = attempt.retry_time.unwrap().0;
        assert_eq!(retry.duration_since(attempt.last_failure_time.unwrap().0), secs(pause));
        assert_eq!(bench.wake, Some(retry));
        let message = format!(
            "the CA did not grant the order: mail.example.com: DNS problem: NXDOMAIN looking up A for \
             mail.example.com (next try at {retry})"
        );
        bench.assert_condition("Ready", "False", "ValidationFailed", &message);
        bench.assert_condition("Issuing", "True", "ValidationFailed", &message);
        assert!(!bench.ca.exposed && attempt.order.is_none());
        bench.now = retry - secs(1);
        bench.take_log();
        bench.pass();
        assert_eq!(bench.take_log(), [""; 0], "nothing is asked before its time");
        bench.now = retry;
    }
    assert_eq!(bench.revisions.len(), 1, "the key is used again");
    bench.edit(|s| s.options.history.revisions = 5);
    bench.settle_within(secs(30));
    assert_eq!(bench.attempt().failures, 1, "another spec begins anew");
}

#[test]
fn a_server_that_asks_to_wait_is_not_asked_earlier() {
    let mut bench = Bench::acme();
    let mut fault = failure(Pace::Refusal, "RateLimited", "too many certificates (5) already issued");
    fault.retry_after = Some(secs(3 * 3600));
    bench.faults.push(("create an ACME order", fault));
    bench.settle();
    bench.assert_condition(
        "Ready",
        "False",
        "RateLimited",
        "too many certificates (5) already issued (next try at 2030-06-15T15:00:00Z)",
    );
    assert_eq!(bench.wake, Some(at("2030-06-15T15:00:00Z")));
    bench.take_log();
    bench.settle_after(secs(3600));
    assert_eq!(bench.take_log(), [""; 0]);
}

#[test]
fn a_server_that_is_down_is_asked_less_and_less_and_the_order_goes_on() {
    let mut bench = Bench::acme();
    bench.pass();
    bench.faults.push(("ACME order", failure(Pace::Transient, "ServerUnavailable", "ca.test does not answer")));
    bench.now += secs(1);
    bench.settle_within(secs(600));
    let attempt = bench.attempt();
    assert_eq!(attempt.failures, 7);
    assert_eq!(attempt.order.unwrap().url, "https://ca.test/order/0");
    bench.faults.clear();
    bench.now = bench.wake.unwrap();
    bench.settle();
    bench.assert_ready();
    assert_eq!(bench.ca.orders.len(), 1);
}

#[test]
fn an_order_that_is_lost_leaves_nothing_reachable() {
    let mut bench = Bench::acme();
    bench.ca.slow = true;
    bench.settle_within(secs(0));
    bench.now += secs(1);
    bench.pass();
    assert!(bench.ca.exposed && bench.attempt().order.unwrap().exposed);
    let mut gone = failure(Pace::Refusal, "OrderRefused", "the order does not exist");
    gone.order_lost = true;
    bench.faults.push(("look at the ACME order", gone.clone()));
    bench.faults.push(("remove", failure(Pace::Transient, "Forbidden", "ingresses may not be deleted")));
    bench.now += secs(2);
    bench.pass();
    assert!(bench.attempt().order.unwrap().exposed, "still to be removed");
    bench.assert_condition(
        "Issuing",
        "True",
        "Forbidden",
        "ingresses may not be deleted (next try at 2030-06-15T12:00:13Z)",
    );
    bench.faults.pop();
    bench.now = bench.wake.unwrap();
    bench.pass();
    assert!(!bench.ca.exposed && bench.attempt().order.is_none());
    assert_eq!(bench.attempt().failures, 2);
}

#[test]
fn a_wrong_certificate_is_never_stored_over_the_working_one() {
    for (wrong, words) in [
        (Wrong::Key, "the private key does not belong to the certificate"),
        (Wrong::Names, "the certificate does not cover mail.example.com"),
        (Wrong::Dates, "expired at"),
    ] {
        let mut bench = Bench::acme();
        bench.settle();
        let first = bench.active();
        bench.ca.wrong = Some(wrong);
        bench.now = bench.wake.unwrap();
        bench.settle_within(secs(30));
        assert_eq!(bench.pair().chain.leaf().fingerprint.to_string(), first.fingerprint_sha256);
        assert_eq!(bench.active().revision, 1);
        bench.assert_ready();
        let (status, reason, message) = bench.condition("Issuing");
        assert_eq!((status.as_str(), reason.as_str()), ("True", "IssuedInvalid"));
        assert!(message.starts_with("what was issued is not what was asked for, and is not used: "), "{message}");
        assert!(message.contains(words), "{message}");
        bench.ca.wrong = None;
        bench.now = bench.wake.unwrap();
        bench.settle();
        assert_eq!(bench.active().revision, 2);
    }
}

#[test]
fn names_that_change_while_an_order_is_under_way_make_another_order() {
    let mut bench = Bench::acme();
    bench.ca.slow = true;
    bench.settle_within(secs(1));
    assert!(bench.ca.exposed);
    bench.edit(|s| s.dns_names.push("imap.example.com".to_owned()));
    bench.pass();
    bench.assert_condition("Issuing", "True", "OrderPending", "the names have changed: a new order is made");
    assert!(!bench.ca.exposed && bench.attempt().order.is_none());
    bench.ca.slow = false;
    bench.settle();
    assert_eq!(bench.active().dns_names, ["imap.example.com", NAME]);
    assert_eq!((bench.ca.orders.len(), bench.revisions.len(), bench.active().revision), (2, 1, 1));
}

#[test]
fn another_kind_of_key_while_an_order_is_under_way_is_made_once() {
    let mut bench = Bench::acme();
    bench.ca.slow = true;
    bench.settle_within(secs(1));
    bench.edit(|s| s.options.private_key.size = Some(384));
    bench.ca.slow = false;
    bench.settle();
    assert_eq!((bench.active().revision, bench.active().key.as_str()), (2, "ECDSA P-384"));
    assert_eq!(bench.revisions.keys().copied().collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn what_acme_cannot_ask_for_is_said() {
    let mut bench = Bench::acme();
    bench.edit(|s| s.dns_names = vec!["*.example.com".to_owned()]);
    bench.settle();
    let message = "only dns01 and dnsPersist01 can validate the wildcard *.example.com, and no such solver of the \
                   issuer is for it: add one to the MailIssuer, list the host names instead, or use a ca issuer";
    bench.assert_condition("Ready", "False", "InvalidSpec", message);
    bench.assert_condition("Stalled", "True", "InvalidSpec", message);
    bench.assert_condition("Issuing", "False", "InvalidSpec", message);
    assert_eq!(bench.take_log(), [""; 0]);
}

#[test]
fn nothing_stays_reachable_while_it_takes_a_person() {
    let mut bench = Bench::acme();
    bench.ca.slow = true;
    bench.settle_within(secs(1));
    assert!(bench.ca.exposed);
    let issuer = std::mem::replace(&mut bench.issuer, IssuerView::NotFound);
    bench.settle();
    assert!(!bench.ca.exposed);
    bench.issuer = issuer;
    bench.ca.slow = false;
    bench.settle();
    bench.assert_ready();
    assert_eq!(bench.ca.orders.len(), 1, "the order is gone on with");
}

#[test]
fn another_issuer_takes_over_from_an_order() {
    let mut bench = Bench::acme();
    bench.ca.slow = true;
    bench.settle_within(secs(1));
    bench.edit(|s| s.issuer_ref = named("other"));
    bench.issuer = IssuerView::SelfSigned;
    bench.settle();
    assert!(!bench.ca.exposed);
    assert_eq!(bench.status().attempt, None);
    bench.assert_ready();
}

#[test]
fn a_retry_time_far_ahead_is_ignored_and_the_clock_may_jump() {
    let mut bench = Bench::acme();
    bench.faults.push(("create", failure(Pace::Transient, "ServerUnavailable", "down")));
    bench.now += days(400);
    bench.settle();
    bench.now -= days(400);
    bench.faults.clear();
    bench.settle();
    bench.assert_ready();
    let end = bench.active().not_after.0;
    let real = bench.now;
    bench.ca.slow = true;
    bench.now = end + secs(5);
    bench.settle_within(secs(1));
    assert_eq!(bench.condition("Ready").1, "Expired");
    assert!(bench.ca.exposed || !bench.ca.orders.is_empty());
    bench.now = real;
    bench.settle();
    bench.assert_ready();
    assert_eq!((bench.status().attempt, bench.ca.exposed, bench.active().revision), (None, false, 1));
}
