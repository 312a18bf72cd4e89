//! What to do about a MailCertificate.
//!
//! ```text
//! blocked? ─▶ Secret read ─▶ Secret right? ─▶ does it work? ─▶ staged? ─▶ reason for a new revision? ─▶ issuer ─▶ backoff
//!    │              │ no: write it again   │ no: go back   │ gates met: activate   │ none: tell, prune, rest
//!    └ say why; what works stays           └ ─▶ staged     └ else wait             └ ─▶ key ─▶ sign or order ─▶ validate
//!                                                                                       ─▶ store ─▶ gates ─▶ activate
//! ```

mod acme;
pub mod action;
mod announce;
mod ari;
mod cert_manager;
mod chains;
mod checks;
mod expiry;
mod gates;
mod history;
mod import;
mod issue;
mod judgement;
mod names;
mod next_key;
pub mod outputs;
pub mod preview;
mod renewal;
mod renewal_info;
mod repair;
mod revocation;
mod rollback;
mod staged;
mod state;
mod status;
mod system;
mod temporary;
#[cfg(test)]
mod tests;
pub mod world;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

pub use self::acme::dns_solver;
pub use self::expiry::watched_of as watched;
pub use self::judgement::own_anchors as import_anchors;
pub use self::names::{Wanted, usages, wanted};
pub use self::renewal_info::next_after as next_renewal_check;
pub use self::rollback::is_way_back;
use self::state::State;
pub use self::status::notes;
pub use self::world::{Action, Fact, World};
use self::world::{IssuerView, OrderView, SecretView, StepFailure};
use super::{Decision, backoff, jitter};
use crate::api::certificate::{MailCertificate, MailCertificateStatus, Order};
use crate::api::reasons::certificate as reason;

