//! A MailDomain whose own certificate is disabled.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::fixtures::*;
use crate::api::certificate::MailCertificate;
use crate::api::domain::CopyStatus;
use crate::decide::domain::fallback::{CopyView, Fallback};
use crate::decide::domain::world::{Action, CertificateView, Progress, World};
use crate::decide::domain::{Fact, decide};

/// The system certificate, whose active revision is [`SECOND`].
fn system(names: &[&str]) -> MailCertificate {
    let domain = domain(json!({}));
    let mut made = certificate(&domain);
    made.metadata.name = Some("system".to_owned());
    made.metadata.owner_references = None;
    (made.spec.system, made.spec.secret_name) = (true, "system-tls".to_owned());
    made.spec.dns_names = names.iter().map(|n| (*n).to_owned()).collect();
    let mut active = revision(7, &SECOND);
    active.dns_names = names.iter().map(|n| (*n).to_owned()).collect();
    active.secret_resource_version = Some("70".to_owned());
    made.status.as_mut().unwrap().active = Some(active);
    made
}

/// The former certificate, whose active revision is [`FIRST`].
fn own() -> MailCertificate {
    let mut made = certificate(&domain(json!({})));
    made.metadata.uid = Some("uid-own".to_owned());
    made.status.as_mut().unwrap().active = Some(revision(1, &FIRST));
    made
}

fn world_of(fallback: Fallback) -> World {
    let disabled = domain(json!({"certificate": {"disabled": true}}));
    let mut world = World::new(Arc::new(disabled), NOW, fallback.in_use(&domain(json!({}))));
    world.anchors = crate::decide::domain::world::anchors(Some(OURS.pem.as_bytes()));
    world.workloads = vec![workload("postfix", Some(&print(&FIRST)), Progress::RolledOut)];
    world.fallback = Some(fallback);
    world
}

fn disabled() -> Fallback {
    Fallback {
        secret: "example-com-tls".to_owned(),
        system: Some(Arc::new(system(&[HOST]))),
        own: Some(Arc::new(own())),
        leftovers: vec!["example-com-tls-r1-abcde".to_owned()],
        copy: CopyView::Stale { source: "70".to_owned(), version: "12".to_owned() },
        is_ending: false,
    }
}

fn current() -> CopyView {
    CopyView::Current(CopyStatus { source_resource_version: "70".to_owned(), resource_version: "71".to_owned() })
}

fn told(actions: &[Action]) -> Vec<String> {
    actions.iter().map(ToString::to_string).collect()
}

#[test]
fn files_that_the_copy_would_lack_are_not_taken_from_pods() {
    let mut fallback = disabled();
    Arc::make_mut(fallback.own.as_mut().unwrap()).spec.options.outputs.bluemind = true;
    let decision = decide(&world_of(fallback.clone()));
    assert!(!decision.actions.iter().any(|a| matches!(a, Action::CopySystem { .. })), "{:?}", decision.actions);
    let words = "False CopyPending: the Secret example-com-tls has bluemind.pem, which a copy of the system certificate would \
                 not have: give MailCertificate system the same spec.outputs, or, where nothing reads these files, take them \
                 out of spec.outputs of the own one first; until then MailCertificate example-com serves on";
    assert_eq!(said(&decision.status, "Ready"), words);
    let system = Arc::make_mut(fallback.system.as_mut().unwrap());
    system.spec.options.outputs.bluemind = true;
    (system.metadata.generation, system.status.as_mut().unwrap().observed_generation) = (Some(2), Some(1));
    let copies = |fallback: &Fallback| {
        decide(&world_of(fallback.clone())).actions.iter().any(|a| matches!(a, Action::CopySystem { .. }))
    };
    assert!(!copies(&fallback), "its Secret does not have it yet");
    let system = Arc::make_mut(fallback.system.as_mut().unwrap());
    system.status.as_mut().unwrap().observed_generation = Some(2);
    assert!(copies(&fallback));
}

