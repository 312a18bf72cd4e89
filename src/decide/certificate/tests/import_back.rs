//! Imported revisions that wait for their gates, and those that are taken back and tried again.

use std::sync::Arc;

use super::super::world::Dependent;
use super::bench::*;
use super::fake_source::*;
use crate::api::certificate::{ActivationMode, RevisionState};
use crate::api::keys;
use crate::pki::CaKeyPair;

/// With its first certificate active, and served by a MailDomain.
fn served() -> (Bench, Arc<CaKeyPair>, Files) {
    let (mut bench, authority) = importing();
    let files = usual(&bench, &authority);
    bench.put(&files, &authority);
    bench.settle();
    let dependent = Dependent { name: "example-com".to_owned(), endpoints: 1, reloads: true, ..Dependent::default() };
    bench.dependents = vec![dependent];
    serve(&mut bench);
    bench.settle();
    bench.take_log();
    bench.take_notes();
    (bench, authority, files)
}

/// The endpoints serve what is active.
fn serve(bench: &mut Bench) {
    let active = bench.active().fingerprint_sha256;
    let dependent = &mut bench.dependents[0];
    dependent.served = [active.clone()].into();
    (dependent.all_served, dependent.speaks_of) = (Some(active.clone()), Some(active));
    (dependent.rolled_out, dependent.rollout_failed) = (true, None);
}

/// Pods do not get ready with what is active: it is taken back to revision 1, which they serve.
fn fail(bench: &mut Bench) {
    bench.dependents[0].speaks_of = Some(bench.active().fingerprint_sha256);
    bench.dependents[0].rollout_failed = Some("Deployment/postfix: its pods do not become available".to_owned());
    bench.settle();
    assert_eq!(bench.active().revision, 1);
    serve(bench);
    bench.settle();
}

#[test]
fn it_waits_for_approval_like_every_other() {
    let (mut bench, authority, first) = served();
    bench.edit(|s| s.options.activation.mode = ActivationMode::Manual);
    bench.settle();
    let newer = usual(&bench, &authority);
    bench.put(&newer, &authority);
    bench.settle();
    let status = bench.status();
    assert_eq!((bench.active().revision, status.staged[0].revision, status.gates.len()), (1, 2, 1));
    assert_eq!(status.staged[0].fingerprint_sha256, newer.leaf.fingerprint.to_string());
    bench.assert_ready();
    bench.take_log();
    bench.settle_after(days(1));
    assert_eq!(bench.take_log(), [""; 0], "while it waits, nothing is read and nothing is written");

    // A source that goes bad meanwhile is told; what was found to be right still waits.
    bench.put(&Files { key: first.key.clone(), ..newer.clone() }, &authority);
    bench.settle();
    assert_eq!((bench.condition("Stalled").1.as_str(), bench.status().staged.len()), ("ImportInvalid", 1));
    bench.put(&newer, &authority);
    bench.settle();
    assert_eq!((bench.condition("Stalled").0.as_str(), bench.found()), ("", Vec::new()));

    bench.annotate(keys::APPROVE, "2");
    bench.settle();
    let active = bench.active();
    assert_eq!((active.revision, active.reason.as_deref()), (2, Some("SourceChanged")));
    assert_eq!(active.fingerprint_sha256, newer.leaf.fingerprint.to_string());
    assert!(bench.status().staged.is_empty());
    bench.assert_ready();
}

#[test]
fn one_that_the_source_does_not_hold_any_more_waits_no_longer() {
    let (mut bench, authority, first) = served();
    bench.edit(|s| s.options.activation.mode = ActivationMode::Manual);
    let newer = usual(&bench, &authority);
    bench.put(&newer, &authority);
    bench.settle();
    assert_eq!(bench.status().staged[0].revision, 2);
    bench.put(&first, &authority);
    bench.settle();
    assert_eq!((bench.active().revision, bench.status().staged), (1, Vec::new()));
    bench.annotate(keys::APPROVE, "2");
    bench.settle();
    assert_eq!(bench.active().revision, 1);
    // Another one takes its place, and waits for an approval of its own.
    let third = usual(&bench, &authority);
    bench.put(&third, &authority);
    bench.settle();
    assert_eq!(bench.status().staged[0].fingerprint_sha256, third.leaf.fingerprint.to_string());
    assert_eq!(bench.active().revision, 1);
}

