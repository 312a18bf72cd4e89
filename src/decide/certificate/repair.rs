//! The active Secret was changed or deleted by somebody else: what was active is written again, without a new order.

use k8s_openapi::jiff::SignedDuration;

use super::Step;
use super::state::State;
use super::world::{Action, KeyPair, Origin, SecretView};
use crate::api::reasons::certificate as reason;
use crate::decide::backoff::{self, Pace};

/// The step that puts the Secret right, if it is wrong and what it held is known. `None`: nothing to repair, or only a
/// new issuance can.
pub fn step(state: &State<'_>) -> Option<Step> {
    let active = state.active.as_ref()?;
    let own = match &state.world.secret {
        SecretView::Absent | SecretView::Copy { .. } => None,
        SecretView::Ours(secret) if !state.holds_active(secret) => {
            secret.content.as_ref().ok().map(|pair| (pair.clone(), secret.origin.clone()))
        }
        _ => return None,
    };
    let own = own.filter(|(pair, _)| is_active(pair, &active.fingerprint_sha256));
    let (pair, origin) = match own {
        Some(own) => own,
        None => match kept(state, active.revision, &active.fingerprint_sha256) {
            Kept::No => return None,
            Kept::Unread(name) => {
                return Some(Step::act(vec![Action::ReadRevision { revision: active.revision, name }]));
            }
            Kept::Pair(pair, origin) => (*pair, origin),
        },
    };
    if let Some(step) = contested(state) {
        return Some(step);
    }
    Some(Step::act(vec![Action::WriteActive { revision: active.revision, pair, origin, over: state.secret_version() }]))
}

/// Longest pause between two repairs: shorter than what makes them count anew.
const LONGEST: SignedDuration = SignedDuration::from_mins(30);

/// Where somebody keeps changing the Secret, it is put right less and less often.
pub fn contested(state: &State<'_>) -> Option<Step> {
    let repairs = state.repairs.as_ref().filter(|_| !state.spec_is_new())?;
    let pause = backoff::pause(Pace::Transient, repairs.count, None).min(LONGEST);
    let again = repairs.last_time.0.checked_add(pause).ok()?;
    if !backoff::waits(Some(again), state.world.now) {
        return None;
    }
    let message = format!(
        "the Secret {} was changed or deleted by somebody else again, after {}: find out who writes it (kubectl \
         get secret {0} -o yaml --show-managed-fields) and stop that; it is put right again at {again}",
        state.spec.secret_name,
        if repairs.count == 1 { "a repair".to_owned() } else { format!("{} repairs", repairs.count) },
    );
    Some(Step { wake: Some(again), ..Step::blocked(reason::SECRET_CONTESTED, message) })
}

enum Kept {
    No,
    Unread(String),
    Pair(Box<KeyPair>, Origin),
}

fn kept(state: &State<'_>, revision: i64, fingerprint: &str) -> Kept {
    let Some(name) = state.world.revisions.get(&revision) else { return Kept::No };
    let Some(stored) = state.world.read.get(&revision) else { return Kept::Unread(name.clone()) };
    match &stored.content {
        Some(pair) if is_active(pair, fingerprint) => Kept::Pair(Box::new(pair.clone()), stored.origin.clone()),
        _ => Kept::No,
    }
}

fn is_active(pair: &KeyPair, fingerprint: &str) -> bool {
    pair.chain.leaf().fingerprint.to_string() == fingerprint
}
