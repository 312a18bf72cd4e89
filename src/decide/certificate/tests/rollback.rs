//! Revisions that do not work, and the way back.

use super::super::world::Dependent;
use super::bench::*;
use super::staged::{set_condition, wants_tlsa};
use crate::api::certificate::RevisionState;
use crate::api::keys;
use crate::decide::backoff::Pace;

/// A MailDomain that serves the active revision, and then has it renewed.
fn served() -> Bench {
    let mut bench = Bench::with_ca();
    bench.settle();
    let first = bench.active().fingerprint_sha256;
    bench.dependents = vec![Dependent {
        name: "example-com".to_owned(),
        endpoints: 2,
        reloads: true,
        rolled_out: true,
        served: [first.clone()].into(),
        all_served: Some(first.clone()),
        speaks_of: Some(first),
        ..Dependent::default()
    }];
    bench.settle();
    bench
}

pub fn renewed() -> Bench {
    let mut bench = served();
    bench.ask_to_renew("a");
    bench.settle();
    assert_eq!(bench.active().revision, 2);
    assert_eq!(bench.status().activation.unwrap().judges, ["example-com"]);
    bench.dependents[0].speaks_of = Some(bench.active().fingerprint_sha256);
    bench.dependents[0].served_message = Some("IMAPS mail.example.com:993: serves revision 1".to_owned());
    bench.settle();
    bench.take_notes();
    bench
}

/// The endpoints serve what is active.
fn serve(bench: &mut Bench) {
    let active = bench.active().fingerprint_sha256;
    let dependent = &mut bench.dependents[0];
    dependent.served = [active.clone()].into();
    (dependent.all_served, dependent.speaks_of) = (Some(active.clone()), Some(active));
    (dependent.rollout_failed, dependent.served_message) = (None, None);
}

#[test]
fn what_is_served_stays() {
    let mut bench = renewed();
    serve(&mut bench);
    bench.settle();
    assert_eq!(bench.status().activation, None, "nothing more is to be judged");
    bench.settle_after(secs(7200));
    assert_eq!(bench.active().revision, 2);
}

#[test]
fn what_is_not_served_in_time_is_taken_back_once() {
    let mut bench = renewed();
    bench.settle_after(secs(3500));
    assert_eq!(bench.active().revision, 2);
    let due = bench.wake.unwrap();
    bench.now = due;
    bench.take_log();
    bench.settle();
    assert_eq!(bench.active().revision, 1);
    let why = "not served within 1h by MailDomain example-com: IMAPS mail.example.com:993: serves revision 1";
    let failed = &bench.status().previous[0];
    assert_eq!((failed.revision, failed.state), (2, Some(RevisionState::Failed)));
    assert_eq!(failed.message.as_deref(), Some(why));
    let rollback = bench.status().rollback.unwrap();
    assert_eq!((rollback.from, rollback.to, rollback.reason.as_str(), rollback.failures), (2, Some(1), "NotServed", 1));
    let told = bench.take_notes();
    let active = bench.active();
    let note = format!(
        "revision 2 was taken back ({why}): revision 1 is active again, valid until {}, fingerprint {}",
        active.not_after.0, active.fingerprint_sha256
    );
    assert!(told.contains(&(true, "RolledBack".to_owned(), note)), "{told:#?}");
    assert!(bench.revisions.contains_key(&2), "it is kept for inspection");
    serve(&mut bench);
    // It is not due: nothing is tried again.
    bench.settle_after(days(1));
    assert_eq!(bench.active().revision, 1);
}

