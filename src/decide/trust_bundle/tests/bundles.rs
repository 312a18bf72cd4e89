//! Which anchors are in a bundle.

use super::*;
use crate::decide::trust_bundle::anchors::bundle;
use crate::decide::trust_bundle::notes;
use crate::pki::{Chain, PemLimits, mozilla_roots};

/// A root that Mozilla removed in 2025 and that is valid until 2028.
const REMOVED: &str = include_str!("globalsign-root-ca.pem");

fn counts(status: &MailTrustBundleStatus) -> [i64; 4] {
    let c = status.anchors.unwrap();
    [c.total, c.mozilla, c.own, c.retained]
}

#[test]
fn mozillas_roots_are_all_there_as_the_library_has_them() {
    let world = World { sources: vec![], ..world(object(&json!({"sources": [{"mozilla": true}]})), Ok("")) };
    let made = bundle(&world);
    let pem: String = made.certificates.iter().map(crate::pki::Certificate::to_pem).collect();
    let read = Chain::from_pem(pem.as_bytes(), &PemLimits::BUNDLE).unwrap();
    let found: BTreeSet<Fingerprint> = read.iter().map(|c| c.fingerprint).collect();
    let wanted: BTreeSet<Fingerprint> = mozilla_roots().iter().map(|der| Fingerprint::of(der)).collect();
    assert_eq!(found, wanted);
    assert_eq!((read.iter().count(), made.counts.mozilla), (wanted.len(), i64::try_from(wanted.len()).unwrap()));
    assert!(wanted.len() > 100 && made.findings.is_empty() && made.refused.is_none(), "{:?}", made.findings);
}

#[test]
fn an_anchor_that_comes_twice_counts_once() {
    let own = root("Own", 2040, true);
    let mozilla = &super::super::anchors::bundle(&World {
        sources: vec![],
        ..world(object(&json!({"sources": [{"mozilla": true}]})), Ok(""))
    });
    let first = mozilla.certificates[0].to_pem();
    let both = object(&json!({"sources": [{"mozilla": true}, {"configMap": {"name": "ca"}}, {"inline": own}]}));
    let mut world = world(both, Ok(&format!("{own}{own}{first}")));
    let inline = SourceView { label: "spec.sources[2].inline".to_owned(), content: Ok(own.clone().into_bytes()) };
    world.sources.push(inline);
    let (_, status) = pass(&mut world);
    let roots = mozilla.counts.mozilla;
    assert_eq!(counts(&status), [roots + 1, roots, 1, 0]);
    let told = status.own.iter().find(|a| a.fingerprint_sha256 == fingerprint(&own)).unwrap();
    assert_eq!(
        (told.subject.as_str(), &told.sources[..]),
        ("CN=Own", &["ConfigMap ca/ca.crt", "spec.sources[2].inline"].map(str::to_owned)[..])
    );
    assert_eq!(
        ready(&status),
        format!("True Ready: version 1: {roots} Mozilla roots, 1 own in ConfigMap mail-trust of 1 namespace")
    );
}

#[test]
fn what_is_no_anchor_is_left_out_and_said() {
    let (good, leaf, old) = (root("Good", 2040, true), root("mail.example.com", 2040, false), root("Old", 2026, true));
    let mut world = world(object(&json!({})), Ok(&format!("{leaf}{good}{old}")));
    let (_, status) = pass(&mut world);
    assert_eq!(counts(&status), [1, 0, 1, 0]);
    assert_eq!(
        findings(&status),
        [
            "AnchorExpired: ConfigMap ca/ca.crt: CN=Old expired at 2026-01-01T00:00:00Z and is left out: take it out of the \
             source",
            "NotACA: ConfigMap ca/ca.crt: CN=mail.example.com is no CA certificate (basicConstraints without CA:TRUE) and is \
             left out: a bundle holds those that sign, not those of servers",
        ]
    );
    assert!(ready(&status).starts_with("True Ready: "), "{}", ready(&status));
}

