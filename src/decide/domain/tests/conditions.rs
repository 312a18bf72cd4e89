use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::SignedDuration;
use serde_json::json;

use super::fixtures::*;
use crate::api::certificate::{MailCertificate, OmittedName};
use crate::api::domain::{MailDomain, MailDomainStatus, WorkloadKind};
use crate::decide::domain::decide;
use crate::decide::domain::world::{Action, CertificateView, LookFailure, Progress, WorkloadView, World};

fn types(status: &MailDomainStatus) -> Vec<&str> {
    status.conditions.iter().map(|c| c.type_.as_str()).collect()
}

fn after_pass(mut world: World) -> MailDomainStatus {
    Outside::serving(&SECOND).pass(&mut world).1.status
}

fn by_reference(change: serde_json::Value) -> MailDomain {
    let mut all = json!({"certificate": {"ref": {"name": "shared"}}});
    for (key, value) in change.as_object().unwrap() {
        all[key] = value.clone();
    }
    domain(all)
}

#[test]
fn all_is_well() {
    let status = after_pass(world(domain(json!({}))));
    let ready = "True Ready: revision 2 (expires at 2026-08-29T23:00:00Z) covers every name, runs in every workload \
                 and is served by 2 endpoints";
    assert_eq!(said(&status, "Ready"), ready);
    assert_eq!(said(&status, "NamesMatch"), "True Covered: the certificate covers mail.example.com");
    assert_eq!(said(&status, "RolledOut"), "True RolledOut: 1 workload runs with revision 2");
    assert_eq!(said(&status, "Served"), "True Served: 2 endpoints serve revision 2");
    assert_eq!(types(&status), ["Ready", "NamesMatch", "RolledOut", "Served"]);
    assert_eq!(status.endpoint_problems.as_deref(), Some("0/2"));
    let certificate = status.certificate.unwrap();
    assert_eq!((certificate.name.as_str(), certificate.secret_name.as_str()), ("example-com", "example-com-tls"));
    assert_eq!(certificate.fingerprint_sha256, Some(print(&SECOND)));
}

#[test]
fn without_workloads_and_endpoints_nothing_is_proven() {
    let status = after_pass(world(domain(json!({"workloads": [], "endpoints": []}))));
    assert_eq!(
        said(&status, "Ready"),
        "True Ready: revision 2 (expires at 2026-08-29T23:00:00Z) covers every name; \
         spec.endpoints names no endpoint, so nothing is proven"
    );
    assert_eq!(
        said(&status, "RolledOut"),
        "Unknown NoWorkloads: spec.workloads names nothing to restart: the servers must load a new certificate by \
         themselves"
    );
    assert_eq!(
        said(&status, "Served"),
        "Unknown NoEndpoints: spec.endpoints names no endpoint to look at, so nothing is proven"
    );
    assert_eq!(status.endpoint_problems, None);
}

#[test]
fn ready_turns_false_at_expiry_without_an_event() {
    let mut world = world(domain(json!({"endpoints": []})));
    let decision = decide(&world);
    assert_eq!(decision.wake, Some(NOW + hours(2159) + SignedDuration::from_secs(1)));
    world.now = decision.wake.unwrap();
    assert_eq!(
        said(&decide(&world).status, "Ready"),
        "False CertificateNotReady: the certificate of MailCertificate example-com (Secret example-com-tls) expired at \
         2026-08-29T23:00:00Z"
    );
}

