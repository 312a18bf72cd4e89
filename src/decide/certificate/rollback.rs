//! Taking a revision back: because it does not work, or because somebody asks for it.
//!
//! The way back is staged like everything else, so that a crash on it loses nothing and DANE is not broken: a former key
//! becomes active only while its record is there.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::checks::{self, Trigger};
use super::names::Wanted;
use super::state::State;
use super::world::Dependent;
use super::{Step, gates};
use crate::api::certificate::{ActivationStatus, Revision, RevisionState, Rollback};
use crate::api::keys;
use crate::api::reasons::{certificate as reason, finding};
use crate::decide::backoff;

/// How long a revision may take until it is served, where the operator reloads the workloads.
const DEADLINE: SignedDuration = SignedDuration::from_hours(1);
/// The pause after the first rollback; it doubles, up to [`backoff::LONGEST`].
const PAUSE: SignedDuration = SignedDuration::from_mins(10);

/// Whether a staged revision is one that was active before.
pub fn is_way_back(staged: &Revision) -> bool {
    let reasons = [reason::NOT_SERVED, reason::ROLLOUT_FAILED, reason::ROLLBACK_REQUESTED, reason::NOTHING_NEWER];
    staged.reason.as_deref().is_some_and(|r| reasons.contains(&r))
}

/// Looks whether the active revision is to be taken back, and stages the one before it.
pub fn step(state: &mut State<'_>) -> Option<Step> {
    let active = state.active.clone()?;
    if let Some(step) = asked(state, &active) {
        return Some(step);
    }
    if state.staged.first().is_some_and(is_way_back) {
        return None;
    }
    let (why, message) = verdict(state, &active)?;
    if !state.spec.options.activation.rollback_on_failure {
        state.judged();
        return None;
    }
    let proven = state.activation.as_ref().and_then(|a| a.proven);
    let usable = || state.previous.iter().filter(|r| r.state != Some(RevisionState::Failed) && is_usable(state, r));
    let target = usable().find(|r| Some(r.revision) == proven).or_else(|| usable().next()).cloned();
    match target {
        Some(target) => Some(go_back(state, target, why, message)),
        None => {
            let told = format!(
                "revision {} does not work ({message}), and there is no valid earlier revision to go back to: it stays",
                active.revision
            );
            state.find(finding::NO_WAY_BACK, &format!("revision {}", active.revision), Some(told));
            state.judged();
            None
        }
    }
}

/// Stages an earlier revision. The status is written first: what follows can be told from it.
fn go_back(state: &mut State<'_>, target: Revision, why: &str, message: String) -> Step {
    state.stage_former(target, why, Some(message));
    Step { wake: Some(state.soon(1)), ..Step::default() }
}

/// Goes back to a former revision that is still valid, where the active one is not and `problem` keeps a new one away.
pub fn instead(state: &mut State<'_>, problem: &str) -> Option<Step> {
    let active = state.active.clone()?;
    if state.world.now < active.not_after.0 || !state.staged.is_empty() {
        return None;
    }
    // A person who has taken one back need not have found it broken.
    let taken_back = state.rollback.as_ref().filter(|r| r.reason == reason::ROLLBACK_REQUESTED).map(|r| r.from);
    let works = |r: &&Revision| r.state != Some(RevisionState::Failed) || taken_back == Some(r.revision);
    let usable = state.previous.iter().filter(works).filter(|r| is_usable(state, r));
    let target = usable.max_by_key(|r| r.not_after.0)?.clone();
    let candidate = Revision { reason: Some(reason::NOTHING_NEWER.to_owned()), ..target.clone() };
    // It must not wait: what is tried again meanwhile could be had first.
    if !gates::all_met(state, &candidate) {
        return None;
    }
    if state.world.learnt.activated.is_some() {
        // The expired one has just been put back: one write of the Secret in a pass.
        return Some(Step::working(reason::ISSUING, problem.to_owned(), state.soon(1)));
    }
    let (number, end) = (active.revision, active.not_after.0);
    let message = format!("revision {number} expired at {end}, and there is no newer one: {problem}");
    Some(go_back(state, target, reason::NOTHING_NEWER, message))
}

fn is_usable(state: &State<'_>, revision: &Revision) -> bool {
    let now = state.world.now;
    let kept = state.world.revisions.contains_key(&revision.revision);
    kept && revision.not_before.0 <= now && now < revision.not_after.0 && !state.was_revoked(revision)
}

