//! From a reason for a new revision to its activation: key, signature, validation, storage.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::jiff::SignedDuration;

use super::checks::Trigger;
use super::names::{self, Wanted};
use super::state::State;
use super::world::{Action, Fresh, IssuerView, KeyPair, KeySource, Origin, SecretView, StepFailure};
use super::{Step, acme, cert_manager, gates, import, next_key, outputs, rollback, staged};
use crate::api::reasons::certificate as reason;
use crate::decide::backoff::{self, Pace};
use crate::pki::{CaKeyPair, Certificate, Defect, Expected, KeySpec, LeafSpec, PrivateKey, validate_issued};

/// Validity of locally signed leaves when the spec asks for none: what public CAs have long granted.
const DEFAULT_DURATION: SignedDuration = SignedDuration::from_hours(2160);

/// The next step towards a new revision.
pub fn step(state: &mut State<'_>, trigger: &Trigger, wanted: &Wanted) -> Step {
    if let Some(step) = issuer_problem(state) {
        return step;
    }
    let waits =
        state.attempt.as_ref().is_some_and(|a| backoff::waits(a.retry_time.as_ref().map(|t| t.0), state.world.now));
    if waits && !state.spec_is_new() && !state.asked_to_renew() {
        return Step::failing(state);
    }
    state.begin(trigger.reason);
    if let Some(step) = issued(state, wanted, trigger) {
        return step;
    }
    let revision = state.attempt.as_ref().map_or(1, |a| a.revision);
    if let (Some(name), None) = (state.world.revisions.get(&revision), state.world.read.get(&revision)) {
        return Step::act(vec![Action::ReadRevision { revision, name: name.clone() }]);
    }
    if let Some(fresh) = stored_already(state, revision, wanted, trigger) {
        return store(state, &fresh, trigger.reason);
    }
    if state.world.read.get(&revision).is_some_and(|r| r.content.is_some()) {
        // Where the status was lost, this may be a revision that has served: its key is not written over.
        state.skip_revision();
        if let Some(step) = issued(state, wanted, trigger) {
            return step;
        }
    }
    let origin = origin(state);
    match state.world.issuer.clone() {
        IssuerView::SelfSigned => sign(state, wanted, None, origin),
        IssuerView::Ca(ca) => sign(state, wanted, Some(ca), origin),
        IssuerView::Acme(view) => acme::step(state, wanted, trigger, &view, origin),
        IssuerView::CertManager(view) => cert_manager::step(state, wanted, trigger, &view, origin),
        IssuerView::Import(view) => import::step(state, wanted, &view),
        IssuerView::NotFound | IssuerView::NotAllowed(_) | IssuerView::NotReady(_) => Step::failing(state),
    }
}

/// What to do with what was issued in this pass for the revision to be.
fn issued(state: &mut State<'_>, wanted: &Wanted, trigger: &Trigger) -> Option<Step> {
    let revision = state.attempt.as_ref()?.revision;
    let fresh = state.world.learnt.fresh.clone().filter(|f| f.revision == revision)?;
    Some(accept(state, &fresh, wanted, trigger))
}

/// Stores what was issued, where it is what was asked for.
pub(super) fn accept(state: &mut State<'_>, fresh: &Fresh, wanted: &Wanted, trigger: &Trigger) -> Step {
    judge(state, fresh, wanted, trigger).unwrap_or_else(|| store(state, fresh, trigger.reason))
}

fn issuer_problem(state: &State<'_>) -> Option<Step> {
    let issuer = state.issuer_ref()?;
    let name = format!("MailIssuer {}/{}", issuer.namespace.unwrap_or_default(), issuer.name);
    match &state.world.issuer {
        IssuerView::NotFound => Some(Step::blocked(
            reason::ISSUER_NOT_FOUND,
            format!("{name} does not exist: create it, or correct issuerRef"),
        )),
        IssuerView::NotAllowed(why) => Some(Step::blocked(reason::ISSUER_NOT_ALLOWED, why.clone())),
        IssuerView::NotReady(why) => Some(Step {
            stalled: false,
            ..Step::blocked(reason::ISSUER_NOT_READY, format!("{name} is not ready: {why}"))
        }),
        IssuerView::SelfSigned
        | IssuerView::Ca(_)
        | IssuerView::Acme(_)
        | IssuerView::CertManager(_)
        | IssuerView::Import(_) => None,
    }
}

/// A revision that a pass stored completely before it was interrupted.
fn stored_already(state: &State<'_>, revision: i64, wanted: &Wanted, trigger: &Trigger) -> Option<Fresh> {
    let stored = state.world.read.get(&revision)?;
    let pair = stored.content.clone()?;
    let spec = names::key_spec(&state.spec.options.private_key);
    let fits = defects(state, &pair, wanted).is_empty()
        && pair.key.matches_spec(&spec)
        && stored.origin == origin(state)
        && (trigger.reason != reason::RENEWAL_DUE || renews(state, &pair));
    fits.then(|| Fresh { revision, pair, origin: stored.origin.clone() })
}

