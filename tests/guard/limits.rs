//! Limits of an issuer, and what does not get around them.

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;
use kube::api::{DeleteParams, Patch, PatchParams};
use mailcert::api::{MailCertificate, MailIssuer};
use serde_json::{Value, json};

use crate::world::{World, certificate_spec, condition};

const NAMES: &[&str] = &["mail.guard.test", "imap.guard.test"];

/// An issuer `ca` with these limits.
async fn world(name: &str, limits: Value) -> World {
    let world = World::start(name, &[]).await;
    world.resolve(NAMES);
    let mut spec = world.issuer_spec();
    spec["acme"]["limits"] = limits;
    world.issuer("ca", spec).await;
    world
}

/// Asks for renewals until this many orders have been made in all.
async fn order_until(world: &World, name: &str, orders: usize) {
    for number in world.proxy.orders()..orders {
        let value = format!("order-{number}");
        world.renew(name, &value).await;
        let renewed = |c: &MailCertificate| {
            let status = c.status.clone().unwrap_or_default();
            status.last_renew_request.as_deref() == Some(value.as_str()) && status.attempt.is_none()
        };
        world.wait(name, &value, renewed).await;
    }
    assert_eq!(world.proxy.orders(), orders);
}

/// The message of a certificate that is held back, once it is so since it was asked to renew as `value`.
async fn held_back(world: &World, name: &str, value: &str) -> String {
    let is = |c: &MailCertificate| {
        let failure = c.status.as_ref().and_then(|s| s.attempt.as_ref()).and_then(|a| a.last_failure.clone());
        let seen = c.status.as_ref().and_then(|s| s.last_renew_request.as_deref()) == Some(value);
        failure.is_some_and(|f| f.reason == "BudgetSpent") && (seen || value.is_empty())
    };
    let held = world.wait(name, "held back", is).await;
    let issuing = condition(&held, "Issuing").unwrap();
    assert_eq!(issuing.reason, "BudgetSpent");
    assert!(issuing.message.contains("(next try at "), "{}", issuing.message);
    held.status.unwrap().attempt.unwrap().last_failure.unwrap().message
}

async fn still_held_back(world: &World, name: &str, value: &str) -> String {
    let orders = world.proxy.orders();
    world.renew(name, value).await;
    let message = held_back(world, name, value).await;
    assert_eq!(world.proxy.orders(), orders, "nothing was asked of the CA");
    message
}

async fn delete<K>(world: &World, name: &str)
where
    K: kube::Resource<DynamicType = (), Scope = k8s_openapi::NamespaceResourceScope>
        + Clone
        + serde::de::DeserializeOwned
        + std::fmt::Debug,
{
    let api = world.api::<K>();
    api.delete(name, &DeleteParams::default()).await.unwrap();
    world.until("end of the object", async || api.get_opt(name).await.unwrap().is_none().then_some(())).await;
}

#[tokio::test]
async fn the_fifth_order_for_the_same_names_is_not_made_until_the_window_has_room() {
    let mut world = world("guard", json!({})).await;
    let first = Timestamp::now();
    world.certificate("mail", NAMES).await;
    world.issued("mail").await;
    order_until(&world, "mail", 4).await;

    let message = still_held_back(&world, "mail", "fifth").await;
    let (lead, until) = message.split_once("the next is possible at ").unwrap();
    assert_eq!(lead, "4 orders for exactly these names in the last 7 days, and the limit is 4 (perNameSet): ");
    let pause = until.parse::<Timestamp>().unwrap().duration_since(first).as_secs();
    assert!((7 * 86_400 - 1..7 * 86_400 + 120).contains(&pause), "{until}");
    let mail = world.api::<MailCertificate>().get("mail").await.unwrap();
    assert_eq!(condition(&mail, "Ready").unwrap().status, "True", "what works stays");

    world.kill_operator();
    world.start_operator();
    assert_eq!(still_held_back(&world, "mail", "after SIGKILL").await, message);

    // Another object for the same names, and the same one made again.
    world.create::<MailCertificate>("twin", certificate_spec("twin", "ca", &[NAMES[1], NAMES[0]])).await;
    assert_eq!(held_back(&world, "twin", "").await, message);
    delete::<MailCertificate>(&world, "mail").await;
    delete::<Secret>(&world, "mail-tls").await;
    world.certificate("mail", NAMES).await;
    assert_eq!(held_back(&world, "mail", "").await, message);

    // The issuer made again has the same account, for its key is in a Secret of its own.
    let issuer = world.api::<MailIssuer>().get("ca").await.unwrap();
    delete::<MailIssuer>(&world, "ca").await;
    world.issuer("ca", json!({"acme": issuer.spec.acme})).await;
    assert_eq!(still_held_back(&world, "mail", "after the issuer").await, message);
    assert_eq!(world.proxy.orders(), 4);

    // Other names are other names.
    world.certificate("other", &["imap.guard.test"]).await;
    world.issued("other").await;
}

