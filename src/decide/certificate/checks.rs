//! Why a new revision is needed: an ordered list of small checks; the first one that speaks is the reason.

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;

use super::names::{self, Wanted};
use super::next_key;
use super::state::State;
use super::world::{IssuerView, SecretView};
use crate::api::certificate::{IssuerRef, Revision};
use crate::api::keys;
use crate::api::reasons::{certificate as reason, import};
use crate::pki::covers;

/// A reason for a new revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trigger {
    /// One of [`reasons::certificate`](crate::api::reasons::certificate).
    pub reason: &'static str,
    /// What is wrong.
    pub message: String,
    /// Whether the active revision is good until the new one is there.
    pub still_good: bool,
}

type Check = fn(&Look<'_>) -> Option<Trigger>;

/// In this order.
const CHECKS: &[Check] = &[
    secret_is_lost,
    expired,
    revoked,
    issuer_differs,
    ca_differs,
    names_differ,
    key_differs,
    subject_differs,
    renewal_asked_for,
    rotation_asked_for,
    renewal_due,
    key_due,
];

/// What of that can be wrong with a revision that is not active yet.
const AGAINST: &[Check] = &[
    issuer_differs,
    ca_differs,
    names_differ,
    key_differs,
    subject_differs,
    key_is_compromised,
    renewal_asked_anew,
    rotation_asked_anew,
    is_due_itself,
];

/// For an imported certificate: whether another is there, its source tells.
const OF_IMPORT: &[Check] = &[secret_is_lost, expired, names_not_covered];

/// What of that can be wrong with an imported certificate that was active once.
const AGAINST_IMPORT: &[Check] = &[names_not_covered];

struct Look<'a> {
    state: &'a State<'a>,
    active: &'a Revision,
    wanted: &'a Wanted,
    /// Old names that it need not have.
    omitted: Vec<&'a str>,
    now: Timestamp,
}

/// Why nobody wants a revision that is complete and not active, if nobody does.
pub fn against(state: &State<'_>, candidate: &Revision, wanted: &Wanted) -> Option<Trigger> {
    // An old name that could not be validated was left out of it.
    let omitted = wanted.legacy.keys().filter(|n| !candidate.dns_names.contains(n)).map(String::as_str).collect();
    let look = Look { state, active: candidate, wanted, omitted, now: state.world.now };
    let checks = if state.spec.import.is_some() { AGAINST_IMPORT } else { AGAINST };
    checks.iter().find_map(|check| check(&look))
}

/// The first reason for a new revision, if there is one.
pub fn first(state: &State<'_>, wanted: &Wanted) -> Option<Trigger> {
    let Some(active) = &state.active else {
        return Some(Trigger {
            reason: reason::NOT_ISSUED,
            message: "no certificate has been issued yet".to_owned(),
            still_good: false,
        });
    };
    let omitted = state.omitted.iter().map(|o| o.name.as_str()).collect();
    let look = Look { state, active, wanted, omitted, now: state.world.now };
    let checks = if state.spec.import.is_some() { OF_IMPORT } else { CHECKS };
    checks.iter().find_map(|check| check(&look))
}

/// Every reason for a new revision.
pub fn all(state: &State<'_>, wanted: &Wanted) -> Vec<Trigger> {
    let Some(active) = &state.active else { return first(state, wanted).into_iter().collect() };
    let omitted = state.omitted.iter().map(|o| o.name.as_str()).collect();
    let look = Look { state, active, wanted, omitted, now: state.world.now };
    let checks = if state.spec.import.is_some() { OF_IMPORT } else { CHECKS };
    checks.iter().filter_map(|check| check(&look)).collect()
}

fn bad(reason: &'static str, message: String) -> Option<Trigger> {
    Some(Trigger { reason, message, still_good: false })
}

