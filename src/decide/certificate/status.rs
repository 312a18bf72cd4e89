//! What a MailCertificate's status says.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::checks::{self, Trigger};
use super::state::State;
use super::world::SecretView;
use super::{
    Action, Step, announce, expiry, judgement, next_key, renewal_info, rollback, staged, system, temporary, wanted,
};
use crate::api::certificate::{Finding, MailCertificateStatus, Revision};
use crate::api::keys;
use crate::api::reasons::{certificate as reason, condition};
use crate::decide::Decision;
use crate::decide::conditions::{Conditions, State as Is};
use crate::decide::events::{self, Note};

/// Status, actions and wake time of a step.
pub fn conclude(state: State<'_>, step: Step) -> Decision<Action, MailCertificateStatus> {
    let (now, object) = (state.world.now, &state.world.object);
    let old = object.status.clone().unwrap_or_default();
    let generation = object.metadata.generation;
    let renewal = state.renewal_time();
    let mut conditions = Conditions::on(&old.conditions, generation, now);
    let (is, reason, message) = ready(&state, &step, renewal);
    conditions.set(condition::READY, is, reason, &message);
    if let Some((reason, message)) = &step.situation {
        conditions.set(condition::ISSUING, Is::from(!step.stalled), reason, message);
        match step.stalled {
            true => conditions.stalled(reason, message),
            false => conditions.reconciling(reason, message),
        }
    }
    system::say(&state, &mut conditions);
    let expiring = expiry::warnings(&state);
    expiry::conclude(&state, &step, &expiring, &mut conditions);
    if let Some(staged) = state.staged.first() {
        let reason = if state.overdue { reason::GATE_OVERDUE } else { reason::GATE_UNMET };
        let message = match state.gates.is_empty() {
            true => format!("revision {} becomes active", staged.revision),
            false => format!("revision {} waits for {}", staged.revision, staged::waiting(&state.gates)),
        };
        conditions.set(condition::STAGED, Is::True, reason, &message);
    }
    next_key::remind(&state, &mut conditions);
    let wake = wake(&state, &step, renewal);
    let status = MailCertificateStatus {
        observed_generation: generation,
        conditions: conditions.finish(),
        active: state.active,
        staged: state.staged,
        gates: state.gates,
        drained: state.drained,
        next_key: state.next_key,
        activation: state.activation,
        rollback: state.rollback,
        last_rollback_request: state.rollback_seen,
        last_rotate_request: state.rotate_seen,
        previous: state.previous,
        renewal_time: renewal.map(Time),
        last_renew_request: state.renew_seen,
        attempt: state.attempt,
        omitted_names: state.omitted,
        renewal_info: state.renewal_info,
        temporary: state.temporary,
        published_records: state.published,
        findings: state.findings,
        import: state.import,
        expiring,
        last_revoke_request: state.revoke_seen,
        lost_revision: state.lost_revision,
        revocation: state.revocation,
        dependents: system::dependents(state.world),
        outputs: state.outputs,
        repairs: state.repairs,
    };
    Decision { actions: step.actions, status, wake }
}

