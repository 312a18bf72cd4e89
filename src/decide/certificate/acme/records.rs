//! What was made for an order and is needed no longer: routes and TXT records.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::super::Step;
use super::super::state::State;
use super::super::world::{AcmeView, Action};
use super::solvers;
use crate::api::certificate::{ChallengeType, PublishedRecord};
use crate::api::reasons::finding;
use crate::decide::backoff::{self, Pace};

/// Attempts to remove a record before it is left to a person.
const PATIENCE: i32 = 10;

/// Nothing stays reachable for an order that is over, or that waits for a person.
pub fn clean_up(state: &mut State<'_>, step: &mut Step) {
    routes(state, step);
    records(state, step);
}

fn routes(state: &mut State<'_>, step: &mut Step) {
    let ended = state.attempt.as_ref().is_none_or(|a| a.order.is_none());
    let waits = step.stalled && state.world.forbidden.is_none();
    let exposed = state.attempt.as_ref().and_then(|a| a.order.as_ref()).is_some_and(|o| o.exposed);
    let Some(order) = state.standing_order().filter(|_| ended || waits && exposed) else { return };
    // The order is remembered until that is done.
    if let Some(attempt) = &mut state.attempt {
        attempt.order = Some(order);
    }
    // Where removing them failed just now, the next pass tries again.
    if state.world.learnt.failure.as_ref().is_none_or(|f| f.order_lost) {
        step.actions.push(Action::Unexpose);
    }
}

/// Removes the TXT records of challenges that are no longer open.
fn records(state: &mut State<'_>, step: &mut Step) {
    let Some(acme) = state.world.issuer.acme() else { return };
    let open = |published: &PublishedRecord| {
        let order = state.attempt.as_ref().and_then(|a| a.order.as_ref());
        order.is_some_and(|o| {
            o.challenges.iter().any(|c| c.name == published.for_name && c.record.as_ref() == Some(&published.record))
        })
    };
    let (needed, over): (Vec<_>, Vec<_>) = state.published.clone().into_iter().partition(open);
    state.published = needed;
    for published in over {
        let now = state.world.now;
        let retry = published.retry_time.as_ref().map(|t| t.0);
        if published.failures >= PATIENCE {
            continue;
        }
        let Some(solver) = dns_solver(acme, &published.for_name) else {
            let message = format!(
                "the TXT record {} stays, because no dns01 solver of the issuer is for {} any more: remove it by hand",
                published.record.name, published.for_name
            );
            state.find(finding::CLEAN_UP_FAILED, &published.record.name, Some(message));
            continue;
        };
        if backoff::waits(retry, now) {
            step.wake = step.wake.into_iter().chain(retry).min();
        } else {
            step.actions.push(Action::CleanUp {
                name: published.for_name.clone(),
                solver,
                record: published.record.clone(),
            });
        }
        state.published.push(published);
    }
}

/// The solver that can remove a TXT record for a name: its place among the issuer's.
pub fn dns_solver(acme: &AcmeView, name: &str) -> Option<usize> {
    solvers::ranked(acme, name).into_iter().find(|s| s.how.kind() == ChallengeType::Dns01).map(|s| s.index)
}

impl State<'_> {
    /// Takes in what was published and removed in this pass.
    pub(in super::super) fn take_in_records(&mut self) {
        let learnt = &self.world.learnt;
        for (name, record) in &learnt.presented {
            let Ok(record) = record else { continue };
            let known = |p: &PublishedRecord| p.for_name == *name && p.record == *record;
            if !self.published.iter().any(known) {
                let (for_name, record) = (name.clone(), record.clone());
                self.published.push(PublishedRecord { for_name, record, failures: 0, retry_time: None });
            }
        }
        for (record, result) in &learnt.cleaned_up {
            let words = result.as_ref().err();
            self.find(
                finding::CLEAN_UP_FAILED,
                &record.name,
                words.map(|words| format!("the TXT record {} could not be removed: {words}", record.name)),
            );
            match words {
                None => self.published.retain(|p| p.record != *record),
                Some(_) => self.published.iter_mut().filter(|p| p.record == *record).for_each(|p| {
                    p.failures = p.failures.saturating_add(1);
                    let pause = backoff::pause(Pace::Transient, p.failures, None);
                    p.retry_time = self.world.now.checked_add(pause).ok().map(Time);
                }),
            }
        }
    }
}