#[test]
fn an_anchor_is_reported_before_it_expires_and_goes_when_it_does() {
    let mut world =
        world(object(&json!({})), Ok(&format!("{}{}", root("Ends", 2027, true), root("Stays", 2040, true))));
    let (_, status) = pass(&mut world);
    assert!(status.findings.is_empty() && counts(&status)[0] == 2);
    assert_eq!(status.next_expiry.as_ref().unwrap().0.to_string(), "2027-01-01T00:00:00Z");
    assert_eq!(decide(&next(&world, &status, days(0))).wake.unwrap().to_string(), "2026-12-02T00:00:00Z");
    let mut soon = next(&world, &status, days(190));
    let (done, status) = pass(&mut soon);
    let words = |days: &str| {
        format!(
            "the trust anchor CN=Ends expires at 2027-01-01T00:00:00Z, less than {days} from now: have its CA give another \
             one, and add that to the source now"
        )
    };
    assert_eq!((done.len(), findings(&status)), (0, vec![format!("AnchorExpiresSoon: {}", words("30 days"))]));
    let overdue = |status: &MailTrustBundleStatus| {
        let found = status.conditions.iter().find(|c| c.type_ == "RenewalOverdue");
        found.map(|c| (c.status.clone(), c.reason.clone(), c.message.clone()))
    };
    let told = ("True".to_owned(), "AnchorExpiresSoon".to_owned(), words("30 days"));
    assert_eq!(overdue(&status), Some(told));
    assert_eq!(decide(&next(&soon, &status, days(0))).wake.unwrap().to_string(), "2026-12-18T00:00:00Z");
    // Each threshold is told once.
    let mut later = next(&soon, &status, days(11));
    let (_, second) = pass(&mut later);
    let notes_of =
        |old, new| -> Vec<_> { notes(old, new).into_iter().map(|n| (n.warning, n.reason, n.message)).collect() };
    assert_eq!(notes_of(&status, &second), [(true, "AnchorExpiresSoon".to_owned(), words("14 days"))]);
    let (_, third) = pass(&mut next(&later, &second, days(1)));
    assert_eq!(notes_of(&second, &third), []);
    let mut over = next(&soon, &status, days(30));
    let (done, status) = pass(&mut over);
    assert_eq!((done.len(), counts(&status)[0], status.version), (1, 1, Some(2)));
}

#[test]
fn what_a_source_drops_stays_for_the_overlap() {
    let (old, new) = (root("Old CA", 2040, true), root("New CA", 2040, true));
    let mut world = world(object(&json!({"overlap": "48h"})), Ok(&old));
    let (_, first) = pass(&mut world);
    let mut rotated = next(&world, &first, days(1));
    rotated.sources = vec![source(Ok(&new))];
    let (done, second) = pass(&mut rotated);
    assert_eq!((done.len(), counts(&second), second.version), (1, [2, 0, 2, 1], Some(2)));
    let words = "ConfigMap ca/ca.crt has dropped CN=Old CA at 2026-06-02T00:00:00Z: it stays in the bundle until \
                 2026-06-04T00:00:00Z";
    assert_eq!(findings(&second), [format!("AnchorRetained: {words}")]);
    let told = notes(&first, &second);
    assert_eq!(told.iter().map(|n| (n.warning, n.reason.as_str())).collect::<Vec<_>>(), [(false, "AnchorRetained")]);
    // Nothing moves until then, and the operator wakes up for it.
    let mut later = next(&rotated, &second, days(1));
    let decision = decide(&later);
    assert_eq!((decision.actions.len(), decision.wake.unwrap().to_string().as_str()), (0, "2026-06-04T00:00:00Z"));
    assert_eq!(pass(&mut later).1, second);
    let (done, third) = pass(&mut next(&later, &second, days(1)));
    assert_eq!((done.len(), counts(&third), third.version), (1, [1, 0, 1, 0], Some(3)));
    // One that comes back is as it was.
    let mut back = next(&rotated, &second, days(1));
    back.sources = vec![source(Ok(&format!("{old}{new}")))];
    assert_eq!(counts(&pass(&mut back).1), [2, 0, 2, 0]);
}

