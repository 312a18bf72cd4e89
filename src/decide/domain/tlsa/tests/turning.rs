//! Turning DANE on and off, and changing the key.

use serde_json::json;

use super::super::super::tests::fixtures::{FIRST, SECOND};
use super::scene::{SMTP, Scene, record, rfc2136, spki};

#[test]
fn the_first_records_are_published_when_the_endpoint_serves_the_current_key() {
    let mut scene = Scene::new(&rfc2136(3600), &SECOND);
    scene.serving = FIRST.clone();
    scene.seconds(20);
    assert_eq!(scene.states(), ["Current Held"]);
    assert_eq!(
        scene.dns_ready(),
        "False TLSAHeld: TLSA records are published when the endpoint is seen to serve the current key, which these do \
         not yet: SMTP mail.example.com:25"
    );
    assert!(scene.zone.primary.is_empty() && scene.is_ready(&SECOND), "the active key is always ready");
    scene.serving = SECOND.clone();
    scene.seconds(60);
    assert_eq!(scene.states(), ["Current Waiting"]);
    assert_eq!(scene.zone.primary, [record(&SECOND)].into());
    assert!(scene.dns_ready().starts_with("False TLSAWaiting: another key can follow the current one at "));
    assert!(scene.ready().starts_with("True Ready: "), "waiting breaks nothing: {}", scene.ready());
    scene.seconds(7200);
    assert_eq!(scene.dns_ready(), "True TLSAPublished: 1 TLSA record at 1 name is at every server, validly signed");
    assert_eq!(scene.zone.updates, 1);
}

#[test]
fn a_record_is_in_the_status_before_it_is_published() {
    let mut scene = Scene::new(&rfc2136(60), &SECOND);
    let done = scene.pass();
    let look = format!("look at the TLSA records of {SMTP}");
    let hold = "hold the MailDomain until its TLSA records are withdrawn";
    assert_eq!(done, ["look at SMTP mail.example.com:25", &look, hold]);
    assert_eq!((scene.states(), scene.zone.updates), (vec!["Current Pending".to_owned()], 0));
    let done = scene.pass();
    assert_eq!(done, [format!("update the TLSA records of {SMTP} at 192.0.2.53")]);
}

#[test]
fn a_key_changes_in_order() {
    let mut scene = Scene::new(&rfc2136(100), &SECOND);
    scene.seconds(300);
    assert_eq!(scene.states(), ["Current Ready"]);
    scene.stage(Some(&FIRST));
    scene.seconds(10);
    assert_eq!(scene.states(), ["Current Ready", "Next Waiting"]);
    assert!(!scene.is_ready(&FIRST));
    let at = scene.tlsa().records.iter().find(|r| r.spki_sha256 == spki(&FIRST)).unwrap().clone();
    let (seen, safe) = (at.first_seen.unwrap().0, at.safe_from.unwrap().0);
    assert_eq!(safe.duration_since(seen).as_secs(), 201, "two TTLs, and the second that times are rounded by");
    assert_eq!(
        scene.dns_ready(),
        format!(
            "False TLSAWaiting: the next key can be activated at {safe}: two TTLs (of 100 s) after its record was first \
             seen at every server of {SMTP}"
        )
    );
    scene.run(safe.duration_since(scene.world.now) - k8s_openapi::jiff::SignedDuration::from_secs(1));
    assert!(!scene.is_ready(&FIRST), "a second too early");
    scene.seconds(1);
    assert!(scene.is_ready(&FIRST));
    // Activated, and not served yet: the old record stays however long that takes.
    scene.activate(&FIRST);
    scene.seconds(1000);
    assert_eq!(scene.states(), ["Current Ready", "Previous Ready"]);
    scene.serving = FIRST.clone();
    scene.seconds(700);
    let previous = || [record(&FIRST), record(&SECOND)].into();
    assert!(scene.zone.primary == previous() || scene.zone.primary == [record(&FIRST)].into());
    scene.seconds(1000);
    assert_eq!(scene.zone.primary, [record(&FIRST)].into());
    assert_eq!(scene.states(), ["Current Ready"]);
    assert_eq!(scene.tlsa().published, [spki(&FIRST)]);
}

#[test]
fn an_ordinary_renewal_touches_no_dns() {
    let mut scene = Scene::new(&rfc2136(100), &SECOND);
    scene.seconds(300);
    let updates = scene.zone.updates;
    // Another certificate with the same key.
    super::super::super::tests::fixtures::change(&mut scene.world, |c| {
        let active = c.status.as_mut().unwrap().active.as_mut().unwrap();
        active.serial = "0b".to_owned();
        active.revision = 3;
    });
    scene.seconds(100);
    assert_eq!((scene.states(), scene.zone.updates), (vec!["Current Ready".to_owned()], updates));
}

