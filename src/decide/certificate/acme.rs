//! One step of an ACME order (RFC 8555, section 7.1.6) in each pass.
//!
//! ```text
//! key stored ─▶ order created ─▶ challenges routed ─▶ checked from here ─▶ answered ─▶ ready ─▶ CSR sent ─▶ valid ─▶ fetched
//!                   ▲                                      │ a legacy name that fails is left out
//!                   └──────────────────────────────────────┘
//! ```
//! The order's URL and its challenges are in the status before anything is done about them, so a restart resumes here.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::SignedDuration;

use super::Step;
use super::names::{self, Wanted};
use super::state::State;
use super::world::{AcmeView, Action, KeySource, OrderStatus, OrderView, Origin, StepFailure};
use crate::api::certificate::{Challenge, Failure, OmittedName, Order};
use crate::api::reasons::certificate as reason;
use crate::decide::backoff::{self, Pace};
use crate::pki::PrivateKey;

/// Self-checks of a legacy name before it is left out.
const LEGACY_PATIENCE: i32 = 3;

/// The next step towards a certificate for `wanted`.
pub fn step(state: &mut State<'_>, wanted: &Wanted, acme: AcmeView, origin: Origin) -> Step {
    if let Some(message) = cannot_ask(state, wanted) {
        return Step::blocked(reason::INVALID_SPEC, message);
    }
    let names = wanted.without(state.attempt.iter().flat_map(|a| &a.omitted_names).map(|o| o.name.as_str()));
    if let Some(why) = outdated(state, &names) {
        return drop_order(state, why);
    }
    let key = match stored_key(state) {
        Ok(key) => key,
        Err(step) => return *step,
    };
    let Some(order) = state.attempt.as_ref().and_then(|a| a.order.clone()) else {
        return Step::act(vec![Action::CreateOrder { dns_names: names.into_iter().collect() }]);
    };
    let Some(view) = state.world.learnt.order.clone() else {
        return Step::act(vec![Action::LookAtOrder { url: order.url }]);
    };
    if state.world.learnt.created_order || state.world.learnt.finalized {
        // The status first: replicas answer challenges from it, and a restart goes on from it.
        return Step::working(reason::ORDER_PENDING, waiting_text(&order), state.soon(1));
    }
    match view.status {
        OrderStatus::Pending => pending(state, wanted, acme, &order, &view),
        OrderStatus::Ready if !order.finalized => finalize(state, &order, key.clone(), &names),
        OrderStatus::Processing | OrderStatus::Ready => Step::working(
            reason::ORDER_PENDING,
            format!("the CA is making the certificate (order {})", order.url),
            state.poll(&order, &view),
        ),
        OrderStatus::Valid => {
            let revision = state.attempt.as_ref().map_or(1, |a| a.revision);
            Step::act(vec![Action::Download { url: order.url, revision, key, origin }])
        }
        OrderStatus::Invalid => invalid(state, wanted, &view),
    }
}