#[test]
fn without_overlap_or_without_its_source_an_anchor_goes_at_once() {
    let (old, new) = (root("Old CA", 2040, true), root("New CA", 2040, true));
    let mut none = world(object(&json!({"overlap": "0s"})), Ok(&old));
    let (_, status) = pass(&mut none);
    let mut rotated = next(&none, &status, days(1));
    rotated.sources = vec![source(Ok(&new))];
    assert_eq!(counts(&pass(&mut rotated).1), [1, 0, 1, 0]);

    let mut taken_out = world(object(&json!({})), Ok(&old));
    let (_, status) = pass(&mut taken_out);
    let mut other = next(&taken_out, &status, days(1));
    other.sources = vec![SourceView { label: "Secret other/ca.crt".to_owned(), content: Ok(new.into_bytes()) }];
    assert_eq!(counts(&pass(&mut other).1), [1, 0, 1, 0]);
}

#[test]
fn a_source_that_cannot_be_read_keeps_what_it_gave_last() {
    let own = root("Own", 2040, true);
    let mut good = world(object(&json!({})), Ok(&own));
    let (_, status) = pass(&mut good);
    let missing = "there is no ConfigMap ca in namespace mail";
    for (content, why) in [
        (Err(missing), missing.to_owned()),
        (
            Ok("-----BEGIN CERTIFICATE-----\nAAAA\n"),
            "PEM block 1 (CERTIFICATE, line 1) has no matching END line".to_owned(),
        ),
        (Ok("nothing"), "there is no PEM block with a certificate".to_owned()),
    ] {
        let mut bad = next(&good, &status, days(100));
        bad.sources = vec![source(content)];
        let (done, kept) = pass(&mut bad);
        assert_eq!((done.len(), &kept.own, kept.version), (0, &status.own, Some(1)));
        let said = ready(&kept);
        assert!(said.starts_with("False SourceUnreadable: ConfigMap ca/ca.crt: ") && said.contains(&why), "{said}");
        assert!(said.ends_with("the certificate that it gave last stays in the bundle"), "{said}");
    }
    // At the start there is nothing to keep, and nothing is written.
    let mut never = world(object(&json!({})), Err(missing));
    let (done, status) = pass(&mut never);
    let words = format!("False SourceUnreadable: ConfigMap ca/ca.crt: {missing}; nothing of it is in the bundle");
    assert_eq!((done.len(), ready(&status)), (0, words));
}

#[test]
fn a_status_that_was_changed_by_hand_brings_no_anchor_in() {
    let (own, foreign) = (root("Own", 2040, true), root("Foreign", 2040, true));
    let mut world = world(object(&json!({})), Ok(&own));
    let (_, mut status) = pass(&mut world);
    let der = Chain::from_pem(foreign.as_bytes(), &PemLimits::BUNDLE).unwrap().leaf().der().to_vec();
    status.own[0].certificate = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, der);
    let mut next = next(&world, &status, days(0));
    next.sources = vec![source(Err("gone"))];
    assert_eq!(bundle(&next).certificates, vec![]);
}

#[test]
fn a_root_that_mozilla_has_removed_is_reported() {
    let mut world = world(object(&json!({})), Ok(REMOVED));
    let (_, status) = pass(&mut world);
    let [said] = &findings(&status)[..] else { panic!("{:?}", status.findings) };
    assert!(said.starts_with("RemovedByMozilla: ") && said.contains("it is not in certifi 2025.8.3"), "{said}");
    assert_eq!(counts(&status), [1, 0, 1, 0]);
}

#[test]
fn too_many_own_anchors_are_refused_and_what_works_stays() {
    let mut good = world(object(&json!({})), Ok(&root("Own", 2040, true)));
    let (_, status) = pass(&mut good);
    let many: String = (0..101).map(|n| root(&format!("CA {n}"), 2040, true)).collect();
    let mut world = next(&good, &status, days(1));
    world.sources = vec![source(Ok(&many))];
    let (done, refused) = pass(&mut world);
    assert_eq!((done.len(), &refused.own, refused.version), (0, &status.own, Some(1)));
    assert!(
        ready(&refused).starts_with("False TooLarge: there are 102 own anchors; at most 100 are taken"),
        "{}",
        ready(&refused)
    );
    // Text that is too long is not even parsed.
    world.sources = vec![source(Ok(&"x".repeat(340 * 1024)))];
    let said = ready(&pass(&mut world).1);
    assert!(said.contains("the certificates' text has 348160 bytes; at most 337920 are read"), "{said}");
}
