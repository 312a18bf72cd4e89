//! The life of an account: bound, with new keys, unknown to the CA, given up.

use std::sync::Arc;

use serde_json::{Value, json};

use super::fixtures::*;
use crate::decide::backoff::Pace;
use crate::decide::issuer::world::{AccountKey, Binding, Fact, KeySecret, SecretState};
use crate::decide::issuer::{Action, World, decide};

const REGISTERED: &str = "True Registered: account https://acme.example/acct/1 is registered";
const ROLLOVER: &str = "mailcert.dev/rollover";
const DEACTIVATE: &str = "mailcert.dev/deactivate-account";

fn names(actions: &[Action]) -> Vec<&'static str> {
    let name = |action: &Action| match action {
        Action::FetchDirectory { .. } => "directory",
        Action::CreateAccountKey { .. } => "create",
        Action::Register { .. } => "register",
        Action::FindAccount { of_next_key: true, .. } => "find next",
        Action::FindAccount { .. } => "find own",
        Action::StoreNextKey { .. } => "store",
        Action::RollOver { .. } => "roll over",
        Action::PromoteNextKey { .. } => "promote",
        Action::DropNextKey { .. } => "drop",
        Action::Deactivate { .. } => "deactivate",
    };
    actions.iter().map(name).collect()
}

fn with_next(mut world: World) -> World {
    let note = Some("le/1".to_owned());
    world.see(KeySecret { note, ..stored(&[("tls.key", "KEY"), ("next.key", "NEXT")], "t1") });
    world
}

fn bound() -> Value {
    json!({"externalAccountBinding": {"keyID": "kid", "keySecretRef": {"name": "eab", "key": "mac"}, "algorithm": "HS512"}})
}

#[test]
fn a_rollover_stores_both_keys_before_the_server_is_asked() {
    let mut world = annotated(registered(json!({})), ROLLOVER, "1");
    let (actions, decision) = Server::good().pass(&mut world);
    assert_eq!(names(&actions), ["store", "find next", "roll over", "promote"]);
    let (old, new) = (AccountKey(b"KEY".to_vec()), AccountKey(b"NEXT".to_vec()));
    let rolled = Action::RollOver { server: SERVER.to_owned(), account_uri: ACCOUNT.to_owned(), old, new };
    assert_eq!(actions[2], rolled);
    assert_eq!(ready(&decision.status), REGISTERED);
    let acme = decision.status.acme.clone().unwrap();
    assert_eq!((acme.key_thumbprint.as_deref(), acme.last_rollover_request.as_deref()), (Some("next"), Some("1")));
    let (actions, same) = Server::good().pass(&mut next_pass(&world, decision.status.clone(), secs(1)));
    assert_eq!((names(&actions), same.status), (vec![], decision.status.clone()));
    let again = annotated(next_pass(&world, decision.status, secs(1)), ROLLOVER, "2");
    assert_eq!(names(&decide(&again).actions), ["store"]);
}

#[test]
fn after_a_crash_the_server_says_which_key_counts() {
    // Before the server was asked.
    let crashed = || with_next(annotated(registered(json!({})), ROLLOVER, "1"));
    let (actions, decision) = Server::good().pass(&mut crashed());
    assert_eq!(names(&actions), ["find next", "roll over", "promote"]);
    assert_eq!(ready(&decision.status), REGISTERED);
    // After it has answered.
    let knowing = Server { knows_next: true, ..Server::good() };
    let (actions, decision) = knowing.pass(&mut crashed());
    assert_eq!(names(&actions), ["find next", "promote"]);
    assert_eq!(decision.status.acme.unwrap().key_thumbprint.as_deref(), Some("next"));
    // After the Secret was changed: only the status does not know it.
    let mut promoted = annotated(registered(json!({})), ROLLOVER, "1");
    let note = Some("le/1".to_owned());
    promoted.see(KeySecret { note, ..stored(&[("tls.key", "NEXT"), ("previous.key", "KEY")], "next") });
    let server = Server { thumbprint: Ok("next".to_owned()), ..Server::good() };
    let (actions, decision) = server.pass(&mut promoted);
    assert_eq!(names(&actions), ["register"], "the account of the new key is found");
    let acme = decision.status.acme.unwrap();
    assert_eq!((acme.key_thumbprint.as_deref(), acme.last_rollover_request.as_deref()), (Some("next"), Some("1")));
    // Nobody asks for it any more, or the status was lost with the MailIssuer.
    let (actions, _) = Server::good().pass(&mut with_next(registered(json!({}))));
    assert_eq!(names(&actions), ["find next", "drop"]);
    let (actions, _) = Server::good().pass(&mut with_next(keyed(json!({}))));
    assert_eq!(names(&actions), ["find next", "drop", "register"]);
    let (actions, decision) = knowing.pass(&mut with_next(keyed(json!({}))));
    assert_eq!(names(&actions), ["find next", "promote"], "never a second account");
    assert_eq!(decision.status.acme.unwrap().account_uri.as_deref(), Some(ACCOUNT));
}

