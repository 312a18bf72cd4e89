//! Challenges in DNS, what DNS says before an order, the guard, and the chain that is taken.

use super::super::world::*;
use super::bench::*;
use super::fake_ca::{acme_view, ca};
use crate::api::certificate::OnUnreachable;
use crate::decide::caa::CaaRecord;

const NAME: &str = "mail.example.com";

fn dns() -> Bench {
    Bench::new(acme_view(How::Dns01, true))
}

fn finding(bench: &Bench, reason: &str) -> Option<String> {
    bench.status().findings.into_iter().find(|f| f.reason == reason).map(|f| f.message)
}

fn change(bench: &mut Bench, change: impl FnOnce(&mut AcmeView)) {
    let mut view = bench.issuer.acme().expect("an ACME issuer").clone();
    change(&mut view);
    bench.issuer = IssuerView::Acme(std::sync::Arc::new(view));
}

#[test]
fn a_record_is_published_awaited_and_removed() {
    let mut bench = dns();
    bench.ca.lag = 3;
    bench.settle_within(secs(1));
    let order = bench.attempt().order.unwrap();
    let record = order.challenges[0].record.clone().unwrap();
    assert_eq!(
        (record.name.as_str(), record.value.as_str()),
        ("_acme-challenge.mail.example.com", "value-0-mail.example.com")
    );
    assert_eq!(bench.status().published_records[0].record, record);
    bench.assert_condition(
        "Ready",
        "False",
        "OrderPending",
        &format!(
            "waiting for the TXT record on every authoritative server: mail.example.com: ns2.test lacks it (next try at {})",
            bench.wake.unwrap()
        ),
    );
    bench.settle();
    bench.assert_ready();
    let log = bench.take_log();
    let count = |text: &str| log.iter().filter(|l| l.contains(text)).count();
    assert_eq!((count("publish the TXT"), count("remove the TXT"), count("let the CA look")), (1, 1, 1), "{log:#?}");
    assert_eq!(count("route"), 0);
    assert!(bench.ca.records.is_empty() && bench.status().published_records.is_empty());
    assert!(bench.notes.iter().all(|n| !n.warning || n.reason == "ChainNotAnchored"), "{:?}", bench.notes);
}

#[test]
fn a_record_that_cannot_be_removed_is_tried_again_and_said() {
    let mut bench = dns();
    bench.settle_within(secs(1));
    bench.ca.stuck = Some("the server refuses".to_owned());
    bench.settle_within(secs(5));
    bench.assert_ready();
    assert_eq!(bench.ca.records.len(), 1);
    assert_eq!(bench.status().published_records.len(), 1, "{:#?} {:#?}", bench.status().findings, bench.log);
    assert_eq!(
        finding(&bench, "CleanUpFailed").as_deref(),
        Some("the TXT record _acme-challenge.mail.example.com could not be removed: the server refuses")
    );
    bench.ca.stuck = None;
    bench.now = bench.wake.unwrap();
    bench.settle();
    assert!(bench.ca.records.is_empty() && bench.status().published_records.is_empty());
    assert_eq!(finding(&bench, "CleanUpFailed"), None);
}

#[test]
fn an_order_that_is_given_up_takes_its_record_along() {
    let mut bench = dns();
    bench.ca.slow = true;
    bench.settle_within(secs(1));
    assert_eq!(bench.ca.records.len(), 1);
    bench.edit(|s| s.dns_names.push("imap.example.com".to_owned()));
    bench.pass();
    assert!(bench.ca.records.is_empty());
    bench.ca.slow = false;
    bench.settle();
    assert!(bench.ca.records.is_empty());
    bench.assert_ready();
}

#[test]
fn a_crash_anywhere_leaves_no_record() {
    for after in 0..24 {
        let mut bench = dns();
        bench.crash_after = Some(after);
        bench.settle();
        bench.assert_ready();
        assert!(bench.ca.records.is_empty(), "crash after {after}: {:?}", bench.ca.records);
        assert!(bench.ca.orders.len() <= 2, "crash after {after}");
    }
}

