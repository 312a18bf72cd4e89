//! Telling others about the active revision, and asking whether they have taken it up.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::Step;
use super::state::State;
use super::world::{Action, Purpose, Reach, SecretView, Told};
use crate::api::certificate::{ActivationStatus, Call, Revision};
use crate::api::reasons::finding;
use crate::decide::backoff::{self, Pace};

/// How soon a Job that runs is looked at again, in seconds; ever less often, down to every ten minutes.
const JOB_SECONDS: (i64, i64) = (10, 600);

/// The next call about the active revision, where one is due.
pub fn step(state: &mut State<'_>) -> Option<Step> {
    let (purpose, reach) = due(state)?;
    let active = state.active.clone()?;
    match &state.world.secret {
        SecretView::Unchanged => Some(Step::act(vec![Action::ReadSecret])),
        SecretView::Ours(secret) if state.holds_active(secret) => {
            let pair = secret.content.as_ref().ok()?;
            let told = Told { revision: active, chain: pair.chain.clone(), ca: pair.ca.clone() };
            Some(Step::act(vec![Action::Call { purpose, reach: Box::new(reach), told: Box::new(told) }]))
        }
        _ => None,
    }
}

/// The call that is to be made now.
fn due(state: &State<'_>) -> Option<(Purpose, Reach)> {
    let spec = &state.spec.options.activation;
    let publish = spec.publish.as_ref()?;
    let record = state.activation.as_ref()?;
    // The status first, where the Secret was written.
    if state.world.learnt.activated.is_some() || !state.world.learnt.called.is_empty() {
        return None;
    }
    let waits = |call: &Call| backoff::waits(call.retry_time.as_ref().map(|t| t.0), state.world.now);
    let published = record.published.clone().unwrap_or_default();
    if published.done_at.is_none() {
        return (!waits(&published)).then(|| Some((Purpose::Publish, Reach::of(publish)?))).flatten();
    }
    let confirm = spec.confirm.as_ref()?;
    let confirmed = record.confirmed.clone().unwrap_or_default();
    (confirmed.done_at.is_none() && !waits(&confirmed)).then(|| Some((Purpose::Confirm, Reach::of(confirm)?))).flatten()
}

/// When the next call is due.
pub fn wake(state: &State<'_>) -> Option<Timestamp> {
    if !pending(state) {
        return None;
    }
    let record = state.activation.as_ref()?;
    let open = [&record.published, &record.confirmed].into_iter().flatten().find(|c| c.done_at.is_none());
    let retry = open.and_then(|c| c.retry_time.as_ref()).map(|t| t.0);
    Some(retry.unwrap_or(state.world.now).max(state.soon(1)))
}

/// Whether somebody still has to be told of the active revision, or to take it up.
pub fn pending(state: &State<'_>) -> bool {
    let spec = &state.spec.options.activation;
    if spec.publish.is_none() || state.active.is_none() {
        return false;
    }
    let done = |call: Option<&Call>| call.is_some_and(|c| c.done_at.is_some());
    let record = state.activation.as_ref();
    let published = done(record.and_then(|a| a.published.as_ref()));
    let confirmed = spec.confirm.is_none() || done(record.and_then(|a| a.confirmed.as_ref()));
    !(published && confirmed)
}

impl State<'_> {
    /// There is a record of the active revision, where somebody is to be told of it.
    pub fn keep_record(&mut self) {
        let Some(active) = &self.active else { return };
        let known = self.activation.as_ref().is_some_and(|a| a.revision == active.revision);
        if !known && self.spec.options.activation.publish.is_some() {
            self.activation = Some(record(active, self.world.now, Vec::new(), None));
        }
    }

    /// Remembers what became of a call.
    pub fn take_in_calls(&mut self) {
        let now = self.world.now;
        let begun = self.activation.as_ref().map_or(0, |record| now.duration_since(record.since.0).as_secs());
        let soon = self.soon((begun / 2).clamp(JOB_SECONDS.0, JOB_SECONDS.1));
        for (purpose, word) in [(Purpose::Publish, "publish"), (Purpose::Confirm, "confirm")] {
            let Some(result) = self.world.learnt.called.get(&purpose).cloned() else { continue };
            let Some(record) = &mut self.activation else { continue };
            let slot = if purpose == Purpose::Publish { &mut record.published } else { &mut record.confirmed };
            let mut call = slot.take().unwrap_or_default();
            let revision = record.revision;
            let failed = match result {
                Ok(true) => {
                    call = Call { done_at: Some(Time(now)), ..Call::default() };
                    None
                }
                Ok(false) => {
                    call =
                        Call { message: Some("the Job is running".to_owned()), retry_time: Some(Time(soon)), ..call };
                    None
                }
                Err(why) => {
                    let failures = call.failures.saturating_add(1);
                    let retry = now.checked_add(backoff::pause(Pace::Transient, failures, None)).ok();
                    let said = why.clone();
                    call = Call { failures, message: Some(why), retry_time: retry.map(Time), ..call };
                    Some(format!(
                        "activation.{word} of revision {revision} does not succeed and is tried again: {said}"
                    ))
                }
            };
            let slot = if purpose == Purpose::Publish { &mut record.published } else { &mut record.confirmed };
            *slot = Some(call);
            self.find(finding::PUBLISH_FAILED, word, failed);
        }
        if self.spec.options.activation.publish.is_none() {
            self.find(finding::PUBLISH_FAILED, "publish", None);
            self.find(finding::PUBLISH_FAILED, "confirm", None);
        }
    }
}

/// A record of a revision that has just become active, in place of one after which `proven` is the latest that works.
pub fn record(active: &Revision, now: Timestamp, judges: Vec<String>, proven: Option<i64>) -> ActivationStatus {
    ActivationStatus { revision: active.revision, since: Time(now), judges, proven, published: None, confirmed: None }
}