#[test]
fn turning_it_off_withdraws_first_and_lets_go_of_the_key_two_ttls_later() {
    for block_removed in [false, true] {
        let mut scene = Scene::new(&rfc2136(100), &SECOND);
        scene.seconds(300);
        let remove = json!({"mode": "Remove"});
        scene.set(if block_removed { None } else { Some(&remove) });
        scene.stage(Some(&FIRST));
        scene.seconds(5);
        assert!(scene.zone.primary.is_empty(), "by the server that the status remembers");
        assert_eq!(scene.states(), ["Current Withdrawn"]);
        let until = scene.tlsa().records[0].cached_until.clone().unwrap().0;
        assert_eq!(
            scene.dns_ready(),
            format!(
                "False TLSAWithdrawing: the TLSA records are withdrawn, and may be cached until {until}: until then only a \
                 key whose record was published is activated"
            )
        );
        assert!(scene.is_ready(&SECOND) && !scene.is_ready(&FIRST));
        scene.seconds(190);
        assert!(!scene.is_ready(&FIRST));
        scene.seconds(20);
        assert!(scene.states().is_empty() && scene.is_ready(&FIRST));
        assert_eq!(scene.status.dns.is_none(), block_removed);
        let end = if block_removed {
            "absent".to_owned()
        } else {
            "True TLSAWithdrawn: no TLSA records of this MailDomain are published or cached any more: spec.dns.tlsa can \
             be removed"
                .to_owned()
        };
        assert_eq!(scene.dns_ready(), end);
    }
}

#[test]
fn what_others_publish_is_shown_to_them_and_verified() {
    let mut scene = Scene::new(&json!({"mode": "Show", "ttl": 100}), &SECOND);
    scene.seconds(5);
    let line = format!("{SMTP}. 100 IN TLSA 3 1 1 {}", spki(&SECOND));
    assert_eq!(scene.zone.shown, format!("{line}\n"));
    assert_eq!(scene.dns_ready(), format!("False TLSAMissing: publish this record: {line}"));
    assert_eq!(scene.ready(), format!("False TLSAMissing: publish this record: {line}"));
    scene.zone.primary.insert(record(&SECOND));
    scene.zone.sync();
    scene.zone.ttl = 300;
    scene.seconds(500);
    // The longer of the TTLs counts.
    assert_eq!(scene.states(), ["Current Waiting"]);
    scene.seconds(400);
    assert_eq!((scene.states(), scene.zone.updates), (vec!["Current Ready".to_owned()], 0));
    // Away from it, the ConfigMap goes; the records are theirs to remove.
    scene.set(Some(&json!({"mode": "Remove"})));
    scene.seconds(5);
    assert_eq!(scene.zone.shown, "");
    assert_eq!(
        scene.dns_ready(),
        format!("False TLSAWithdrawing: remove this record: {SMTP}. IN TLSA 3 1 1 {}", spki(&SECOND))
    );
}

#[test]
fn what_a_killed_pass_has_shown_goes_as_well() {
    let mut scene = Scene::new(&json!({"mode": "Show", "ttl": 100}), &SECOND);
    for actions in 1..5 {
        scene.killed_pass(actions);
    }
    scene.set(Some(&json!({"mode": "DNSEndpoint", "ttl": 100})));
    scene.seconds(30);
    assert_eq!(scene.zone.shown, "");
}

#[test]
fn external_dns_gets_every_record_in_one_object_and_loses_it_when_it_is_off() {
    let mut scene = Scene::new(&json!({"mode": "DNSEndpoint", "ttl": 100}), &SECOND);
    // Another MailDomain has the same host and another certificate.
    scene.seconds(2);
    scene.world.tlsa.others.insert(record(&FIRST));
    scene.seconds(300);
    assert_eq!(scene.zone.primary, [record(&SECOND), record(&FIRST)].into());
    assert!(scene.tlsa().dns_endpoint);
    scene.set(Some(&json!({"mode": "Remove"})));
    scene.world.tlsa.others.clear();
    scene.seconds(300);
    assert!(scene.zone.primary.is_empty() && scene.states().is_empty(), "{:?}", scene.status.dns);
    assert!(!scene.tlsa().dns_endpoint);
}

#[test]
fn a_record_that_another_mail_domain_wants_is_left_to_it() {
    let mut scene = Scene::new(&rfc2136(100), &SECOND);
    scene.seconds(300);
    scene.world.tlsa.others.insert(record(&SECOND));
    scene.set(None);
    scene.seconds(10);
    assert!(scene.status.dns.is_none());
    assert_eq!(scene.zone.primary, [record(&SECOND)].into());
}
