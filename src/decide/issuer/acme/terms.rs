//! Terms of service: without agreement there is no account, but the terms are shown.

use crate::api::issuer::{AcmeIssuer, AcmeStatus};
use crate::api::reasons::{condition, issuer as reason};
use crate::decide::conditions::find;
use crate::decide::issuer::world::{Action, World};
use crate::decide::issuer::{Outcome, Said};

use super::retry::step;

pub(super) fn decide(world: &World, acme: &AcmeIssuer, server: &str, known: AcmeStatus) -> Outcome {
    const AGREE: &str = "set spec.acme.termsOfServiceAgreed: true to go on";
    if known.server.is_none() {
        let action = Action::FetchDirectory { server: server.to_owned(), is_needed: true };
        let message = format!("the terms of service of {server} are not accepted; their URL is to be looked up there");
        let mut outcome = step(world, known, action, message, false);
        if let Some(failure) = &world.failure {
            outcome.said.message = format!(
                "the terms of service of {server} are not accepted, and their URL is not known: {}",
                failure.message
            );
        }
        outcome.said = Said::person(reason::TERMS_NOT_ACCEPTED, outcome.said.message);
        return outcome;
    }
    let mut message = match &known.terms_of_service {
        Some(url) => format!("the terms of service of {server} are not accepted: read {url}, then {AGREE}"),
        None => format!("the terms of service of {server} are not accepted, and it names no URL for them: {AGREE}"),
    };
    match &world.directory {
        Some(directory) if directory.external_account_required && acme.external_account_binding.is_none() => message
            .push_str(
                "; it also wants an external account binding: set spec.acme.externalAccountBinding to what the CA gives you",
            ),
        Some(_) => {}
        None => message = said_of_terms(world).unwrap_or(message),
    }
    Outcome { acme: Some(known), ..Outcome::said(Said::person(reason::TERMS_NOT_ACCEPTED, message)) }
}

/// What an earlier pass, which had the directory, said of the terms.
fn said_of_terms(world: &World) -> Option<String> {
    let old = world.object.status.as_ref().filter(|s| s.observed_generation == world.object.metadata.generation)?;
    let said = find(&old.conditions, condition::READY).filter(|c| c.reason == reason::TERMS_NOT_ACCEPTED)?;
    Some(said.message.clone())
}