/// The annotation asks for it.
fn asked(state: &mut State<'_>, active: &Revision) -> Option<Step> {
    let Some(asked) = state.world.object.annotations().get(keys::ROLLBACK).cloned() else {
        state.find(finding::ROLLBACK_REFUSED, keys::ROLLBACK, None);
        return None;
    };
    if state.rollback_seen.as_ref() == Some(&asked) {
        return None;
    }
    state.rollback_seen = Some(asked.clone());
    let word = asked.split('/').next().unwrap_or_default().trim();
    if let Some(way_back) = state.staged.first().filter(|s| is_way_back(s)) {
        let (number, under_way) = (word.parse().ok(), way_back.revision);
        let is_given_up = number == Some(active.revision);
        if is_given_up || number == Some(under_way) || word == "previous" {
            state.find(finding::ROLLBACK_REFUSED, keys::ROLLBACK, None);
        }
        if is_given_up {
            // Nor is it judged any more: a person has decided that it stays.
            state.unstage();
            state.judged();
            return Some(Step { wake: Some(state.soon(1)), ..Step::default() });
        }
        if number == Some(under_way) || word == "previous" {
            return None;
        }
    }
    let found = wanted(state, active, word);
    state.find(finding::ROLLBACK_REFUSED, keys::ROLLBACK, found.as_ref().err().cloned());
    let target = found.ok()?;
    let message = format!("the annotation {} asks for revision {}", keys::ROLLBACK, target.revision);
    Some(go_back(state, target, reason::ROLLBACK_REQUESTED, message))
}

/// The revision that the annotation means.
fn wanted(state: &State<'_>, active: &Revision, asked: &str) -> Result<Revision, String> {
    if asked == "previous" {
        let usable = state.previous.iter().find(|r| r.state != Some(RevisionState::Failed) && is_usable(state, r));
        let none = || {
            "there is no valid earlier revision to go back to; revision {} stays"
                .replace("{}", &active.revision.to_string())
        };
        return usable.cloned().ok_or_else(none);
    }
    let number: i64 = asked
        .parse()
        .map_err(|_| format!("the annotation {} names no revision: write its number, or previous", keys::ROLLBACK))?;
    if number == active.revision {
        return Err(format!("revision {number} is active already"));
    }
    let listed = || state.previous.iter().map(|r| r.revision.to_string()).collect::<Vec<_>>().join(", ");
    let found =
        state.previous.iter().find(|r| r.revision == number).ok_or_else(|| match state.previous.is_empty() {
            true => format!("revision {number} is not kept, and no other is"),
            false => format!("revision {number} is not kept; kept are {}", listed()),
        })?;
    if !is_usable(state, found) {
        let until = found.not_after.0;
        return Err(match (state.world.now >= until, state.was_revoked(found)) {
            (true, _) => format!("revision {number} expired at {until}, so it does not become active again"),
            (_, true) => format!("revision {number} was revoked, so it does not become active again"),
            _ => format!("revision {number} is not valid yet, or its Secret is gone"),
        });
    }
    Ok(found.clone())
}

/// What shows that the active revision does not work.
fn verdict(state: &State<'_>, active: &Revision) -> Option<(&'static str, String)> {
    let activation = state.activation.as_ref().filter(|a| a.revision == active.revision)?;
    let judges = state.judges(activation);
    if let Some((d, why)) = judges.iter().find_map(|d| Some((d, d.rollout_failed.as_ref()?))) {
        return Some((reason::ROLLOUT_FAILED, format!("MailDomain {}: {why}", d.name)));
    }
    let is_over = |d: &Dependent| over(state, activation, d).is_some_and(|at| state.world.now >= at);
    let late = judges.into_iter().find(|d| !works(d, active) && is_over(d))?;
    let deadline = deadline(state, late).unwrap_or(DEADLINE);
    let words = late.served_message.as_deref().unwrap_or("not every endpoint serves it");
    let message = format!("not served within {deadline:#} by MailDomain {}: {words}", late.name);
    Some((reason::NOT_SERVED, message))
}

/// Until when a MailDomain may take. What its workloads had to wait for, a window or a turn, is not counted.
fn over(state: &State<'_>, activation: &ActivationStatus, dependent: &Dependent) -> Option<Timestamp> {
    let since = dependent.begun.unwrap_or(activation.since.0).max(activation.since.0);
    since.checked_add(deadline(state, dependent)?).ok()
}

