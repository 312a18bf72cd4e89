//! The namespace's system certificate: whether this one has the role, and that it is not deleted while it is needed.

use kube::ResourceExt;

use super::Step;
use super::state::State;
use super::world::{Action, SystemView, World};
use crate::api::keys;
use crate::api::reasons::{certificate as reason, condition};
use crate::decide::conditions::{Conditions, State as Is};

/// As many dependents are named in the status.
const NAMED: usize = 20;

/// What is to be done about the finalizer: it is there while MailDomains depend on this one, and no longer.
pub(super) fn finalizer(world: &World) -> Option<Action> {
    let has = world.learnt.held.unwrap_or_else(|| is_held(world));
    let is_leaving = world.object.metadata.deletion_timestamp.is_some();
    match (has, !world.system.dependents.is_empty()) {
        // The API server takes no new finalizer on an object that is being deleted.
        (false, true) if !is_leaving => Some(Action::Hold),
        (true, false) => Some(Action::Release),
        _ => None,
    }
}

/// Whether the finalizer is on the object.
pub fn is_held(world: &World) -> bool {
    world.object.finalizers().iter().any(|f| f == keys::SYSTEM_FINALIZER)
}

/// The last step of an object that is being deleted and that nobody needs any more.
pub(super) fn last_step(world: &World) -> Option<Step> {
    let is_leaving = world.object.metadata.deletion_timestamp.is_some();
    let is_needed = is_held(world) && !world.system.dependents.is_empty();
    (is_leaving && !is_needed).then(|| Step::act(finalizer(world).into_iter().collect()))
}

/// The MailDomains to name in the status.
pub(super) fn dependents(world: &World) -> Vec<String> {
    world.system.dependents.iter().take(NAMED).cloned().collect()
}

/// Says in the condition `System` whether this one has the role, who depends on it, and what its deletion waits for.
pub(super) fn say(state: &State<'_>, conditions: &mut Conditions) {
    let SystemView { holder, dependents } = &state.world.system;
    if !state.spec.system {
        return;
    }
    if let Some(holder) = holder {
        let message = format!(
            "MailCertificate {holder} is this namespace's system certificate, since it is older: delete it to give the role \
             to this one, or set system: false here"
        );
        return conditions.set(condition::SYSTEM, Is::False, reason::SYSTEM_TAKEN, &message);
    }
    let (who, verb) = (listed(dependents), if dependents.len() == 1 { "depends" } else { "depend" });
    let (reason, message) = match (dependents.is_empty(), state.world.object.metadata.deletion_timestamp.is_some()) {
        (false, true) => (
            reason::DELETION_HELD,
            format!(
                "the deletion waits for {who}, which {verb} on it: give them certificates of their own \
                 (spec.certificate.template or ref), delete them, or make another MailCertificate with system: true"
            ),
        ),
        (false, false) => (reason::SYSTEM_CERTIFICATE, format!("{who} {verb} on it")),
        (true, _) => (reason::SYSTEM_CERTIFICATE, "no MailDomain depends on it".to_owned()),
    };
    conditions.set(condition::SYSTEM, Is::True, reason, &message);
}

fn listed(names: &[String]) -> String {
    let noun = if names.len() == 1 { "MailDomain" } else { "MailDomains" };
    match names.len() {
        0..=5 => format!("{noun} {}", names.join(", ")),
        n => format!("{noun} {} and {} more", names[..4].join(", "), n - 4),
    }
}