#[test]
fn without_a_self_check_the_ca_is_asked_as_soon_as_the_record_is_published() {
    let mut bench = Bench::new(acme_view(How::Dns01, false));
    bench.ca.lag = 100;
    bench.settle();
    bench.assert_ready();
    assert!(bench.take_log().iter().all(|l| !l.contains("from here")));
}

#[test]
fn tls_alpn_needs_no_route() {
    let mut bench = Bench::new(acme_view(How::TlsAlpn01, true));
    bench.settle();
    bench.assert_ready();
    let log = bench.take_log();
    assert!(log.iter().any(|l| l == "check the challenge of mail.example.com from here"), "{log:#?}");
    assert!(log.iter().all(|l| !l.contains("route") && !l.contains("publish")), "{log:#?}");
}

fn look(caa: Vec<CaaRecord>) -> NameLook {
    NameLook {
        name: NAME.to_owned(),
        has_address: Some(Ok(false)),
        caa: Some(Ok((Some("example.com".to_owned()), caa))),
        persist: Some(Ok(vec!["ca.test; accounturi=https://ca.test/acct/2".to_owned()])),
    }
}

fn only(issuer: &str) -> Vec<CaaRecord> {
    vec![CaaRecord { critical: false, tag: "issue".to_owned(), value: issuer.to_owned() }]
}

#[test]
fn what_caa_forbids_is_not_asked() {
    let mut bench = dns();
    bench.ca.looks.insert(NAME.to_owned(), look(only("other.test")));
    bench.settle();
    assert!(bench.ca.orders.is_empty());
    let (_, reason, message) = bench.condition("Ready");
    assert_eq!(reason, "PreflightFailed");
    assert!(message.starts_with("the CA would refuse, so it was not asked: mail.example.com: "), "{message}");
    assert!(finding(&bench, "CAAForbids").is_some_and(|f| f.contains("example.com")));
    assert!(bench.notes.iter().any(|n| n.warning && n.reason == "CAAForbids"));
    // Where the cluster sees another DNS, it is only said.
    change(&mut bench, |acme| acme.caa_required = false);
    bench.now = bench.wake.unwrap();
    bench.settle();
    bench.assert_ready();
}

#[test]
fn a_missing_address_is_said_and_stops_nothing() {
    let mut bench = dns();
    bench.ca.looks.insert(NAME.to_owned(), look(only("ca.test")));
    bench.settle_within(secs(1));
    assert!(finding(&bench, "NoAddress").is_some_and(|f| f.contains("no A or AAAA record")));
    bench.settle();
    bench.assert_ready();
    assert_eq!(finding(&bench, "NoAddress"), None, "it is over with the order");
}

#[test]
fn a_persistent_record_is_shown_until_it_is_there() {
    let mut bench = Bench::new(acme_view(How::DnsPersist01 { until: None }, true));
    bench.ca.offers.push(crate::api::certificate::ChallengeType::DnsPersist01);
    bench.ca.looks.insert(NAME.to_owned(), look(Vec::new()));
    bench.settle();
    assert!(bench.ca.orders.is_empty());
    let wanted = &bench.attempt().wanted_records[0];
    assert_eq!(wanted.name, "_validation-persist.mail.example.com");
    assert_eq!(wanted.value, "ca.test; accounturi=https://ca.test/acct/1");
    let (_, _, message) = bench.condition("Ready");
    assert!(
        message.contains(
            "set once: _validation-persist.mail.example.com. IN TXT \"ca.test; accounturi=https://ca.test/acct/1\""
        ),
        "{message}"
    );
    let mut there = look(Vec::new());
    there.persist = Some(Ok(vec![wanted.value.clone()]));
    bench.ca.looks.insert(NAME.to_owned(), there);
    bench.now = bench.wake.unwrap();
    bench.settle();
    bench.assert_ready();
    assert_eq!(bench.ca.orders.len(), 1);
}

