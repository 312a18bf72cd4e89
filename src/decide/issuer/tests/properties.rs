//! What holds in any world.

use k8s_openapi::jiff::SignedDuration;
use proptest::prelude::*;
use serde_json::json;

use super::fixtures::*;
use crate::decide::backoff::Pace;
use crate::decide::issuer::world::SecretState;
use crate::decide::issuer::{Action, World, decide};

fn any_world() -> impl Strategy<Value = World> {
    let spec = (
        any::<bool>(),
        prop::sample::select(vec!["LetsEncrypt", SERVER, "http://x", ""]),
        prop::collection::vec(prop::sample::select(vec!["a@example.com", "b@example.com", "no"]), 0..2),
        prop::sample::select(vec![None, Some("classic"), Some("nonesuch")]),
        any::<bool>(),
    );
    let issuer = prop_oneof![
        8 => spec.prop_map(|(agreed, server, contact, profile, bound)| acme(json!({
            "termsOfServiceAgreed": agreed, "server": server, "contact": contact, "profile": profile,
            "externalAccountBinding": bound.then(|| json!({"keyID": "k", "keySecretRef": {"name": "s", "key": "mac"}}))}))),
        1 => Just(issuer(json!({"ca": {"secretRef": {"name": "ca"}}}))),
        1 => Just(issuer(json!({"selfSigned": {}}))),
    ];
    let secret = prop_oneof![
        Just(SecretState::NotLooked),
        Just(SecretState::Absent),
        Just(SecretState::Found(data(&[("tls.key", "KEY")]))),
        Just(SecretState::Found(data(&[("tls.key", "KEY"), ("next.key", "NEXT")]))),
        Just(SecretState::Found(data(&[("tls.key", &CA.1), ("tls.crt", &CA.0)]))),
        Just(SecretState::Found(data(&[]))),
    ];
    let thumbprint = prop::sample::select(vec![None, Some(Ok("t1".to_owned())), Some(Err("no key".to_owned()))]);
    let domain = prop::sample::select(vec![None, Some("example.com".to_owned()), Some("..".to_owned())]);
    let status = prop::sample::select(vec![
        None,
        Some(json!({"observedGeneration": 1, "acme": {"server": SERVER}})),
        Some(json!({"observedGeneration": 1, "failures": 2_147_483_647, "retryTime": "2026-06-01T00:10:00Z"})),
        Some(json!({"observedGeneration": 9, "failures": 3, "retryTime": "9999-01-01T00:00:00Z",
            "acme": {"server": SERVER, "accountUri": ACCOUNT, "keyThumbprint": "t1"}})),
        Some(json!({"observedGeneration": 1, "acme": {"server": SERVER, "accountUri": ACCOUNT, "keyThumbprint": "t1",
            "profiles": ["classic"], "lastRolloverRequest": "1"}})),
        Some(json!({"observedGeneration": 1, "acme": {"server": SERVER, "accountUri": ACCOUNT, "keyThumbprint": "t1",
            "deactivated": true}})),
    ]);
    let annotation = prop::sample::select(vec![
        None,
        Some(("mailcert.dev/rollover", "1")),
        Some(("mailcert.dev/rollover", "2")),
        Some(("mailcert.dev/deactivate-account", "true")),
        Some(("mailcert.dev/deactivate-account", "false")),
    ]);
    let more = (annotation, any::<bool>(), any::<bool>(), any::<bool>(), any::<bool>());
    let parts = (issuer, secret.clone(), secret, thumbprint, domain.clone(), domain, status, prop::bool::weighted(0.1));
    (parts, more).prop_map(|((mut issuer, ca, account, thumbprint, default, hint, status, forbidden), more)| {
        let (annotation, directory, bound, doubted, other) = more;
        issuer.status = status.map(|s| serde_json::from_value(s).unwrap());
        let mut world = world(issuer);
        (world.ca_secret, world.account_secret, world.account_thumbprint) = (ca, account, thumbprint);
        (world.default_domain, world.domain_hint) = (default, hint);
        world.forbidden = forbidden.then(|| "make RoleBinding x".to_owned());
        world.directory = directory.then(|| Server::good().directory);
        world.doubted = doubted;
        if let SecretState::Found(found) = &world.account_secret {
            world.next_thumbprint = found.get("next.key").map(|_| Ok("next".to_owned()));
            world.rollover_by_other = world.next_thumbprint.as_ref().filter(|_| other).map(|_| "other".to_owned());
        }
        if bound {
            world.binding_secret = SecretState::Found(data(&[("mac", "MAC")]));
        }
        match annotation {
            Some((name, value)) => annotated(world, name, value),
            None => world,
        }
    })
}