/// One round of deciding: what to do now, or how the object rests.
#[derive(Clone, Debug, Default)]
pub(crate) struct Step {
    actions: Vec<Action>,
    /// Why it does not rest: reason and message.
    situation: Option<(&'static str, String)>,
    /// It takes a person to go on.
    stalled: bool,
    wake: Option<Timestamp>,
}

impl Step {
    fn act(actions: Vec<Action>) -> Self {
        Self { actions, ..Self::default() }
    }
    fn blocked(reason: &'static str, message: String) -> Self {
        Self { situation: Some((reason, message)), stalled: true, ..Self::default() }
    }
    fn working(reason: &'static str, message: String, wake: Timestamp) -> Self {
        Self { situation: Some((reason, message)), wake: Some(wake), ..Self::default() }
    }
    /// The attempt has failed and waits for its retry time; the state says why.
    fn failing(state: &State<'_>) -> Self {
        let attempt = state.attempt.as_ref();
        let failure = attempt.and_then(|a| a.last_failure.as_ref());
        let retry = attempt.and_then(|a| a.retry_time.as_ref()).map(|t| t.0);
        let message = failure.map(|f| f.message.clone()).unwrap_or_default();
        let message = match retry {
            Some(at) => format!("{message} (next try at {at})"),
            None => message,
        };
        let reason = failure.map_or(reason::ISSUING, |f| status::known_reason(&f.reason));
        Self { situation: Some((reason, message)), wake: retry, ..Self::default() }
    }
}

/// What to do next about a MailCertificate, and its status once that is done.
pub fn decide(world: &World) -> Decision<Action, MailCertificateStatus> {
    if let Some(step) = system::last_step(world) {
        let status = world.object.status.clone().unwrap_or_default();
        return Decision { actions: step.actions, status, wake: None };
    }
    let mut state = State::fold(world);
    let mut step = next(&mut state);
    outputs::prepare(&state, &mut step);
    step.actions.splice(0..0, system::finalizer(world));
    if step.actions.is_empty() {
        acme::clean_up(&mut state, &mut step);
        cert_manager::clean_up(&mut state, &mut step);
    }
    status::conclude(state, step)
}

fn next(state: &mut State<'_>) -> Step {
    let world = state.world;
    if world.learnt.overtaken {
        let message = "somebody else wrote the Secret at the same time: looking again".to_owned();
        return Step::working(reason::ISSUING, message, state.soon(2));
    }
    if let Some(failure) = &world.learnt.failure {
        return failed(state, failure);
    }
    if let Some(message) = &world.forbidden {
        return Step { wake: Some(state.soon(60)), ..Step::blocked(reason::FORBIDDEN, message.clone()) };
    }
    let wanted = match wanted(state.spec) {
        Ok(wanted) => wanted,
        Err(problems) => return Step::blocked(reason::INVALID_SPEC, problems.join("; ")),
    };
    if let Some(rival) = &world.rival {
        let message = format!(
            "the Secret {} is claimed by MailCertificate {rival}, which was there first: choose another secretName",
            state.spec.secret_name
        );
        return Step::blocked(reason::SECRET_CONFLICT, message);
    }
    match &world.secret {
        SecretView::Foreign(message) => return Step::blocked(reason::SECRET_CONFLICT, message.clone()),
        SecretView::NotRead => return Step::act(vec![Action::ReadSecret]),
        SecretView::Copy { stays: true, .. } => return Step::default(),
        // Labels and annotations asked for may have changed with the spec.
        // So may what PKCS#12 stores are made from.
        SecretView::Unchanged
            if (state.spec_is_new() || outputs::password_is_new(state)) && world.learnt.activated.is_none() =>
        {
            return Step::act(vec![Action::ReadSecret]);
        }
        SecretView::Unchanged
        | SecretView::Absent
        | SecretView::Ours(_)
        | SecretView::Temporary(_)
        | SecretView::Copy { .. } => {}
    }
    if let Some(step) = temporary::step(state, &wanted).or_else(|| repair::step(state)) {
        return step;
    }
    if let IssuerView::Import(view) = &world.issuer {
        return imported(state, &wanted, view);
    }
    if world.learnt.activated.is_none()
        && let Some(step) = revocation::step(state)
    {
        return step;
    }
    // The status first, where something was written.
    if let Some(action) = renewal_info::ask(state).filter(|_| world.learnt.activated.is_none()) {
        return Step::act(vec![action]);
    }
    if world.learnt.activated.is_none()
        && let Some(step) = rollback::step(state)
    {
        return step;
    }
    if let Some(step) = staged::step(state, &wanted) {
        return beside(state, step);
    }
    let Some(trigger) = checks::first(state, &wanted) else { return rest(state) };
    if world.learnt.activated.is_some() {
        // One write of the Secret in a pass: the status first, then what else there is to do.
        return Step::working(reason::ISSUING, trigger.message, state.soon(1));
    }
    if let Some(step) = rollback::held(state, &trigger) {
        return beside(state, step);
    }
    if let Some(step) = rollback::again(state, &trigger, &wanted) {
        return step;
    }
    let contested = if is_lost(trigger.reason) { repair::contested(state) } else { None };
    let step = contested.unwrap_or_else(|| issue::step(state, &trigger, &wanted));
    let problem = problem(state, &step);
    or_former(state, step, problem)
}

/// Why there is no way to a new revision for now, where there is none.
fn problem(state: &State<'_>, step: &Step) -> Option<String> {
    let failure = state.attempt.as_ref().and_then(|a| a.last_failure.as_ref()).map(|f| f.message.clone());
    let blocked = step.situation.as_ref().filter(|(r, _)| step.stalled || *r == reason::ISSUER_NOT_READY);
    failure.or_else(|| blocked.map(|(_, message)| message.clone()))
}

/// A former revision that is still valid is better than an expired one, where `problem` keeps a new one away.
fn or_former(state: &mut State<'_>, step: Step, problem: Option<String>) -> Step {
    match problem.filter(|_| step.actions.is_empty()) {
        Some(problem) => rollback::instead(state, &problem).unwrap_or(step),
        None => step,
    }
}

/// The source of an import decides what comes next; what was taken from it goes the way of every revision.
fn imported(state: &mut State<'_>, wanted: &Wanted, view: &world::ImportView) -> Step {
    if state.world.learnt.activated.is_none()
        && let Some(step) = rollback::step(state)
    {
        return step;
    }
    let source = import::step(state, wanted, view);
    if !source.actions.is_empty() {
        return source;
    }
    let waited = !state.staged.is_empty();
    match staged::step(state, wanted) {
        // A source that went bad is said, whatever waits.
        Some(staged) if staged.actions.is_empty() && source.stalled => {
            let wake = [staged.wake, source.wake].into_iter().flatten().min();
            Step { wake, ..source }
        }
        Some(staged) => {
            let step = beside(state, staged);
            let wake = [step.wake, source.wake].into_iter().flatten().min();
            Step { wake, ..step }
        }
        // It was lost: perhaps the source has it still.
        None if waited && state.staged.is_empty() => Step { wake: Some(state.soon(1)), ..source },
        None => {
            let said = source.situation.as_ref().map(|(_, message)| message.clone());
            let problem = said.unwrap_or_else(|| "the source holds no other certificate".to_owned());
            or_former(state, source, Some(problem))
        }
    }
}

/// What goes on while something is waited for.
fn beside(state: &mut State<'_>, waits: Step) -> Step {
    if !waits.actions.is_empty() {
        return waits;
    }
    let step = history::step(state);
    if step.actions.is_empty() { waits } else { step }
}

/// The step that failed belongs to an attempt, which says when to go on.
fn failed(state: &mut State<'_>, failure: &StepFailure) -> Step {
    let wanted = wanted(state.spec).unwrap_or_default();
    // An attempt was begun in its place.
    staged::drop_outdated(state, &wanted);
    let trigger = checks::first(state, &wanted);
    let asked = state.revocation_asked().map(|_| reason::REVOCATION_REQUESTED);
    state.begin(asked.or(trigger.map(|t| t.reason)).unwrap_or(reason::ISSUING));
    state.fail(failure);
    acme::leave_out_refused(state, &wanted, failure);
    let step = Step::failing(state);
    let problem = problem(state, &step);
    or_former(state, step, problem)
}

fn is_lost(reason: &str) -> bool {
    reason == reason::SECRET_MISSING || reason == reason::SECRET_DAMAGED
}

/// Nothing to issue: an attempt that nobody wants any more is dropped, and history is cut to its length.
fn rest(state: &mut State<'_>) -> Step {
    state.attempt = None;
    history::step(state)
}

impl State<'_> {
    /// In `seconds` from now.
    fn soon(&self, seconds: i64) -> Timestamp {
        self.world.now.checked_add(SignedDuration::from_secs(seconds)).unwrap_or(self.world.now)
    }

