//! The CA certificates of `ca` issuers are watched until they end: nobody renews them here.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::api::certificate::{Expiring, Watched, WatchedKind};
use crate::api::issuer::{CaStatus, MailIssuerStatus};
use crate::api::reasons::{condition, issuer as reason};
use crate::decide::conditions::{Conditions, State};
use crate::decide::events::Note;
use crate::decide::expiry;
use crate::pki::{CaKeyPair, Certificate};

/// The CA that signs, and what clients must trust.
pub(super) fn watched(pair: &CaKeyPair) -> Vec<Watched> {
    let watched = |kind, c: &Certificate| Watched {
        kind,
        subject: c.subject.clone(),
        not_before: Time(c.not_before),
        not_after: Time(c.not_after),
    };
    let own = pair.certificate();
    let roots = pair.roots().iter().filter(|root| root.fingerprint != own.fingerprint);
    std::iter::once(watched(WatchedKind::CA, own)).chain(roots.map(|c| watched(WatchedKind::Anchor, c))).collect()
}

/// The warnings that are due.
pub(super) fn warnings(watched: &[Watched], now: Timestamp) -> Vec<Expiring> {
    watched.iter().filter_map(|w| expiry::warning(w, &[], now)).collect()
}

/// When the next one is due.
pub(super) fn next(watched: &[Watched], now: Timestamp) -> Option<Timestamp> {
    // What becomes of the issuer when it ends, Ready says.
    watched.iter().filter_map(|w| expiry::next(w, &[], now).filter(|at| *at < w.not_after.0)).min()
}

/// Sets `RenewalOverdue`, where it is True. Absent, it is not.
pub(super) fn conclude(ca: Option<&CaStatus>, conditions: &mut Conditions) {
    let warnings = ca.map(|ca| ca.expiring.as_slice()).unwrap_or_default();
    if warnings.is_empty() {
        return;
    }
    let messages: Vec<String> = warnings.iter().map(|e| expiry::message(e, advice(e))).collect();
    conditions.set(condition::RENEWAL_OVERDUE, State::True, reason::EXPIRES_SOON, &messages.join("; "));
}

/// One Note for each warning that is new, in place of the condition's.
pub fn tell(old: &MailIssuerStatus, new: &MailIssuerStatus, notes: &mut Vec<Note>) {
    fn of(status: &MailIssuerStatus) -> &[Expiring] {
        status.ca.as_ref().map(|ca| ca.expiring.as_slice()).unwrap_or_default()
    }
    notes.retain(|n| n.action != condition::RENEWAL_OVERDUE);
    notes.extend(expiry::notes(of(old), of(new), |_| reason::EXPIRES_SOON, advice));
}

fn advice(expiring: &Expiring) -> &'static str {
    match expiring.kind {
        WatchedKind::Anchor => "give those who verify with ca.crt its successor, and put it into the issuer's Secret",
        WatchedKind::Imported | WatchedKind::CA => {
            "no certificate outlives it, so put its successor into the issuer's Secret"
        }
    }
}
