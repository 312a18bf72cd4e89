//! What a staged revision waits for before it becomes active.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::rollback;
use super::state::State;
use super::world::{Dependent, Purpose, SecretView};
use crate::api::certificate::{ActivationMode, Gate, Revision};
use crate::api::keys;
use crate::api::reasons::gate;
use crate::decide::conditions;
use crate::decide::window::{self, Opening};

/// How long before the active revision's expiry unmet gates are gone on without, unless the spec says otherwise.
const OVERRIDE: SignedDuration = SignedDuration::from_hours(1);

/// How a staged revision stands.
#[derive(Debug, Default)]
pub struct Judged {
    /// The gates that are not met.
    pub unmet: Vec<Gate>,
    /// All are met but `Drained`, which is to be asked about now.
    pub ask: bool,
    /// Those that are gone on without.
    pub overridden: Vec<String>,
    /// The active revision ends soon, and something is still waited for.
    pub overdue: bool,
    /// When time alone changes something.
    pub wake: Option<Timestamp>,
}

/// Looks at every gate of a staged revision.
pub fn judge(state: &State<'_>, staged: &Revision) -> Judged {
    let mut judged = Judged::default();
    let mut wakes = Vec::new();
    let all = wanted(state, staged);
    for type_ in all.iter().filter(|t| **t != gate::DRAINED) {
        if let Some(message) = unmet(state, staged, type_, &mut wakes) {
            judged.unmet.push(put(state, type_, message));
        }
    }
    let (from, over) = override_time(state);
    wakes.extend(from);
    if over {
        let (gone, kept): (Vec<Gate>, _) = judged.unmet.into_iter().partition(|g| may_override(state, &g.type_));
        judged.overridden = gone.into_iter().map(|g| g.type_).collect();
        judged.unmet = kept;
    }
    if all.contains(&gate::DRAINED) {
        drained(state, over && may_override(state, gate::DRAINED), &mut judged, &mut wakes);
    }
    let warn_at = warning_time(state);
    judged.overdue = !judged.unmet.is_empty() && warn_at.is_some_and(|at| state.world.now >= at);
    wakes.extend(warn_at);
    wakes.extend(Some(staged.not_after.0));
    judged.wake = wakes.into_iter().filter(|at| *at > state.world.now).min();
    judged
}

/// Whether the revision could become active right away.
pub fn all_met(state: &State<'_>, staged: &Revision) -> bool {
    let judged = judge(state, staged);
    judged.unmet.is_empty() && !judged.ask
}

/// The gates that count, `Drained` last: it is asked only when nothing else is waited for.
fn wanted<'a>(state: &State<'a>, staged: &Revision) -> Vec<&'a str> {
    let activation = &state.spec.options.activation;
    let mut all: Vec<&str> = Vec::new();
    if !rollback::is_way_back(staged) {
        if activation.mode == ActivationMode::Manual {
            all.push(gate::APPROVED);
        }
        all.extend(activation.gates.iter().map(String::as_str));
        if !activation.windows.is_empty() {
            all.push(gate::MAINTENANCE_WINDOW);
        }
        if activation.drained.is_some() {
            all.push(gate::DRAINED);
        }
    }
    if new_to_dns(state, staged) {
        all.push(gate::TLSA_PUBLISHED);
    }
    let mut unique: Vec<&str> = Vec::new();
    all.into_iter().for_each(|type_| {
        if !unique.contains(&type_) {
            unique.push(type_);
        }
    });
    unique
}

/// Whether its key is one that published TLSA records do not speak of yet.
fn new_to_dns(state: &State<'_>, staged: &Revision) -> bool {
    let mut wanting = state.world.dependents.iter().filter(|d| d.wants_tlsa);
    match &state.active {
        Some(active) => active.spki_sha256 != staged.spki_sha256 && wanting.next().is_some(),
        // Without any record, the first key harms nobody.
        None => wanting.any(|d| !d.tlsa_published.is_empty() && !d.tlsa_published.contains(&staged.spki_sha256)),
    }
}

fn put(state: &State<'_>, type_: &str, message: String) -> Gate {
    let since = state.gates.iter().find(|g| g.type_ == type_).map(|g| g.since.clone());
    Gate { type_: type_.to_owned(), message, since: since.unwrap_or(Time(state.world.now)) }
}

/// What the gate waits for, where it is not met.
fn unmet(state: &State<'_>, staged: &Revision, type_: &str, wakes: &mut Vec<Timestamp>) -> Option<String> {
    match type_ {
        gate::APPROVED => {
            let (name, revision) = (state.world.object.name_any(), staged.revision);
            let namespace = state.world.object.namespace().unwrap_or_default();
            approved_by(state, staged).is_none().then(|| {
                format!(
                    "waits for approval: kubectl mailcert approve {name} --namespace {namespace}, or the annotation {}: \
                     \"{revision}\"",
                    keys::APPROVE
                )
            })
        }
        gate::MAINTENANCE_WINDOW => match window::look(&state.spec.options.activation.windows, state.world.now) {
            Ok(Opening::Open { .. }) => None,
            Ok(Opening::Closed { next }) => {
                wakes.push(next);
                Some(format!("no maintenance window is open; the next one opens at {next}"))
            }
            Err(why) => Some(format!("no window can open: spec.activation.{why}")),
        },
        gate::TLSA_PUBLISHED => tlsa(state, staged),
        other => by_condition(state, other),
    }
}

