use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;
use serde_json::{Value, json};

use super::fixtures::*;
use crate::api::MailIssuerStatus;
use crate::decide::issuer::world::SecretState;
use crate::decide::issuer::{account_key_secret, allows, decide, tell_of_expiry};

#[test]
fn self_signed_is_ready() {
    let decision = decide(&world(issuer(json!({"selfSigned": {}}))));
    let message = "True Ready: each certificate is signed with its own key: clients trust it only when they pin it";
    assert_eq!((ready(&decision.status).as_str(), decision.wake), (message, None));
}

#[test]
fn ca_secrets() {
    let (certificate, key, other) = &*CA;
    let found = |entries: &[(&str, &str)]| SecretState::Found(data(entries));
    let absent = "False SecretNotFound: there is no Secret ca in this namespace; make one with the CA certificate in \
                  tls.crt and its key in tls.key, or correct spec.ca.secretRef";
    let table = [
        (SecretState::Absent, absent),
        (found(&[]), "False SecretInvalid: Secret ca: tls.crt is missing; it must hold the CA certificate in PEM"),
        (
            found(&[("tls.crt", certificate), ("tls.key", "")]),
            "False SecretInvalid: Secret ca: tls.key is missing; it must hold the CA's private key in PEM",
        ),
        (
            found(&[("tls.crt", certificate), ("tls.key", other)]),
            "False SecretInvalid: Secret ca: tls.key does not belong to the first certificate of tls.crt (CN=Our CA)",
        ),
        (
            found(&[("tls.crt", certificate), ("tls.key", key)]),
            "True Ready: signs as CN=Our CA (expires at 2027-01-01T00:00:00Z)",
        ),
    ];
    for (secret, message) in table {
        let mut world = world(issuer(json!({"ca": {"secretRef": {"name": "ca"}}})));
        world.ca_secret = secret;
        let decision = decide(&world);
        assert_eq!(ready(&decision.status), message);
        assert_eq!(has(&decision.status, "Stalled"), message.starts_with("False"));
        assert_eq!(decision.status.ca.is_some(), message.starts_with("True"));
    }
}

#[test]
fn a_ca_expires_without_an_event() {
    let (certificate, key, _) = &*CA;
    let mut world = world(issuer(json!({"ca": {"secretRef": {"name": "ca"}}})));
    world.ca_secret = SecretState::Found(data(&[("tls.crt", certificate), ("tls.key", key)]));
    let decision = decide(&world);
    let end = "2027-01-01T00:00:00Z".parse::<Timestamp>().unwrap();
    assert_eq!(decision.status.ca.unwrap().not_after.0, end);
    let mut told = Vec::new();
    let mut status = MailIssuerStatus::default();
    let mut wake = decision.wake;
    while let Some(at) = wake.filter(|at| *at < end) {
        world.now = at;
        let decision = decide(&world);
        let mut notes = Vec::new();
        tell_of_expiry(&status, &decision.status, &mut notes);
        told.extend(notes.into_iter().map(|n| n.message));
        (status, wake) = (decision.status, decision.wake);
    }
    assert_eq!(wake, Some(end + secs(1)));
    assert_eq!(told.len(), 5, "{told:#?}");
    assert_eq!(
        told[4],
        "the CA certificate CN=Our CA expires at 2027-01-01T00:00:00Z, less than 1 day from now: no certificate outlives it, so \
         put its successor into the issuer's Secret"
    );
    assert!(has(&status, "RenewalOverdue"));
    world.now = end + secs(1);
    let message = "False SecretInvalid: Secret ca: the CA certificate (CN=Our CA) expired at 2027-01-01T00:00:00Z; renew \
                   the CA";
    assert_eq!(ready(&decide(&world).status), message);
}

#[test]
fn missing_permissions_are_said() {
    let mut world = keyed(json!({}));
    world.forbidden = Some("make RoleBinding x".to_owned());
    let decision = decide(&world);
    assert_eq!((decision.actions, decision.wake), (vec![], Some(NOW + secs(60))));
    assert_eq!(ready(&decision.status), "False Forbidden: make RoleBinding x");
    world.object = Arc::new(issuer(json!({"selfSigned": {}})));
    assert!(ready(&decide(&world).status).starts_with("True Ready"));
}

#[test]
fn keys_are_never_shown() {
    let mut world = keyed(json!({}));
    world.ca_secret = SecretState::Found(data(&[("tls.key", "KEY")]));
    let shown = format!("{world:?} {:?}", decide(&world));
    // "KEY" as text and as the bytes of a ByteString.
    assert!(!shown.contains("KEY") && !shown.contains("75, 69, 89"), "{shown}");
    assert!(shown.contains("AccountKey(…)"));
    assert_eq!(account_key_secret(&world.object), "le-account-key");
}

#[test]
fn namespaces() {
    let labels: BTreeMap<String, String> = [("mail".to_owned(), "yes".to_owned())].into();
    let of = |allowed: Value| issuer(json!({"selfSigned": {}, "allowedNamespaces": allowed}));
    let selector = |value: &str| json!({"from": "Selector", "selector": {"matchLabels": {"mail": value}}});
    for (allowed, labels, wanted) in [
        (json!({"from": "All"}), None, None),
        (selector("yes"), Some(&labels), None),
        (
            json!({}),
            Some(&labels),
            Some(
                "MailIssuer mail/le allows its own namespace only; set spec.allowedNamespaces there, or make a MailIssuer \
                  in namespace other",
            ),
        ),
        (
            selector("no"),
            Some(&labels),
            Some(
                "the labels of namespace other do not match spec.allowedNamespaces.selector of MailIssuer mail/le (mail=no)",
            ),
        ),
        (
            selector("yes"),
            None,
            Some(
                "MailIssuer mail/le allows namespaces by their labels, and the labels of namespace other are not known: the \
                  operator may not read Namespaces, or has not read this one yet",
            ),
        ),
        (
            json!({"from": "Selector", "selector": {"matchExpressions": [{"key": "a", "operator": "Like"}]}}),
            Some(&labels),
            Some(
                "spec.allowedNamespaces.selector of MailIssuer mail/le cannot be used: failed to parse value as expression: \
                  Invalid expression operator",
            ),
        ),
    ] {
        let issuer = of(allowed);
        assert_eq!(allows(&issuer, "mail", "other", labels).err().as_deref(), wanted);
        assert_eq!(allows(&issuer, "mail", "mail", None), Ok(()));
    }
}
