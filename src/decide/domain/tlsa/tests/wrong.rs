//! What bad DNS gets.

use serde_json::json;

use super::super::super::tests::fixtures::{FIRST, SECOND};
use super::super::{Alias, Trust};
use super::scene::{SMTP, Scene, record, rfc2136, spki};

/// A key waits to become active in a zone where all is well.
fn staged(ttl: u32) -> Scene {
    let mut scene = Scene::new(&rfc2136(ttl), &SECOND);
    scene.run(k8s_openapi::jiff::SignedDuration::from_secs(3 * i64::from(ttl) + 60));
    assert_eq!(scene.states(), ["Current Ready"]);
    scene.stage(Some(&FIRST));
    scene
}

#[test]
fn a_record_on_one_server_only_does_not_count() {
    let mut scene = staged(100);
    scene.zone.in_step = false;
    scene.seconds(5000);
    assert_eq!(scene.states(), ["Current Ready", "Next Pending"]);
    assert!(!scene.is_ready(&FIRST));
    let of = format!("the TLSA record of the next key at {SMTP} (3 1 1 {})", spki(&FIRST));
    assert_eq!(
        scene.dns_ready(),
        format!(
            "False TLSAPending: {of} is not at ns2.example.com yet, though at others: does the zone's transfer to every \
             server work?"
        )
    );
    assert_eq!(scene.zone.updates, 2, "the primary has it: nothing is sent again");
    scene.zone.in_step = true;
    scene.zone.sync();
    scene.seconds(1200);
    assert!(scene.is_ready(&FIRST));
}

#[test]
fn a_record_that_vanishes_begins_anew() {
    let mut scene = staged(100);
    scene.seconds(150);
    assert_eq!(scene.states(), ["Current Ready", "Next Waiting"]);
    scene.zone.secondary.remove(&record(&FIRST));
    scene.seconds(50);
    assert_eq!(scene.states(), ["Current Ready", "Next Pending"]);
    scene.zone.sync();
    scene.seconds(190);
    assert!(!scene.is_ready(&FIRST), "not two TTLs since it came back");
    scene.seconds(100);
    assert!(scene.is_ready(&FIRST));
    // Ready is not for ever.
    scene.zone.primary.remove(&record(&FIRST));
    scene.zone.sync();
    scene.seconds(120);
    assert!(!scene.is_ready(&FIRST));
    assert!(scene.zone.primary.contains(&record(&FIRST)), "it is published again");
}

#[test]
fn a_zone_without_signatures_lets_no_key_through() {
    let mut scene = Scene::new(&rfc2136(100), &SECOND);
    scene.zone.trust = Trust::Insecure;
    scene.stage(Some(&FIRST));
    scene.seconds(1000);
    assert!(!scene.is_ready(&FIRST) && scene.is_ready(&SECOND));
    let words = "False ZoneNotSigned: the zone example.com is not signed (DNSSEC), so TLSA records in it have no effect, \
                 and no other key can be activated while spec.dns.tlsa is on; sign it and have its DS record set in the \
                 parent zone, or set spec.dns.tlsa.mode to Remove";
    assert_eq!((scene.dns_ready(), scene.ready()), (words.to_owned(), words.to_owned()));
}

#[test]
fn a_bogus_zone_is_an_error_and_resets_the_clock() {
    let mut scene = staged(100);
    scene.seconds(150);
    scene.zone.trust = Trust::Bogus("its signature expired at 2026-05-31T00:00:00Z".to_owned());
    scene.seconds(120);
    assert_eq!(
        scene.dns_ready(),
        format!(
            "False DNSSECBogus: what ns1.example.com says about {SMTP} does not validate (DNSSEC): its signature expired \
             at 2026-05-31T00:00:00Z; servers that check it cannot send mail there until that is mended"
        )
    );
    assert_eq!(scene.states(), ["Current Pending", "Next Pending"]);
    assert!(!scene.is_ready(&FIRST));
}

#[test]
fn what_cannot_be_looked_at_keeps_its_clock_and_is_not_ready() {
    let mut scene = staged(100);
    scene.seconds(250);
    assert!(scene.is_ready(&FIRST));
    let seen = |scene: &Scene| scene.tlsa().records.iter().map(|r| r.first_seen.clone()).collect::<Vec<_>>();
    let before = seen(&scene);
    scene.zone.silence = Some("DNS gave no answer about it within 30 s".to_owned());
    scene.seconds(150);
    assert!(!scene.is_ready(&FIRST));
    assert_eq!(
        scene.dns_ready(),
        format!("Unknown DNSFailed: TLSA records cannot be looked at: {SMTP}: DNS gave no answer about it within 30 s")
    );
    scene.zone.silence = None;
    scene.seconds(600);
    assert!(scene.is_ready(&FIRST) && seen(&scene) == before);
}