/// The certificate of a world, as `change` makes it, gives this `Ready`, and `Stalled` or `Reconciling`.
#[test]
fn certificates_that_are_no_good() {
    type Change = fn(&mut MailCertificate);
    let table: [(Change, &str, &str); 5] = [
        (|c| c.status = None, "MailCertificate example-com: nothing has been issued yet", "Reconciling"),
        (
            |c| {
                let status = c.status.as_mut().unwrap();
                status.active = None;
                status.conditions = vec![condition("Ready", "False", "OrderPending", "waiting for the CA")];
            },
            "MailCertificate example-com has no certificate yet: waiting for the CA",
            "Reconciling",
        ),
        (
            |c| {
                c.status.as_mut().unwrap().conditions = vec![
                    condition("Ready", "False", "SecretConflict", "the Secret is another's"),
                    condition("Stalled", "True", "SecretConflict", "the Secret is another's"),
                ];
            },
            "MailCertificate example-com is not ready: the Secret is another's",
            "Stalled",
        ),
        (
            |c| c.metadata.generation = Some(2),
            "MailCertificate example-com is being brought up to its new spec",
            "Reconciling",
        ),
        (
            |c| c.status.as_mut().unwrap().active.as_mut().unwrap().not_before = Time(NOW + hours(1)),
            "the certificate of MailCertificate example-com (Secret example-com-tls) is not valid before \
             2026-06-01T01:00:00Z: a clock is wrong",
            "Reconciling",
        ),
    ];
    for (how, message, last) in table {
        let mut world = world(domain(json!({})));
        change(&mut world, how);
        let status = after_pass(world);
        assert_eq!(said(&status, "Ready"), format!("False CertificateNotReady: {message}"));
        assert_eq!(said(&status, last), format!("True CertificateNotReady: {message}"));
        assert_eq!(types(&status), ["Ready", "NamesMatch", "RolledOut", "Served", last]);
    }
}

#[test]
fn the_own_certificate_is_made_and_kept_to_its_spec() {
    let domain = domain(json!({}));
    let found = CertificateView::of(&domain, None);
    let mut none = World::new(Arc::new(domain.clone()), NOW, found);
    let (actions, decision) = Outside::serving(&SECOND).pass(&mut none);
    assert!(matches!(&actions[..], [Action::ApplyCertificate { name, .. }] if name == "example-com"), "{actions:?}");
    let issued = "False CertificateNotReady: MailCertificate example-com: nothing has been issued yet";
    assert_eq!(said(&decision.status, "Ready"), issued);
    let mut changed = world(domain);
    change(&mut changed, |c| c.spec.dns_names.push("foreign.example.com".to_owned()));
    assert!(matches!(&decide(&changed).actions[0], Action::ApplyCertificate { spec, .. } if spec.dns_names == [HOST]));
    change(&mut changed, |c| c.metadata.deletion_timestamp = Some(Time(NOW)));
    assert!(!decide(&changed).actions.iter().any(|a| matches!(a, Action::ApplyCertificate { .. })));
}

#[test]
fn somebody_elses_certificate_is_never_written() {
    for (owner, whose) in [(None, "nobody's"), (Some("other"), "MailDomain/other's")] {
        let domain = domain(json!({}));
        let mut foreign = certificate(&domain);
        match owner {
            None => foreign.metadata.owner_references = None,
            Some(name) => {
                let reference = &mut foreign.metadata.owner_references.as_mut().unwrap()[0];
                (reference.name, reference.uid) = (name.to_owned(), "uid-2".to_owned());
            }
        }
        let view = CertificateView::of(&domain, Some(Arc::new(foreign)));
        let decision = decide(&World::new(Arc::new(domain), NOW, view));
        assert_eq!(decision.actions, []);
        let message = format!(
            "True CertificateConflict: MailCertificate example-com exists and is {whose}, not this MailDomain's; use it \
             with spec.certificate.ref, or delete or rename one of the two"
        );
        assert_eq!(said(&decision.status, "Stalled"), message);
    }
}

#[test]
fn a_reference_to_nothing() {
    let domain = by_reference(json!({}));
    let decision = decide(&World::new(Arc::new(domain.clone()), NOW, CertificateView::of(&domain, None)));
    let message = "CertificateNotFound: there is no MailCertificate shared in this namespace; make it, or correct \
                   spec.certificate.ref";
    assert_eq!(decision.actions, []);
    assert_eq!(said(&decision.status, "Ready"), format!("False {message}"));
    assert_eq!(said(&decision.status, "Stalled"), format!("True {message}"));
    assert_eq!(said(&decision.status, "NamesMatch"), format!("Unknown {message}"));
}

