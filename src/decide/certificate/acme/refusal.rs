//! What the CA refuses, and the legacy names that are left out for it.

use super::super::Step;
use super::super::names::Wanted;
use super::super::state::State;
use super::super::world::{OrderView, StepFailure};
use super::{fail, leave_out, omit};
use crate::api::reasons::certificate as reason;
use crate::decide::backoff::Pace;

/// A legacy name that failed is left out of the next order; any other failure is the CA's no.
pub(super) fn invalid(state: &mut State<'_>, wanted: &Wanted, view: &OrderView) -> Step {
    let failed: Vec<(String, String)> = view
        .authorizations
        .iter()
        .filter(|a| a.failed)
        .map(|a| (a.name.clone(), a.error().unwrap_or("the CA could not validate it").to_owned()))
        .collect();
    if !failed.is_empty() && failed.iter().all(|(name, _)| wanted.legacy.contains_key(name)) {
        return omit(state, failed);
    }
    let words = match failed.is_empty() {
        true => view.error.clone().unwrap_or_else(|| "the CA gave no reason".to_owned()),
        false => failed.iter().map(|(n, w)| format!("{n}: {w}")).collect::<Vec<_>>().join("; "),
    };
    let why = if failed.is_empty() { reason::ORDER_REFUSED } else { reason::VALIDATION_FAILED };
    let failure = refusal(why, format!("the CA did not grant the order: {words}"));
    match refused_legacy(state, wanted, &failure) {
        Some(name) => omit(state, vec![(name, words)]),
        None => fail(state, why, failure.message),
    }
}

/// A legacy name that the CA refuses by name is left out of the next try.
pub fn leave_out_refused(state: &mut State<'_>, wanted: &Wanted, failure: &StepFailure) {
    if let Some(name) = refused_legacy(state, wanted, failure) {
        leave_out(state, vec![(name, failure.message.clone())]);
    }
}

/// The legacy name that a refusal speaks of, where it speaks of no name that is required.
fn refused_legacy(state: &State<'_>, wanted: &Wanted, failure: &StepFailure) -> Option<String> {
    let refused = [reason::ORDER_REFUSED, reason::VALIDATION_FAILED].contains(&failure.reason);
    if !refused || wanted.required.iter().any(|name| speaks_of(&failure.message, name)) {
        return None;
    }
    let omitted = &state.attempt.as_ref()?.omitted_names;
    let mut left = wanted.legacy.keys().filter(|name| omitted.iter().all(|o| o.name != **name));
    left.find(|name| speaks_of(&failure.message, name)).cloned()
}

/// Whether the name stands in the text as a whole, not as a part of another name.
fn speaks_of(text: &str, name: &str) -> bool {
    let text = text.to_ascii_lowercase();
    let part = |c: &char| c.is_alphanumeric() || *c == '-';
    text.match_indices(name).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let mut after = text[at + name.len()..].chars();
        let continued = match after.next() {
            Some('.') => after.next().is_some_and(|c| part(&c)),
            next => next.is_some_and(|c| part(&c)),
        };
        !continued && !before.is_some_and(|c| part(&c) || c == '.')
    })
}

pub(super) fn refusal(reason: &'static str, message: String) -> StepFailure {
    StepFailure { pace: Pace::Refusal, reason, message, retry_after: None, order_lost: true }
}