/// The Events that tell of a change of status.
pub fn notes(old: &MailCertificateStatus, new: &MailCertificateStatus) -> Vec<Note> {
    let mut notes = events::of_conditions(&old.conditions, &new.conditions);
    let number = |s: &MailCertificateStatus| s.active.as_ref().map(|r| r.revision);
    if let Some(active) = &new.active
        && number(old) != number(new)
    {
        notes.retain(|n| n.reason != reason::ACTIVE);
        notes.insert(0, became_active(old, new, active));
    }
    let staged = |s: &MailCertificateStatus| s.staged.first().map(|r| r.revision);
    if let Some(revision) = new.staged.first().filter(|_| staged(old) != staged(new)) {
        notes.retain(|n| n.reason != reason::GATE_UNMET);
        notes.push(is_staged(new, revision));
    }
    let repaired = |s: &MailCertificateStatus| s.repairs.as_ref().map(|r| (r.count, r.last_time.0));
    if repaired(new).is_some() && repaired(old) != repaired(new) && number(old) == number(new) {
        let message = "the active Secret was changed or deleted by somebody else and is as it was again".to_owned();
        notes.push(Note {
            warning: true,
            reason: reason::SECRET_RESTORED.to_owned(),
            action: "Repair".to_owned(),
            message,
        });
    }
    expiry::tell(old, new, &mut notes);
    let new_finding = |f: &&Finding| !old.findings.iter().any(|o| o.reason == f.reason && o.about == f.about);
    notes.extend(new.findings.iter().filter(new_finding).map(|f| Note {
        warning: !judgement::PUT_RIGHT.contains(&f.reason.as_str()),
        reason: f.reason.clone(),
        action: "Check".to_owned(),
        message: f.message.clone(),
    }));
    notes
}

fn became_active(old: &MailCertificateStatus, new: &MailCertificateStatus, active: &Revision) -> Note {
    let when = |s: &MailCertificateStatus| s.rollback.as_ref().map(|r| (r.from, r.time.0));
    if let Some(rollback) = new.rollback.as_ref().filter(|r| r.to == Some(active.revision) && when(old) != when(new)) {
        let message = format!(
            "revision {} was taken back ({}): revision {} is active again, valid until {}, fingerprint {}",
            rollback.from, rollback.message, active.revision, active.not_after.0, active.fingerprint_sha256
        );
        let warning = rollback.reason != reason::ROLLBACK_REQUESTED;
        return Note { warning, reason: reason::ROLLED_BACK.to_owned(), action: "RollBack".to_owned(), message };
    }
    let approved = active.approved_by.as_ref().map(|who| format!(", approved by {who}")).unwrap_or_default();
    let message = format!(
        "revision {} is active: {}, valid until {}, fingerprint {}{approved}",
        active.revision,
        listed(&active.dns_names),
        active.not_after.0,
        active.fingerprint_sha256
    );
    Note { warning: false, reason: reason::ISSUED.to_owned(), action: "Issue".to_owned(), message }
}

/// A revision waits: why there is it, in what it differs from the active one, and for what it waits.
fn is_staged(new: &MailCertificateStatus, revision: &Revision) -> Note {
    let differs = new.active.as_ref().map(|active| difference(active, revision)).unwrap_or_default();
    let differs = if differs.is_empty() { String::new() } else { format!("; {}", differs.join("; ")) };
    let waits = match new.gates.is_empty() {
        true => String::new(),
        false => format!("; waits for {}", staged::waiting(&new.gates)),
    };
    let why = revision.reason.as_deref().unwrap_or(reason::ISSUED);
    let message = format!("revision {} is staged ({why}){differs}{waits}", revision.revision);
    Note { warning: false, reason: condition::STAGED.to_owned(), action: "Stage".to_owned(), message }
}

/// In what a revision differs from another one, in words for people.
pub fn difference(from: &Revision, to: &Revision) -> Vec<String> {
    let mut words = Vec::new();
    let only = |a: &Revision, b: &Revision| -> Vec<String> {
        a.dns_names.iter().filter(|n| !b.dns_names.contains(n)).cloned().collect()
    };
    let (added, removed) = (only(to, from), only(from, to));
    if !added.is_empty() {
        words.push(format!("adds {}", listed(&added)));
    }
    if !removed.is_empty() {
        words.push(format!("drops {}", listed(&removed)));
    }
    if from.issuer != to.issuer {
        words.push(format!("is issued by {} in place of {}", to.issuer, from.issuer));
    }
    if from.key != to.key {
        words.push(format!("has a key of {} in place of {}", to.key, from.key));
    } else if from.spki_sha256 != to.spki_sha256 {
        words.push("has another key".to_owned());
    }
    if from.request_sha256 != to.request_sha256 {
        words.push("has another subject, other mail addresses or usages".to_owned());
    }
    words
}