fn deadline(state: &State<'_>, dependent: &Dependent) -> Option<SignedDuration> {
    let asked = state.spec.options.activation.deadline.map(std::time::Duration::from);
    match asked.and_then(|d| SignedDuration::try_from(d).ok()) {
        // Workloads that wait for their own turn or window are not late.
        _ if dependent.waits => None,
        Some(asked) => Some(asked),
        None => dependent.reloads.then_some(DEADLINE),
    }
}

fn works(dependent: &Dependent, active: &Revision) -> bool {
    let is_about_it = dependent.speaks_of.as_deref() == Some(&active.fingerprint_sha256);
    let served = dependent.endpoints == 0 || dependent.all_served.as_deref() == Some(&active.fingerprint_sha256);
    is_about_it && served && (dependent.rolled_out || !dependent.reloads)
}

/// MailDomains that will show whether the successor of a revision works: this one works for them, or they have not had
/// the time to say so since another one did.
pub fn judges_of(state: &State<'_>, replaced: &Revision) -> Vec<String> {
    let pending = unproven(state, replaced).map(|a| &a.judges);
    let back = state.rollback.as_ref().filter(|r| r.to == Some(replaced.revision)).map(|r| &r.judges);
    let open = |d: &Dependent| {
        pending.is_some_and(|judges| judges.contains(&d.name))
            || back.is_some_and(|judges| judges.contains_key(&d.name))
    };
    let judges = |d: &&Dependent| (d.endpoints > 0 || d.reloads) && (works(d, replaced) || open(d));
    state.world.dependents.iter().filter(judges).map(|d| d.name.clone()).collect()
}

/// The latest revision that was seen to work, where `replaced` is about to be replaced.
pub fn proven(state: &State<'_>, replaced: &Revision) -> Option<i64> {
    unproven(state, replaced).map_or(Some(replaced.revision), |activation| activation.proven)
}

/// The activation of a revision that has not been seen to work yet.
fn unproven<'a>(state: &'a State<'_>, revision: &Revision) -> Option<&'a ActivationStatus> {
    state.activation.as_ref().filter(|a| a.revision == revision.revision && !a.judges.is_empty())
}

/// When the verdict may change by time alone.
pub fn wake(state: &State<'_>) -> Option<Timestamp> {
    let activation = state.activation.as_ref()?;
    let judges = state.judges(activation);
    judges.into_iter().filter_map(|d| over(state, activation, d)).min()
}

impl State<'_> {
    /// The MailDomains that judge the active revision, as far as they speak of it.
    fn judges(&self, activation: &ActivationStatus) -> Vec<&Dependent> {
        let fingerprint = self.active.as_ref().map(|a| a.fingerprint_sha256.as_str());
        let is_judge = |d: &&Dependent| activation.judges.contains(&d.name) && d.speaks_of.as_deref() == fingerprint;
        self.world.dependents.iter().filter(is_judge).collect()
    }

    /// The active revision is not judged any more.
    fn judged(&mut self) {
        if let Some(activation) = &mut self.activation {
            activation.judges.clear();
        }
        self.forget_activation();
    }

    /// A record of an activation that says nothing is dropped.
    fn forget_activation(&mut self) {
        let publishes = self.spec.options.activation.publish.is_some();
        self.activation.take_if(|a| a.judges.is_empty() && !publishes);
    }

    /// The MailDomains that have seen the active revision work judge it no longer.
    pub fn take_in_proof(&mut self) {
        let (Some(active), Some(activation)) = (&self.active, &mut self.activation) else { return };
        if activation.judges.is_empty() {
            return self.forget_activation();
        }
        let pending =
            |name: &String| self.world.dependents.iter().find(|d| d.name == *name).is_some_and(|d| !works(d, active));
        activation.judges.retain(pending);
        if activation.judges.is_empty() {
            // It works: what went wrong before is over.
            self.rollback = None;
            self.forget_activation();
        }
    }

    /// Whether this revision's certificate was revoked.
    pub fn was_revoked(&self, revision: &Revision) -> bool {
        self.revocation.as_ref().is_some_and(|r| r.serial == revision.serial)
    }

    /// Remembers that `from` was taken back for `to`.
    pub fn took_back(&mut self, from: &Revision, to: &Revision) {
        let now = self.world.now;
        let why = to.reason.clone().unwrap_or_default();
        let judges = unproven(self, from).map(|a| a.judges.as_slice()).unwrap_or_default();
        let dependents = self.world.dependents.iter().filter(|d| judges.contains(&d.name));
        let judges = dependents.map(|d| (d.name.clone(), d.generation)).collect();
        let before = self.rollback.take().map_or(0, |r| r.failures);
        let failures = before.saturating_add(i32::from(why != reason::NOTHING_NEWER));
        let retry = if why == reason::NOTHING_NEWER {
            // It stands in until a new one can be had.
            None
        } else if why == reason::ROLLBACK_REQUESTED {
            // A person has decided: nothing new until half of what is left of this one is over.
            now.checked_add(to.not_after.0.duration_since(now).max(SignedDuration::ZERO) / 2).ok()
        } else {
            let doublings = u32::try_from(failures.clamp(1, 12) - 1).unwrap_or(0);
            now.checked_add(PAUSE.saturating_mul(2i32.saturating_pow(doublings)).min(backoff::LONGEST)).ok()
        };
        let retry = retry.and_then(|at| Timestamp::from_second(at.as_second()).ok());
        self.rollback = Some(Rollback {
            from: from.revision,
            to: Some(to.revision),
            reason: why,
            message: to.message.clone().unwrap_or_default(),
            time: Time(now),
            failures,
            judges,
            approval: self.world.object.annotations().get(keys::APPROVE).cloned(),
            retry_time: retry.map(Time),
        });
    }
}

