//! One step of an ACME order (RFC 8555, section 7.1.6) in each pass.
//!
//! ```text
//! key stored ─▶ names looked up ─▶ counted ─▶ order created ─▶ challenges shown ─▶ checked ─▶ answered ─▶ CSR ─▶ fetched
//!                                                ▲                     │ a legacy name that fails is left out
//!                                                └─────────────────────┘
//! ```
//! The order's URL and its challenges are in the status before anything is done about them, so a restart resumes here.

mod challenges;
mod order;
mod persist;
pub(super) mod preflight;
mod records;
mod refusal;
pub(super) mod solvers;

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::SignedDuration;

use super::Step;
use super::checks::Trigger;
use super::names::{self, Wanted};
use super::state::State;
use super::world::{AcmeView, Action, Asked, KeySource, OrderStatus, Origin};
use crate::api::certificate::{Failure, OmittedName, Order};
use crate::api::reasons::certificate as reason;
use crate::decide::backoff;
use crate::pki::PrivateKey;

pub use records::{clean_up, dns_solver};
pub use refusal::leave_out_refused;

/// How long a CA may take over what it was told to look at, or to make.
const PATIENCE: SignedDuration = SignedDuration::from_hours(24);

/// The next step towards a certificate for `wanted`.
pub fn step(state: &mut State<'_>, wanted: &Wanted, trigger: &Trigger, acme: &AcmeView, origin: Origin) -> Step {
    if let Some(message) = cannot_ask(state, wanted, acme) {
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
        return create(state, wanted, trigger, acme, names);
    };
    let Some(view) = state.world.learnt.order.clone() else {
        return Step::act(vec![Action::LookAtOrder { url: order.url }]);
    };
    if state.world.learnt.created_order || state.world.learnt.finalized {
        // The status first: replicas answer challenges from it, and a restart goes on from it.
        return Step::working(reason::ORDER_PENDING, waiting_text(&order), state.soon(1));
    }
    if let Some(step) = overdue(state, &order, view.status) {
        return step;
    }
    match view.status {
        OrderStatus::Pending => challenges::step(state, wanted, acme, &order, &view),
        OrderStatus::Ready if !order.finalized => finalize(state, &order, key.clone(), &names),
        OrderStatus::Processing | OrderStatus::Ready => Step::working(
            reason::ORDER_PENDING,
            format!("the CA is making the certificate (order {})", order.url),
            state.poll(&order, &view),
        ),
        OrderStatus::Valid => {
            let revision = state.attempt.as_ref().map_or(1, |a| a.revision);
            let alternates = acme.preferred_chain.is_some() || acme.trust_anchors.is_some();
            Step::act(vec![Action::Download { url: order.url, revision, key, origin, alternates }])
        }
        OrderStatus::Invalid => refusal::invalid(state, wanted, &view),
    }
}

/// Gives up an order with which the CA does not get on, long before a short-lived certificate would expire over it.
fn overdue(state: &mut State<'_>, order: &Order, status: OrderStatus) -> Option<Step> {
    let waits_for_the_ca = match status {
        OrderStatus::Pending => order.challenges.iter().all(|c| c.answered),
        OrderStatus::Processing => true,
        OrderStatus::Ready => order.finalized,
        OrderStatus::Valid | OrderStatus::Invalid => false,
    };
    if !waits_for_the_ca || state.world.now.duration_since(order.created_at.0) < PATIENCE {
        return None;
    }
    let hours = PATIENCE.as_hours();
    let message = format!("the CA has not got on with the order {} for {hours} h, so it is given up", order.url);
    Some(fail(state, reason::ORDER_REFUSED, message))
}

/// Towards an order: what DNS says of its names, and whether the guard lets it pass.
fn create(state: &mut State<'_>, wanted: &Wanted, trigger: &Trigger, acme: &AcmeView, names: BTreeSet<String>) -> Step {
    let asked: Vec<Asked> = names
        .iter()
        .filter_map(|name| Some(Asked { name: name.clone(), kind: solvers::best(acme, name)?.how.kind() }))
        .collect();
    if state.world.learnt.preflight.is_none() {
        return Step::act(vec![Action::Preflight { asked }]);
    }
    if let Some(step) = preflight::judge(state, wanted) {
        return step;
    }
    let dns_names: Vec<String> = names.into_iter().collect();
    let (replaces, exempt) = super::renewal_info::replaced(state, acme, trigger, &dns_names);
    match &state.world.learnt.reserved {
        None => Step::act(vec![Action::Reserve { dns_names, exempt }]),
        Some(Err(blocked)) if blocked.busy => {
            Step::working(reason::ORDER_PENDING, blocked.words.clone(), blocked.until)
        }
        Some(Err(blocked)) => {
            let failure = Failure { reason: reason::BUDGET_SPENT.to_owned(), message: blocked.words.clone() };
            let retry = blocked.until.min(state.world.now.checked_add(backoff::LONGEST).unwrap_or(blocked.until));
            if let Some(attempt) = &mut state.attempt {
                attempt.last_failure = Some(failure);
                attempt.retry_time = Some(Time(retry));
            }
            Step::failing(state)
        }
        Some(Ok(())) => {
            let profile = acme.profile.clone();
            Step::act(vec![Action::CreateOrder { dns_names, profile, replaces, exempt }])
        }
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

/// What no order of this issuer can ask for.
fn cannot_ask(state: &State<'_>, wanted: &Wanted, acme: &AcmeView) -> Option<String> {
    let problem = |name: &String| solvers::problem(acme, name);
    if let Some(problem) = wanted.required.iter().find_map(problem) {
        return Some(problem);
    }
    if !state.spec.options.email_addresses.is_empty() {
        return Some(
            "an ACME issuer cannot certify mail addresses: remove emailAddresses, or use a ca issuer".to_owned(),
        );
    }
    None
}

/// The key of the revision to be, stored before anybody is asked to certify it.
pub(super) fn stored_key(state: &mut State<'_>) -> Result<Arc<PrivateKey>, Box<Step>> {
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
    if state.attempt.as_ref().is_some_and(|a| a.request.is_some() || a.order.as_ref().is_some_and(|o| o.finalized)) {
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

/// The CSR itself is made when it is sent: an ECDSA signature is another one each time.
fn finalize(state: &State<'_>, order: &Order, key: Arc<PrivateKey>, names: &BTreeSet<String>) -> Step {
    let mut subject = names::subject(state.spec, names);
    subject.subject = Default::default();
    let usages = names::usages(state.spec);
    Step::act(vec![Action::Finalize { url: order.url.clone(), key, subject: Box::new(subject), usages }])
}

fn fail(state: &mut State<'_>, reason: &'static str, message: String) -> Step {
    state.fail(&refusal::refusal(reason, message));
    Step::failing(state)
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
        attempt.request = None;
    }
    Step::working(reason::ORDER_PENDING, format!("{why}: a new order is made"), state.soon(1))
}

fn waiting_text(order: &Order) -> String {
    format!("the ACME order {} waits for the CA", order.url)
}