/// Who has approved this revision, where somebody has.
pub fn approved_by(state: &State<'_>, staged: &Revision) -> Option<String> {
    let annotations = state.world.object.annotations();
    let approved = annotations.get(keys::APPROVE)?.split('/').next()?.trim().parse() == Ok(staged.revision);
    let who = annotations.get(keys::APPROVED_BY).map(|who| who.chars().take(128).collect());
    approved.then(|| who.unwrap_or_else(|| format!("the annotation {}", keys::APPROVE)))
}

fn tlsa(state: &State<'_>, staged: &Revision) -> Option<String> {
    let wanting: Vec<&Dependent> = state.world.dependents.iter().filter(|d| d.wants_tlsa).collect();
    if wanting.is_empty() {
        return by_condition(state, gate::TLSA_PUBLISHED);
    }
    if state.active.as_ref().is_some_and(|a| a.spki_sha256 == staged.spki_sha256) {
        return None;
    }
    let late: Vec<String> = wanting
        .into_iter()
        .filter(|d| !d.tlsa_ready.contains(&staged.spki_sha256))
        .map(|d| {
            let words =
                d.tlsa_message.as_deref().unwrap_or("the record of the new key has not been seen everywhere yet");
            format!("MailDomain {}: {words}", d.name)
        })
        .collect();
    (!late.is_empty()).then(|| late.join("; "))
}

/// A condition type that another controller sets.
fn by_condition(state: &State<'_>, type_: &str) -> Option<String> {
    let status = state.world.object.status.as_ref();
    let conditions: &[Condition] = status.map(|s| s.conditions.as_slice()).unwrap_or_default();
    match conditions::find(conditions, type_) {
        Some(c) if c.status == "True" => None,
        Some(c) if c.message.is_empty() => Some(format!("the condition {type_} is {} ({})", c.status, c.reason)),
        Some(c) => Some(format!("the condition {type_} is {} ({}): {}", c.status, c.reason, c.message)),
        None if type_ == gate::TLSA_PUBLISHED => {
            Some("no MailDomain that uses this certificate has dns.tlsa, so nobody publishes its record".to_owned())
        }
        None => Some(format!("no controller has set the condition {type_} in status.conditions")),
    }
}

fn drained(state: &State<'_>, may_skip: bool, judged: &mut Judged, wakes: &mut Vec<Timestamp>) {
    let message = match state.world.learnt.called.get(&Purpose::Drained) {
        _ if may_skip => {
            judged.overridden.push(gate::DRAINED.to_owned());
            return;
        }
        Some(Ok(true)) => return,
        Some(Ok(false)) => "the Job that looks is still running".to_owned(),
        Some(Err(why)) => why.clone(),
        None => {
            let last = state.drained.clone().unwrap_or_default();
            let retry = last.retry_time.map(|t| t.0).filter(|at| *at > state.world.now);
            // A question costs something, so it comes last.
            judged.ask = judged.unmet.is_empty() && retry.is_none();
            let first = "is asked about when nothing else is waited for".to_owned();
            last.message.unwrap_or(first)
        }
    };
    wakes.extend(state.drained.as_ref().and_then(|c| c.retry_time.as_ref()).map(|t| t.0));
    judged.unmet.push(put(state, gate::DRAINED, message));
}

fn may_override(state: &State<'_>, type_: &str) -> bool {
    match &state.spec.options.activation.override_gates {
        Some(named) => named.iter().any(|g| g == type_),
        None => type_ != gate::TLSA_PUBLISHED,
    }
}

/// From when on gates are gone on without, and whether that is now: what the active revision is worth is nearly over.
fn override_time(state: &State<'_>) -> (Option<Timestamp>, bool) {
    let Some(active) = &state.active else { return (None, false) };
    let lost = match &state.world.secret {
        SecretView::Absent => true,
        SecretView::Ours(secret) => !state.holds_active(secret),
        _ => false,
    };
    let from = active.not_after.0.checked_sub(override_before(state, active)).ok();
    let over = from.is_none_or(|at| state.world.now >= at) || lost || state.is_revoked();
    (from, over)
}

fn override_before(state: &State<'_>, active: &Revision) -> SignedDuration {
    let lifetime = active.not_after.0.duration_since(active.not_before.0).max(SignedDuration::ZERO);
    match state.spec.options.activation.override_before_expiry {
        Some(asked) => SignedDuration::try_from(std::time::Duration::from(asked)).unwrap_or(SignedDuration::MAX),
        None => OVERRIDE.min(lifetime / 10),
    }
}

/// From when on a person should look: an eighth of the lifetime is left, or twice the time of the override.
fn warning_time(state: &State<'_>) -> Option<Timestamp> {
    let active = state.active.as_ref()?;
    let lifetime = active.not_after.0.duration_since(active.not_before.0).max(SignedDuration::ZERO);
    let before = (lifetime / 8).max(override_before(state, active).saturating_mul(2)).min(lifetime);
    active.not_after.0.checked_sub(before).ok()
}
