//! MailIssuers: terms, accounts, contacts, and servers that cannot be trusted.

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams};
use mailcert::api::issuer::AcmeStatus;
use mailcert::api::{MailDomain, MailIssuer};
use mailcert::issuers::acme::account::{key_from_pem, registered};
use mailcert::issuers::acme::http::{BoundedHttp, Limits, Trust};
use mailcert::issuers::acme::rollover::roll_over;
use mailcert_testenv::PebbleOptions;
use serde_json::json;

use crate::proxy::Fate;
use crate::world::{World, is, issuer_condition, revision};

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

const MAC: &str = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";

async fn patch(world: &World, issuer: &str, patch: serde_json::Value) {
    world.api::<MailIssuer>().patch(issuer, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

async fn annotate(world: &World, issuer: &str, name: &str, value: &str) {
    patch(world, issuer, json!({"metadata": {"annotations": {(name): value}}})).await;
}

fn account(issuer: &MailIssuer) -> AcmeStatus {
    issuer.status.clone().unwrap_or_default().acme.unwrap_or_default()
}

fn message(issuer: &MailIssuer) -> String {
    issuer_condition(issuer, "Ready").map(|c| c.message).unwrap_or_default()
}

#[tokio::test]
async fn an_account_is_bound_to_the_one_that_the_ca_gave() {
    let options =
        PebbleOptions { external_accounts: vec![("kid-1".to_owned(), MAC.to_owned())], ..PebbleOptions::default() };
    let mut world = World::prepare("binding", &[], options).await;
    world.start_operator();
    world.create::<MailIssuer>("ca", world.issuer_spec()).await;
    let unbound =
        world.wait_issuer("ca", "unbound", |i| is(&issuer_condition(i, "Ready"), "False", "InvalidSpec")).await;
    assert!(message(&unbound).contains("set spec.acme.externalAccountBinding"), "{}", message(&unbound));
    assert_eq!(world.proxy.count("/sign-me-up", None), 0);

    let binding = json!({"keyID": "kid-1", "keySecretRef": {"name": "eab", "key": "mac"}});
    patch(&world, "ca", json!({"spec": {"acme": {"externalAccountBinding": binding}}})).await;
    world.wait_issuer("ca", "without Secret", |i| is(&issuer_condition(i, "Ready"), "False", "SecretNotFound")).await;
    let secret = |mac: &str| -> Secret {
        serde_json::from_value(json!({"metadata": {"name": "eab"}, "stringData": {"mac": mac}})).unwrap()
    };
    let secrets = world.api::<Secret>();
    secrets.create(&PostParams::default(), &secret("far too s3cret!")).await.unwrap();
    let odd =
        world.wait_issuer("ca", "with an odd key", |i| is(&issuer_condition(i, "Ready"), "False", "SecretInvalid"));
    let odd = message(&odd.await);
    assert!(odd.contains("Secret eab") && odd.contains("base64url") && !odd.contains("s3cret"), "{odd}");
    assert_eq!(world.proxy.count("/sign-me-up", None), 0);

    let good = json!({"stringData": {"mac": MAC}});
    secrets.patch("eab", &PatchParams::default(), &Patch::Merge(good)).await.unwrap();
    let ready = world.wait_issuer("ca", "bound", |i| is(&issuer_condition(i, "Ready"), "True", "Registered")).await;
    assert!(account(&ready).account_uri.is_some());
    assert!(!world.log().contains(MAC), "no log holds it");
}

#[tokio::test]
async fn the_status_has_what_the_directory_says() {
    let world = World::start("directory", &[]).await;
    let mut spec = world.issuer_spec();
    spec["acme"]["profile"] = json!("clasic");
    world.create::<MailIssuer>("ca", spec).await;
    let wrong = world.wait_issuer("ca", "refused", |i| is(&issuer_condition(i, "Ready"), "False", "InvalidSpec")).await;
    assert!(message(&wrong).ends_with("has no profile clasic; it has: default, shortlived"), "{}", message(&wrong));
    assert_eq!(world.proxy.count("/sign-me-up", None), 0);
    patch(&world, "ca", json!({"spec": {"acme": {"profile": "shortlived"}}})).await;
    let ready = world.wait_issuer("ca", "ready", |i| is(&issuer_condition(i, "Ready"), "True", "Registered")).await;
    let account = account(&ready);
    assert_eq!(account.profiles, ["default", "shortlived"]);
    assert_eq!(account.caa_identities, ["pebble.letsencrypt.org"]);
    assert!(account.renewal_info);
}

#[tokio::test]
async fn an_account_key_rolls_over_and_certificates_go_on() {
    let world = World::start("rollover", &[]).await;
    let first = account(&world.issuer("ca", world.issuer_spec()).await);
    let old = world.secret("ca-account-key").await.data.unwrap();
    world.resolve(&["mx.rollover.test"]);
    world.certificate("mx", &["mx.rollover.test"]).await;
    world.issued("mx").await;

    annotate(&world, "ca", "mailcert.dev/rollover", "2026-01").await;
    let done =
        |request: &'static str| move |i: &MailIssuer| account(i).last_rollover_request.as_deref() == Some(request);
    let rolled = world.wait_issuer("ca", "rolled over", done("2026-01")).await;
    assert!(is(&issuer_condition(&rolled, "Ready"), "True", "Registered"));
    let second = account(&rolled);
    assert_eq!(second.account_uri, first.account_uri);
    assert_ne!(second.key_thumbprint, first.key_thumbprint);
    let new = world.secret("ca-account-key").await.data.unwrap();
    assert_eq!(new["previous.key"], old["tls.key"]);
    assert!(new["tls.key"] != old["tls.key"] && !new.contains_key("next.key"));
    world.renew("mx", "1").await;
    world.wait("mx", "renewed", |c| revision(c) == 2).await;
    assert_eq!(world.proxy.count("/rollover-account-key", Some(200)), 1);

    // A CA that refuses leaves all as it is.
    world.proxy.rule(|asked| match asked.path.as_str() {
        "/rollover-account-key" => {
            let body = r#"{"type":"urn:ietf:params:acme:error:unauthorized","detail":"not today"}"#;
            Fate::Answer("403 Forbidden", vec!["Content-Type: application/problem+json".into()], body.into())
        }
        _ => Fate::Pass,
    });
    annotate(&world, "ca", "mailcert.dev/rollover", "2026-02").await;
    let refused = world.wait_issuer("ca", "refused", |i| message(i).contains("not today")).await;
    assert!(is(&issuer_condition(&refused, "Ready"), "True", "Registered"));
    assert_eq!(account(&refused).key_thumbprint, second.key_thumbprint);
    assert_eq!(world.secret("ca-account-key").await.data.unwrap(), new);
    world.renew("mx", "2").await;
    world.wait("mx", "renewed", |c| revision(c) == 3).await;
}

/// SIGKILL before the server is asked, and after it has answered and nobody has heard it.
#[tokio::test]
async fn a_rollover_survives_a_crash_on_either_side_of_the_request() {
    for answered in [false, true] {
        let mut world = World::start("crash", &[]).await;
        let first = account(&world.issuer("ca", world.issuer_spec()).await);
        world.proxy.rule(|asked| if asked.path == "/rollover-account-key" { Fate::Hold } else { Fate::Pass });
        annotate(&world, "ca", "mailcert.dev/rollover", "1").await;
        world.until("request", async || (world.proxy.count("/rollover-account-key", None) > 0).then_some(())).await;
        let between = world.secret("ca-account-key").await.data.unwrap();
        assert!(between.contains_key("next.key"), "stored before the server is asked");
        world.kill_operator();
        world.proxy.pass();
        if answered {
            // What a lost answer comes to: the server has the new key, and the Secret both.
            let pem = |key: &str| key_from_pem(&between[key].0).unwrap();
            let trust = Trust::Bundle { pem: world.proxy.ca_pem().to_owned(), and_mozilla: false };
            let http = BoundedHttp::new(&trust, Limits::default()).unwrap();
            let (directory, uri) = (world.proxy.directory(), first.account_uri.clone().unwrap());
            let (old, new) = (pem("tls.key"), pem("next.key"));
            let known = registered(&directory, &http, &new).await.unwrap();
            if known.is_none() {
                roll_over(&directory, &http, &uri, &old, &new).await.unwrap();
            }
        }
        world.start_operator();
        let done = |i: &MailIssuer| account(i).last_rollover_request.as_deref() == Some("1");
        let rolled = account(&world.wait_issuer("ca", "rolled over", done).await);
        assert_eq!(rolled.account_uri, first.account_uri);
        let after = world.secret("ca-account-key").await.data.unwrap();
        assert_eq!((&after["tls.key"], &after["previous.key"]), (&between["next.key"], &between["tls.key"]));
        assert!(!after.contains_key("next.key"));
        assert_eq!(world.proxy.count("/sign-me-up", Some(201)), 1, "no second account");
        world.resolve(&["mx.crash.test"]);
        world.certificate("mx", &["mx.crash.test"]).await;
        world.issued("mx").await;
    }
}

#[tokio::test]
async fn two_issuers_with_one_key_are_one_account() {
    let world = World::start("shared", &[]).await;
    let mut spec = world.issuer_spec();
    spec["acme"]["accountKeySecretRef"] = json!({"name": "shared-key"});
    let one = account(&world.issuer("ca", spec.clone()).await);
    let two = account(&world.issuer("other", spec).await);
    assert_eq!((&one.account_uri, &one.key_thumbprint), (&two.account_uri, &two.key_thumbprint));
    assert_eq!(world.proxy.count("/sign-me-up", Some(201)), 1);
    // A new key is one for both.
    annotate(&world, "ca", "mailcert.dev/rollover", "1").await;
    let new = |i: &MailIssuer| account(i).key_thumbprint != one.key_thumbprint;
    let first = account(&world.wait_issuer("ca", "rolled over", new).await);
    let ready = |i: &MailIssuer| new(i) && is(&issuer_condition(i, "Ready"), "True", "Registered");
    let second = account(&world.wait_issuer("other", "rolled over", ready).await);
    assert_eq!((&second.account_uri, &second.key_thumbprint), (&one.account_uri, &first.key_thumbprint));
    assert_eq!(world.proxy.count("/sign-me-up", Some(201)), 1);
}

#[tokio::test]
async fn an_account_is_deactivated_only_when_asked_and_stays_so() {
    let mut world = World::start("deactivated", &[]).await;
    let first = account(&world.issuer("ca", world.issuer_spec()).await);
    let (uri, asked) = (first.account_uri.clone().unwrap(), "mailcert.dev/deactivate-account");
    annotate(&world, "ca", asked, "true").await;
    let closed = |i: &MailIssuer| is(&issuer_condition(i, "Ready"), "False", "AccountDeactivated");
    let given_up = world.wait_issuer("ca", "deactivated", closed).await;
    assert!(account(&given_up).deactivated && message(&given_up).contains(&uri), "{}", message(&given_up));
    let asked_before = world.proxy.count("/sign-me-up", None);
    world.kill_operator();
    world.start_operator();
    patch(&world, "ca", json!({"metadata": {"annotations": {(asked): null}}})).await;
    let still = |i: &MailIssuer| closed(i) && !message(i).contains(asked);
    world.wait_issuer("ca", "still deactivated", still).await;
    assert_eq!(world.proxy.count("/sign-me-up", None), asked_before, "never registered again");
    world.api::<Secret>().delete("ca-account-key", &DeleteParams::default()).await.unwrap();
    let other = |i: &MailIssuer| is(&issuer_condition(i, "Ready"), "True", "Registered");
    let other = account(&world.wait_issuer("ca", "new", other).await);
    assert!(!other.deactivated && other.account_uri != first.account_uri);
}

/// The CA has lost the account, which a certificate is the first to hear.
#[tokio::test]
async fn an_account_that_the_ca_has_lost_is_not_made_again() {
    let world = World::start("lost", &[]).await;
    world.issuer("ca", world.issuer_spec()).await;
    let made = world.proxy.count("/sign-me-up", Some(201));
    world.proxy.rule(|asked| match asked.path.as_str() {
        "/order-plz" | "/sign-me-up" => {
            let body = r#"{"type":"urn:ietf:params:acme:error:accountDoesNotExist","detail":"who are you?"}"#;
            Fate::Answer("400 Bad Request", vec!["Content-Type: application/problem+json".into()], body.into())
        }
        _ => Fate::Pass,
    });
    world.resolve(&["mx.lost.test"]);
    world.certificate("mx", &["mx.lost.test"]).await;
    let lost = world.wait_issuer("ca", "lost", |i| is(&issuer_condition(i, "Ready"), "False", "AccountRefused")).await;
    assert!(message(&lost).contains("delete this MailIssuer and create it again"), "{}", message(&lost));
    // As it says.
    world.proxy.pass();
    world.api::<MailIssuer>().delete("ca", &DeleteParams::default()).await.unwrap();
    world.issuer("ca", world.issuer_spec()).await;
    assert_eq!(world.proxy.count("/sign-me-up", Some(201)), made, "Pebble had it all the time");
}
