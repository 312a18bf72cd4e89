use std::sync::Arc;

use serde_json::{Value, json};

use super::fixtures::*;
use crate::decide::backoff::Pace;
use crate::decide::issuer::world::{AccountKey, DirectoryFact, SecretState};
use crate::decide::issuer::{Action, World, decide, server_url};

#[test]
fn terms_are_shown_and_nothing_is_made_without_agreement() {
    let mut world = world(acme(json!({"termsOfServiceAgreed": false})));
    let (actions, decision) = Server::good().pass(&mut world);
    assert_eq!(actions, [Action::FetchDirectory { server: SERVER.to_owned(), is_needed: true }]);
    let message = format!(
        "False TermsNotAccepted: the terms of service of {SERVER} are not accepted: read {TERMS}, then set \
         spec.acme.termsOfServiceAgreed: true to go on"
    );
    assert_eq!(ready(&decision.status), message);
    assert!(has(&decision.status, "Stalled"));
    assert_eq!(decision.status.acme.as_ref().unwrap().terms_of_service.as_deref(), Some(TERMS));
    let again = decide(&next_pass(&world, decision.status.clone(), secs(1)));
    assert_eq!((again.actions, again.status), (vec![], decision.status));
}

#[test]
fn terms_without_a_url_and_servers_that_want_more() {
    let mut server = Server::good();
    server.directory = DirectoryFact { external_account_required: true, ..DirectoryFact::default() };
    let mut world = world(acme(json!({"termsOfServiceAgreed": false})));
    let (_, decision) = server.pass(&mut world);
    let message = format!(
        "False TermsNotAccepted: the terms of service of {SERVER} are not accepted, and it names no URL for them: set \
         spec.acme.termsOfServiceAgreed: true to go on; it also wants an external account binding: set \
         spec.acme.externalAccountBinding to what the CA gives you"
    );
    assert_eq!(ready(&decision.status), message);
    let again = decide(&next_pass(&world, decision.status.clone(), secs(1)));
    assert_eq!((again.actions, again.status), (vec![], decision.status));
    let (_, decision) = Server::failing(Pace::Transient, None)
        .pass(&mut super::fixtures::world(acme(json!({"termsOfServiceAgreed": false}))));
    let message = format!(
        "False TermsNotAccepted: the terms of service of {SERVER} are not accepted, and their URL is not known: it is down"
    );
    assert_eq!(ready(&decision.status), message);
    assert_eq!(decision.wake, Some(NOW + secs(10)));
}

#[test]
fn the_key_is_stored_before_the_account_is_registered() {
    let mut world = world(acme(json!({"contact": ["Admin@Example.com"]})));
    let (actions, decision) = Server::good().pass(&mut world);
    let key = AccountKey(b"KEY".to_vec());
    let contacts = vec!["Admin@example.com".to_owned()];
    assert_eq!(
        actions,
        [
            Action::CreateAccountKey { secret_name: "le-account-key".to_owned() },
            Action::FetchDirectory { server: SERVER.to_owned(), is_needed: true },
            Action::Register { server: SERVER.to_owned(), contacts: contacts.clone(), key, binding: None },
        ]
    );
    assert_eq!(ready(&decision.status), "True Registered: account https://acme.example/acct/1 is registered");
    let acme = decision.status.acme.clone().unwrap();
    assert_eq!((acme.server.as_deref(), acme.key_thumbprint.as_deref()), (Some(SERVER), Some("t1")));
    assert_eq!(acme.contact, contacts);
    let mut again = next_pass(&world, decision.status.clone(), secs(86400));
    let (actions, same) = Server::failing(Pace::Transient, None).pass(&mut again);
    assert_eq!((actions, same.status, same.wake), (vec![], decision.status, None));
}

#[test]
fn what_calls_for_another_registration() {
    let mut before = keyed(json!({"contact": ["a@example.com"]}));
    let status = Server::good().pass(&mut before).1.status;
    let registers = |change: &dyn Fn(&mut World)| {
        let mut world = next_pass(&before, status.clone(), secs(60));
        change(&mut world);
        matches!(&decide(&world).actions[..], [Action::Register { .. }])
    };
    assert!(!registers(&|_| {}));
    assert!(registers(&|w| w.account_thumbprint = Some(Ok("t2".to_owned()))));
    let respec = |w: &mut World, spec: Value| {
        let status = w.object.status.clone();
        let mut issuer = acme(spec);
        issuer.status = status;
        w.object = Arc::new(issuer);
    };
    assert!(registers(&|w| respec(w, json!({"contact": ["b@example.com"]}))));
    assert!(registers(&|w| respec(w, json!({"contact": ["a@example.com"], "server": "LetsEncrypt"}))));
}

