//! A server that fails: each fault is said on the object, asks for a later try, and touches nothing that works.

use k8s_openapi::jiff::Timestamp;
use mailcert::api::MailCertificate;

use crate::proxy::{Asked, Fate};
use crate::world::{World, condition, is, revision};

const PROBLEM: &str = "Content-Type: application/problem+json";
const HTML: &str = "Content-Type: text/html";
const SECRET: &str = "s3cret-of-another-service";

fn problem(kind: &str, detail: &str) -> String {
    format!(r#"{{"type":"urn:ietf:params:acme:error:{kind}","detail":"{detail}"}}"#)
}

/// Answers new orders so.
fn orders(status: &'static str, headers: &[&str], body: &str) -> impl Fn(&Asked) -> Fate + Send + Sync + 'static {
    let headers: Vec<String> = headers.iter().map(ToString::to_string).collect();
    let body = body.to_owned();
    move |asked| match asked.path.as_str() {
        "/order-plz" => Fate::Answer(status, headers.clone(), body.clone()),
        _ => Fate::Pass,
    }
}

/// Asks for a renewal and waits until it has failed so. Everything that works must be as it was.
async fn fails(world: &World, value: &str, reason: &str, words: &str) -> MailCertificate {
    let before = (world.secret("mail-tls").await, world.api::<MailCertificate>().get("mail").await.unwrap());
    let failures = |c: &MailCertificate| c.status.as_ref().and_then(|s| s.attempt.as_ref()).map_or(0, |a| a.failures);
    let (known, asked) = (failures(&before.1), world.proxy.count("/order-plz", None));
    world.renew("mail", value).await;
    let failed = world.wait("mail", words, |c| failures(c) > known).await;
    let issuing = condition(&failed, "Issuing").unwrap();
    assert_eq!(issuing.reason, reason, "{}", issuing.message);
    assert!(issuing.message.contains(words), "{} lacks {words}", issuing.message);
    assert!(!issuing.message.contains(SECRET), "{}", issuing.message);
    assert!(is(&condition(&failed, "Ready"), "True", "Active"));
    assert_eq!(failed.status.as_ref().unwrap().active, before.1.status.unwrap().active);
    let after = world.secret("mail-tls").await;
    assert_eq!(after.metadata.resource_version, before.0.metadata.resource_version);
    assert!(world.proxy.count("/order-plz", None) - asked <= 1, "{words}: asked again at once");
    assert!(failed.status.as_ref().unwrap().attempt.as_ref().unwrap().retry_time.is_some());
    failed
}

fn pause(failed: &MailCertificate) -> i64 {
    let attempt = failed.status.clone().unwrap().attempt.unwrap();
    let at: Timestamp = attempt.retry_time.unwrap().0;
    at.duration_since(attempt.last_failure_time.unwrap().0).as_secs()
}

#[tokio::test]
async fn faults_of_the_server_are_said_and_waited_for() {
    let world = World::start("faults", &[]).await;
    world.resolve(&["mail.faults.test"]);
    world.issuer("ca", world.issuer_spec()).await;
    world.certificate("mail", &["mail.faults.test"]).await;
    world.issued("mail").await;
    let quiet = world.memory();

    world.proxy.down().await;
    fails(&world, "down", "ServerUnavailable", "cannot be reached: connection refused").await;
    world.proxy.up().await;
    let page = format!("<html>{SECRET}</html>");
    world.proxy.rule(orders("502 Bad Gateway", &[HTML], &page));
    fails(&world, "html", "ServerUnavailable", "the ACME server answered 502 text/html instead of JSON").await;
    let internal = problem("serverInternal", "the database is away");
    world.proxy.rule(orders("503 Unavailable", &[PROBLEM, "Retry-After: 77"], &internal));
    let failed = fails(&world, "busy", "ServerUnavailable", "the database is away").await;
    assert_eq!(pause(&failed), 77);
    let limited = problem("rateLimited", "too many certificates already issued");
    world.proxy.rule(orders("429 Too Many Requests", &[PROBLEM, "Retry-After: 4321"], &limited));
    let failed = fails(&world, "limited", "RateLimited", "too many certificates already issued").await;
    assert_eq!(pause(&failed), 4321);
    world.proxy.rule(orders("429 Too Many Requests", &[PROBLEM], &limited));
    let failed = fails(&world, "limited again", "RateLimited", "too many certificates already issued").await;
    assert!(pause(&failed) >= 60, "{}", pause(&failed));
    let refused = problem("rejectedIdentifier", "the CA forbids this name");
    world.proxy.rule(orders("403 Forbidden", &[PROBLEM], &refused));
    fails(&world, "refused", "OrderRefused", "the CA forbids this name").await;
    world.proxy.rule(|a| if a.path == "/order-plz" { Fate::Flood(50_000_000) } else { Fate::Pass });
    fails(&world, "flood", "ServerUnavailable", "answered with more than 1048576 bytes").await;
    let (now, most) = world.memory();
    eprintln!("memory: {} MiB before the faults, {now} MiB after, {most} MiB at most", quiet.0);
    assert!(most < quiet.1 + 32, "{most} MiB");

    world.proxy.pass();
    world.renew("mail", "at last").await;
    let renewed = world.wait("mail", "renewed", |c| revision(c) == 2).await;
    assert!(renewed.status.unwrap().attempt.is_none());
    assert_eq!(world.proxy.orders(), 2);
}
