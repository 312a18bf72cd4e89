//! A new key for the account (RFC 8555, section 7.3.5).
//!
//! The new key is stored next to the old one before the server is asked, and neither is given up before the server has
//! said which of them it knows. As long as both are there, the account is not used for anything else.

use k8s_openapi::jiff::SignedDuration;
use kube::ResourceExt;

use crate::api::issuer::{AcmeStatus, MailIssuer};
use crate::api::keys;
use crate::api::reasons::issuer as reason;
use crate::decide::conditions::State;
use crate::decide::issuer::world::{AccountKey, Action, World};
use crate::decide::issuer::{Outcome, Said, later};

use super::own::Own;
use super::registered;
use super::retry::step;

/// The longest value of the annotation that is told apart, in characters.
const MAX_REQUEST: usize = 128;

/// When to look whether another MailIssuer is done with its rollover.
const SOON: SignedDuration = SignedDuration::from_secs(10);

/// The value of the annotation that asks for a new key.
pub(super) fn requested(issuer: &MailIssuer) -> Option<String> {
    let value = issuer.metadata.annotations.as_ref()?.get(keys::ROLLOVER)?;
    Some(value.chars().take(MAX_REQUEST).collect::<String>()).filter(|value| !value.is_empty())
}

/// What the Secret notes of a rollover: which MailIssuer asked for it, and with which value.
pub fn note(issuer: &str, request: &str) -> String {
    format!("{issuer}/{request}")
}

/// Takes over from the Secret that a rollover is done, which a crash kept from the status.
pub(super) fn recall(world: &World, known: &mut AcmeStatus) {
    let Some(request) = requested(&world.object) else { return };
    let is_under_way = world.next_thumbprint.is_some();
    if !is_under_way && world.rollover_done.as_deref() == Some(note(&world.object.name_any(), &request).as_str()) {
        known.last_rollover_request = Some(request);
    }
}

fn wanted(world: &World, known: &AcmeStatus) -> Option<String> {
    requested(&world.object).filter(|request| known.last_rollover_request.as_ref() != Some(request))
}

/// Ends a rollover that has begun, in this pass or before a crash.
pub(super) fn go_on(world: &World, own: &Own<'_>) -> Option<Outcome> {
    let next = AccountKey(own.data.get(keys::NEXT_KEY)?.to_vec());
    let server = own.server.to_owned();
    let secret_name = own.secret.clone();
    if let Some(other) = &world.rollover_by_other {
        let message = format!("MailIssuer {other} is giving the account of Secret {} a new key", own.secret);
        let said = own.uri().map_or(Said::not_ready(reason::SECRET_INVALID, message), |uri| {
            Said::ready(reason::REGISTERED, registered(uri))
        });
        let wake = Some(later(world.now, SOON));
        return Some(Outcome { wake, acme: super::some(own.known.clone()), ..Outcome::said(said) });
    }
    if let Some(Err(problem)) = &world.next_thumbprint {
        let message = format!("Secret {}: {}: {problem}; remove that key", own.secret, keys::NEXT_KEY);
        return Some(own.person(reason::SECRET_INVALID, message));
    }
    let local = |action| Some(Outcome { action: Some(action), acme: super::some(own.known.clone()), ..waiting() });
    let is_ours = |uri: &String| own.known.account_uri.as_ref().is_none_or(|own| own == uri);
    let find = || Action::FindAccount { server: server.clone(), key: next.clone(), of_next_key: true };
    match (&world.next_account, &world.failure) {
        (Some(Some(uri)), _) if is_ours(uri) => local(Action::PromoteNextKey { secret_name }),
        // The server said no, and has not taken the new key nevertheless.
        (Some(_), Some(_)) => local(Action::DropNextKey { secret_name }),
        (Some(_), None) => match own.known.account_uri.clone().filter(|_| wanted(world, &own.known).is_some()) {
            None => local(Action::DropNextKey { secret_name }),
            Some(account_uri) => {
                let action = Action::RollOver { server, account_uri, old: own.key.clone(), new: next };
                Some(asked(world, own, action))
            }
        },
        // The answer may have been lost.
        (None, Some(_)) if world.rollover_failed => local(find()),
        (None, _) => Some(asked(world, own, find())),
    }
}

/// Begins a rollover when one is asked for and the account is good.
pub(super) fn begin(world: &World, own: &Own<'_>) -> Option<Outcome> {
    let request = wanted(world, &own.known).filter(|_| own.is_registered())?;
    let note = note(&world.object.name_any(), &request);
    Some(asked(world, own, Action::StoreNextKey { secret_name: own.secret.clone(), note }))
}

/// A step of a rollover. The account stays good when it fails.
fn asked(world: &World, own: &Own<'_>, action: Action) -> Outcome {
    let mut outcome = step(world, own.known.clone(), action, waiting().said.message, own.is_registered());
    if let Some(uri) = own.uri().filter(|_| outcome.said.state != State::True) {
        let message = match &world.failure {
            Some(failure) => format!("{}; it could not be given a new key: {}", registered(uri), failure.message),
            None => registered(uri),
        };
        outcome.said = Said::ready(reason::REGISTERED, message);
    }
    outcome
}

fn waiting() -> Outcome {
    Outcome::said(Said::not_ready(reason::SERVER_UNAVAILABLE, "the account is to be given a new key".to_owned()))
}