#[test]
fn a_ttl_of_a_week_waits_two_weeks_and_says_so() {
    let week = 604_800;
    let mut scene = Scene::new(&json!({"mode": "Show", "ttl": 3600}), &SECOND);
    scene.zone.primary = [record(&SECOND), record(&FIRST)].into();
    scene.zone.sync();
    scene.zone.ttl = week;
    scene.stage(Some(&FIRST));
    scene.seconds(60);
    let safe = scene.tlsa().records[0].safe_from.clone().unwrap().0;
    let words = scene.dns_ready();
    assert!(words.contains(&format!("the next key can be activated at {safe}: two TTLs (of {week} s)")), "{words}");
    assert!(
        words.ends_with(
            "; a TTL of 7 days makes every change of the key wait for twice that: an hour (spec.dns.tlsa.ttl: 3600, and \
             the same in the zone) is enough"
        ),
        "{words}"
    );
    scene.run(k8s_openapi::jiff::SignedDuration::from_hours(13 * 24));
    assert!(!scene.is_ready(&FIRST));
    scene.run(k8s_openapi::jiff::SignedDuration::from_hours(25));
    assert!(scene.is_ready(&FIRST));
    // Lowered: those who have the old one keep it for a week from then.
    scene.zone.ttl = 3600;
    scene.seconds(2 * 3600);
    let first = scene.tlsa().records[0].clone();
    assert!(first.ttl == Some(week) && first.ttl_until.is_some(), "{first:?}");
    scene.run(k8s_openapi::jiff::SignedDuration::from_hours(7 * 24));
    let first = scene.tlsa().records[0].clone();
    assert!(first.ttl == Some(3600) && first.ttl_until.is_none(), "{first:?}");
}

#[test]
fn a_refused_update_is_said_in_the_servers_words_and_tried_at_growing_intervals() {
    let mut scene = Scene::new(&rfc2136(100), &SECOND);
    let words = "the DNS server 192.0.2.53 has another secret for the TSIG key mailcert (BADSIG)";
    scene.zone.refusal = Some(words.to_owned());
    scene.seconds(3600);
    let expected = format!("False PublishFailed: TLSA records cannot be changed: {words}");
    assert_eq!((scene.dns_ready(), scene.ready()), (expected.clone(), expected));
    assert!((5..=12).contains(&scene.zone.updates), "{}", scene.zone.updates);
    scene.zone.refusal = None;
    scene.seconds(2000);
    assert_eq!(scene.states(), ["Current Ready"]);
}

#[test]
fn an_alias_with_records_of_other_keys_overrules_ours() {
    let mut scene = Scene::new(&rfc2136(100), &SECOND);
    scene.zone.alias = Some(Alias { end: "mx.example.net".to_owned(), values: ["3 1 1 ab".to_owned()].into() });
    scene.seconds(300);
    assert_eq!(
        scene.dns_ready(),
        "False TLSAOverruled: mail.example.com is an alias of mx.example.net, below which clients look for TLSA records \
         first (RFC 7671, section 7); those there are not of this certificate's keys: remove them, or name \
         mx.example.net in spec.endpoints in place of the alias"
    );
    assert!(scene.states().iter().all(|s| s.ends_with("Pending")));
    scene.zone.alias = Some(Alias { end: "mx.example.net".to_owned(), values: [].into() });
    scene.seconds(900);
    assert_eq!(scene.states(), ["Current Ready"]);
}

#[test]
fn records_of_others_are_left_alone_and_named() {
    let mut scene = Scene::new(&rfc2136(100), &SECOND);
    scene.zone.primary.insert((SMTP.to_owned(), "2 1 1 ab".to_owned()));
    scene.seconds(400);
    assert_eq!(
        scene.dns_ready(),
        format!(
            "True TLSAPublished: 1 TLSA record at 1 name is at every server, validly signed; not of this MailDomain, and \
             left alone: {SMTP} 2 1 1 ab"
        )
    );
    assert_eq!(scene.zone.primary.len(), 2);
}

#[test]
fn at_rest_nothing_is_written() {
    let mut scene = Scene::new(&rfc2136(3600), &SECOND);
    scene.seconds(8000);
    assert_eq!(scene.states(), ["Current Ready"]);
    let (status, updates) = (scene.status.clone(), scene.zone.updates);
    let done = scene.run(k8s_openapi::jiff::SignedDuration::from_hours(48));
    assert_eq!((&scene.status, scene.zone.updates), (&status, updates));
    let looks = done.iter().filter(|d| d.starts_with("look at the TLSA")).count();
    assert!((40..=60).contains(&looks), "{looks} looks in two days");
    scene.restart();
    scene.seconds(10);
    assert_eq!((&scene.status, scene.zone.updates), (&status, updates), "nor after a restart");
}

#[test]
fn a_restart_does_not_begin_the_wait_anew() {
    let mut scene = staged(100);
    scene.seconds(150);
    scene.restart();
    scene.seconds(60);
    assert!(scene.is_ready(&FIRST), "{:?} after {:?}", scene.states(), scene.elapsed());
}