#[test]
fn a_rollover_that_fails_leaves_the_account_good() {
    let mut world = annotated(registered(json!({})), ROLLOVER, "1");
    let (actions, decision) = Server::failing(Pace::Transient, None).pass(&mut world);
    assert_eq!(names(&actions), ["store", "find next", "roll over", "find next", "drop"]);
    let message = format!("{REGISTERED}; it could not be given a new key: it is down");
    assert_eq!(ready(&decision.status), message);
    assert_eq!((decision.status.failures, decision.wake), (Some(1), Some(world.now + secs(10))));
    let mut early = next_pass(&world, decision.status.clone(), secs(5));
    let (actions, waiting) = Server::good().pass(&mut early);
    assert_eq!((names(&actions), ready(&waiting.status)), (vec![], message));
    let mut later = next_pass(&world, decision.status, secs(10));
    let (actions, decision) = Server::good().pass(&mut later);
    assert_eq!(names(&actions), ["store", "find next", "roll over", "promote"]);
    assert_eq!((ready(&decision.status).as_str(), decision.status.failures), (REGISTERED, None));
}

#[test]
fn an_answer_that_was_lost_is_no_failure() {
    let mut world = annotated(registered(json!({})), ROLLOVER, "1");
    let mut done = Vec::new();
    while let Some(action) = decide(&world).actions.pop() {
        done.extend(names(std::slice::from_ref(&action)));
        let rolled = matches!(action, Action::RollOver { .. });
        let server = if rolled { Server::failing(Pace::Transient, None) } else { Server::good() };
        let knows_next = done.contains(&"roll over");
        let fact = Server { knows_next, ..server }.act(&world, &action);
        world.learn(fact);
    }
    assert_eq!(done, ["store", "find next", "roll over", "find next", "promote"]);
    let status = decide(&world).status;
    assert_eq!((ready(&status).as_str(), status.failures), (REGISTERED, None));
}

#[test]
fn of_two_issuers_with_one_key_only_one_gives_it_a_new_one() {
    let mut world = with_next(annotated(registered(json!({})), ROLLOVER, "1"));
    world.rollover_by_other = Some("other".to_owned());
    let decision = decide(&world);
    assert_eq!((names(&decision.actions), ready(&decision.status)), (vec![], REGISTERED.to_owned()));
    assert_eq!(decision.wake, Some(world.now + secs(10)));
}

#[test]
fn a_next_key_that_cannot_be_read_is_never_used() {
    let mut world = with_next(registered(json!({})));
    world.next_thumbprint = Some(Err("it is no key".to_owned()));
    let decision = decide(&world);
    assert_eq!(names(&decision.actions), Vec::<&str>::new());
    let message = "False SecretInvalid: Secret le-account-key: next.key: it is no key; remove that key";
    assert_eq!(ready(&decision.status), message);
}

#[test]
fn a_first_registration_needs_no_new_key() {
    let mut world = annotated(keyed(json!({})), ROLLOVER, "1");
    let (actions, decision) = Server::good().pass(&mut world);
    assert_eq!(names(&actions), ["register"]);
    assert_eq!(decision.status.acme.unwrap().last_rollover_request.as_deref(), Some("1"));
}