#[test]
fn what_is_due_is_tried_again_after_a_growing_pause_without_another_certificate() {
    let mut bench = served();
    bench.now = bench.status().renewal_time.unwrap().0;
    bench.settle();
    assert_eq!(bench.active().revision, 2);
    let mut pauses = Vec::new();
    for round in 1..=3 {
        bench.dependents[0].speaks_of = Some(bench.active().fingerprint_sha256);
        bench.dependents[0].rollout_failed = Some("Deployment/postfix: its pods do not become available".to_owned());
        bench.settle();
        assert_eq!(bench.active().revision, 1, "round {round}");
        let rollback = bench.status().rollback.unwrap();
        assert_eq!((rollback.reason.as_str(), rollback.failures), ("RolloutFailed", round));
        pauses.push(rollback.retry_time.as_ref().unwrap().0.duration_since(rollback.time.0).as_secs());
        serve(&mut bench);
        bench.settle();
        let (status, reason, message) = bench.condition("Issuing");
        assert_eq!((status.as_str(), reason.as_str()), ("True", "RolledBack"));
        assert!(message.contains("revision 2 was taken back (MailDomain example-com: Deployment/postfix"), "{message}");
        bench.now = rollback.retry_time.unwrap().0;
        bench.settle();
        assert_eq!(bench.active().revision, 2, "the same certificate once more");
    }
    assert_eq!(pauses, [600, 1200, 2400]);
    assert_eq!(bench.log.iter().filter(|l| l.starts_with("sign")).count(), 2);
    serve(&mut bench);
    bench.settle();
    assert_eq!(bench.status().rollback, None, "it works: what was is over");
}

#[test]
fn a_change_of_the_spec_or_a_request_is_tried_at_once() {
    for by_request in [true, false] {
        let mut bench = renewed();
        bench.dependents[0].rollout_failed = Some("Deployment/postfix: no".to_owned());
        bench.settle();
        assert_eq!(bench.active().revision, 1);
        serve(&mut bench);
        match by_request {
            true => bench.ask_to_renew("b"),
            false => bench.edit(|s| s.dns_names.push("imap.example.com".to_owned())),
        }
        bench.settle();
        assert_eq!(bench.active().revision, 3);
        assert!(bench.revisions.contains_key(&2));
    }
}

#[test]
fn a_failed_one_that_is_approved_anew_is_tried_at_once() {
    let mut bench = served();
    bench.edit(|s| s.dns_names.push("imap.example.com".to_owned()));
    bench.settle();
    bench.dependents[0].speaks_of = Some(bench.active().fingerprint_sha256);
    bench.dependents[0].rollout_failed = Some("Deployment/postfix: no".to_owned());
    bench.settle();
    assert_eq!(bench.active().revision, 1);
    serve(&mut bench);
    bench.settle();
    assert_eq!(bench.active().revision, 1);
    bench.annotate(keys::APPROVE, "2/again");
    bench.settle();
    assert_eq!(bench.active().revision, 2);
}

#[test]
fn one_that_follows_before_the_last_was_proven_is_judged_too() {
    let mut bench = renewed();
    bench.ask_to_renew("b");
    bench.settle();
    let activation = bench.status().activation.unwrap();
    assert_eq!((activation.revision, activation.judges), (3, vec!["example-com".to_owned()]));
    bench.dependents[0].speaks_of = Some(bench.active().fingerprint_sha256);
    bench.settle();
    // Nobody has ever seen the second one work.
    bench.settle_after(secs(3600));
    assert_eq!(bench.active().revision, 1);
    assert_eq!(bench.status().rollback.unwrap().from, 3);
}

#[test]
fn what_is_tried_again_is_judged_before_the_way_back_was_proven() {
    let mut bench = served();
    bench.edit(|s| s.dns_names.push("imap.example.com".to_owned()));
    bench.settle();
    for failures in 1..=2 {
        assert_eq!(bench.active().revision, 2);
        assert_eq!(bench.status().activation.unwrap().judges, ["example-com"]);
        bench.dependents[0].speaks_of = Some(bench.active().fingerprint_sha256);
        bench.dependents[0].rollout_failed = Some("Deployment/postfix: no".to_owned());
        bench.settle_within(secs(60));
        let rollback = bench.status().rollback.unwrap();
        assert_eq!((bench.active().revision, rollback.failures), (1, failures));
        // Its pause is over sooner than the MailDomain has seen the first one again.
        bench.dependents[0].rollout_failed = None;
        bench.now = rollback.retry_time.unwrap().0;
        bench.settle_within(secs(60));
    }
}

