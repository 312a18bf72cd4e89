//! Mail domains that share a server: who writes the tables, what is in them, and who waits for them.

use std::collections::BTreeSet;

use serde_json::json;

use super::fixtures::*;
use crate::api::domain::{Sni, SniStatus};
use crate::decide::domain::decide;
use crate::decide::domain::sni::{DOVECOT, DOVECOT_24, Member, POSTFIX, SniSecret, Source, View, plan};
use crate::decide::domain::world::{Action, CertificateView, Fact, Progress, WorkloadFound, World};

fn member(name: &str, own: &[&str], sans: &[&str]) -> Member {
    Member {
        name: name.to_owned(),
        sni: Sni { secret_name: "mail-sni".to_owned(), mount_path: "/etc/mail-sni".to_owned() },
        names: own.iter().map(|n| (*n).to_owned()).collect(),
        certificate: (!sans.is_empty()).then(|| Source {
            secret_name: format!("{name}-tls"),
            fingerprint: format!("print of {name}"),
            dns_names: sans.iter().map(|n| (*n).to_owned()).collect(),
        }),
    }
}

#[test]
fn own_names_come_first_and_wildcards_where_each_server_wants_them() {
    let members = [
        member("a-com", &["mail.a.com", "alt.a.com"], &["*.b.org", "mail.a.com", "alt.a.com"]),
        member("b-org", &["mail.b.org"], &["mail.b.org", "mail.a.com"]),
        member("c-net", &["mail.c.net"], &[]),
    ];
    let plan = plan(&members);
    assert_eq!(plan.files.keys().collect::<Vec<_>>(), ["a-com.pem", "b-org.pem"]);
    assert_eq!(
        plan.tables[POSTFIX],
        "# Written by mailcert. In main.cf: tls_server_sni_maps = texthash:/etc/mail-sni/postfix-sni\n\
         alt.a.com /etc/mail-sni/a-com.pem\n\
         mail.a.com /etc/mail-sni/a-com.pem\n\
         mail.b.org /etc/mail-sni/b-org.pem\n\
         .b.org /etc/mail-sni/a-com.pem\n"
    );
    let order = |table: &str| -> Vec<String> {
        let lines = plan.tables[table].lines().filter_map(|l| l.strip_prefix("local_name "));
        lines.map(|l| l.trim_end_matches(" {").to_owned()).collect()
    };
    assert_eq!(order(DOVECOT), ["alt.a.com", "mail.a.com", "mail.b.org", "*.b.org"]);
    assert_eq!(order(DOVECOT_24), ["*.b.org", "alt.a.com", "mail.a.com", "mail.b.org"]);
    let block =
        "local_name mail.b.org {\n  ssl_cert = </etc/mail-sni/b-org.pem\n  ssl_key = </etc/mail-sni/b-org.pem\n}\n";
    assert!(plan.tables[DOVECOT].contains(block), "{}", plan.tables[DOVECOT]);
    let block = "local_name mail.b.org {\n  ssl_server_cert_file = /etc/mail-sni/b-org.pem\n  \
                 ssl_server_key_file = /etc/mail-sni/b-org.pem\n}\n";
    assert!(plan.tables[DOVECOT_24].contains(block), "{}", plan.tables[DOVECOT_24]);
}

/// A MailDomain of the group, whose workload has run with its certificate's predecessor.
fn world(name: &str) -> World {
    let mut object = domain(json!({"sni": {"secretName": "mail-sni"}, "endpoints": []}));
    object.metadata.name = Some(name.to_owned());
    let mut certificate = certificate(&object);
    certificate.metadata.name = Some(name.to_owned());
    let mut world = World::new(object.into(), NOW, CertificateView::Found(certificate.into()));
    world.workloads = vec![workload("postfix", Some(&print(&FIRST)), Progress::RolledOut)];
    world.sni = Some(View {
        members: vec![
            member("a-com", &["mail.a.com"], &["mail.a.com"]),
            member("b-org", &["mail.b.org"], &["mail.b.org"]),
        ],
        secret: SniSecret::Absent,
        ..View::default()
    });
    world
}

fn said(world: &World) -> (String, String, String) {
    let status = decide(world).status;
    let found = status.conditions.iter().find(|c| c.type_ == "SNIReady").expect("a condition");
    (found.status.clone(), found.reason.clone(), found.message.clone())
}

fn actions(world: &World) -> Vec<String> {
    decide(world).actions.iter().map(ToString::to_string).collect()
}

fn ours(digest: Option<&str>) -> SniSecret {
    SniSecret::Ours {
        version: "7".to_owned(),
        digest: digest.map(str::to_owned),
        keys: BTreeSet::from(["old.pem".to_owned()]),
    }
}

fn see(world: &mut World, secret: SniSecret) {
    world.learn(Fact::Sni(secret));
}

#[test]
fn the_first_writes_and_restarts_pods_only_then() {
    let mut world = world("a-com");
    assert_eq!(actions(&world), ["write 2 files and the tables to the Secret mail-sni"]);
    let pending = "the tables in the Secret mail-sni are to be written";
    assert_eq!(said(&world), ("False".to_owned(), "SNIPending".to_owned(), pending.to_owned()));
    let wanted = plan(&world.sni.as_ref().unwrap().members).digest;
    see(&mut world, ours(Some(&wanted)));
    assert_eq!(actions(&world), ["restart the pods of Deployment postfix"]);
    let message = "the tables in the Secret mail-sni have mail.a.com";
    assert_eq!(said(&world), ("True".to_owned(), "SNIWritten".to_owned(), message.to_owned()));
    let expected = SniStatus {
        secret_name: "mail-sni".to_owned(),
        writer: "a-com".to_owned(),
        digest_sha256: Some(wanted),
        secret_resource_version: Some("7".to_owned()),
        names: vec!["mail.a.com".to_owned()],
    };
    assert_eq!(decide(&world).status.sni, Some(expected));
}