#[test]
fn what_was_taken_back_is_tried_again_after_a_growing_pause_without_reading_the_source() {
    let (mut bench, authority, _) = served();
    let newer = usual(&bench, &authority);
    bench.put(&newer, &authority);
    bench.settle();
    let mut pauses = Vec::new();
    for round in 1..=3 {
        assert_eq!(bench.active().revision, 2, "round {round}");
        bench.take_log();
        fail(&mut bench);
        let rollback = bench.status().rollback.unwrap();
        assert_eq!((rollback.from, rollback.reason.as_str(), rollback.failures), (2, "RolloutFailed", round));
        let retry = rollback.retry_time.unwrap().0;
        pauses.push(retry.duration_since(rollback.time.0).as_secs());
        bench.assert_condition(
            "Issuing",
            "True",
            "RolledBack",
            &format!(
                "the source holds another certificate than the active one; revision 2 was taken back (MailDomain example-com: \
                 Deployment/postfix: its pods do not become available), and it is not tried again before {retry}, unless the \
                 source, the spec or its MailDomain changes"
            ),
        );
        assert_eq!(bench.condition("Ready").0, "True");
        // The annotation for issued certificates is no way around the pause.
        bench.ask_to_renew(&round.to_string());
        bench.settle();
        assert_eq!(bench.active().revision, 1);
        assert!(bench.wake.unwrap() <= retry);
        bench.now = retry;
        bench.settle();
    }
    assert_eq!(pauses, [600, 1200, 2400]);
    assert!(!bench.take_log().contains(&"read the source".to_owned()), "what it holds is known");
    assert_eq!(bench.active().fingerprint_sha256, newer.leaf.fingerprint.to_string());
    serve(&mut bench);
    bench.settle();
    assert_eq!((bench.status().rollback, bench.condition("Issuing").0.as_str()), (None, ""));
    bench.assert_ready();
}

#[test]
fn another_one_in_the_source_is_tried_at_once() {
    let (mut bench, authority, first) = served();
    bench.put(&usual(&bench, &authority), &authority);
    bench.settle();
    fail(&mut bench);
    let third = usual(&bench, &authority);
    bench.put(&third, &authority);
    bench.settle();
    assert_eq!((bench.active().revision, bench.status().previous[1].state), (3, Some(RevisionState::Failed)));
    serve(&mut bench);
    bench.settle();
    bench.assert_ready();
    assert_eq!(bench.status().rollback, None);

    // And the one that works, put back, is no reason to wait for anything.
    bench.put(&usual(&bench, &authority), &authority);
    bench.settle();
    bench.dependents[0].speaks_of = Some(bench.active().fingerprint_sha256);
    bench.dependents[0].rollout_failed = Some("Deployment/postfix: no".to_owned());
    bench.settle();
    assert_eq!(bench.active().revision, 3);
    serve(&mut bench);
    bench.put(&third, &authority);
    bench.settle();
    assert_eq!((bench.active().revision, bench.condition("Issuing").0.as_str()), (3, ""));
    bench.settle_after(days(1));
    assert_eq!(bench.active().revision, 3);
    assert_ne!(first.leaf.fingerprint, third.leaf.fingerprint);
}

#[test]
fn when_the_active_one_is_over_nothing_is_waited_for() {
    let (mut bench, authority) = importing();
    let short = issued(&authority, &["mail.example.com"], bench.now - days(1), days(1) + secs(300));
    bench.put(&short, &authority);
    bench.settle();
    bench.dependents =
        vec![Dependent { name: "example-com".to_owned(), endpoints: 1, reloads: true, ..Dependent::default() }];
    serve(&mut bench);
    bench.settle();
    let newer = usual(&bench, &authority);
    bench.put(&newer, &authority);
    bench.settle();
    fail(&mut bench);
    assert_eq!(bench.condition("Issuing").1, "RolledBack");
    bench.now = short.leaf.not_after + secs(1);
    bench.settle();
    assert_eq!(bench.active().fingerprint_sha256, newer.leaf.fingerprint.to_string());
}

#[test]
fn what_was_taken_back_and_lost_is_read_once_more() {
    let (mut bench, authority, _) = served();
    let newer = usual(&bench, &authority);
    bench.put(&newer, &authority);
    bench.settle();
    fail(&mut bench);
    bench.revisions.remove(&2);
    bench.settle();
    bench.take_log();
    bench.now = bench.status().rollback.unwrap().retry_time.unwrap().0;
    bench.settle();
    assert!(bench.take_log().contains(&"read the source".to_owned()));
    let active = bench.active();
    assert_eq!((active.revision, active.fingerprint_sha256), (2, newer.leaf.fingerprint.to_string()));
}

