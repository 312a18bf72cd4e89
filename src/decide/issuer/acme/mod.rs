//! Issuers with an ACME account (RFC 8555, section 7.3).

mod deactivation;
mod facts;
mod own;
mod retry;
mod rollover;
mod spec;
mod terms;

pub use rollover::note;
pub use spec::server_url;

use crate::api::issuer::{AcmeIssuer, AcmeStatus};
use crate::api::reasons::{condition, issuer as reason};
use crate::decide::conditions::{State, find};

use super::world::{AccountKey, Action, Binding, SecretState, World};
use super::{Outcome, Said};
use own::Own;
use retry::step;
use spec::{contacts, problems};

pub(super) fn decide(world: &World, acme: &AcmeIssuer) -> Outcome {
    let problems = problems(acme);
    if !problems.is_empty() {
        return Outcome::kept(world, Said::person(reason::INVALID_SPEC, problems.join("; ")));
    }
    // Checked just above.
    let server = server_url(&acme.server).unwrap_or_default();
    let known = known(world, acme, server);
    if deactivation::is_asked(world) {
        return deactivation::decide(world, server, known);
    }
    if !acme.terms_of_service_agreed {
        return terms::decide(world, acme, server, known);
    }
    let own = match Own::read(world, server, known) {
        Ok(own) => own,
        Err(outcome) => return *outcome,
    };
    let first = deactivation::closed(&own)
        .or_else(|| rollover::go_on(world, &own))
        .or_else(|| facts::decide(world, acme, &own))
        .or_else(|| lost(world, &own))
        .or_else(|| rollover::begin(world, &own));
    first.unwrap_or_else(|| register(world, acme, own))
}

/// What is known of the server and the account there, from the status and from this pass.
fn known(world: &World, acme: &AcmeIssuer, server: &str) -> AcmeStatus {
    let old = world.object.status.as_ref().and_then(|s| s.acme.clone());
    let mut known = match old {
        Some(old) if old.server.as_deref() == Some(server) => old,
        // Another server knows nothing of the account. The contacts are still those to tell.
        Some(old) => AcmeStatus { contact: old.contact, ..AcmeStatus::default() },
        None => AcmeStatus::default(),
    };
    facts::learn(world, server, &mut known);
    rollover::recall(world, &mut known);
    known.deactivated |= world.deactivated;
    if let (Some(uri), Some(Ok(thumbprint))) = (&world.promoted, &world.account_thumbprint) {
        known.server = Some(server.to_owned());
        known.account_uri = Some(uri.clone());
        known.key_thumbprint = Some(thumbprint.clone());
    }
    if let Some(account) = &world.registered {
        known.contact = contacts(world, acme, &known);
        known.server = Some(server.to_owned());
        // A fresh account has a fresh key.
        if known.account_uri.is_none() {
            known.last_rollover_request = rollover::requested(&world.object);
        }
        known.account_uri = Some(account.uri.clone());
        known.key_thumbprint = Some(account.thumbprint.clone());
        known.deactivated = false;
    }
    known
}

fn some(known: AcmeStatus) -> Option<AcmeStatus> {
    Some(known).filter(|k| *k != AcmeStatus::default())
}

fn registered(uri: &str) -> String {
    format!("account {uri} is registered")
}

