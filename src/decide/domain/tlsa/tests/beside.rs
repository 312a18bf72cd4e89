//! Others at the same names: MailDomains of the other algorithm, other TTLs, records by hand.

use std::sync::Arc;

use k8s_openapi::jiff::SignedDuration;

use super::super::super::tests::fixtures::{FIRST, HOST, OURS, SECOND, hours};
use super::scene::{SMTP, Scene, record, rfc2136, spki};
use crate::api::domain::ServedAlgorithm;

/// The endpoint serves [`SECOND`], and [`FIRST`] to clients that want RSA.
fn both() -> Scene {
    let mut scene = Scene::new(&rfc2136(100), &SECOND);
    let object = Arc::make_mut(&mut scene.world.object);
    object.spec.probe.key_algorithms = vec![ServedAlgorithm::RSA, ServedAlgorithm::ECDSA];
    scene.beside = Some(FIRST.clone());
    scene
}

#[test]
fn records_wait_for_those_of_the_other_algorithm_and_go_with_their_own_key() {
    let mut scene = both();
    scene.seconds(60);
    assert_eq!(scene.states(), ["Current Held"]);
    let words = format!(
        "False TLSAHeld: TLSA records are published when every key that is served is to have one, which these are not: \
         SMTP mail.example.com:25 with RSA (3 1 1 {}); let a MailDomain with dns.tlsa and the same endpoints use the \
         certificate of that key",
        spki(&FIRST)
    );
    assert_eq!(scene.dns_ready(), words);
    // The other one's waits as well, for this one's.
    scene.world.tlsa.held.insert(record(&FIRST));
    scene.seconds(300);
    assert_eq!(scene.states(), ["Current Ready"]);
    // Its former records go, which the other algorithm's looks do not hinder.
    let next = OURS.leaf(&[HOST], hours(2000));
    scene.stage(Some(&next));
    scene.seconds(300);
    assert!(scene.is_ready(&next));
    scene.activate(&next);
    scene.serving = next.clone();
    scene.seconds(4000);
    assert_eq!((scene.states(), scene.zone.primary), (vec!["Current Ready".to_owned()], [record(&next)].into()));
}

#[test]
fn records_of_the_other_algorithm_by_hand_will_do() {
    let mut scene = both();
    scene.zone.ttl = 100;
    scene.zone.primary.insert(record(&FIRST));
    scene.zone.sync();
    scene.seconds(400);
    assert_eq!(scene.states(), ["Current Ready"]);
    assert_eq!(scene.zone.primary, [record(&FIRST), record(&SECOND)].into());
}

#[test]
fn of_different_ttls_the_shortest_is_taken_and_nobody_writes_it_again() {
    for (other, ttl, updates) in [(40, 40, 1), (500, 100, 1)] {
        let mut scene = Scene::new(&rfc2136(100), &SECOND);
        scene.world.tlsa.ttls.insert(SMTP.to_owned(), other);
        scene.seconds(2000);
        assert_eq!(
            (scene.zone.ttl, scene.zone.updates, scene.states()),
            (ttl, updates, vec!["Current Ready".to_owned()])
        );
    }
}

#[test]
fn a_ttl_that_does_not_stay_is_left_as_it_is() {
    let left = |kept: u32| {
        format!(
            "; the TTL of {SMTP} stays {kept} s, though updates ask for 100 s: the DNS server or somebody else wants it so, \
             and it is left"
        )
    };
    let mut scene = Scene::new(&rfc2136(100), &SECOND);
    scene.zone.fixed_ttl = Some(300);
    scene.seconds(4000);
    assert!(scene.dns_ready().ends_with(&left(300)), "{}", scene.dns_ready());
    let (status, updates) = (scene.status.clone(), scene.zone.updates);
    assert_eq!((scene.states(), updates), (vec!["Current Ready".to_owned()], 4));
    scene.run(hours(48));
    assert_eq!((&scene.status, scene.zone.updates), (&status, updates));
    // Somebody whom nobody knows of wants another one.
    let mut scene = Scene::new(&rfc2136(100), &SECOND);
    for _ in 0..40 {
        scene.seconds(600);
        scene.zone.ttl = 300;
    }
    scene.seconds(600);
    assert_eq!(scene.zone.updates, 4);
    assert!(scene.dns_ready().ends_with(&left(300)), "{}", scene.dns_ready());
    // The longer one counts for what is cached.
    scene.stage(Some(&FIRST));
    scene.seconds(250);
    assert!(!scene.is_ready(&FIRST));
    scene.seconds(1200);
    assert!(scene.is_ready(&FIRST));
}

#[test]
fn updates_that_do_not_show_become_rare_and_are_said() {
    let mut scene = Scene::new(&rfc2136(100), &SECOND);
    scene.zone.is_deaf = true;
    scene.run(hours(1));
    let words = format!(
        "False TLSAPending: the TLSA record of the current key at {SMTP} (3 1 1 {}) is not in DNS, though the DNS server has \
         taken several updates: is it the primary of the zone that clients ask?",
        spki(&SECOND)
    );
    assert_eq!(scene.dns_ready(), words);
    let (status, updates) = (scene.status.clone(), scene.zone.updates);
    assert!(updates < 10, "{updates} updates in an hour");
    scene.run(hours(4));
    assert_eq!(scene.status, status);
    assert!(scene.zone.updates <= updates + 16, "{} updates more in four hours", scene.zone.updates - updates);
    scene.zone.is_deaf = false;
    scene.seconds(1800);
    assert_eq!(scene.states(), ["Current Ready"], "it goes on by itself");
}

#[test]
fn records_by_hand_hold_another_key_back_before_the_first_of_ours_are_published() {
    let hand = ("_25._tcp.mail.example.com".to_owned(), "3 1 1 0f".to_owned());
    let next = OURS.leaf(&[HOST], hours(2000));
    for by_hand in [false, true] {
        let mut scene = Scene::new(&rfc2136(100), &SECOND);
        scene.zone.ttl = 100;
        if by_hand {
            scene.zone.primary.insert(hand.clone());
            scene.zone.sync();
        }
        // The endpoint serves another key still.
        scene.serving = FIRST.clone();
        scene.stage(Some(&next));
        scene.seconds(60);
        assert_eq!(scene.states(), ["Current Held", "Next Held"]);
        assert_eq!((scene.is_ready(&next), scene.is_ready(&SECOND)), (!by_hand, true), "by hand: {by_hand}");
        let words = format!(
            "; until then no other key is activated, since somebody else has published records: {SMTP} 3 1 1 0f"
        );
        assert_eq!(scene.dns_ready().ends_with(&words), by_hand, "{}", scene.dns_ready());
        let status = scene.status.clone();
        let before = scene.zone.updates;
        scene.restart();
        scene.run(SignedDuration::from_hours(3));
        assert_eq!((&scene.status, scene.zone.updates), (&status, before), "nothing is written meanwhile");
        scene.serving = SECOND.clone();
        scene.seconds(1200);
        assert!(scene.is_ready(&next), "{:?}", scene.states());
    }
}
