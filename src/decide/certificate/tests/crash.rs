//! The operator dies before any action, or before the status is written, and starts again.

use super::bench::*;
use super::fake_ca::ca;
use crate::api::certificate::{ActivationMode, OnUnreachable};
use crate::api::keys;
use crate::decide::certificate::world::IssuerView;

/// Lives `story` again and again, with a crash before each of its steps.
fn at_every_step(make: fn() -> Bench, story: fn(&mut Bench), check: fn(&Bench, usize)) {
    for step in 0..100 {
        let mut bench = make();
        story(&mut bench);
        bench.crash_after = Some(step);
        bench.take_log();
        bench.settle();
        let crashed = bench.crash_after.is_none();
        assert!(!bench.ca.exposed, "step {step}: {:#?}", bench.log);
        assert_eq!(bench.status().attempt, None, "step {step}");
        let active = bench.active();
        assert_eq!(bench.pair().chain.leaf().fingerprint.to_string(), active.fingerprint_sha256);
        assert_eq!(active.secret_resource_version, Some(bench.secret.as_ref().unwrap().version.to_string()));
        bench.assert_ready();
        check(&bench, step);
        if !crashed {
            assert!(step > 2, "the story has no steps");
            return;
        }
    }
    panic!("the story does not end");
}

fn renewed_once(bench: &Bench, step: usize) {
    assert_eq!(bench.active().revision, 2, "step {step}: {:#?}", bench.log);
    assert_eq!(bench.revisions.keys().copied().collect::<Vec<_>>(), [1, 2], "step {step}");
    assert!(bench.revisions.values().all(|(_, secret)| secret.content.is_some()), "step {step}");
    assert_eq!(bench.status().previous.iter().map(|r| r.revision).collect::<Vec<_>>(), [1], "step {step}");
    assert_eq!(bench.status().repairs, None, "step {step}");
}

#[test]
fn first_issuance() {
    at_every_step(Bench::with_ca, |_| {}, |bench, step| assert_eq!(bench.active().revision, 1, "step {step}"));
}

#[test]
fn renewal_with_a_ca() {
    let due = |bench: &mut Bench| {
        bench.settle();
        bench.now = bench.wake.unwrap();
    };
    at_every_step(Bench::with_ca, due, renewed_once);
}

#[test]
fn another_key_pair_of_the_ca() {
    let story = |bench: &mut Bench| {
        bench.settle();
        bench.issuer = IssuerView::Ca(ca("Root", at("2040-01-01T00:00:00Z")));
    };
    at_every_step(Bench::with_ca, story, renewed_once);
}

#[test]
fn first_order() {
    at_every_step(
        Bench::acme,
        |_| {},
        |bench, step| {
            assert_eq!((bench.active().revision, bench.revisions.len()), (1, 1), "step {step}");
            assert!(bench.ca.orders.len() <= 2, "step {step}: {:#?}", bench.log);
            let finalized = bench.ca.orders.iter().filter(|o| o.csr.is_some()).count();
            assert_eq!(finalized, 1, "step {step}: {:#?}", bench.log);
        },
    );
}

#[test]
fn renewal_by_order_with_an_old_name_that_is_left_out() {
    let story = |bench: &mut Bench| {
        bench.settle();
        bench.legacy("old.example.com", OnUnreachable::Drop);
        bench.ca.unreachable.insert("old.example.com".to_owned());
        bench.now = bench.wake.unwrap();
        bench.ca.valid.clear();
    };
    at_every_step(Bench::acme, story, |bench, step| {
        renewed_once(bench, step);
        assert_eq!(bench.status().omitted_names.len(), 1, "step {step}");
        // First, abandoned by the crash, with the old name, without it.
        assert!(bench.ca.orders.len() <= 4, "step {step}: {:#?}", bench.log);
    });
}

#[test]
fn renewal_asked_for() {
    let story = |bench: &mut Bench| {
        bench.settle();
        bench.ask_to_renew("a");
    };
    at_every_step(Bench::acme, story, renewed_once);
}

#[test]
fn repair() {
    let story = |bench: &mut Bench| {
        bench.settle();
        bench.ask_to_renew("a");
        bench.settle();
        bench.secret = None;
    };
    at_every_step(Bench::with_ca, story, |bench, step| {
        assert_eq!(bench.active().revision, 2, "step {step}");
        assert_eq!(bench.log.iter().filter(|l| l.contains("sign")).count(), 0, "step {step}");
    });
}

#[test]
fn history() {
    let story = |bench: &mut Bench| {
        bench.edit(|s| s.options.history.revisions = 1);
        for value in ["a", "b", "c"] {
            bench.settle();
            bench.ask_to_renew(value);
        }
    };
    at_every_step(Bench::acme, story, |bench, step| {
        assert_eq!(bench.active().revision, 4, "step {step}");
        assert_eq!(bench.revisions.keys().copied().collect::<Vec<_>>(), [3, 4], "step {step}");
        let lost = bench.status().findings.into_iter().find(|f| f.reason == "RevisionLost");
        assert_eq!(lost, None, "step {step}: what the operator deleted itself is not lost");
    });
}

#[test]
fn an_approved_activation() {
    let story = |bench: &mut Bench| {
        bench.settle();
        bench.edit(|s| s.options.activation.mode = ActivationMode::Manual);
        bench.ask_to_renew("a");
        bench.settle();
        bench.annotate(keys::APPROVE, "2");
    };
    at_every_step(Bench::with_ca, story, renewed_once);
    at_every_step(Bench::acme, story, renewed_once);
}

#[test]
fn the_staging() {
    let story = |bench: &mut Bench| {
        bench.settle();
        bench.edit(|s| s.options.activation.mode = ActivationMode::Manual);
        bench.annotate(keys::APPROVE, "2");
        bench.edit(|s| s.dns_names.push("imap.example.com".to_owned()));
    };
    at_every_step(Bench::with_ca, story, renewed_once);
}

#[test]
fn the_way_back() {
    let story = |bench: &mut Bench| {
        for value in ["a", "b"] {
            bench.settle();
            bench.ask_to_renew(value);
        }
        bench.settle();
        bench.annotate(keys::ROLLBACK, "1");
    };
    at_every_step(Bench::with_ca, story, |bench, step| {
        assert_eq!(bench.active().revision, 1, "step {step}: {:#?}", bench.log);
        assert_eq!(bench.revisions.keys().copied().collect::<Vec<_>>(), [1, 2, 3], "step {step}");
        let rollback = bench.status().rollback.unwrap();
        assert_eq!((rollback.from, rollback.to, rollback.failures), (3, Some(1), 1), "step {step}");
        assert_eq!(bench.status().repairs, None, "step {step}: {:#?}", bench.log);
    });
}