/// Repairs from a kept revision come first; what is left here can only be issued anew.
fn secret_is_lost(look: &Look<'_>) -> Option<Trigger> {
    let name = &look.state.spec.secret_name;
    match &look.state.world.secret {
        SecretView::Absent => {
            bad(reason::SECRET_MISSING, format!("the Secret {name} is gone and no copy of its key is kept"))
        }
        SecretView::Copy { .. } => bad(
            reason::SECRET_MISSING,
            format!("the Secret {name} holds a copy of the system certificate, and no copy of this one's key is kept"),
        ),
        SecretView::Ours(secret) if !look.state.holds_active(secret) => {
            let why = secret.content.as_ref().err().map_or("it holds another certificate", String::as_str);
            bad(reason::SECRET_DAMAGED, format!("the Secret {name} was changed ({why}) and no copy of its key is kept"))
        }
        _ => None,
    }
}

fn expired(look: &Look<'_>) -> Option<Trigger> {
    let at = look.active.not_after.0;
    (look.now >= at).then(|| Trigger {
        reason: reason::EXPIRED,
        message: format!("the certificate expired at {at}"),
        still_good: false,
    })
}

fn revoked(look: &Look<'_>) -> Option<Trigger> {
    if let Some(asked) = look.state.replacement_asked() {
        return bad(reason::REVOKED, format!("the annotation {} asks for another key ({asked})", keys::REVOKE));
    }
    let revocation = look.state.revocation.as_ref().filter(|_| look.state.is_revoked())?;
    bad(reason::REVOKED, format!("the certificate was revoked at {} ({})", revocation.time.0, revocation.reason))
}

fn issuer_differs(look: &Look<'_>) -> Option<Trigger> {
    let wanted = look.state.issuer_ref();
    if look.active.issuer_ref == wanted {
        return None;
    }
    let text = |r: &Option<IssuerRef>| match r {
        Some(r) => format!("from MailIssuer {}/{}", r.namespace.as_deref().unwrap_or_default(), r.name),
        None => "imported".to_owned(),
    };
    let (has, wants) = (text(&look.active.issuer_ref), text(&wanted));
    bad(reason::ISSUER_CHANGED, format!("the certificate is {has}, and shall be {wants}"))
}

fn ca_differs(look: &Look<'_>) -> Option<Trigger> {
    let IssuerView::Ca(ca) = &look.state.world.issuer else { return None };
    let signed_by = look.active.authority_spki_sha256.as_deref()?;
    (signed_by != ca.certificate().spki_sha256.to_string()).then(|| Trigger {
        reason: reason::CA_CHANGED,
        message: "the issuer's CA has a new key pair".to_owned(),
        still_good: false,
    })
}

fn names_differ(look: &Look<'_>) -> Option<Trigger> {
    let has: BTreeSet<String> = look.active.dns_names.iter().cloned().collect();
    let wants = look.wanted.without(look.omitted.iter().copied());
    if has == wants {
        return None;
    }
    let list = |names: Vec<&String>| names.iter().map(|n| n.as_str()).take(5).collect::<Vec<_>>().join(", ");
    let (lacks, extra) = (wants.difference(&has).collect::<Vec<_>>(), has.difference(&wants).collect::<Vec<_>>());
    let mut parts = Vec::new();
    if !lacks.is_empty() {
        parts.push(format!("lacks {}", list(lacks)));
    }
    if !extra.is_empty() {
        parts.push(format!("still has {}", list(extra)));
    }
    bad(reason::NAMES_CHANGED, format!("the certificate {}", parts.join(" and ")))
}

/// An imported certificate may have more names than those asked for.
fn names_not_covered(look: &Look<'_>) -> Option<Trigger> {
    let allow = look.state.spec.import.as_ref().map(|i| i.allow.as_slice()).unwrap_or_default();
    if allow.iter().any(|word| word == import::NAME_NOT_COVERED) {
        return None;
    }
    let lacks = |name: &&String| !look.active.dns_names.iter().any(|has| covers(has, name));
    let lacking: Vec<&str> = look.wanted.required.iter().filter(lacks).map(String::as_str).take(5).collect();
    (!lacking.is_empty()).then(|| Trigger {
        reason: reason::NAMES_CHANGED,
        message: format!("the imported certificate does not cover {}", lacking.join(", ")),
        still_good: false,
    })
}