#[test]
fn a_change_of_the_mail_domain_that_judged_it_is_tried_at_once() {
    let mut bench = served();
    bench.edit(|s| s.dns_names.push("imap.example.com".to_owned()));
    bench.settle();
    bench.dependents[0].speaks_of = Some(bench.active().fingerprint_sha256);
    bench.dependents[0].rollout_failed = Some("Deployment/postfix: its reload failed".to_owned());
    bench.settle();
    serve(&mut bench);
    bench.settle();
    assert_eq!((bench.active().revision, bench.condition("Issuing").1.as_str()), (1, "RolledBack"));
    // Its reload is corrected.
    bench.dependents[0].generation += 1;
    bench.settle();
    assert_eq!(bench.active().revision, 2);
}

#[test]
fn what_failed_before_judges_nothing() {
    let mut bench = served();
    bench.dependents[0].all_served = None;
    bench.ask_to_renew("a");
    bench.settle();
    assert_eq!(bench.status().activation, None);
    bench.dependents[0].speaks_of = Some(bench.active().fingerprint_sha256);
    bench.dependents[0].rollout_failed = Some("Deployment/postfix: no".to_owned());
    bench.settle_after(days(1));
    assert_eq!(bench.active().revision, 2);
}

#[test]
fn workloads_that_wait_for_their_window_are_not_late() {
    let mut bench = renewed();
    bench.dependents[0].waits = true;
    bench.settle_after(days(1));
    assert_eq!(bench.active().revision, 2);
    // Then its time has come, and it has a whole deadline for it.
    let dependent = &mut bench.dependents[0];
    (dependent.waits, dependent.rolled_out, dependent.begun) = (false, false, Some(bench.now));
    bench.settle_after(secs(3500));
    assert_eq!(bench.active().revision, 2);
    bench.settle_after(secs(100));
    assert_eq!(bench.active().revision, 1);
}

#[test]
fn without_history_what_was_taken_back_is_known_and_not_made_active_again() {
    let mut bench = served();
    bench.edit(|s| {
        s.options.history.revisions = 0;
        s.dns_names.push("imap.example.com".to_owned());
    });
    bench.settle();
    bench.dependents[0].speaks_of = Some(bench.active().fingerprint_sha256);
    bench.dependents[0].rollout_failed = Some("Deployment/postfix: no".to_owned());
    bench.settle();
    serve(&mut bench);
    bench.settle();
    let failed = bench.status().previous;
    assert_eq!((bench.active().revision, failed.len(), failed[0].state), (1, 1, Some(RevisionState::Failed)));
    bench.annotate(keys::APPROVE, "2");
    bench.settle();
    assert_eq!(bench.active().revision, 2, "it can be tried once more");
    serve(&mut bench);
    bench.settle();
    bench.annotate(keys::ROLLBACK, "previous");
    bench.settle();
    serve(&mut bench);
    bench.settle();
    assert_eq!(bench.active().revision, 2, "where nothing is kept there is no way back once it works");
}

#[test]
fn without_a_valid_one_it_stays_and_says_so() {
    let mut bench = renewed();
    bench.revisions.remove(&1);
    bench.settle();
    bench.dependents[0].rollout_failed = Some("Deployment/postfix: no".to_owned());
    bench.settle();
    assert_eq!(bench.active().revision, 2);
    let finding = bench.status().findings.into_iter().find(|f| f.reason == "NoWayBack").unwrap();
    assert_eq!(
        finding.message,
        "revision 2 does not work (MailDomain example-com: Deployment/postfix: no), and there is no valid earlier revision \
         to go back to: it stays"
    );
    // Neither does it go back to an expired one.
    let mut bench = renewed();
    let first = bench.status().previous[0].clone();
    bench.now = first.not_after.0 - secs(1);
    bench.object.status.as_mut().unwrap().previous[0].not_after.0 = bench.now - secs(1);
    bench.settle_within(secs(0));
    assert_ne!(bench.active().revision, 1);
}

#[test]
fn not_where_it_is_switched_off() {
    let mut bench = renewed();
    bench.edit(|s| s.options.activation.rollback_on_failure = false);
    bench.dependents[0].rollout_failed = Some("Deployment/postfix: no".to_owned());
    bench.settle_after(days(1));
    assert_eq!(bench.active().revision, 2);
}