#[test]
fn missing_names() {
    let hostnames = json!({"hostnames": {"additional": ["pop.example.com", "imap.example.com"]}});
    let status = after_pass(world(domain(hostnames.clone())));
    let place = "pop.example.com is not in the certificate of MailCertificate example-com (Secret example-com-tls)";
    let issuing = format!("NameMissing: {place}; a certificate with it is being issued");
    assert_eq!(said(&status, "NamesMatch"), format!("False {issuing}"));
    assert_eq!(said(&status, "Reconciling"), format!("True {issuing}"));
    let mut shared = world(by_reference(hostnames));
    let status = after_pass(shared.clone());
    assert_eq!(said(&status, "NamesMatch"), format!("False NameMissing: {place}; add it to its spec.dnsNames"));
    assert_eq!(said(&status, "Stalled"), format!("True NameMissing: {place}; add it to its spec.dnsNames"));
    change(&mut shared, |c| c.spec.dns_names.push("POP.example.com".to_owned()));
    assert_eq!(said(&after_pass(shared), "NamesMatch"), format!("False {issuing}"));
}

#[test]
fn many_missing_names_are_counted() {
    let additional: Vec<String> = (1..6).map(|i| format!("h{i}.example.com")).collect();
    let status = after_pass(world(domain(json!({"hostnames": {"additional": additional}}))));
    let message = "False NameMissing: h1.example.com, h2.example.com, h3.example.com and 2 more are not in the \
                   certificate of MailCertificate example-com (Secret example-com-tls); a certificate with them is \
                   being issued";
    assert_eq!(said(&status, "NamesMatch"), message);
}

#[test]
fn wildcards_cover_one_label() {
    let mut world = world(domain(json!({"hostnames": {"additional": ["a.example.com", "*.example.com"]}})));
    change(&mut world, |c| {
        c.status.as_mut().unwrap().active.as_mut().unwrap().dns_names = vec!["*.example.com".into()]
    });
    let covered = "True Covered: the certificate covers *.example.com, a.example.com, mail.example.com";
    assert_eq!(said(&after_pass(world), "NamesMatch"), covered);
}

#[test]
fn legacy_names() {
    let omitted = OmittedName {
        name: "old.example.com".to_owned(),
        problem: "no A or AAAA record".to_owned(),
        since: Time(NOW - hours(2)),
    };
    let legacy =
        |policy: &str| json!({"hostnames": {"legacy": [{"name": "old.example.com", "onUnreachable": policy}]}});
    let why = "legacy name old.example.com is left out: no A or AAAA record";
    let status_of = |domain: MailDomain| {
        let mut world = world(domain);
        change(&mut world, |c| c.status.as_mut().unwrap().omitted_names = vec![omitted.clone()]);
        after_pass(world)
    };
    let report = status_of(domain(legacy("Report")));
    assert_eq!(said(&report, "NamesMatch"), format!("False LegacyNameOmitted: {why}"));
    assert_eq!(said(&report, "Ready"), format!("False LegacyNameOmitted: {why}"));
    let drop = status_of(domain(legacy("Drop")));
    assert_eq!(said(&drop, "NamesMatch"), format!("True Covered: the certificate covers mail.example.com; {why}"));
    assert!(said(&drop, "Ready").starts_with("True Ready"));
    let shared = after_pass(world(by_reference(legacy("Report"))));
    let add = "False LegacyNameOmitted: legacy name old.example.com is left out: add it to spec.legacyDNSNames of \
               MailCertificate example-com";
    assert_eq!(said(&shared, "NamesMatch"), add);
}