#[test]
fn a_legacy_name_that_cannot_be_ordered_is_left_out() {
    let mut bench = dns();
    bench.legacy("old.example.com", OnUnreachable::Report);
    let mut look = look(only("other.test"));
    look.name = "old.example.com".to_owned();
    bench.ca.looks.insert(look.name.clone(), look);
    bench.settle();
    bench.assert_ready();
    assert_eq!(bench.active().dns_names, [NAME]);
    assert_eq!(bench.status().omitted_names[0].name, "old.example.com");
}

#[test]
fn a_limit_that_is_reached_is_named_with_its_end() {
    let mut bench = dns();
    let until = bench.now + days(3);
    let words = format!("4 orders for exactly these names in 7 days: the next is possible at {until}");
    bench.ca.blocked = Some(Blocked { until, words: words.clone(), busy: false });
    bench.settle();
    assert!(bench.ca.orders.is_empty());
    let (_, reason, message) = bench.condition("Ready");
    assert_eq!(reason, "BudgetSpent");
    assert!(message.starts_with(&words), "{message}");
    assert_eq!(bench.attempt().failures, 0, "waiting is no failure");
    assert!(bench.wake.unwrap() <= bench.now + days(1));
    bench.ca.blocked = None;
    bench.now = until;
    bench.settle();
    bench.assert_ready();
}

#[test]
fn where_enough_orders_are_under_way_this_one_waits() {
    let mut bench = dns();
    let until = bench.now + secs(10);
    bench.ca.blocked = Some(Blocked { until, words: "60 orders are under way".to_owned(), busy: true });
    bench.pass();
    bench.assert_condition("Ready", "False", "OrderPending", "60 orders are under way");
    assert_eq!(bench.wake, Some(until));
}

#[test]
fn the_preferred_chain_is_taken() {
    let mut bench = dns();
    bench.ca.alternates = vec![ca("Old Root", at("2040-01-01T00:00:00Z")), ca("New Root", at("2040-01-01T00:00:00Z"))];
    change(&mut bench, |acme| acme.preferred_chain = Some("New Root".to_owned()));
    bench.settle();
    assert_eq!(bench.active().chain.unwrap().issuers.last().map(String::as_str), Some("New Root"));
    assert_eq!(finding(&bench, "ChainNotOffered"), None);
    assert!(finding(&bench, "ChainNotAnchored").is_some(), "no test root is in Mozilla's list");
    change(&mut bench, |acme| acme.preferred_chain = Some("No Root".to_owned()));
    bench.ask_to_renew("again");
    bench.settle();
    assert_eq!(bench.active().chain.unwrap().issuers.last().map(String::as_str), Some("Root"));
    let message = finding(&bench, "ChainNotOffered").unwrap();
    assert_eq!(
        message,
        "the CA offers no chain to No Root: it offers Root, Old Root, New Root; its own choice was taken. Correct \
         preferredChain"
    );
}

#[test]
fn a_chain_must_lead_to_the_anchors_that_are_named() {
    let mut bench = dns();
    let old = ca("Old Root", at("2040-01-01T00:00:00Z"));
    bench.ca.alternates = vec![old.clone()];
    let anchors =
        |ca: &crate::pki::CaKeyPair| Some(std::sync::Arc::new(crate::pki::Anchors::own([ca.certificate().clone()])));
    change(&mut bench, |acme| acme.trust_anchors = anchors(&old));
    bench.settle();
    let chain = bench.active().chain.unwrap();
    assert_eq!((chain.issuers, chain.anchor.as_deref()), (vec!["Old Root".to_owned()], Some("Old Root")));
    assert_eq!(finding(&bench, "ChainNotAnchored"), None);
    let other = ca("Other Root", at("2040-01-01T00:00:00Z"));
    change(&mut bench, |acme| acme.trust_anchors = anchors(&other));
    bench.ask_to_renew("again");
    bench.settle_within(secs(5));
    assert_eq!(bench.active().revision, 1, "what leads elsewhere is not used");
    assert_eq!(bench.condition("Issuing").1, "IssuedInvalid");
}
