//! A MailDomain that is being deleted takes the TLSA records with it that were published for it by updates.
//!
//! A record that nobody looks after any more breaks mail on the day that somebody changes the key. So the MailDomain has a
//! finalizer from before the first record is published until the last one is gone. A deletion waits for DNS, but not for
//! ever: without the key for the updates it waits not at all, and else no longer than [`PATIENCE`]. What is left behind
//! then is named in an Event.

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::certificate::Certificate;
use super::names::names;
use super::status::Said;
use super::tlsa::{Plan, Step};
use super::world::{Action, World};
use super::{first_three, later};
use crate::api::domain::{DnsStatus, MailDomainStatus};
use crate::api::keys;
use crate::api::reasons::{condition, dns as reason};
use crate::decide::Decision;
use crate::decide::conditions::{Conditions, State, find};

/// As long as this a deletion waits for a DNS server.
const PATIENCE: SignedDuration = SignedDuration::from_mins(10);
/// Whether the key for updates is still there is looked at this often: its end causes no event.
const OFTEN: SignedDuration = SignedDuration::from_secs(10);
/// Until the next look at an object that somebody else has just written.
const AGAIN: SignedDuration = SignedDuration::from_secs(2);
const SECOND: SignedDuration = SignedDuration::from_secs(1);

/// Whether the finalizer is on the object.
fn is_held(world: &World) -> bool {
    let is_on = || world.object.finalizers().iter().any(|f| f == keys::TLSA_FINALIZER);
    world.done.held.unwrap_or_else(is_on)
}

/// What is to be done about the finalizer of one that stays.
pub(super) fn hold(world: &World, plan: Option<&Plan<'_>>) -> Option<Action> {
    match (is_held(world), plan.is_some_and(Plan::is_at_server)) {
        (false, true) => Some(Action::Hold),
        (true, false) => Some(Action::Release),
        _ => None,
    }
}

/// What there is still to do for one that is being deleted since `since`.
pub(super) fn decide(world: &World, since: Timestamp) -> Decision<Action, MailDomainStatus> {
    let mut status = world.object.status.clone().unwrap_or_default();
    if !is_held(world) {
        return Decision { actions: Vec::new(), status, wake: None };
    }
    let names = names(&world.object);
    let certificate = Certificate::of(world);
    let plan = Plan::of(world, &names, &certificate, &status.endpoints);
    let Some(plan) = plan.filter(|plan| is_waited_for(world, &certificate, plan)) else {
        return release(world, status);
    };
    if find(&status.conditions, condition::DNS_READY).is_some_and(|c| c.reason == reason::TLSA_LEFT_BEHIND) {
        // The Event of it is out.
        return release(world, status);
    }
    let until = later(since, PATIENCE);
    let why = hopeless(world, &plan, until);
    let said = match &why {
        Some(why) => Said::new(State::False, reason::TLSA_LEFT_BEHIND, farewell(&plan, why)),
        None => {
            let said = plan.said();
            Said { message: format!("the deletion waits: {}", said.message), ..said }
        }
    };
    say(world, &mut status, &said);
    status.dns = plan.status().map(|tlsa| DnsStatus { tlsa: Some(tlsa) });
    let is_step = |step: &Step| matches!(step, Step::Look { .. } | Step::Update(_));
    let steps = plan.steps().into_iter().filter(|step| why.is_none() && is_step(step));
    let actions = steps.map(Action::Tlsa).collect();
    let soon = why.is_some().then_some(world.now);
    let wake = plan.wake().into_iter().chain([until, later(world.now, OFTEN)]).chain(soon).min();
    Decision { actions, status, wake: wake.map(|at| at.max(later(world.now, SECOND))) }
}

/// Records are waited for until they are gone from every server; where the certificate goes on without this MailDomain,
/// until they are gone from every cache too, since its next key would not wait for that.
fn is_waited_for(world: &World, certificate: &Certificate<'_>, plan: &Plan<'_>) -> bool {
    let goes_on = certificate.object().is_some_and(|c| c.metadata.deletion_timestamp.is_none())
        && world.object.spec.certificate.reference.is_some();
    plan.is_at_server() && (!plan.leaving().is_empty() || (goes_on && plan.is_cached()))
}

/// Why the records will not be withdrawn, as far as one can tell.
fn hopeless(world: &World, plan: &Plan<'_>, until: Timestamp) -> Option<String> {
    if plan.leaving().is_empty() {
        return None;
    }
    let late = || format!("within {PATIENCE:#} they could not be withdrawn: {}", plan.said().message);
    world.tlsa.keyless.clone().or_else(|| (world.now >= until).then(late))
}

fn farewell(plan: &Plan<'_>, why: &str) -> String {
    format!(
        "TLSA records of this MailDomain may be left in DNS, since {why}; remove them before the key of the server changes: {}",
        first_three(&plan.leaving(), "; ")
    )
}

/// Sets `DNSReady` and leaves the other conditions as they are.
fn say(world: &World, status: &mut MailDomainStatus, said: &Said) {
    let mut conditions = Conditions::on(&status.conditions, world.object.metadata.generation, world.now);
    conditions.set(condition::DNS_READY, said.state, said.reason, &said.message);
    let made = conditions.finish().into_iter().find(|c| c.type_ == condition::DNS_READY);
    status.conditions.retain(|c| c.type_ != condition::DNS_READY);
    status.conditions.extend(made);
}

fn release(world: &World, status: MailDomainStatus) -> Decision<Action, MailDomainStatus> {
    let actions = if world.done.overtaken { Vec::new() } else { vec![Action::Release] };
    Decision { actions, status, wake: Some(later(world.now, AGAIN)) }
}