fn history() -> Bench {
    let mut bench = Bench::with_ca();
    bench.settle();
    for value in ["a", "b"] {
        bench.now += secs(60);
        bench.ask_to_renew(value);
        bench.settle();
    }
    bench.take_notes();
    bench
}

#[test]
fn a_person_goes_back_and_nothing_new_follows_at_once() {
    let mut bench = history();
    bench.annotate(keys::ROLLBACK, "1/now");
    bench.settle();
    assert_eq!(bench.active().revision, 1);
    assert_eq!(bench.active().reason.as_deref(), Some("RollbackRequested"));
    let states: Vec<_> = bench.status().previous.iter().map(|r| (r.revision, r.state.unwrap())).collect();
    assert_eq!(states, [(3, RevisionState::Failed), (2, RevisionState::Previous)]);
    let notes = bench.take_notes();
    assert!(notes.iter().any(|n| !n.0 && n.1 == "RolledBack"), "{notes:?}");
    let (now, end) = (bench.now, bench.active().not_after.0);
    bench.now = bench.status().renewal_time.unwrap().0.max(now + secs(10));
    let hold = bench.status().rollback.unwrap().retry_time.unwrap().0;
    assert_eq!(hold.as_second(), now.as_second() + end.duration_since(now).as_secs() / 2);
    bench.settle();
    assert_eq!(bench.active().revision, 4, "due, and the pause is over: a new one, not the one that was taken back");
    // The next one that was there before.
    bench.annotate(keys::ROLLBACK, "previous/then");
    bench.settle();
    assert_eq!(bench.active().revision, 1);
}

#[test]
fn what_cannot_be_gone_back_to_is_refused_with_reasons() {
    let refused = |bench: &mut Bench, asked: &str| {
        bench.annotate(keys::ROLLBACK, asked);
        bench.settle();
        let found = bench.status().findings.into_iter().find(|f| f.reason == "RollbackRefused");
        found.map(|f| f.message)
    };
    let mut bench = history();
    let said = |bench: &mut Bench, asked: &str| refused(bench, asked).unwrap();
    assert_eq!(said(&mut bench, "3"), "revision 3 is active already");
    assert_eq!(said(&mut bench, "7"), "revision 7 is not kept; kept are 2, 1");
    let unreadable = "the annotation mailcert.dev/rollback names no revision: write its number, or previous";
    assert_eq!(said(&mut bench, "yesterday"), unreadable);
    assert_eq!(bench.active().revision, 3);
    let mut fresh = Bench::with_ca();
    fresh.settle();
    assert_eq!(said(&mut fresh, "previous"), "there is no valid earlier revision to go back to; revision 1 stays");
    let mut late = history();
    let end = late.status().previous[1].not_after.clone();
    late.object.status.as_mut().unwrap().previous[1].not_after.0 = late.now;
    let message = format!("revision 1 expired at {}, so it does not become active again", late.now);
    assert_eq!(said(&mut late, "1"), message);
    assert_ne!(end.0, late.now);
    assert_eq!(refused(&mut bench, "2"), None);
    assert_eq!(bench.active().revision, 2);
}

#[test]
fn the_way_back_waits_for_dns_too() {
    let mut bench = history();
    wants_tlsa(&mut bench);
    bench.settle();
    bench.annotate(keys::ROLLBACK, "1");
    bench.settle();
    assert_eq!(bench.active().revision, 3, "no record speaks of its key");
    assert_eq!(bench.status().gates[0].type_, "TLSAPublished");
    let waiting = bench.status().staged[0].spki_sha256.clone();
    bench.dependents[0].tlsa_ready.insert(waiting);
    set_condition(&mut bench, "example.com/Other", "True");
    bench.settle();
    assert_eq!(bench.active().revision, 1);
}

/// The revisions that are staged, and those that were active before.
fn listed(bench: &Bench) -> (Vec<i64>, Vec<i64>) {
    let status = bench.status();
    let numbers = |list: Vec<crate::api::certificate::Revision>| list.into_iter().map(|r| r.revision).collect();
    (numbers(status.staged), numbers(status.previous))
}