#[test]
fn what_a_person_took_back_stays_back_until_it_is_approved() {
    let (mut bench, authority, _) = served();
    let newer = usual(&bench, &authority);
    bench.put(&newer, &authority);
    bench.settle();
    serve(&mut bench);
    bench.settle();
    bench.annotate(keys::ROLLBACK, "1");
    bench.settle();
    serve(&mut bench);
    bench.settle_after(days(200));
    assert_eq!(bench.active().revision, 1);
    bench.assert_ready();
    bench.annotate(keys::APPROVE, "2");
    bench.settle();
    assert_eq!(bench.active().revision, 2);
}

/// With another certificate in the source that waits for approval.
fn waiting() -> (Bench, Arc<CaKeyPair>, Files) {
    let (mut bench, authority, _) = served();
    bench.edit(|s| s.options.activation.mode = ActivationMode::Manual);
    let newer = usual(&bench, &authority);
    bench.put(&newer, &authority);
    bench.settle();
    assert_eq!(bench.status().staged[0].revision, 2);
    (bench, authority, newer)
}

#[test]
fn what_was_lost_while_it_waited_is_taken_from_the_source_once_more() {
    let (mut bench, _, newer) = waiting();
    bench.annotate(keys::APPROVE, "2");
    // Before the operator has seen the approval.
    bench.revisions.remove(&2).unwrap();
    bench.settle();
    let status = bench.status();
    assert_eq!((status.staged[0].revision, status.gates.len()), (3, 1), "nobody has approved this one");
    assert_eq!(status.staged[0].fingerprint_sha256, newer.leaf.fingerprint.to_string());
    bench.annotate(keys::APPROVE, "3");
    bench.settle();
    assert_eq!(bench.active().fingerprint_sha256, newer.leaf.fingerprint.to_string());
}

#[test]
fn names_that_come_and_go_leave_what_waits_in_place() {
    let (mut bench, _, newer) = waiting();
    bench.edit(|s| s.dns_names.push("else.example.com".to_owned()));
    bench.settle();
    bench.edit(|s| s.dns_names.truncate(1));
    bench.settle();
    assert_eq!(bench.status().staged[0].fingerprint_sha256, newer.leaf.fingerprint.to_string());
}

#[test]
fn what_waits_is_put_aside_by_a_way_back_and_had_again_in_its_time() {
    let (mut bench, authority, _) = served();
    let newer = usual(&bench, &authority);
    bench.put(&newer, &authority);
    bench.settle();
    serve(&mut bench);
    bench.edit(|s| s.options.activation.mode = ActivationMode::Manual);
    let third = usual(&bench, &authority);
    bench.put(&third, &authority);
    bench.settle();
    assert_eq!((bench.active().revision, bench.status().staged[0].revision), (2, 3));
    bench.annotate(keys::ROLLBACK, "1");
    bench.settle();
    serve(&mut bench);
    bench.settle();
    assert_eq!((bench.active().revision, bench.status().staged), (1, Vec::new()));
    assert_eq!(bench.condition("Issuing").1, "RolledBack");
    bench.now = bench.status().rollback.unwrap().retry_time.unwrap().0;
    bench.settle();
    assert_eq!(bench.status().staged[0].fingerprint_sha256, third.leaf.fingerprint.to_string());
}

#[test]
fn interrupted_anywhere_on_the_way_back_and_again_it_comes_to_the_same_end() {
    for step in 0..8 {
        let (mut bench, authority, _) = served();
        let newer = usual(&bench, &authority);
        bench.put(&newer, &authority);
        bench.settle();
        bench.dependents[0].speaks_of = Some(bench.active().fingerprint_sha256);
        bench.dependents[0].rollout_failed = Some("Deployment/postfix: no".to_owned());
        bench.crash_after = Some(step);
        bench.settle();
        assert_eq!(bench.active().revision, 1, "{step}");
        serve(&mut bench);
        bench.settle();
        bench.crash_after = Some(step);
        bench.now = bench.status().rollback.unwrap().retry_time.unwrap().0;
        bench.settle();
        assert_eq!(bench.active().revision, 2, "{step}");
        assert_eq!(bench.active().fingerprint_sha256, newer.leaf.fingerprint.to_string());
    }
}
