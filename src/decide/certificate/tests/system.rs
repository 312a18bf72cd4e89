//! The namespace's system certificate.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::bench::*;
use crate::api::keys;
use crate::decide::certificate::decide;
use crate::decide::certificate::world::{Action, Fact, SecretView, SystemView, World};
use crate::decide::conditions::find;

/// A system certificate that is issued, as the next pass sees it.
fn world(dependents: &[&str], is_held: bool, is_leaving: bool) -> World {
    let mut bench = Bench::self_signed();
    bench.edit(|s| s.system = true);
    bench.settle();
    let mut world = bench.observe();
    let mut object = bench.object.clone();
    object.metadata.finalizers = is_held.then(|| vec![keys::SYSTEM_FINALIZER.to_owned()]);
    object.metadata.deletion_timestamp = is_leaving.then_some(Time(bench.now));
    world.object = Arc::new(object);
    world.system = SystemView { holder: None, dependents: dependents.iter().map(|d| (*d).to_owned()).collect() };
    world
}

fn done(world: &World) -> Vec<String> {
    decide(world).actions.iter().map(ToString::to_string).collect()
}

#[test]
fn it_is_held_back_from_deletion_while_mail_domains_depend_on_it() {
    let hold = "hold it back from deletion: MailDomains depend on it";
    let release = "no longer hold it back from deletion";
    for (dependents, is_held, is_leaving, expected) in [
        (&[][..], false, false, &[][..]),
        (&["a"], false, false, &[hold]),
        (&["a"], true, false, &[]),
        (&[], true, false, &[release]),
        // While it is needed it stays, and lives on.
        (&["a"], true, true, &[]),
        (&[], true, true, &[release]),
        // No finalizer can be added to what is being deleted.
        (&["a"], false, true, &[]),
        (&[], false, true, &[]),
    ] {
        let found = done(&world(dependents, is_held, is_leaving));
        assert_eq!(found, expected, "{dependents:?} held {is_held} leaving {is_leaving}");
    }
}

#[test]
fn the_finalizer_is_written_once() {
    for (dependents, is_held) in [(&["a"][..], false), (&[], true)] {
        let mut world = world(dependents, is_held, false);
        world.learn(Fact::Held(!is_held));
        assert_eq!(done(&world), Vec::<String>::new());
    }
}

#[test]
fn the_condition_says_who_has_the_role_and_what_a_deletion_waits_for() {
    let said = |world: &World| {
        let status = decide(world).status;
        let condition =
            find(&status.conditions, "System").map(|c| (c.status.clone(), c.reason.clone(), c.message.clone()));
        (condition.unwrap_or_default(), status.dependents)
    };
    let text = |a: &str, b: &str, c: &str| (a.to_owned(), b.to_owned(), c.to_owned());
    let none = text("True", "SystemCertificate", "no MailDomain depends on it");
    assert_eq!(said(&world(&[], false, false)), (none, vec![]));
    let two = text("True", "SystemCertificate", "MailDomains a, b depend on it");
    assert_eq!(said(&world(&["a", "b"], true, false)), (two, vec!["a".to_owned(), "b".to_owned()]));
    let held = "the deletion waits for MailDomain a, which depends on it: give them certificates of their own \
                (spec.certificate.template or ref), delete them, or make another MailCertificate with system: true";
    assert_eq!(said(&world(&["a"], true, true)).0, text("True", "DeletionHeld", held));
    let mut other = world(&[], false, false);
    other.system.holder = Some("elder".to_owned());
    let taken = "MailCertificate elder is this namespace's system certificate, since it is older: delete it to give the role \
                 to this one, or set system: false here";
    assert_eq!(said(&other).0, text("False", "SystemTaken", taken));
    let mut plain = (*other.object).clone();
    plain.spec.system = false;
    other.object = Arc::new(plain);
    assert_eq!(said(&other).0, Default::default());
}

#[test]
fn a_copy_of_it_is_written_over_by_the_mail_domains_own_certificate() {
    let mut bench = Bench::self_signed();
    let mut world = bench.observe();
    world.secret = SecretView::Copy { resource_version: "41".to_owned(), outputs: Default::default(), stays: false };
    let sign = decide(&world).actions.remove(0);
    assert!(matches!(sign, Action::Sign { .. }), "{sign:?}");
    world.learn(bench.act(sign));
    let actions = decide(&world).actions;
    let [Action::WriteActive { over, revision: 1, .. }] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!(over.as_deref(), Some("41"));
}

#[test]
fn a_copy_that_stays_is_left_alone_and_nothing_is_asked_of_a_ca() {
    let mut bench = Bench::acme();
    bench.settle();
    for world in [bench.observe(), Bench::acme().observe()] {
        let mut world = world;
        world.secret = SecretView::Copy { resource_version: "41".to_owned(), outputs: Default::default(), stays: true };
        let decision = decide(&world);
        assert!(decision.actions.is_empty(), "{:?}", decision.actions);
        assert!(find(&decision.status.conditions, "Stalled").is_none());
    }
}