/// After a rollback nothing new is tried before its time, unless something has changed or it is needed.
pub fn held(state: &mut State<'_>, trigger: &Trigger) -> Option<Step> {
    let rollback = state.rollback.clone()?;
    let until = rollback.retry_time.as_ref()?.0;
    let is_needed = [reason::EXPIRED, reason::SECRET_MISSING, reason::SECRET_DAMAGED, reason::REVOKED];
    let changed = state.spec_is_new()
        || asked_for_another(state)
        || approved_anew(state, &rollback)
        || state.world.dependents.iter().any(|d| rollback.judges.get(&d.name).is_some_and(|g| *g != d.generation))
        || trigger.reason == reason::RENEWAL_REQUESTED;
    if changed || until <= state.world.now || is_needed.contains(&trigger.reason) {
        if let Some(rollback) = &mut state.rollback {
            rollback.retry_time = None;
        }
        return None;
    }
    let whose = if rollback.judges.is_empty() { "the spec" } else { "the spec or its MailDomain" };
    let (what, unless) = match state.spec.import {
        Some(_) if rollback.judges.is_empty() => ("it is not tried again", "the source or the spec changes".to_owned()),
        Some(_) => ("it is not tried again", format!("the source, {whose} changes")),
        None => ("no other is tried", format!("{whose} changes or the annotation {} asks for one", keys::RENEW)),
    };
    let message = format!(
        "{}; revision {} was taken back ({}), and {what} before {until}, unless {unless}",
        trigger.message, rollback.from, rollback.message
    );
    Some(Step::working(reason::ROLLED_BACK, message, until))
}

/// Whether an annotation asks for another certificate or key. To an imported one those annotations mean nothing.
fn asked_for_another(state: &State<'_>) -> bool {
    state.spec.import.is_none() && (state.asked_to_renew() || state.asked_to_rotate())
}

/// Whether a person took it back, and nobody has approved it since.
pub fn is_final(state: &State<'_>, rollback: &Rollback) -> bool {
    rollback.reason == reason::ROLLBACK_REQUESTED && !approved_anew(state, rollback)
}

/// Whether somebody has approved the failed revision since it was taken back.
fn approved_anew(state: &State<'_>, rollback: &Rollback) -> bool {
    let approved = state.world.object.annotations().get(keys::APPROVE);
    let number = approved.and_then(|text| text.split('/').next()?.trim().parse::<i64>().ok());
    number == Some(rollback.from) && approved != rollback.approval.as_ref()
}

/// Tries the revision that was taken back once more, where it still is what is wanted: that costs no order.
pub fn again(state: &mut State<'_>, trigger: &Trigger, wanted: &Wanted) -> Option<Step> {
    let rollback = state.rollback.clone().filter(|r| r.to.is_some())?;
    let failed = state.previous.iter().find(|r| r.revision == rollback.from)?.clone();
    let fresh_wanted = asked_for_another(state)
        || [reason::RENEWAL_REQUESTED, reason::REVOKED, reason::KEY_ROTATION_REQUESTED].contains(&trigger.reason);
    if fresh_wanted
        || is_final(state, &rollback)
        || failed.state != Some(RevisionState::Failed)
        || !is_usable(state, &failed)
    {
        return None;
    }
    if checks::against(state, &failed, wanted).is_some() {
        return None;
    }
    state.stage_former(failed, trigger.reason, None);
    Some(Step { wake: Some(state.soon(1)), ..Step::default() })
}