#[test]
fn an_account_key_that_cannot_be_read_is_never_replaced() {
    let advice = "; put the account key (ECDSA or RSA, PKCS#8 PEM) back, or delete the Secret to have a new account";
    for (entries, thumbprint, problem) in [
        (data(&[("tls.key", "X")]), Err("it is no key".to_owned()), "it is no key"),
        (data(&[("other", "X")]), Ok("t1".to_owned()), "tls.key is missing"),
    ] {
        let mut world = world(acme(json!({})));
        world.account_secret = SecretState::Found(entries);
        world.account_thumbprint = Some(thumbprint);
        let decision = decide(&world);
        assert_eq!(decision.actions, []);
        assert_eq!(ready(&decision.status), format!("False SecretInvalid: Secret le-account-key: {problem}{advice}"));
    }
}

#[test]
fn failures_are_counted_in_the_status_and_waited_for() {
    let mut world = keyed(json!({}));
    let mut pauses = Vec::new();
    for n in 1..=4 {
        let (_, decision) = Server::failing(Pace::Refusal, None).pass(&mut world);
        assert_eq!(decision.status.failures, Some(n));
        assert_eq!(ready(&decision.status), "False ServerUnavailable: it is down");
        let pause = decision.wake.unwrap().duration_since(world.now);
        pauses.push(pause.as_secs());
        let mut early = next_pass(&world, decision.status.clone(), pause - secs(1));
        let (actions, waiting) = Server::good().pass(&mut early);
        assert_eq!((actions, &waiting.status, waiting.wake), (vec![], &decision.status, decision.wake));
        // A new spec does not wait.
        let mut object = early.object.as_ref().clone();
        object.metadata.generation = Some(2);
        early.object = Arc::new(object);
        assert_eq!(decide(&early).actions.len(), 1);
        world = next_pass(&world, decision.status, pause);
    }
    assert_eq!(pauses, [60, 600, 6000, 86400]);
    let (_, decision) = Server::good().pass(&mut world);
    assert_eq!((decision.status.failures, decision.status.retry_time), (None, None));
    let (_, decision) = Server::failing(Pace::Transient, Some(secs(77))).pass(&mut keyed(json!({})));
    assert_eq!(decision.wake, Some(NOW + secs(77)));
}

#[test]
fn a_good_account_stays_ready_while_its_contacts_cannot_be_changed() {
    let mut before = keyed(json!({"contact": ["a@example.com"]}));
    let mut status = Server::good().pass(&mut before).1.status;
    let mut object = acme(json!({"contact": ["b@example.com"]}));
    object.metadata.generation = Some(2);
    before.object = Arc::new(object);
    let message = "True Registered: account https://acme.example/acct/1 is registered; its contacts could not be brought \
                   up to date: it is down";
    for after in [1, 2, 600] {
        let mut world = next_pass(&before, status, secs(after));
        let (_, decision) = Server::failing(Pace::Transient, None).pass(&mut world);
        assert_eq!(ready(&decision.status), message);
        status = decision.status;
    }
    assert_eq!(status.failures, Some(2));
}

#[test]
fn contacts_come_from_the_first_of_these() {
    let contacts = |world: &World| match &decide(world).actions[..] {
        [Action::Register { contacts, .. }] => contacts.join(","),
        other => panic!("{other:?}"),
    };
    let mut world = keyed(json!({}));
    assert_eq!(contacts(&world), "");
    world.domain_hint = Some("hint.example".to_owned());
    assert_eq!(contacts(&world), "no-reply@hint.example");
    let status = json!({"acme": {"contact": ["told@example.com"]}});
    world = next_pass(&world, serde_json::from_value(status).unwrap(), secs(0));
    assert_eq!(contacts(&world), "told@example.com");
    world.default_domain = Some("bücher.example".to_owned());
    assert_eq!(contacts(&world), "no-reply@xn--bcher-kva.example");
    world.object = Arc::new(acme(json!({"contact": ["own@example.com"]})));
    assert_eq!(contacts(&world), "own@example.com");
}

#[test]
fn specs_that_cannot_be_used() {
    let decision = decide(&keyed(json!({"server": "http://acme.example", "contact": ["x"], "caBundle": "no"})));
    assert_eq!(decision.actions, []);
    assert_eq!(
        ready(&decision.status),
        "False InvalidSpec: spec.acme.server: it must be an https URL, LetsEncrypt or LetsEncryptStaging; \
         spec.acme.contact[0]: \"x\" is not an e-mail address of the form local@domain; \
         spec.acme.caBundle: there is no PEM block with a certificate; it must start with -----BEGIN CERTIFICATE-----"
    );
    assert!(has(&decision.status, "Stalled"));
}

#[test]
fn servers() {
    assert_eq!(server_url("LetsEncrypt"), Ok("https://acme-v02.api.letsencrypt.org/directory"));
    assert_eq!(server_url("LetsEncryptStaging"), Ok("https://acme-staging-v02.api.letsencrypt.org/directory"));
    for url in ["https://pebble:14000/dir", "https://[::1]:14000/dir", "https://acme.example"] {
        assert_eq!(server_url(url), Ok(url));
    }
    for url in ["http://acme.example", "https://", "https:///dir", "acme.example", "https://a b", "letsencrypt"] {
        assert!(server_url(url).is_err(), "{url}");
    }
}
