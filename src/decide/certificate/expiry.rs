//! Certificates that are not renewed here are watched until they end; those that are, when their renewal is long overdue.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use super::Step;
use super::state::State;
use super::world::KeyPair;
use crate::api::certificate::{Expiring, MailCertificate, MailCertificateStatus, Revision, Watched, WatchedKind};
use crate::api::reasons::{certificate as reason, condition};
use crate::decide::conditions::{Conditions, State as Is};
use crate::decide::events::Note;
use crate::decide::expiry;
use crate::pki::Certificate;

/// At most as many CA certificates are watched with one leaf.
const MOST: usize = 20;

/// The CA certificates that came with an imported pair: those of the chain, and those in `ca.crt`.
pub(super) fn authorities(state: &State<'_>, pair: &KeyPair) -> Vec<Watched> {
    if state.spec.import.is_none() {
        return Vec::new();
    }
    let leaf = pair.chain.leaf();
    let anchors = pair.ca.iter().filter(|c| c.fingerprint != leaf.fingerprint);
    let watched = |kind| {
        move |c: &Certificate| Watched {
            kind,
            subject: c.subject.clone(),
            not_before: Time(c.not_before),
            not_after: Time(c.not_after),
        }
    };
    let chain = pair.chain.rest().iter().filter(|c| !pair.ca.iter().any(|a| a.fingerprint == c.fingerprint));
    chain.map(watched(WatchedKind::CA)).chain(anchors.map(watched(WatchedKind::Anchor))).take(MOST).collect()
}

/// What is watched of the active revision.
fn watched(state: &State<'_>) -> Vec<Watched> {
    of(state.spec.import.is_some(), state.active.as_ref())
}

/// What is watched of a MailCertificate, when this is its status.
pub fn watched_of(object: &MailCertificate, status: &MailCertificateStatus) -> Vec<Watched> {
    of(object.spec.import.is_some(), status.active.as_ref())
}

fn of(is_imported: bool, active: Option<&Revision>) -> Vec<Watched> {
    let Some(active) = active.filter(|_| is_imported) else { return Vec::new() };
    let leaf = Watched {
        kind: WatchedKind::Imported,
        subject: active.dns_names.first().map(|name| format!("DNS:{name}")).unwrap_or_default(),
        not_before: active.not_before.clone(),
        not_after: active.not_after.clone(),
    };
    std::iter::once(leaf).chain(active.authorities.iter().cloned()).collect()
}

/// The warnings that are due.
pub(super) fn warnings(state: &State<'_>) -> Vec<Expiring> {
    let (asked, now) = (&state.spec.options.expiry_warnings, state.world.now);
    watched(state).iter().filter_map(|watched| expiry::warning(watched, asked, now)).collect()
}

/// When something is to be said that is not said now.
pub(super) fn next(state: &State<'_>) -> Option<Timestamp> {
    let (asked, now) = (&state.spec.options.expiry_warnings, state.world.now);
    let warnings = watched(state).iter().filter_map(|watched| expiry::next(watched, asked, now)).min();
    [warnings, overdue(state)].into_iter().flatten().filter(|at| *at > now).min()
}

/// When half of the time between the renewal that was due and the end is gone.
fn overdue(state: &State<'_>) -> Option<Timestamp> {
    let (due, end) = (state.renewal_time()?, state.active.as_ref()?.not_after.0);
    let at = due.checked_add(end.duration_since(due) / 2).ok().filter(|at| *at >= due)?;
    // As the API keeps it.
    Timestamp::from_second(at.as_second()).ok()
}

/// Sets `RenewalOverdue`, where it is True. Absent, it is not.
pub(super) fn conclude(state: &State<'_>, step: &Step, warnings: &[Expiring], conditions: &mut Conditions) {
    if let Some(first) = warnings.first() {
        let messages: Vec<String> = warnings.iter().map(|e| expiry::message(e, advice(e))).collect();
        conditions.set(condition::RENEWAL_OVERDUE, Is::True, reason_of(first), &messages.join("; "));
        return;
    }
    let now = state.world.now;
    let overdue = overdue(state).filter(|at| *at <= now);
    // When it has expired, Ready says so.
    let active = state.active.as_ref().filter(|active| active.not_after.0 > now);
    let (Some(_), Some(due), Some(active)) = (overdue, state.renewal_time(), active) else { return };
    let why = step.situation.as_ref().map(|(_, message)| format!(": {message}")).unwrap_or_default();
    let message = format!("the certificate was due for renewal at {due} and expires at {}{why}", active.not_after.0);
    conditions.set(condition::RENEWAL_OVERDUE, Is::True, reason::RENEWAL_OVERDUE, &message);
}

/// One Note for each warning that is new, in place of the condition's.
pub(super) fn tell(old: &MailCertificateStatus, new: &MailCertificateStatus, notes: &mut Vec<Note>) {
    if new.expiring.is_empty() {
        return;
    }
    notes.retain(|n| n.action != condition::RENEWAL_OVERDUE);
    let mut warnings = expiry::notes(&old.expiring, &new.expiring, reason_of, advice);
    // That the leaf has expired, Ready says.
    let leaf_is_over = new.expiring.iter().any(|e| e.kind == WatchedKind::Imported && e.within.is_none());
    warnings.retain(|n| !leaf_is_over || n.reason != reason::EXPIRED);
    notes.extend(warnings);
}

fn reason_of(expiring: &Expiring) -> &'static str {
    if expiring.within.is_some() { reason::EXPIRES_SOON } else { reason::EXPIRED }
}

fn advice(expiring: &Expiring) -> &'static str {
    match expiring.kind {
        WatchedKind::Imported => "it is not renewed here, so put a new one into the Secret that it is imported from",
        WatchedKind::CA => "put a certificate whose chain lasts longer into the Secret that it is imported from",
        WatchedKind::Anchor => {
            "give those who verify with ca.crt its successor, and put it into the Secret that the certificate is imported from"
        }
    }
}