#[test]
fn a_new_account_is_bound_and_an_old_one_keeps_its_binding() {
    let mut world = keyed(bound());
    world.binding_secret = SecretState::Found(data(&[("mac", "MAC")]));
    let (actions, decision) = Server::good().pass(&mut world);
    let [Action::Register { binding: Some(Binding { key_id, mac, .. }), .. }] = &actions[..] else {
        panic!("{actions:?}");
    };
    assert_eq!((key_id.as_str(), mac), ("kid", &AccountKey(b"MAC".to_vec())));
    assert!(!format!("{actions:?}").contains("MAC\""), "{actions:?}");
    // What becomes of the Secret does not matter any more.
    let mut later = next_pass(&world, decision.status, secs(1));
    later.binding_secret = SecretState::Absent;
    assert_eq!(ready(&decide(&later).status), REGISTERED);
}

#[test]
fn a_binding_that_is_missing_or_useless_is_explained() {
    let wants = |change: Value, required: bool| {
        let mut world = keyed(change);
        world.directory.as_mut().unwrap().external_account_required = required;
        world
    };
    let missing = "False InvalidSpec: https://acme.example/dir wants an external account binding: set \
                   spec.acme.externalAccountBinding to the key ID and the Secret with the HMAC key that the CA gives its \
                   customers";
    assert_eq!(ready(&decide(&wants(json!({}), true)).status), missing);
    let of = |secret: SecretState, problem: Option<&str>| {
        let mut world = wants(bound(), true);
        (world.binding_secret, world.binding_problem) = (secret, problem.map(str::to_owned));
        let decision = decide(&world);
        assert_eq!(names(&decision.actions), Vec::<&str>::new());
        ready(&decision.status)
    };
    let field = "spec.acme.externalAccountBinding: Secret eab:";
    let absent = format!("False SecretNotFound: {field} there is no such Secret in this namespace");
    assert_eq!(of(SecretState::Absent, None), absent);
    let empty = format!("False SecretInvalid: {field} mac is missing");
    assert_eq!(of(SecretState::Found(data(&[("other", "x")])), None), empty);
    let odd = format!("False SecretInvalid: {field} it is no key");
    assert_eq!(of(SecretState::Found(data(&[("mac", "x")])), Some("it is no key")), odd);
    // The reverse: what the server does not ask for may be what it objects to.
    let mut world = wants(bound(), false);
    world.binding_secret = SecretState::Found(data(&[("mac", "MAC")]));
    let (_, decision) = Server::failing(Pace::Person, None).pass(&mut world);
    let message = "False ServerUnavailable: it is down; the server asks for no external account binding: remove \
                   spec.acme.externalAccountBinding unless the CA gave you one";
    assert_eq!(ready(&decision.status), message);
}

#[test]
fn profiles_are_those_of_the_directory() {
    let mut server = Server::good();
    server.directory.profiles = vec!["classic".to_owned(), "shortlived".to_owned()];
    server.directory.caa_identities = vec!["ca.example".to_owned()];
    server.directory.renewal_info = true;
    let fresh = |profile: &str| World { directory: None, ..keyed(json!({"profile": profile})) };
    let (actions, decision) = server.pass(&mut fresh("classic"));
    assert_eq!((names(&actions), ready(&decision.status)), (vec!["directory", "register"], REGISTERED.to_owned()));
    let acme = decision.status.acme.unwrap();
    assert_eq!(
        (acme.profiles, acme.caa_identities),
        (server.directory.profiles.clone(), vec!["ca.example".to_owned()])
    );
    assert!(acme.renewal_info);
    let (actions, decision) = server.pass(&mut fresh("clasic"));
    assert_eq!(names(&actions), ["directory"]);
    let message = "False InvalidSpec: spec.acme.profile: https://acme.example/dir has no profile clasic; it has: \
                   classic, shortlived";
    assert_eq!(ready(&decision.status), message);
    let (_, decision) = Server::good().pass(&mut fresh("classic"));
    let message = "False InvalidSpec: spec.acme.profile: https://acme.example/dir has no profiles: remove classic";
    assert_eq!(ready(&decision.status), message);
}

#[test]
fn the_directory_is_read_again_without_harm() {
    let mut world = World { directory: None, ..registered(json!({})) };
    let (actions, decision) = Server::failing(Pace::Transient, None).pass(&mut world);
    assert_eq!((names(&actions), ready(&decision.status)), (vec!["directory"], REGISTERED.to_owned()));
    assert_eq!((decision.status.failures, &decision.status), (None, world.object.status.as_ref().unwrap()));
    let mut server = Server::good();
    server.directory.renewal_info = true;
    let (_, decision) = server.pass(&mut World { no_directory: false, ..world });
    assert!(decision.status.acme.unwrap().renewal_info);
}