fn key_differs(look: &Look<'_>) -> Option<Trigger> {
    let wanted = names::key_spec(&look.state.spec.options.private_key).to_string();
    (look.active.key != wanted).then(|| Trigger {
        reason: reason::KEY_CHANGED,
        message: format!("the key is {}, wanted is {wanted}", look.active.key),
        still_good: false,
    })
}

fn subject_differs(look: &Look<'_>) -> Option<Trigger> {
    let asked = look.active.request_sha256.as_deref()?;
    (asked != names::request_digest(look.state.spec)).then(|| Trigger {
        reason: reason::SUBJECT_CHANGED,
        message: "subject, mail addresses or usages have changed".to_owned(),
        still_good: false,
    })
}

fn renewal_asked_for(look: &Look<'_>) -> Option<Trigger> {
    let under_way = look.state.attempt.as_ref().is_some_and(|a| a.reason == reason::RENEWAL_REQUESTED);
    (under_way || look.state.asked_to_renew()).then(|| Trigger {
        reason: reason::RENEWAL_REQUESTED,
        message: format!("the annotation {} asks for a renewal", keys::RENEW),
        still_good: true,
    })
}

fn renewal_due(look: &Look<'_>) -> Option<Trigger> {
    let due = look.state.renewal_time()?;
    (look.now >= due).then(|| Trigger {
        reason: reason::RENEWAL_DUE,
        message: format!("the certificate has been due for renewal since {due}"),
        still_good: true,
    })
}

fn rotation_asked_for(look: &Look<'_>) -> Option<Trigger> {
    look.state.asked_to_rotate().then(|| Trigger {
        reason: reason::KEY_ROTATION_REQUESTED,
        message: format!("the annotation {} asks for another key", keys::ROTATE_KEY),
        still_good: true,
    })
}

fn key_due(look: &Look<'_>) -> Option<Trigger> {
    // A key that was made elsewhere is replaced elsewhere.
    look.state.spec.issuer_ref.as_ref()?;
    let due = next_key::due(look.state)?;
    (look.now >= due).then(|| Trigger {
        reason: reason::KEY_ROTATION_DUE,
        message: format!("the key has been due for rotation since {due}"),
        still_good: true,
    })
}

fn key_is_compromised(look: &Look<'_>) -> Option<Trigger> {
    let given_up = look.state.is_revoked() || look.state.replacement_asked().is_some();
    let active = look.state.active.as_ref().filter(|_| given_up)?;
    (active.spki_sha256 == look.active.spki_sha256)
        .then(|| bad(reason::REVOKED, "it has the key of a certificate that was revoked".to_owned()))?
}

fn renewal_asked_anew(look: &Look<'_>) -> Option<Trigger> {
    renewal_asked_for(look).filter(|_| look.state.asked_to_renew())
}

fn rotation_asked_anew(look: &Look<'_>) -> Option<Trigger> {
    let active = look.state.active.as_ref()?;
    rotation_asked_for(look).filter(|_| active.spki_sha256 == look.active.spki_sha256)
}

fn is_due_itself(look: &Look<'_>) -> Option<Trigger> {
    let candidate = look.active;
    let due = look.state.renewal_of(candidate.not_before.0, candidate.not_after.0, &candidate.serial);
    let is_newer = look.state.active.as_ref().is_none_or(|a| a.not_after.0 < candidate.not_after.0);
    // One that waits is renewed as if it were active, but not over and over.
    (look.now >= due && is_newer).then(|| Trigger {
        reason: reason::RENEWAL_DUE,
        message: format!("it has been due for renewal since {due}"),
        still_good: true,
    })
}