#[tokio::test]
async fn limits_are_the_issuers_own_and_can_be_raised() {
    let world = world("raised", json!({"perNameSet": 1, "perDomain": 100})).await;
    world.certificate("mail", NAMES).await;
    world.issued("mail").await;
    let message = still_held_back(&world, "mail", "second").await;
    assert!(
        message.starts_with("1 order for exactly these names in the last 7 days, and the limit is 1 "),
        "{message}"
    );

    let limits = json!({"spec": {"acme": {"limits": {"perNameSet": 100, "perAccount": 2}}}});
    world.api::<MailIssuer>().patch("ca", &PatchParams::default(), &Patch::Merge(limits)).await.unwrap();
    order_until(&world, "mail", 2).await;
    let message = still_held_back(&world, "mail", "third").await;
    assert!(message.starts_with("2 orders of this ACME account in the last 3 hours, and the limit is 2 "), "{message}");

    // One issuer more with the same key is the same account.
    let mut spec = world.issuer_spec();
    spec["acme"]["limits"] = json!({"perAccount": 2});
    spec["acme"]["accountKeySecretRef"] = json!({"name": "ca-account-key"});
    world.issuer("second", spec).await;
    world.create::<MailCertificate>("other", certificate_spec("other", "second", &["other.guard.test"])).await;
    let message = held_back(&world, "other", "").await;
    assert!(message.starts_with("2 orders of this ACME account "), "{message}");
    assert_eq!(world.proxy.orders(), 2);
}

#[tokio::test]
async fn a_name_that_fails_is_not_tried_again_and_again() {
    let world = world("fails", json!({"failedAuthorizations": 1})).await;
    // Leads to nobody: the operator's own look is skipped, and so the CA looks in vain.
    world.certificate("mail", &["nowhere.guard.test"]).await;
    world.pebble.set_a("nowhere.guard.test", std::net::Ipv4Addr::new(127, 0, 0, 9)).unwrap();
    world.issuing("mail", "ValidationFailed").await;
    let message = still_held_back(&world, "mail", "again").await;
    let lead = "the CA could not validate nowhere.guard.test in the last hour once, and the limit is 1 \
                (failedAuthorizations): the next order is possible at ";
    assert!(message.starts_with(lead), "{message}");
}

#[tokio::test]
async fn the_counts_are_in_a_secret_that_outlives_the_issuer() {
    let world = world("secret", json!({})).await;
    world.certificate("mail", NAMES).await;
    world.issued("mail").await;
    let secret = world.secret("ca-order-ledger").await;
    assert_eq!(secret.labels()["app.kubernetes.io/managed-by"], "mailcert");
    assert!(secret.owner_references().is_empty());
    let data = secret.data.unwrap();
    let [ledger] = data.values().collect::<Vec<_>>()[..] else { panic!("{} accounts", data.len()) };
    let text = String::from_utf8(ledger.0.clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "mailcert-order-ledger/1");
    assert!(lines.len() == 2 && lines[1].starts_with("o ") && !text.contains("PRIVATE"), "{text}");

    // A person, or another operator, takes the Secret for something else: nothing is asked for uncounted.
    let taken = json!({"metadata": {"labels": {"app.kubernetes.io/managed-by": "somebody"}}});
    world.api::<Secret>().patch("ca-order-ledger", &PatchParams::default(), &Patch::Merge(taken)).await.unwrap();
    let message = still_held_back(&world, "mail", "uncounted").await;
    assert!(
        message.starts_with("the Secret ca-order-ledger, where orders are to be counted, exists and was not made by "),
        "{message}"
    );
}