/// Registers the account, or tells the CA its contacts, when that is not done yet.
fn register(world: &World, acme: &AcmeIssuer, own: Own<'_>) -> Outcome {
    let contacts = contacts(world, acme, &own.known);
    if let Some(uri) = own.uri().filter(|_| own.known.contact == contacts) {
        let said = Said::ready(reason::REGISTERED, registered(uri));
        return Outcome { acme: some(own.known), ..Outcome::said(said) };
    }
    let is_good = own.is_registered();
    let binding = match binding(world, acme) {
        // An account that exists keeps the binding that it has.
        _ if is_good => None,
        Ok(binding) => binding,
        Err((reason, message)) => return own.person(reason, message),
    };
    let message = format!("an account is to be registered at {}", own.server);
    let action =
        Action::Register { server: own.server.to_owned(), contacts, key: own.key.clone(), binding: binding.clone() };
    let mut outcome = step(world, own.known.clone(), action, message, is_good);
    // A second registration in one pass would not go better than the first.
    outcome.action = outcome.action.filter(|_| world.registered.is_none());
    match own.uri() {
        Some(uri) if outcome.said.state != State::True => {
            let message =
                format!("{}; its contacts could not be brought up to date: {}", registered(uri), outcome.said.message);
            outcome.said = Said::ready(reason::REGISTERED, message);
        }
        None if world.failure.is_some() && binding.is_some() && !binding_is_required(world) => {
            outcome.said.message.push_str(
                "; the server asks for no external account binding: remove spec.acme.externalAccountBinding unless the CA \
                 gave you one",
            );
        }
        _ => {}
    }
    outcome
}

fn binding_is_required(world: &World) -> bool {
    world.directory.as_ref().is_some_and(|directory| directory.external_account_required)
}

/// The account elsewhere that a new account is bound to.
fn binding(world: &World, acme: &AcmeIssuer) -> Result<Option<Binding>, (&'static str, String)> {
    let Some(wanted) = &acme.external_account_binding else { return Ok(None) };
    let (secret, key) = (&wanted.key_secret_ref.name, &wanted.key_secret_ref.key);
    let (why, problem) = match (&world.binding_secret, &world.binding_problem) {
        (SecretState::Found(data), None) => match data.get(key) {
            Some(mac) => {
                let (key_id, algorithm) = (wanted.key_id.clone(), wanted.algorithm);
                return Ok(Some(Binding { key_id, algorithm, mac: AccountKey(mac.to_vec()) }));
            }
            None => (reason::SECRET_INVALID, format!("{key} is missing")),
        },
        (SecretState::Found(_), Some(problem)) => (reason::SECRET_INVALID, problem.clone()),
        (SecretState::Absent, _) => (reason::SECRET_NOT_FOUND, "there is no such Secret in this namespace".to_owned()),
        (SecretState::NotLooked, _) => (reason::SECRET_NOT_FOUND, "it has not been read yet".to_owned()),
    };
    Err((why, format!("spec.acme.externalAccountBinding: Secret {secret}: {problem}")))
}

/// An account that a certificate was told to be unknown. Nothing is registered in its place without being asked for:
/// DNS records and agreements with the CA name the account.
fn lost(world: &World, own: &Own<'_>) -> Option<Outcome> {
    let uri = own.uri()?;
    let old = world.object.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    // Nothing else is refused to an account that is registered.
    let said_so = find(old, condition::READY).filter(|c| c.status == "False" && c.reason == reason::ACCOUNT_REFUSED);
    if !world.doubted && said_so.is_none() {
        return None;
    }
    match &world.own_account {
        None => {
            let action =
                Action::FindAccount { server: own.server.to_owned(), key: own.key.clone(), of_next_key: false };
            let mut outcome = step(world, own.known.clone(), action, String::new(), said_so.is_none());
            // As before, until the CA has answered.
            outcome.said = match said_so {
                Some(said) => Said::person(reason::ACCOUNT_REFUSED, said.message.clone()),
                None => Said::ready(reason::REGISTERED, registered(uri)),
            };
            Some(outcome)
        }
        Some(Some(found)) if found == uri => None,
        Some(found) => {
            let instead = match found {
                Some(found) => format!("says that the key in Secret {} is that of account {found}", own.secret),
                None => format!("does not know the key in Secret {} any more", own.secret),
            };
            let message = format!(
                "the CA knows account {uri} no more: it {instead}; ask the CA, or delete this MailIssuer and create it \
                 again to register the key anew, and then correct what names the account (CAA records with accounturi, \
                 _validation-persist records)"
            );
            Some(own.person(reason::ACCOUNT_REFUSED, message))
        }
    }
}