#[test]
fn an_account_that_the_ca_does_not_know_is_not_made_again() {
    let doubt = |found: Option<&str>| {
        let mut world = World { doubted: true, ..registered(json!({})) };
        assert_eq!(names(&decide(&world).actions), ["find own"]);
        world.learn(Fact::OwnAccount(found.map(str::to_owned)));
        world
    };
    assert_eq!(ready(&decide(&doubt(Some(ACCOUNT))).status), REGISTERED);
    let world = doubt(None);
    let decision = decide(&world);
    assert_eq!(names(&decision.actions), Vec::<&str>::new());
    let message = format!(
        "False AccountRefused: the CA knows account {ACCOUNT} no more: it does not know the key in Secret le-account-key any \
         more; ask the CA, or delete this MailIssuer and create it again to register the key anew, and then correct what \
         names the account (CAA records with accounturi, _validation-persist records)"
    );
    assert_eq!(ready(&decision.status), message);
    assert!(has(&decision.status, "Stalled"));
    // It is asked again, until the CA knows it.
    let again = || World { doubted: false, ..next_pass(&world, decision.status.clone(), secs(3600)) };
    let (actions, down) = Server::failing(Pace::Transient, None).pass(&mut again());
    assert_eq!((names(&actions), ready(&down.status)), (vec!["find own"], message));
    let (actions, good) = Server::good().pass(&mut again());
    assert_eq!((names(&actions), ready(&good.status)), (vec!["find own"], REGISTERED.to_owned()));
    // Another key is another account.
    let mut other = again();
    other.see(stored(&[("tls.key", "OTHER")], "t2"));
    assert_eq!(names(&decide(&other).actions), ["register"]);
}

#[test]
fn an_account_is_given_up_only_when_asked_and_stays_so() {
    let mut world = annotated(registered(json!({})), DEACTIVATE, "yes");
    assert_eq!(names(&Server::good().pass(&mut world).0), Vec::<&str>::new());
    let mut world = annotated(registered(json!({})), DEACTIVATE, "true");
    let (_, down) = Server::failing(Pace::Transient, None).pass(&mut world.clone());
    assert_eq!(ready(&down.status), "False ServerUnavailable: it is down");
    let (actions, decision) = Server::good().pass(&mut world);
    assert_eq!(names(&actions), ["deactivate"]);
    let message = format!(
        "False AccountDeactivated: account {ACCOUNT} is deactivated, as the annotation {DEACTIVATE} asks; its certificates \
         stay valid; to have a new account, delete Secret le-account-key and remove the annotation"
    );
    assert_eq!(ready(&decision.status), message);
    assert!(decision.status.acme.as_ref().unwrap().deactivated && has(&decision.status, "Stalled"));
    let next = next_pass(&world, decision.status.clone(), secs(60));
    assert_eq!(decide(&next).status, decision.status);
    // Neither a deleted key nor a removed annotation brings it back.
    let mut keyless = next.clone();
    (keyless.account_secret, keyless.account_thumbprint) = (SecretState::Absent, None);
    assert_eq!((names(&decide(&keyless).actions), ready(&decide(&keyless).status)), (vec![], message));
    let without = |mut world: World| {
        let mut object = world.object.as_ref().clone();
        object.metadata.annotations = None;
        world.object = Arc::new(object);
        world
    };
    let message = format!(
        "False AccountDeactivated: account {ACCOUNT} is deactivated; delete Secret le-account-key to have a new account with \
         a new key"
    );
    assert_eq!(ready(&decide(&without(next)).status), message);
    let server = Server { thumbprint: Ok("t2".to_owned()), ..Server::good() };
    let (actions, decision) = server.pass(&mut without(keyless));
    assert_eq!((names(&actions), ready(&decision.status)), (vec!["create", "register"], REGISTERED.to_owned()));
    assert!(!decision.status.acme.unwrap().deactivated);
    // Nothing is registered at all while it is asked for.
    let (actions, decision) = Server::good().pass(&mut annotated(keyed(json!({})), DEACTIVATE, "true"));
    assert_eq!(names(&actions), Vec::<&str>::new());
    assert!(ready(&decision.status).starts_with("False AccountDeactivated: as long as"));
}