#[test]
fn the_copy_comes_first_then_the_own_certificate_goes_then_pods_are_restarted() {
    let mut world = world_of(disabled());
    let first = decide(&world);
    let [Action::CopySystem { certificate, from, source, to, over }, ..] = &first.actions[..] else {
        panic!("{:?}", first.actions);
    };
    let said = [certificate, from, source, to].map(String::as_str);
    assert_eq!((said, over.as_deref()), (["system", "system-tls", "70", "example-com-tls"], Some("12")));
    let (actions, decision) = Outside::serving(&SECOND).pass(&mut world);
    let actions = told(&actions);
    assert_eq!(
        actions[..4],
        [
            "copy the system certificate, MailCertificate system, to Secret example-com-tls",
            "delete Secret example-com-tls-r1-abcde of the former certificate",
            "delete the former MailCertificate example-com",
            "restart the pods of Deployment postfix",
        ]
    );
    let status = decision.status.certificate.clone().unwrap();
    assert_eq!((status.name.as_str(), status.secret_name.as_str(), status.system), ("system", "example-com-tls", true));
    assert_eq!(status.copy.unwrap().resource_version, "copied");
    // The next pass has nothing to do but to see the restart through.
    let mut next = next_pass(&world, decision.status, hours(1));
    next.workloads = vec![workload("postfix", Some(&print(&SECOND)), Progress::RolledOut)];
    let (_, decision) = Outside::serving(&SECOND).pass(&mut next);
    let ready = said_ready(&decision.status);
    assert!(ready.starts_with("True Ready: revision 7 "), "{ready}");
}

fn said_ready(status: &crate::api::MailDomainStatus) -> String {
    said(status, "Ready")
}

#[test]
fn what_is_in_the_way_is_said_and_nothing_is_removed() {
    let serves = "until then MailCertificate example-com serves on";
    let mut pending = system(&[HOST]);
    let status = pending.status.as_mut().unwrap();
    status.active = None;
    status.conditions = vec![condition("Ready", "False", "OrderPending", "the order waits")];
    let foreign = "the Secret example-com-tls exists and was not made by mailcert: delete it";
    for (fallback, words) in [
        (
            Fallback { system: None, copy: CopyView::NoSource, ..disabled() },
            format!(
                "False SystemCertificateNotFound: spec.certificate is disabled, and this namespace has no system certificate \
                 to fall back to: make a MailCertificate with system: true; {serves}"
            ),
        ),
        (
            Fallback { system: Some(Arc::new(pending)), copy: CopyView::NoSource, ..disabled() },
            format!(
                "False CopyPending: the Secret example-com-tls is to get a copy of the system certificate (MailCertificate \
                 system): MailCertificate system: the order waits; {serves}"
            ),
        ),
        (
            Fallback { copy: CopyView::Foreign(foreign.to_owned()), ..disabled() },
            format!("False SecretConflict: {foreign}; {serves}"),
        ),
    ] {
        let mut world = world_of(fallback);
        let (actions, decision) = Outside::serving(&FIRST).pass(&mut world);
        assert!(actions.iter().all(|a| matches!(a, Action::Probe(_))), "{actions:?}");
        assert_eq!(said_ready(&decision.status), words);
        // The own certificate is what is served, and proven, until then.
        let status = decision.status.certificate.unwrap();
        assert_eq!((status.name.as_str(), status.system), ("example-com", false));
        assert!(decision.status.endpoints.iter().all(|e| e.reason == "served"), "{:?}", decision.status.endpoints);
    }
}

#[test]
fn a_system_certificate_that_has_expired_replaces_nothing() {
    let mut over = system(&[HOST]);
    over.status.as_mut().unwrap().active.as_mut().unwrap().not_after.0 = NOW - hours(1);
    let world = world_of(Fallback { system: Some(Arc::new(over)), ..disabled() });
    assert!(!decide(&world).actions.iter().any(|a| matches!(a, Action::CopySystem { .. })));
}

#[test]
fn a_write_by_somebody_else_ends_the_pass_and_removes_nothing() {
    let mut world = world_of(disabled());
    world.learn(Fact::CopyOvertaken);
    let (actions, decision) = Outside::serving(&FIRST).pass(&mut world);
    assert!(actions.iter().all(|a| matches!(a, Action::Probe(_))), "{actions:?}");
    assert_eq!(decision.wake, Some(NOW + k8s_openapi::jiff::SignedDuration::from_secs(2)));
}

#[test]
fn names_are_judged_against_the_system_certificate() {
    let fallback = Fallback {
        system: Some(Arc::new(system(&["other.example.com"]))),
        own: None,
        leftovers: Vec::new(),
        copy: current(),
        ..disabled()
    };
    let mut world = world_of(fallback);
    let (_, decision) = Outside::serving(&SECOND).pass(&mut world);
    assert_eq!(
        said(&decision.status, "NamesMatch"),
        "False NameMissing: mail.example.com is not in the certificate of MailCertificate system (Secret example-com-tls); \
         add it to its spec.dnsNames"
    );
}