/// The documented reason of that name.
pub fn known_reason(text: &str) -> &'static str {
    reason::ALL.iter().find(|r| **r == text).copied().unwrap_or(reason::ISSUING)
}

fn ready(state: &State<'_>, step: &Step, renewal: Option<Timestamp>) -> (Is, &'static str, String) {
    let now = state.world.now;
    let why = |lead: String| match &step.situation {
        None if !state.gates.is_empty() => {
            let number = state.staged.first().map_or(0, |r| r.revision);
            format!("{lead}; revision {number} waits for {}", staged::waiting(&state.gates))
        }
        Some((_, message)) if !message.is_empty() => format!("{lead}: {message}"),
        _ => lead,
    };
    let Some(active) = &state.active else {
        return match &step.situation {
            Some((_, message)) if temporary::said(state, message).is_some() => {
                let (reason, message) = temporary::said(state, message).unwrap_or_default();
                (Is::False, reason, message)
            }
            Some((reason, message)) => (Is::False, *reason, message.clone()),
            None => (Is::False, reason::NOT_ISSUED, "no certificate has been issued yet".to_owned()),
        };
    };
    let (from, until) = (active.not_before.0, active.not_after.0);
    if now >= until {
        return (Is::False, reason::EXPIRED, why(format!("the certificate expired at {until}")));
    }
    if now < from {
        let message = format!(
            "the certificate is not valid before {from}: check the clocks of CA and cluster, then set the annotation {} to a \
             new value if a certificate that is valid now is needed",
            keys::RENEW
        );
        return (Is::False, reason::NOT_YET_VALID, message);
    }
    if step.stalled && step.situation.as_ref().is_some_and(|(r, _)| spoils_ready(r)) {
        let (reason, message) = step.situation.clone().unwrap_or((reason::SECRET_CONFLICT, String::new()));
        return (Is::False, reason, message);
    }
    if let Some(trigger) = mismatch(state) {
        return (Is::False, trigger.reason, why(trigger.message));
    }
    let renews = renewal.map(|at| format!(", renewed from {at} on")).unwrap_or_default();
    (Is::True, reason::ACTIVE, format!("revision {} is valid until {until}{renews}", active.revision))
}

fn spoils_ready(reason: &str) -> bool {
    [reason::SECRET_CONFLICT, reason::SECRET_CONTESTED, reason::INVALID_SPEC].contains(&reason)
}

/// A reason for a new revision for which the active one is not what the spec wants.
fn mismatch(state: &State<'_>) -> Option<Trigger> {
    if matches!(state.world.secret, SecretView::NotRead) {
        return None;
    }
    let wanted = wanted(state.spec).ok()?;
    checks::first(state, &wanted).filter(|t| !t.still_good)
}

/// The next moment at which something changes by itself.
fn wake(state: &State<'_>, step: &Step, renewal: Option<Timestamp>) -> Option<Timestamp> {
    let end = state.active.as_ref().map(|a| a.not_after.0);
    let start = state.active.as_ref().map(|a| a.not_before.0);
    let ask = renewal_info::next(state).map(|at| at.max(state.soon(1)));
    let key = [next_key::reminder(state), next_key::due(state).filter(|_| state.spec.issuer_ref.is_some())];
    // What a held trigger waits for is the step's own time.
    let renewal = renewal.filter(|_| state.staged.is_empty());
    [step.wake, renewal, end, start, ask, expiry::next(state), rollback::wake(state), announce::wake(state)]
        .into_iter()
        .chain(key)
        .flatten()
        .filter(|at| *at > state.world.now)
        .min()
        .or(step.wake)
}

fn listed(names: &[String]) -> String {
    match names.len() {
        0..=5 => names.join(", "),
        n => format!("{} and {} more", names[..4].join(", "), n - 4),
    }
}