/// Why the order under way cannot lead to what is wanted now.
fn outdated(state: &State<'_>, names: &BTreeSet<String>) -> Option<&'static str> {
    let order = state.attempt.as_ref()?.order.as_ref()?;
    if state.world.learnt.created_order {
        return None;
    }
    if order.dns_names.iter().cloned().collect::<BTreeSet<_>>() != *names {
        return Some("the names have changed");
    }
    // It may name another issuer, which knows nothing of this order.
    state.spec_is_new().then_some("the spec has changed")
}

/// What no ACME order with HTTP-01 can ask for.
fn cannot_ask(state: &State<'_>, wanted: &Wanted) -> Option<String> {
    if let Some(name) = wanted.required.iter().find(|n| n.starts_with("*.")) {
        return Some(format!(
            "HTTP-01 cannot validate the wildcard {name} (RFC 8555, section 8.3): list the host names instead, or use a ca issuer"
        ));
    }
    if !state.spec.options.email_addresses.is_empty() {
        return Some(
            "an ACME issuer cannot certify mail addresses: remove emailAddresses, or use a ca issuer".to_owned(),
        );
    }
    None
}

/// The key of the revision to be, stored before anybody is asked to certify it.
fn stored_key(state: &mut State<'_>) -> Result<Arc<PrivateKey>, Box<Step>> {
    let spec = names::key_spec(&state.spec.options.private_key);
    let revision = state.attempt.as_ref().map_or(1, |a| a.revision);
    if let Some(name) = state.world.revisions.get(&revision) {
        match state.world.read.get(&revision) {
            None => return Err(Box::new(Step::act(vec![Action::ReadRevision { revision, name: name.clone() }]))),
            Some(stored) => match &stored.key {
                Ok(key) if key.matches_spec(&spec) => return Ok(key.clone()),
                _ => state.skip_revision(),
            },
        }
    }
    if state.attempt.as_ref().and_then(|a| a.order.as_ref()).is_some_and(|o| o.finalized) {
        return Err(Box::new(drop_order(state, "the key that the CA was asked to certify is gone")));
    }
    let revision = state.attempt.as_ref().map_or(1, |a| a.revision);
    let key = match super::issue::kept_key(state, &spec) {
        Err(step) => return Err(step),
        Ok(Some(key)) => KeySource::Keep(key),
        Ok(None) => KeySource::Generate(spec),
    };
    let name = super::revision_name(&state.world.object, revision);
    Err(Box::new(Step::act(vec![Action::StoreKey { revision, name, key }])))
}

fn pending(state: &mut State<'_>, wanted: &Wanted, acme: AcmeView, order: &Order, view: &OrderView) -> Step {
    if let Some(name) = view.authorizations.iter().find(|a| !a.valid && a.http01.is_none()).map(|a| &a.name) {
        let problem = "the CA offers no HTTP-01 challenge".to_owned();
        if wanted.legacy.contains_key(name) {
            return omit(state, vec![(name.clone(), problem)]);
        }
        return fail(state, reason::ORDER_REFUSED, format!("{problem} for {name}"));
    }
    let open: Vec<&Challenge> = order.challenges.iter().filter(|c| !c.answered).collect();
    if acme.exposes && !order.exposed && !state.world.learnt.unexposed && !open.is_empty() {
        let challenges = order.challenges.iter().map(|c| (c.name.clone(), c.token.clone())).collect();
        return Step::act(vec![Action::Expose { challenges }]);
    }
    let learnt = &state.world.learnt;
    if acme.self_check {
        let unchecked = open.iter().filter(|c| !learnt.self_checks.contains_key(&c.name));
        let checks: Vec<Action> = unchecked
            .map(|c| Action::SelfCheck {
                name: c.name.clone(),
                token: c.token.clone(),
                key_authorization: c.key_authorization.clone(),
            })
            .collect();
        if !checks.is_empty() {
            return Step::act(checks);
        }
    }
    let passes = |c: &&&Challenge| !acme.self_check || learnt.self_checks.get(&c.name).is_some_and(Result::is_ok);
    let names: Vec<String> = open.iter().filter(passes).map(|c| c.name.clone()).collect();
    if !names.is_empty() {
        return Step::act(vec![Action::Answer { url: order.url.clone(), names }]);
    }
    match open.iter().find(|c| wanted.legacy.contains_key(&c.name) && c.failures >= LEGACY_PATIENCE) {
        Some(legacy) => omit(state, vec![(legacy.name.clone(), legacy.problem.clone().unwrap_or_default())]),
        None => wait_for_challenges(state, order, view, &open),
    }
}

fn wait_for_challenges(state: &mut State<'_>, order: &Order, view: &OrderView, open: &[&Challenge]) -> Step {
    let failing: Vec<String> =
        open.iter().filter_map(|c| c.problem.as_ref().map(|p| format!("{}: {p}", c.name))).take(3).collect();
    let poll = state.poll(order, view);
    let Some(attempt) = &mut state.attempt else { return Step::default() };
    if failing.is_empty() {
        attempt.last_failure.take_if(|f| f.reason == reason::SELF_CHECK_FAILED);
        return Step::working(reason::ORDER_PENDING, waiting_text(order), poll);
    }
    let failures = open.iter().map(|c| c.failures).max().unwrap_or(1);
    let pause = backoff::pause(Pace::Transient, failures, None).min(SignedDuration::from_mins(5));
    let message = format!(
        "the challenge cannot be reached from the operator, so the CA was not asked: {}. Let port 80 of the name lead \
         to the operator's challenge Service, or set selfCheck: Skip where only this look fails",
        failing.join("; ")
    );
    // No failure of the attempt, but no pass before that time looks again, whatever woke it.
    attempt.last_failure = Some(Failure { reason: reason::SELF_CHECK_FAILED.to_owned(), message });
    attempt.retry_time = state.world.now.checked_add(pause).ok().map(Time);
    Step::failing(state)
}

/// The CSR itself is made when it is sent: an ECDSA signature is another one each time.
fn finalize(state: &State<'_>, order: &Order, key: Arc<PrivateKey>, names: &BTreeSet<String>) -> Step {
    let mut subject = names::subject(state.spec, names);
    subject.subject = Default::default();
    let usages = names::usages(state.spec);
    Step::act(vec![Action::Finalize { url: order.url.clone(), key, subject: Box::new(subject), usages }])
}

/// A legacy name that failed is left out of the next order; any other failure is the CA's no.
fn invalid(state: &mut State<'_>, wanted: &Wanted, view: &OrderView) -> Step {
    let failed: Vec<(String, String)> = view
        .authorizations
        .iter()
        .filter(|a| a.failed)
        .map(|a| {
            let words = a.http01.as_ref().and_then(|h| h.error.clone());
            (a.name.clone(), words.unwrap_or_else(|| "the CA could not validate it".to_owned()))
        })
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

fn fail(state: &mut State<'_>, reason: &'static str, message: String) -> Step {
    state.fail(&refusal(reason, message));
    Step::failing(state)
}

fn refusal(reason: &'static str, message: String) -> StepFailure {
    StepFailure { pace: Pace::Refusal, reason, message, retry_after: None, order_lost: true }
}

fn omit(state: &mut State<'_>, names: Vec<(String, String)>) -> Step {
    leave_out(state, names);
    drop_order(state, "a legacy name cannot be validated and is left out")
}

fn leave_out(state: &mut State<'_>, names: Vec<(String, String)>) {
    let since = Time(state.world.now);
    let Some(attempt) = &mut state.attempt else { return };
    attempt.omitted_names.extend(names.into_iter().map(|(name, problem)| OmittedName {
        name,
        problem,
        since: since.clone(),
    }));
}

fn drop_order(state: &mut State<'_>, why: &str) -> Step {
    if let Some(attempt) = &mut state.attempt {
        attempt.order = None;
    }
    Step::working(reason::ORDER_PENDING, format!("{why}: a new order is made"), state.soon(1))
}

fn waiting_text(order: &Order) -> String {
    format!("the ACME order {} waits for the CA", order.url)
}