/// Whether a stored pair is worth more than the active one: it may lie there for long.
fn renews(state: &State<'_>, pair: &KeyPair) -> bool {
    let leaf = pair.chain.leaf();
    improves(state, leaf) && state.renewal_of(leaf.not_before, leaf.not_after, &leaf.serial) > state.world.now
}

/// Whether a leaf is worth more than the active one.
fn improves(state: &State<'_>, leaf: &Certificate) -> bool {
    let Some(active) = &state.active else { return true };
    // How long its certificates are valid, an ACME CA decides: a shorter time than before is no mistake.
    let newer = state.world.issuer.acme().is_some() && leaf.not_before > active.not_before.0;
    newer || leaf.not_after > active.not_after.0
}

/// What the new revision will be remembered with.
fn origin(state: &State<'_>) -> Origin {
    let authority_spki = match &state.world.issuer {
        IssuerView::Ca(ca) => Some(ca.certificate().spki_sha256.to_string()),
        _ => None,
    };
    Origin { issuer: state.issuer_ref(), authority_spki, request: Some(names::request_digest(state.spec)) }
}

fn sign(state: &mut State<'_>, wanted: &Wanted, ca: Option<Arc<CaKeyPair>>, origin: Origin) -> Step {
    let spec = names::key_spec(&state.spec.options.private_key);
    let key = match stored_or_kept_key(state, &spec) {
        Ok(Some(key)) => KeySource::Keep(key),
        Ok(None) => KeySource::Generate(spec),
        Err(step) => return *step,
    };
    let names = wanted.without([]);
    let now = state.world.now;
    let asked = state.spec.options.duration.map(std::time::Duration::from);
    let duration = asked.and_then(|d| SignedDuration::try_from(d).ok()).unwrap_or(DEFAULT_DURATION);
    let leaf = LeafSpec {
        subject: names::subject(state.spec, &names),
        usages: names::usages(state.spec),
        not_before: now,
        not_after: now.checked_add(duration).unwrap_or(now),
        serial: None,
    };
    let revision = state.attempt.as_ref().map_or(1, |a| a.revision);
    Step::act(vec![Action::Sign { revision, key, ca, leaf: Box::new(leaf), origin }])
}

fn stored_or_kept_key(state: &State<'_>, spec: &KeySpec) -> Result<Option<Arc<PrivateKey>>, Box<Step>> {
    let revision = state.attempt.as_ref().map_or(1, |a| a.revision);
    let stored = state.world.read.get(&revision).and_then(|r| r.key.clone().ok());
    match stored.filter(|key| key.matches_spec(spec)) {
        Some(key) => Ok(Some(key)),
        None => kept_key(state, spec),
    }
}

/// The active key, where the rotation policy keeps it and it is of the kind asked for; else the one that was made ahead.
pub(super) fn kept_key(state: &State<'_>, spec: &KeySpec) -> Result<Option<Arc<PrivateKey>>, Box<Step>> {
    let Some(active) = &state.active else { return Ok(None) };
    if next_key::rotates(state) || state.is_revoked() || state.replacement_asked().is_some() {
        return next_key::take(state, spec);
    }
    // A key that somebody else put there is not ours to certify.
    let fits = |key: &Arc<PrivateKey>| key.matches_spec(spec) && key.spki_sha256().to_string() == active.spki_sha256;
    match &state.world.secret {
        SecretView::Unchanged => Err(Box::new(Step::act(vec![Action::ReadSecret]))),
        SecretView::Ours(secret) => Ok(secret.content.as_ref().ok().map(|pair| pair.key.clone()).filter(fits)),
        SecretView::NotRead
        | SecretView::Absent
        | SecretView::Foreign(_)
        | SecretView::Temporary(_)
        | SecretView::Copy { .. } => Ok(None),
    }
}

/// What is wrong with an issued pair; the names left out of the order need not be in it.
fn defects(state: &State<'_>, pair: &KeyPair, wanted: &Wanted) -> Vec<String> {
    let omitted = state.attempt.iter().flat_map(|a| &a.omitted_names).map(|o| o.name.as_str());
    let names: BTreeSet<String> = match state.world.issuer {
        IssuerView::Acme(_) => wanted.without(omitted),
        _ => wanted.without([]),
    };
    let subject = names::subject(state.spec, &names);
    let expected = Expected {
        dns_names: subject.dns_names,
        common_name: subject.common_name,
        emails: subject.emails,
        usages: names::usages(state.spec),
        allow_extra_names: false,
    };
    let anchors = state.world.issuer.acme().and_then(|a| a.trust_anchors.as_deref());
    validate_issued(&pair.chain, &pair.key, &expected, anchors, state.world.now)
        .iter()
        .map(|defect| match defect {
            Defect::NotTrusted(_) => format!("{defect}. See whether the MailIssuer's trustAnchors are this CA's roots"),
            other => other.to_string(),
        })
        .collect()
}

