//! A MailDomain that is deleted takes its records with it, and is not held up for ever by that.

use std::sync::Arc;

use k8s_openapi::jiff::SignedDuration;
use serde_json::json;

use super::super::super::tests::fixtures::{SECOND, change};
use super::super::super::world::CertificateView;
use super::scene::{SMTP, Scene, record, rfc2136, spki};

/// Whose records are published and ready.
fn published() -> Scene {
    let mut scene = Scene::new(&rfc2136(100), &SECOND);
    scene.seconds(300);
    assert_eq!(scene.states(), ["Current Ready"]);
    scene
}

fn line() -> String {
    format!("{SMTP}. IN TLSA 3 1 1 {}", spki(&SECOND))
}

#[test]
fn records_are_published_only_when_the_object_is_held() {
    let mut scene = Scene::new(&rfc2136(100), &SECOND);
    let hold = "hold the MailDomain until its TLSA records are withdrawn";
    let done = scene.seconds(300);
    let at = |what: &str| done.iter().position(|d| d.starts_with(what));
    assert!(at(hold) < at("update the TLSA records"), "{done:?}");
    assert_eq!(done.iter().filter(|d| *d == hold).count(), 1);
    // Turned off and over, it is free again.
    scene.set(Some(&json!({"mode": "Remove"})));
    scene.seconds(100);
    assert!(scene.is_held(), "somebody may have them cached");
    scene.seconds(200);
    assert!(!scene.is_held());
    // Nobody is held up for what others publish.
    let mut shown = Scene::new(&json!({"mode": "Show", "ttl": 100}), &SECOND);
    shown.seconds(10);
    assert!(!shown.is_held() && shown.states() == ["Current Pending"]);
}

#[test]
fn a_deletion_withdraws_the_records_first() {
    let mut scene = published();
    scene.delete();
    let done = scene.seconds(10);
    assert!(scene.zone.primary.is_empty() && !scene.is_held(), "{done:?}");
    assert_eq!(done.last().unwrap(), "let go of the MailDomain");
    assert!(done.iter().all(|d| !d.starts_with("look at SMTP")), "nothing else is done about it: {done:?}");
}

#[test]
fn a_deletion_goes_on_over_a_restart_and_waits_for_every_server() {
    let mut scene = published();
    scene.zone.in_step = false;
    scene.delete();
    scene.seconds(20);
    scene.restart();
    scene.seconds(20);
    assert!(scene.zone.primary.is_empty() && scene.is_held());
    assert_eq!(
        scene.dns_ready(),
        format!("False TLSAWithdrawing: the deletion waits: 1 TLSA record to be withdrawn, the first at {SMTP}")
    );
    scene.zone.in_step = true;
    scene.zone.sync();
    scene.seconds(120);
    assert!(!scene.is_held());
}

#[test]
fn a_dns_server_that_refuses_holds_a_deletion_up_for_ten_minutes() {
    let mut scene = published();
    scene.zone.refusal = Some("the DNS server 192.0.2.53 did not answer within 10 s".to_owned());
    scene.delete();
    scene.seconds(590);
    assert!(scene.is_held());
    scene.seconds(20);
    assert!(!scene.is_held() && scene.zone.primary == [record(&SECOND)].into());
    assert_eq!(
        scene.dns_ready(),
        format!(
            "False TLSALeftBehind: TLSA records of this MailDomain may be left in DNS, since within 10m they could not be \
             withdrawn: TLSA records cannot be changed: the DNS server 192.0.2.53 did not answer within 10 s; remove them \
             before the key of the server changes: {}",
            line()
        )
    );
}

#[test]
fn without_the_key_for_updates_a_deletion_waits_not_at_all_and_says_so() {
    let mut scene = published();
    scene.world.tlsa.keyless = Some("the Secret tsig with the TSIG key does not exist any more".to_owned());
    scene.delete();
    let done = scene.seconds(3);
    assert_eq!(done, ["let go of the MailDomain"], "after a pass that tells of it");
    assert_eq!(
        scene.dns_ready(),
        format!(
            "False TLSALeftBehind: TLSA records of this MailDomain may be left in DNS, since the Secret tsig with the TSIG key does \
             not exist any more; remove them before the key of the server changes: {}",
            line()
        )
    );
}

#[test]
fn a_certificate_that_goes_on_is_gated_until_nobody_has_the_records_cached() {
    for is_leaving_too in [false, true] {
        let mut scene = published();
        Arc::make_mut(&mut scene.world.object).spec.certificate =
            serde_json::from_value(json!({"ref": {"name": "example-com"}})).unwrap();
        scene.seconds(1);
        scene.delete();
        if is_leaving_too {
            let at = scene.world.object.metadata.deletion_timestamp.clone();
            let CertificateView::Found(certificate) = &mut scene.world.certificate else { panic!("there is one") };
            Arc::make_mut(certificate).metadata.deletion_timestamp = at;
        } else {
            change(&mut scene.world, |c| assert!(c.metadata.deletion_timestamp.is_none()));
        }
        scene.run(SignedDuration::from_secs(190));
        assert!(scene.zone.primary.is_empty());
        assert_eq!(scene.is_held(), !is_leaving_too);
        if !is_leaving_too {
            assert_eq!(scene.tlsa().ready, [spki(&SECOND)]);
            assert!(
                scene.dns_ready().starts_with("False TLSAWithdrawing: the deletion waits: "),
                "{}",
                scene.dns_ready()
            );
        }
        scene.run(SignedDuration::from_secs(20));
        assert!(!scene.is_held());
    }
}

#[test]
fn what_a_killed_pass_has_published_is_withdrawn_too() {
    let mut scene = Scene::new(&json!({"mode": "Show", "ttl": 100}), &SECOND);
    scene.seconds(5);
    scene.set(Some(&rfc2136(100)));
    scene.killed_pass(9);
    assert_eq!(scene.zone.primary, [record(&SECOND)].into(), "and no status says where");
    scene.delete();
    scene.seconds(10);
    assert!(scene.zone.primary.is_empty() && !scene.is_held());
}
