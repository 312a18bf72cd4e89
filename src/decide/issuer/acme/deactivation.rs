//! An account that is given up (RFC 8555, section 7.3.6), which only a person asks for.

use crate::api::issuer::AcmeStatus;
use crate::api::keys;
use crate::api::reasons::issuer as reason;
use crate::decide::issuer::world::{Action, World};
use crate::decide::issuer::{Outcome, Said, account_key_secret};

use super::own::Own;
use super::retry::step;

/// Whether the account is to be given up.
pub(super) fn is_asked(world: &World) -> bool {
    let annotations = world.object.metadata.annotations.as_ref();
    annotations.and_then(|all| all.get(keys::DEACTIVATE_ACCOUNT)).is_some_and(|value| value == "true")
}

/// As long as it is asked for, nothing is registered; and what is registered is given up.
pub(super) fn decide(world: &World, server: &str, known: AcmeStatus) -> Outcome {
    let asked = keys::DEACTIVATE_ACCOUNT;
    let Some(uri) = known.account_uri.clone() else {
        let message = format!("as long as the annotation {asked} is there, no account is registered");
        return Outcome { acme: super::some(known), ..Outcome::said(said(message)) };
    };
    if known.deactivated {
        let secret = account_key_secret(&world.object);
        let message = format!(
            "account {uri} is deactivated, as the annotation {asked} asks; its certificates stay valid; to have a new \
             account, delete Secret {secret} and remove the annotation"
        );
        return Outcome { acme: Some(known), ..Outcome::said(said(message)) };
    }
    let own = match Own::read(world, server, known) {
        Ok(own) => own,
        // A new key would be of no use here.
        Err(outcome) if outcome.action.is_none() => return *outcome,
        Err(outcome) => {
            let message = format!(
                "account {uri} cannot be deactivated: its key in Secret {} is gone",
                account_key_secret(&world.object)
            );
            return Outcome {
                action: None,
                ..Outcome { said: Said::person(reason::SECRET_NOT_FOUND, message), ..*outcome }
            };
        }
    };
    if !own.is_registered() {
        let message = format!("account {uri} cannot be deactivated: the key in Secret {} is not its key", own.secret);
        return own.person(reason::SECRET_INVALID, message);
    }
    let message = format!("account {uri} is to be deactivated, as the annotation {asked} asks");
    let action = Action::Deactivate { server: server.to_owned(), account_uri: uri, key: own.key };
    step(world, own.known, action, message, false)
}

/// What is said of the key of an account that was given up, once the annotation is gone.
pub(super) fn closed(own: &Own<'_>) -> Option<Outcome> {
    if !own.known.deactivated || !own.is_registered() {
        return None;
    }
    let uri = own.known.account_uri.as_deref().unwrap_or_default();
    let message =
        format!("account {uri} is deactivated; delete Secret {} to have a new account with a new key", own.secret);
    Some(own.person(reason::ACCOUNT_DEACTIVATED, message))
}

fn said(message: String) -> Said {
    Said::person(reason::ACCOUNT_DEACTIVATED, message)
}
