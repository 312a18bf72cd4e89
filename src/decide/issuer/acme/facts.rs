//! What the server's directory says (RFC 8555, section 7.1.1), and whether the spec fits it.

use crate::api::issuer::{AcmeIssuer, AcmeStatus};
use crate::api::reasons::issuer as reason;
use crate::decide::issuer::world::{Action, World};
use crate::decide::issuer::{Outcome, Said};

use super::own::Own;
use super::registered;
use super::retry::{said_before, step};

/// Takes over what the directory said in this pass.
pub(super) fn learn(world: &World, server: &str, known: &mut AcmeStatus) {
    let Some(directory) = &world.directory else { return };
    known.server = Some(server.to_owned());
    known.terms_of_service = directory.terms_of_service.clone();
    known.profiles = directory.profiles.clone();
    known.caa_identities = directory.caa_identities.clone();
    known.renewal_info = directory.renewal_info;
}

/// The directory is read before anything is registered, and now and then afterwards. What is registered stays good
/// while the server is down.
pub(super) fn decide(world: &World, acme: &AcmeIssuer, own: &Own<'_>) -> Option<Outcome> {
    let server = own.server;
    if world.directory.is_none() {
        let is_needed = own.uri().is_none();
        let action = Action::FetchDirectory { server: server.to_owned(), is_needed };
        match own.uri() {
            None => return Some(step(world, own.known.clone(), action, format!("{server} is to be asked"), false)),
            Some(uri) if !world.no_directory => {
                let old = world.object.status.clone().unwrap_or_default();
                // As before, until it is read.
                let before = said_before(&old, true).or_else(|| said_before(&old, false));
                let said = before.unwrap_or_else(|| Said::ready(reason::REGISTERED, registered(uri)));
                let acme = Some(own.known.clone());
                return Some(Outcome { action: Some(action), acme, ..Outcome::kept(world, said) });
            }
            Some(_) => {}
        }
    }
    let required = world.directory.as_ref().is_some_and(|directory| directory.external_account_required);
    if required && acme.external_account_binding.is_none() && !own.is_registered() {
        let message = format!(
            "{server} wants an external account binding: set spec.acme.externalAccountBinding to the key ID and the \
             Secret with the HMAC key that the CA gives its customers"
        );
        return Some(own.person(reason::INVALID_SPEC, message));
    }
    let profile = acme.profile.as_ref().filter(|profile| !own.known.profiles.contains(profile))?;
    let message = match own.known.profiles.as_slice() {
        [] if world.directory.is_none() => return None,
        [] => format!("spec.acme.profile: {server} has no profiles: remove {profile}"),
        profiles => {
            format!("spec.acme.profile: {server} has no profile {profile}; it has: {}", profiles.join(", "))
        }
    };
    Some(own.person(reason::INVALID_SPEC, message))
}