fn any_server() -> impl Strategy<Value = Server> {
    let pace = prop::sample::select(vec![Pace::Transient, Pace::Refusal, Pace::Person]);
    let failing = (pace, prop::option::of(-10..1_000_000i64));
    prop_oneof![
        Just(Server::good()),
        Just(Server { thumbprint: Err("no key".to_owned()), ..Server::good() }),
        Just(Server { thumbprint: Ok("t9".to_owned()), ..Server::good() }),
        Just(Server { knows_next: true, ..Server::good() }),
        (failing, any::<bool>()).prop_map(|((pace, after), knows_next)| {
            Server { knows_next, ..Server::failing(pace, after.map(secs)) }
        }),
    ]
}

proptest! {
    #[test]
    fn passes_end_and_write_nothing_the_second_time(start in any_world(), server in any_server()) {
        let mut world = start;
        let (first, second) = (decide(&world), decide(&world));
        prop_assert_eq!((first.actions, first.status, first.wake), (second.actions, second.status, second.wake));

        let had_key = matches!(&world.account_secret, SecretState::Found(_));
        let (actions, decision) = server.pass(&mut world);
        let creates = actions.iter().filter(|a| matches!(a, Action::CreateAccountKey { .. })).count();
        prop_assert!(creates <= 1 && (creates == 0 || !had_key), "a key is replaced");
        let registers = actions.iter().filter(|a| matches!(a, Action::Register { .. })).count();
        prop_assert!(registers <= 1);
        let agreed = world.object.spec.acme.as_ref().is_some_and(|a| a.terms_of_service_agreed);
        prop_assert!(agreed || registers == 0, "registered without agreement");
        let annotations = world.object.metadata.annotations.clone().unwrap_or_default();
        let given_up = annotations.get("mailcert.dev/deactivate-account").is_some_and(|value| value == "true");
        prop_assert!(!given_up || registers == 0, "registered although the account is to be given up");
        let rolls = actions.iter().filter(|a| matches!(a, Action::RollOver { .. })).count();
        // A second time, when what a crash left behind was made for another request.
        prop_assert!(rolls <= 2);
        let promotes = actions.iter().any(|a| matches!(a, Action::PromoteNextKey { .. }));
        prop_assert!(!promotes || rolls > 0 || server.knows_next, "a key that nobody has asked for is promoted");
        prop_assert!(decision.wake.is_none_or(|at| at > world.now));
        let status = decision.status;
        prop_assert!(!(has(&status, "Ready") && status.conditions.len() > 1), "Ready and Stalled or Reconciling");
        prop_assert!(status.conditions.iter().all(|c| !c.message.is_empty()));

        // The server registers another key than was stored only when somebody has put another one there meanwhile.
        if world.registered.as_ref().is_none_or(|r| world.account_thumbprint == Some(Ok(r.thumbprint.clone()))) {
            let mut again = next_pass(&world, status.clone(), SignedDuration::ZERO);
            prop_assert_eq!(&decide(&again).status, &status);
            let (mut actions, same) = server.pass(&mut again);
            // A directory that could not be read is tried again: nothing depends on it.
            if world.directory.is_none() {
                actions.retain(|action| !matches!(action, Action::FetchDirectory { .. }));
            }
            prop_assert_eq!((actions, &same.status), (vec![], &status));
        }
    }
}