#[test]
fn an_invalid_spec_stops_nothing_that_works() {
    let mut world = world(domain(json!({"hostnames": {"additional": ["localhost"]}})));
    world.workloads = vec![workload("postfix", None, Progress::RolledOut)];
    let (actions, decision) = Outside::serving(&SECOND).pass(&mut world);
    assert!(matches!(actions[..], [Action::Roll { .. }]));
    let message = "InvalidSpec: spec.hostnames.additional[0]: \"localhost\" has only one label; give the full DNS name, \
                   such as localhost.example.com";
    assert_eq!(said(&decision.status, "Ready"), format!("False {message}"));
    assert_eq!(said(&decision.status, "Stalled"), format!("True {message}"));
}

#[test]
fn workloads_that_do_not_come_up() {
    let active = print(&SECOND);
    let failed = workload("failed", Some(&active), Progress::Blocked("it is paused".to_owned()));
    let rolling = workload("rolling", Some(&active), Progress::RollingOut("1 of 2 pods are updated".to_owned()));
    let gone = WorkloadView::not_found(WorkloadKind::StatefulSet, "gone");
    let all = [rolling, failed, gone];
    for (from, reason, message) in [
        (0, "RollingOut", "Deployment/rolling: 1 of 2 pods are updated"),
        (1, "RolloutFailed", "Deployment/failed: it is paused"),
        (
            2,
            "WorkloadNotFound",
            "StatefulSet/gone: there is no StatefulSet \"gone\" in this namespace; make it, or correct spec.workloads",
        ),
    ] {
        let mut world = world(domain(json!({})));
        world.workloads = all[..=from].to_vec();
        let status = after_pass(world);
        assert_eq!(said(&status, "RolledOut"), format!("False {reason}: {message}"));
        assert_eq!(said(&status, "Ready"), format!("False {reason}: {message}"));
        assert_eq!(status.workloads.len(), from + 1);
    }
}

#[test]
fn endpoint_problems_are_named_up_to_three() {
    let endpoints = json!({"endpoints": (1..=5).map(|i| json!({"protocol": "IMAP", "port": i})).collect::<Vec<_>>()});
    let mut world = world(domain(endpoints));
    let failure = LookFailure { word: "timeout".to_owned(), message: "no banner".to_owned() };
    let (_, decision) = Outside { endpoints: Err(failure), ..Outside::serving(&SECOND) }.pass(&mut world);
    let message = "EndpointProblem: IMAP mail.example.com:1: no banner; IMAP mail.example.com:2: no banner; \
                   IMAP mail.example.com:3: no banner and 2 more";
    assert_eq!(said(&decision.status, "Served"), format!("False {message}"));
    assert_eq!(said(&decision.status, "Ready"), format!("False {message}"));
    assert_eq!(decision.status.endpoint_problems.as_deref(), Some("5/5"));
    assert_eq!(decision.status.endpoints[4].reason, "timeout");
}

#[test]
fn missing_permissions_are_said() {
    let mut world = world(domain(json!({})));
    world.forbidden = Some("make RoleBinding x".to_owned());
    let status = decide(&world).status;
    assert_eq!(said(&status, "Ready"), "False Forbidden: make RoleBinding x");
    assert_eq!(said(&status, "Stalled"), "True Forbidden: make RoleBinding x");
    assert_eq!(said(&status, "RolledOut"), "Unknown Forbidden: make RoleBinding x");
    assert_eq!(said(&status, "Served"), "Unknown Forbidden: make RoleBinding x");
}

#[test]
fn a_deleted_mail_domain_is_left_alone() {
    let mut domain = domain(json!({}));
    domain.metadata.deletion_timestamp = Some(Time(NOW));
    let decision = decide(&World::new(Arc::new(domain.clone()), NOW, CertificateView::of(&domain, None)));
    assert_eq!((decision.actions, decision.wake), (vec![], None));
}