    /// When to look at the order again: at the server's Retry-After, but ever less often. Some servers ask for a look
    /// each second, whatever has become of the order.
    fn poll(&self, order: &Order, view: &OrderView) -> Timestamp {
        let least = match self.world.now.duration_since(order.created_at.0).as_secs() {
            i64::MIN..30 => 1,
            30..300 => 5,
            300..3600 => 30,
            3600.. => 300,
        };
        let pause = match view.retry_after {
            Some(asked) => asked.as_secs().clamp(least, backoff::LONGEST.as_secs()),
            None => least.max(2),
        };
        self.soon(pause)
    }

    /// The resourceVersion that a write of the active Secret must still meet; none: it must not exist.
    fn secret_version(&self) -> Option<String> {
        match &self.world.secret {
            SecretView::Ours(secret) => Some(secret.resource_version.clone()),
            SecretView::Temporary(temporary) => temporary.secret_resource_version.clone(),
            SecretView::Copy { resource_version, .. } => Some(resource_version.clone()),
            SecretView::Unchanged => self.active.as_ref().and_then(|a| a.secret_resource_version.clone()),
            SecretView::Absent | SecretView::NotRead | SecretView::Foreign(_) => None,
        }
    }

    /// The stored key of the revision to be cannot be used: the attempt goes on with the next number.
    fn skip_revision(&mut self) {
        let next = self.world.revisions.keys().next_back().copied().unwrap_or(0).saturating_add(1);
        if let Some(attempt) = &mut self.attempt {
            attempt.revision = attempt.revision.max(next);
        }
    }
}

/// The name of a revision Secret that does not exist yet: recognisable, and different for every MailCertificate that ever had this secretName.
pub fn revision_name(object: &MailCertificate, revision: i64) -> String {
    tagged_name(object, &format!("r{revision}"))
}

/// The name of the Secret that keeps the key made ahead.
pub fn next_key_name(object: &MailCertificate) -> String {
    tagged_name(object, "next")
}

fn tagged_name(object: &MailCertificate, what: &str) -> String {
    let uid = object.uid().unwrap_or_default();
    let tag = (jitter::fraction(&[&uid]) * f64::from(1 << 20)) as u32;
    let suffix = format!("-{what}-{tag:05x}");
    let room = 253usize.saturating_sub(suffix.len());
    let base: String = object.spec.secret_name.chars().take(room).collect();
    format!("{}{suffix}", base.trim_end_matches(['.', '-']))
}
