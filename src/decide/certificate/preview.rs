//! What people are shown before anything happens.

use super::state::State;
use super::world::{Dependent, World};
use super::{checks, gates, next_key, status, wanted};
use crate::api::certificate::{Gate, Revision};

/// Everything that the active revision lacks of what is wanted, the reason first.
pub fn differences(world: &World) -> Vec<(&'static str, String)> {
    let state = State::fold(world);
    match wanted(state.spec) {
        Ok(wanted) => checks::all(&state, &wanted).into_iter().map(|t| (t.reason, t.message)).collect(),
        Err(problems) => problems.into_iter().map(|p| (crate::api::reasons::certificate::INVALID_SPEC, p)).collect(),
    }
}

/// In what the staged revision differs from the active one.
pub fn staged_difference(world: &World) -> Vec<String> {
    let status = world.object.status.as_ref();
    let pair = status.and_then(|s| Some((s.active.as_ref()?, s.staged.first()?)));
    pair.map(|(active, staged)| status::difference(active, staged)).unwrap_or_default()
}

/// The gates that the staged revision, or else the next one, waits for.
pub fn gates_ahead(world: &World) -> Vec<Gate> {
    let state = State::fold(world);
    let next = |active: &Revision| {
        let mut next = Revision { revision: state.next_revision(), reason: None, ..active.clone() };
        if next_key::rotates(&state) {
            next.spki_sha256 = state.next_key.as_ref().map(|k| k.spki_sha256.clone()).unwrap_or_default();
        }
        next
    };
    let candidate = state.staged.first().cloned().or_else(|| state.active.as_ref().map(next));
    candidate.map(|candidate| gates::judge(&state, &candidate).unmet).unwrap_or_default()
}

/// What MailDomains serve in place of the active revision.
pub fn served_difference(world: &World) -> Vec<String> {
    let status = world.object.status.as_ref();
    let Some(active) = status.and_then(|s| s.active.as_ref()) else { return Vec::new() };
    let known: Vec<&Revision> = status.into_iter().flat_map(|s| s.previous.iter().chain(&s.staged)).collect();
    let name = |fingerprint: &String| match known.iter().find(|r| r.fingerprint_sha256 == *fingerprint) {
        Some(r) => format!("revision {}", r.revision),
        None => format!("another certificate ({fingerprint})"),
    };
    let one = |d: &Dependent| {
        let others: Vec<String> = d.served.iter().filter(|f| **f != active.fingerprint_sha256).map(name).collect();
        match (&d.all_served, others.is_empty()) {
            (Some(f), _) if *f == active.fingerprint_sha256 => {
                format!("MailDomain {}: every endpoint serves it", d.name)
            }
            (_, false) => format!("MailDomain {}: serves {}", d.name, others.join(", ")),
            _ if d.endpoints == 0 => format!("MailDomain {}: names no endpoint", d.name),
            _ => format!("MailDomain {}: {}", d.name, d.served_message.as_deref().unwrap_or("not seen everywhere yet")),
        }
    };
    world.dependents.iter().map(one).collect()
}
