//! One step with the server, and when to try again.

use k8s_openapi::jiff::Timestamp;

use crate::api::issuer::{AcmeStatus, MailIssuerStatus};
use crate::api::reasons::{condition, issuer as reason};
use crate::decide::backoff;
use crate::decide::conditions::{State, find};
use crate::decide::issuer::world::{Action, StepFailure, World};
use crate::decide::issuer::{Outcome, Retry, Said};

/// Asks for one step, unless it has just failed or its time has not come. `message` says what it is; `is_good` tells
/// whether the account can be used without it.
pub(super) fn step(world: &World, known: AcmeStatus, action: Action, message: String, is_good: bool) -> Outcome {
    let old = world.object.status.clone().unwrap_or_default();
    let is_same_spec = old.observed_generation == world.object.metadata.generation;
    let before = if is_same_spec { Retry::of(&old) } else { Retry::default() };
    if let Some(failure) = &world.failure {
        let (retry, said) = (failed(failure, &before, world.now), said_of(failure));
        return Outcome { wake: retry.retry_time, acme: Some(known), retry, ..Outcome::said(said) };
    }
    let pending = Said::not_ready(reason::SERVER_UNAVAILABLE, message);
    if action.asks_server() && backoff::waits(before.retry_time, world.now) {
        let said = said_before(&old, is_good).unwrap_or(pending);
        return Outcome { wake: before.retry_time, acme: Some(known), retry: before, ..Outcome::said(said) };
    }
    Outcome { action: Some(action), acme: Some(known), retry: before, ..Outcome::said(pending) }
}

/// What the status says already, as long as it fits.
pub(super) fn said_before(old: &MailIssuerStatus, is_good: bool) -> Option<Said> {
    let ready = find(&old.conditions, condition::READY).filter(|c| (c.status == "True") == is_good)?;
    let state = State::from(is_good);
    let is_stalled = find(&old.conditions, condition::STALLED).is_some();
    Some(Said { state, reason: ready.reason.clone(), message: ready.message.clone(), is_stalled })
}

fn failed(failure: &StepFailure, before: &Retry, now: Timestamp) -> Retry {
    let failures = before.failures.unwrap_or(0).saturating_add(1).max(1);
    let at = Timestamp::from_second(now.as_second()).unwrap_or(now);
    let pause = backoff::pause(failure.pace, failures, failure.retry_after);
    Retry {
        failures: Some(failures),
        last_failure_time: Some(at),
        retry_time: Some(at.checked_add(pause).unwrap_or(Timestamp::MAX)),
    }
}

fn said_of(failure: &StepFailure) -> Said {
    match failure.pace {
        backoff::Pace::Person => Said::person(&failure.reason, failure.message.clone()),
        backoff::Pace::Transient | backoff::Pace::Refusal => Said::not_ready(&failure.reason, failure.message.clone()),
    }
}