#[test]
fn without_any_certificate_the_mounted_secret_is_remembered() {
    let nothing = Fallback { system: None, own: None, leftovers: Vec::new(), copy: CopyView::NoSource, ..disabled() };
    let mut world = world_of(nothing);
    let mut object = world.object.as_ref().clone();
    let status = json!({"certificate": {"name": "system", "secretName": "mounted-tls", "system": true}});
    object.status = Some(serde_json::from_value(status).unwrap());
    assert_eq!(Fallback::secret_of(&object, None), "mounted-tls");
    world.object = Arc::new(object);
    assert_eq!(decide(&world).status.certificate.unwrap().secret_name, "mounted-tls");
    assert_eq!(Fallback::secret_of(&domain(json!({"certificate": {"disabled": true}})), None), "example-com-tls");
    let named = domain(json!({"certificate": {"disabled": true, "secretName": "named-tls"}}));
    assert_eq!(Fallback::secret_of(&named, None), "named-tls");
    assert_eq!(Fallback::secret_of(&named, Some(&own())), "example-com-tls");
}

#[test]
fn a_copy_is_kept_up_to_date_until_the_own_certificate_takes_its_place() {
    let mut world = world(domain(json!({})));
    world.fallback = Some(Fallback { own: None, is_ending: true, ..disabled() });
    let before = world.certificate.clone();
    let (actions, decision) = Outside::serving(&SECOND).pass(&mut world);
    assert_eq!(told(&actions)[0], "copy the system certificate, MailCertificate system, to Secret example-com-tls");
    assert!(!actions.iter().any(|a| matches!(a, Action::RemoveSecret { .. } | Action::RemoveCertificate { .. })));
    assert_eq!(world.certificate, before);
    assert!(!decision.status.certificate.unwrap().system);
    // A Secret that is gone is for the own certificate to make.
    let mut gone =
        world_of(Fallback { is_ending: true, copy: CopyView::Absent { source: "70".to_owned() }, ..disabled() });
    gone.certificate = CertificateView::Found(Arc::new(own()));
    assert!(!decide(&gone).actions.iter().any(|a| matches!(a, Action::CopySystem { .. })));
}

fn any_copy() -> impl Strategy<Value = CopyView> {
    prop_oneof![
        Just(CopyView::NoSource),
        Just(CopyView::Original),
        Just(current()),
        Just(CopyView::Absent { source: "70".to_owned() }),
        Just(CopyView::Stale { source: "70".to_owned(), version: "12".to_owned() }),
        Just(CopyView::Foreign("it is foreign".to_owned())),
    ]
}

proptest! {
    #[test]
    fn nothing_is_removed_or_restarted_before_the_copy_is_in_place(
        copy in any_copy(), has_system: bool, has_own: bool, is_ending: bool, is_over: bool, overtaken: bool,
    ) {
        let mut made = system(&[HOST]);
        if is_over {
            made.status.as_mut().unwrap().active.as_mut().unwrap().not_after.0 = NOW - hours(1);
        }
        let fallback = Fallback {
            system: has_system.then(|| Arc::new(made)),
            own: has_own.then(|| Arc::new(own())),
            copy: copy.clone(),
            is_ending,
            ..disabled()
        };
        let mut world = world_of(fallback.clone());
        world.done.overtaken = overtaken;
        let in_place = fallback.is_in_place();
        for action in decide(&world).actions {
            match action {
                Action::RemoveSecret { .. } | Action::RemoveCertificate { .. } => {
                    prop_assert!(in_place && has_system && !is_over && !is_ending && !overtaken);
                }
                Action::CopySystem { .. } => {
                    let may = matches!(copy, CopyView::Absent { .. } | CopyView::Stale { .. });
                    prop_assert!(may && has_system && !is_over && !overtaken);
                }
                Action::Roll { .. } => prop_assert!(in_place || has_own || is_ending),
                _ => {}
            }
        }
        // It comes to an end, and the next pass has nothing more to write.
        let (_, decision) = Outside::serving(&SECOND).pass(&mut world);
        let mut next = next_pass(&world, decision.status, hours(0));
        let again = decide(&next).actions;
        prop_assert!(again.iter().all(|a| matches!(a, Action::Probe(_)) || overtaken), "{again:?}");
        let (_, settled) = Outside::serving(&SECOND).pass(&mut next);
        let twice = next_pass(&next, settled.status.clone(), hours(0));
        prop_assert!(overtaken || decide(&twice).status == settled.status);
    }
}
