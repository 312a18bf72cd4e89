//! Names that the CA cannot validate: what works stays, and the CA is not asked again too soon.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use mailcert::api::MailIssuer;
use serde_json::json;

use crate::world::{World, certificate_spec, condition, is, revision};

/// Nothing listens there.
const DEAD: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 99);

#[tokio::test]
async fn a_failed_challenge_keeps_the_certificate_and_waits() {
    let mut world = World::start("failing", &[]).await;
    world.resolve(&["mail.failing.test"]);
    world.issuer("ca", world.issuer_spec()).await;
    world.create::<MailIssuer>("own", json!({"selfSigned": {}})).await;
    world.certificate("mail", &["mail.failing.test"]).await;
    world.issued("mail").await;
    let before = world.secret("mail-tls").await;

    world.pebble.set_a("mail.failing.test", DEAD).unwrap();
    world.renew("mail", "1").await;
    let failed = world.issuing("mail", "ValidationFailed").await;
    let message = condition(&failed, "Issuing").unwrap().message;
    assert!(message.contains("mail.failing.test: ") && message.contains("connection refused"), "{message}");
    assert!(message.contains("urn:ietf:params:acme:error:connection"), "{message}");
    assert!(is(&condition(&failed, "Ready"), "True", "Active"));
    let attempt = failed.status.unwrap().attempt.unwrap();
    let pause = attempt.retry_time.unwrap().0.duration_since(attempt.last_failure_time.unwrap().0);
    assert_eq!((attempt.failures, pause.as_secs()), (1, 60));
    assert_eq!(world.secret("mail-tls").await.metadata.resource_version, before.metadata.resource_version);

    // Neither waiting nor a restart orders again before the time: the status remembers, not the process.
    let orders = world.proxy.orders();
    assert_eq!(orders, 2);
    world.kill_operator();
    world.start_operator();
    world.create::<mailcert::api::MailCertificate>("other", certificate_spec("other", "own", &["a.test"])).await;
    world.issued("other").await;
    world.issuing("mail", "ValidationFailed").await;
    assert_eq!(world.proxy.orders(), orders);

    // A person who has mended it need not wait.
    world.resolve(&["mail.failing.test"]);
    world.renew("mail", "2").await;
    let renewed = world.wait("mail", "renewed", |c| revision(c) == 2).await;
    assert!(is(&condition(&renewed, "Ready"), "True", "Active"));
    assert_eq!(world.proxy.orders(), orders + 1);
}

#[tokio::test]
async fn a_first_certificate_that_fails_says_why() {
    let world = World::start("first", &[]).await;
    world.issuer("ca", world.issuer_spec()).await;
    world.certificate("mail", &["nowhere.first.test"]).await;
    let failed = world.issuing("mail", "ValidationFailed").await;
    let ready = condition(&failed, "Ready");
    assert!(is(&ready, "False", "ValidationFailed"), "{ready:?}");
    assert!(ready.unwrap().message.contains("nowhere.first.test: "));
    assert!(failed.status.unwrap().attempt.unwrap().retry_time.is_some());
    assert!(world.api::<k8s_openapi::api::core::v1::Secret>().get_opt("mail-tls").await.unwrap().is_none());
}

#[tokio::test]
async fn legacy_names_that_lead_nowhere_are_left_out() {
    let world = World::start("legacy", &[]).await;
    world.resolve(&["mail.legacy.test", "old.legacy.test"]);
    world.issuer("ca", world.issuer_spec()).await;
    let mut spec = certificate_spec("mail", "ca", &["mail.legacy.test"]);
    spec["legacyDNSNames"] = json!([
        {"name": "old.legacy.test"},
        {"name": "dead.legacy.test", "onUnreachable": "Report"},
        {"name": "lost.legacy.test", "onUnreachable": "Drop"},
    ]);
    world.create::<mailcert::api::MailCertificate>("mail", spec).await;
    let status = world.issued("mail").await.status.unwrap();
    let omitted: BTreeSet<_> = status.omitted_names.iter().map(|o| o.name.as_str()).collect();
    assert_eq!(omitted, BTreeSet::from(["dead.legacy.test", "lost.legacy.test"]));
    assert!(status.omitted_names.iter().all(|o| o.problem.contains("urn:ietf:params:acme:error:")));
    assert_eq!(status.active.unwrap().dns_names, ["mail.legacy.test", "old.legacy.test"]);
    assert!(world.proxy.orders() <= 3, "{} orders", world.proxy.orders());
    assert_eq!(world.proxy.finalized(), 1);
}
