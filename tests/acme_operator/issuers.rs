//! MailIssuers: terms, accounts, contacts, and servers that cannot be trusted.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams};
use mailcert::api::{MailDomain, MailIssuer};
use serde_json::json;

use crate::proxy::Fate;
use crate::world::{World, is, issuer_condition};

/// Every contact that the server was told, in the order of the requests.
fn told(world: &World) -> Vec<String> {
    let log = world.proxy.log();
    let contacts = log.iter().filter_map(|a| a.payload.get("contact").and_then(|c| c.as_array()).cloned());
    let mut told: Vec<String> = contacts.flatten().filter_map(|c| c.as_str().map(str::to_owned)).collect();
    // A request that the CA refuses for its nonce is sent again.
    told.dedup();
    told
}

#[tokio::test]
async fn terms_are_shown_before_anything_is_registered() {
    let mut world = World::start("terms", &["--default-domain", "Example.ORG"]).await;
    let mut spec = world.issuer_spec();
    spec["acme"]["termsOfServiceAgreed"] = json!(false);
    world.create::<MailIssuer>("ca", spec).await;
    let waiting = world
        .wait_issuer("ca", "TermsNotAccepted", |i| {
            is(&issuer_condition(i, "Ready"), "False", "TermsNotAccepted")
                && i.status.as_ref().is_some_and(|s| s.acme.is_some())
        })
        .await;
    let url = "data:text/plain,Do%20what%20thou%20wilt";
    assert!(issuer_condition(&waiting, "Ready").unwrap().message.contains(url));
    assert_eq!(waiting.status.unwrap().acme.unwrap().terms_of_service.as_deref(), Some(url));
    assert_eq!(world.proxy.count("/sign-me-up", None), 0);
    assert!(world.api::<Secret>().get_opt("ca-account-key").await.unwrap().is_none());

    // The answer to the registration never comes, and yet the key is stored.
    world.proxy.rule(|asked| if asked.path == "/sign-me-up" { Fate::Hold } else { Fate::Pass });
    let agreed = json!({"spec": {"acme": {"termsOfServiceAgreed": true}}});
    let issuers = world.api::<MailIssuer>();
    issuers.patch("ca", &PatchParams::default(), &Patch::Merge(agreed)).await.unwrap();
    world.until("registration", async || (world.proxy.count("/sign-me-up", None) > 0).then_some(())).await;
    let key = world.secret("ca-account-key").await;
    assert!(key.data.as_ref().unwrap()["tls.key"].0.starts_with(b"-----BEGIN PRIVATE KEY-----"));
    world.kill_operator();
    world.proxy.pass();
    world.start_operator();
    let ready = world.wait_issuer("ca", "ready", |i| is(&issuer_condition(i, "Ready"), "True", "Registered")).await;
    assert_eq!(world.secret("ca-account-key").await.data, key.data);
    let account = ready.status.unwrap().acme.unwrap();
    assert!(account.account_uri.unwrap().contains("/my-account/"));
    assert_eq!(account.contact, ["no-reply@example.org"]);
    assert_eq!(told(&world), ["mailto:no-reply@example.org"]);
    assert_eq!(world.proxy.count("/sign-me-up", Some(201)), 1);
}

#[tokio::test]
async fn an_account_outlives_its_issuer_and_has_its_domains_contact() {
    let world = World::start("accounts", &[]).await;
    let certificate = json!({"template": {"issuerRef": {"name": "ca"}}});
    let domain =
        json!({"domain": "accounts.test", "externalURL": "https://mail.accounts.test", "certificate": certificate});
    world.create::<MailDomain>("domain", domain).await;
    let first = world.issuer("ca", world.issuer_spec()).await.status.unwrap().acme.unwrap();
    assert_eq!(first.contact, ["no-reply@accounts.test"]);
    assert_eq!(told(&world), ["mailto:no-reply@accounts.test"]);

    let own = json!({"spec": {"acme": {"contact": ["postmaster@accounts.test"]}}});
    world.api::<MailIssuer>().patch("ca", &PatchParams::default(), &Patch::Merge(own)).await.unwrap();
    let contact = ["postmaster@accounts.test"];
    world
        .wait_issuer("ca", "updated", |i| {
            i.status.as_ref().and_then(|s| s.acme.as_ref()).is_some_and(|a| a.contact == contact)
        })
        .await;
    assert_eq!(told(&world).last().unwrap(), "mailto:postmaster@accounts.test");

    world.api::<MailIssuer>().delete("ca", &DeleteParams::default()).await.unwrap();
    let again = world.issuer("ca", world.issuer_spec()).await.status.unwrap().acme.unwrap();
    assert_eq!((again.account_uri, again.key_thumbprint), (first.account_uri, first.key_thumbprint));
    assert_eq!(world.proxy.count("/sign-me-up", Some(201)), 1);
}

#[tokio::test]
async fn a_server_that_is_not_trusted_is_said_to_be_so() {
    let world = World::start("trust", &[]).await;
    let mut spec = world.issuer_spec();
    spec["acme"]["caBundle"] = json!(world.pebble.ca_pem());
    world.create::<MailIssuer>("other", spec.clone()).await;
    let other = world
        .wait_issuer("other", "refused", |i| is(&issuer_condition(i, "Ready"), "False", "ServerUnavailable"))
        .await;
    let message = issuer_condition(&other, "Ready").unwrap().message;
    assert!(message.contains("TLS: invalid peer certificate") && message.contains("caBundle"), "{message}");
    assert!(other.status.unwrap().retry_time.is_some());

    spec["acme"]["caBundle"] = json!("no certificate at all");
    world.create::<MailIssuer>("none", spec).await;
    let none =
        world.wait_issuer("none", "refused", |i| is(&issuer_condition(i, "Ready"), "False", "InvalidSpec")).await;
    let message = issuer_condition(&none, "Ready").unwrap().message;
    assert!(message.starts_with("spec.acme.caBundle: "), "{message}");
    assert_eq!(world.proxy.log().len(), 0, "no request got through");
}