#[test]
fn what_is_gone_back_to_is_listed_once_and_can_be_given_up() {
    let mut bench = history();
    wants_tlsa(&mut bench);
    bench.settle();
    bench.annotate(keys::ROLLBACK, "1/a");
    bench.settle();
    assert_eq!(listed(&bench), (vec![1], vec![2]));
    bench.annotate(keys::ROLLBACK, "2/b");
    bench.settle();
    assert_eq!(listed(&bench), (vec![2], vec![1]), "another one in its place");
    bench.annotate(keys::ROLLBACK, "previous/c");
    bench.settle();
    assert_eq!(listed(&bench), (vec![2], vec![1]), "that is under way");
    bench.annotate(keys::ROLLBACK, "3/d");
    bench.settle_after(days(1));
    assert_eq!((listed(&bench), bench.active().revision), ((vec![], vec![2, 1]), 3), "what is active stays");
    let status = bench.status();
    assert!(status.previous.iter().all(|r| r.state == Some(RevisionState::Previous) && r.message.is_none()));
    assert_eq!((status.findings, status.gates), (vec![], vec![]));
}

#[test]
fn a_failed_one_that_is_tried_again_in_vain_is_a_failed_one_again() {
    let mut bench = served();
    bench.now = bench.status().renewal_time.unwrap().0;
    bench.settle();
    bench.dependents[0].speaks_of = Some(bench.active().fingerprint_sha256);
    bench.dependents[0].rollout_failed = Some("Deployment/postfix: no".to_owned());
    bench.settle();
    assert_eq!(listed(&bench), (vec![], vec![2]));
    serve(&mut bench);
    bench.edit(|s| s.options.activation.mode = crate::api::certificate::ActivationMode::Manual);
    bench.settle();
    assert_eq!(listed(&bench), (vec![2], vec![]), "tried again, since the spec has changed, once it is approved");
    bench.edit(|s| s.dns_names.push("imap.example.com".to_owned()));
    bench.settle();
    assert_eq!(listed(&bench), (vec![3], vec![2]));
    let failed = bench.status().previous[0].clone();
    assert_eq!(failed.state, Some(RevisionState::Failed));
    assert_eq!(failed.message.as_deref(), Some("MailDomain example-com: Deployment/postfix: no"));
}

#[test]
fn a_former_one_that_is_still_valid_stands_in_for_one_that_has_expired() {
    for in_dns in [true, false] {
        let mut bench = Bench::with_ca();
        bench.settle();
        let first = bench.active();
        bench.edit(|s| s.options.duration = Some(std::time::Duration::from_secs(86_400).into()));
        bench.ask_to_renew("a");
        bench.settle();
        let end = bench.active().not_after.0;
        if !in_dns {
            wants_tlsa(&mut bench);
            bench.settle();
        }
        bench.faults.push(("sign revision", failure(Pace::Transient, "SigningFailed", "the CA is away")));
        bench.take_notes();
        bench.now = end;
        bench.settle_within(secs(5));
        if !in_dns {
            assert_eq!(bench.active().revision, 2, "a key that DNS does not name is no help");
            assert_eq!(bench.condition("Ready").1, "Expired");
            continue;
        }
        assert_eq!((bench.active().revision, listed(&bench).1), (1, vec![2]));
        assert_eq!(bench.status().previous[0].state, Some(RevisionState::Previous), "it did work");
        bench.assert_ready();
        let why = format!("revision 2 expired at {end}, and there is no newer one: the CA is away");
        let rollback = bench.status().rollback.unwrap();
        assert_eq!((rollback.reason.as_str(), rollback.message.as_str()), ("NothingNewer", why.as_str()));
        assert_eq!((rollback.failures, rollback.retry_time), (0, None), "nothing holds a new one back");
        let note = format!(
            "revision 2 was taken back ({why}): revision 1 is active again, valid until {}, fingerprint {}",
            first.not_after.0, first.fingerprint_sha256
        );
        let told = bench.take_notes();
        assert!(told.contains(&(true, "RolledBack".to_owned(), note)), "{told:#?}");
        // It does not last either, and then there is a new one.
        bench.faults.clear();
        bench.now = bench.active().not_after.0;
        bench.settle();
        assert_eq!((bench.active().revision, bench.status().rollback), (3, None));
    }
}