#[test]
fn what_was_changed_is_read_and_written_again_without_what_is_stale() {
    let mut world = world("a-com");
    see(&mut world, SniSecret::NotRead);
    assert_eq!(actions(&world), ["read the Secret mail-sni with the tables of names"]);
    see(&mut world, ours(None));
    let Some(Action::WriteSni { stale, over, .. }) = decide(&world).actions.into_iter().next() else {
        panic!("it is not written");
    };
    assert_eq!((stale, over), (BTreeSet::from(["old.pem".to_owned()]), Some("7".to_owned())));
    world.learn(Fact::SniWaits("the Secret b-org-tls is put right first".to_owned()));
    let decision = decide(&world);
    assert!(decision.actions.is_empty());
    assert_eq!(decision.wake, Some(NOW + k8s_openapi::jiff::SignedDuration::from_secs(10)));
    assert_eq!(said(&world).2, "the Secret b-org-tls is put right first");
}

#[test]
fn the_others_wait_for_the_first_and_never_write() {
    let mut world = world("b-org");
    assert_eq!(actions(&world), Vec::<String>::new());
    assert_eq!(said(&world).2, "MailDomain a-com is to write the tables in the Secret mail-sni");
    let digest = plan(&world.sni.as_ref().unwrap().members).digest;
    let written = |digest_sha256| SniStatus {
        secret_name: "mail-sni".to_owned(),
        writer: "a-com".to_owned(),
        digest_sha256,
        ..SniStatus::default()
    };
    let known = |world: &mut World, digest| {
        if let Some(view) = &mut world.sni {
            view.written = Some(written(digest));
        }
    };
    known(&mut world, Some("of earlier tables".to_owned()));
    assert_eq!(actions(&world), Vec::<String>::new());
    known(&mut world, Some(digest));
    assert_eq!(actions(&world), ["restart the pods of Deployment postfix"]);
    assert_eq!(said(&world).0, "True");
    // Where the first is stuck, the rest goes on.
    known(&mut world, None);
    assert_eq!(actions(&world), ["restart the pods of Deployment postfix"]);
    assert_eq!(said(&world).0, "False");
}

#[test]
fn a_foreign_secret_is_left_alone_and_stops_nothing_else() {
    let mut world = world("a-com");
    see(&mut world, SniSecret::Foreign("the Secret mail-sni exists".to_owned()));
    assert_eq!(actions(&world), ["restart the pods of Deployment postfix"]);
    assert_eq!(said(&world), ("False".to_owned(), "SNIConflict".to_owned(), "the Secret mail-sni exists".to_owned()));
    let status = decide(&world).status;
    assert!(status.conditions.iter().any(|c| c.type_ == "Stalled"));
    assert_eq!(status.sni.and_then(|s| s.digest_sha256), None);
}

#[test]
fn what_a_member_lacks_is_said_on_it() {
    let mut world = world("b-org");
    let mut members = vec![
        member("a-com", &["mail.a.com"], &["mail.a.com"]),
        member("b-org", &["mail.b.org", "mail.a.com"], &["mail.b.org", "mail.a.com"]),
        member("c-net", &["mail.c.net"], &[]),
    ];
    members[1].sni.mount_path = "/certs".to_owned();
    let digest = plan(&members).digest;
    if let Some(view) = &mut world.sni {
        view.written =
            Some(SniStatus { secret_name: "mail-sni".to_owned(), digest_sha256: Some(digest), ..SniStatus::default() });
        view.members = members;
    }
    let message = "spec.sni.mountPath is /certs, but that of MailDomain a-com counts for the group, which is /etc/mail-sni; \
                   mail.a.com is a name of MailDomain a-com, too, whose certificate is served for it";
    assert_eq!(said(&world), ("False".to_owned(), "SNIIncomplete".to_owned(), message.to_owned()));
    if let Some(view) = &mut world.sni {
        view.members = (0..101).map(|i| member(&format!("m{i:03}"), &[], &[])).collect();
    }
    let message = "101 MailDomains share the Secret mail-sni, which has room for 100: give some of them another \
                   spec.sni.secretName";
    assert_eq!(said(&world).2, message);
}

#[test]
fn a_restarted_writer_reads_nothing() {
    let mut world = world("a-com");
    let digest = plan(&world.sni.as_ref().unwrap().members).digest;
    if let Some(view) = &mut world.sni {
        view.secret = SniSecret::Unchanged;
        view.written = Some(SniStatus {
            secret_name: "mail-sni".to_owned(),
            digest_sha256: Some(digest),
            secret_resource_version: Some("7".to_owned()),
            ..SniStatus::default()
        });
    }
    if let WorkloadFound::Found(found) = &mut world.workloads[0].found {
        found.annotation = Some(print(&SECOND));
    }
    assert_eq!(actions(&world), Vec::<String>::new());
    assert_eq!(said(&world).0, "True");
}