/// Refuses what was issued where it is not what was asked for, or no improvement.
fn judge(state: &mut State<'_>, fresh: &Fresh, wanted: &Wanted, trigger: &Trigger) -> Option<Step> {
    let defects = defects(state, &fresh.pair, wanted);
    let leaf = fresh.pair.chain.leaf();
    let until = leaf.not_after;
    let no_longer = trigger.reason == reason::RENEWAL_DUE && !improves(state, leaf);
    let message = if !defects.is_empty() {
        format!("what was issued is not what was asked for, and is not used: {}", defects.join("; "))
    } else if no_longer {
        format!(
            "the issuer gave a certificate that ends at {until}, no later than the active one, so it is not used: a \
             certificate never outlives its CA, so see whether the CA has to be renewed"
        )
    } else {
        return None;
    };
    let why = reason::ISSUED_INVALID;
    state.fail(&StepFailure { pace: Pace::Refusal, reason: why, message, retry_after: None, order_lost: true });
    Some(Step::failing(state))
}

/// Stores the revision, and activates it at once where it need not wait for anything.
pub(super) fn store(state: &mut State<'_>, fresh: &Fresh, why: &str) -> Step {
    let candidate = state.revision(fresh.revision, &fresh.pair, &fresh.origin, None);
    let may_activate = gates::all_met(state, &candidate);
    let name = state.world.revisions.get(&fresh.revision);
    let exists = name.is_some();
    let stored = state.world.read.get(&fresh.revision).and_then(|r| r.content.as_ref());
    let same = |pair: &KeyPair| pair.chain.leaf().fingerprint == fresh.pair.chain.leaf().fingerprint;
    let is_stored = stored.is_some_and(same);
    let mut actions = Vec::new();
    if !is_stored && (exists || state.active.is_some() || !may_activate) {
        let name = name.cloned().unwrap_or_else(|| super::revision_name(&state.world.object, fresh.revision));
        actions.push(Action::StoreRevision {
            revision: fresh.revision,
            name,
            exists,
            pair: fresh.pair.clone(),
            origin: fresh.origin.clone(),
        });
    }
    if may_activate {
        return activation(state, fresh, actions);
    }
    if !is_stored {
        return Step::act(actions);
    }
    state.stage(fresh, why);
    let judged = state.staged.first().cloned().map(|staged| gates::judge(state, &staged)).unwrap_or_default();
    let asks = judged.ask;
    let step = staged::wait(state, judged);
    // The status first: what is asked next is asked about what is known to all.
    if asks { Step { wake: Some(state.soon(1)), ..step } } else { step }
}

/// Keeps the revision that is replaced, then writes the new one to the active Secret, after other `actions`.
pub(super) fn activation(state: &State<'_>, fresh: &Fresh, mut actions: Vec<Action>) -> Step {
    match keep_replaced(state) {
        Replaced::Kept => {}
        Replaced::Unread => return Step::act(vec![Action::ReadSecret]),
        Replaced::Store(action) => actions.push(*action),
    }
    actions.push(Action::WriteActive {
        revision: fresh.revision,
        pair: fresh.pair.clone(),
        origin: fresh.origin.clone(),
        over: state.secret_version(),
    });
    Step::act(actions)
}

/// Where the key of the active revision is kept.
pub(super) enum Replaced {
    /// In a Secret of its own, or nowhere, as history asks for.
    Kept,
    /// It has to be read first.
    Unread,
    /// It has to be stored first.
    Store(Box<Action>),
}

fn keep_replaced(state: &State<'_>) -> Replaced {
    let Some(active) = &state.active else { return Replaced::Kept };
    let wanted = state.spec.options.history.revisions > 0
        || outputs::keeps_all(&state.world.object)
        || state.spec.options.activation.publish.is_some()
        || !rollback::judges_of(state, active).is_empty()
        || state.world.dependents.iter().any(|d| d.tlsa_published.contains(&active.spki_sha256))
        || state.is_needed(active, true);
    if !wanted || state.world.revisions.contains_key(&active.revision) {
        return Replaced::Kept;
    }
    keep_active(state)
}

/// Stores what the active Secret holds in a Secret of its own.
pub(super) fn keep_active(state: &State<'_>) -> Replaced {
    let Some(active) = &state.active else { return Replaced::Kept };
    match &state.world.secret {
        SecretView::Unchanged => Replaced::Unread,
        SecretView::Ours(secret) if state.holds_active(secret) => match &secret.content {
            Ok(pair) => Replaced::Store(Box::new(Action::StoreRevision {
                revision: active.revision,
                name: super::revision_name(&state.world.object, active.revision),
                exists: false,
                pair: pair.clone(),
                origin: secret.origin.clone(),
            })),
            Err(_) => Replaced::Kept,
        },
        _ => Replaced::Kept,
    }
}
