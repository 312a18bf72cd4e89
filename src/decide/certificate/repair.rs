//! The active Secret was changed or deleted by somebody else: what was active is written again, without a new order.

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
        SecretView::Absent if state.world.learnt.activated.is_none() => None,
        SecretView::Ours(secret) if !state.holds_active(secret) && state.world.learnt.activated.is_none() => {
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

/// Where somebody keeps changing the Secret, it is put right less and less often.
pub fn contested(state: &State<'_>) -> Option<Step> {
    let repairs = state.repairs.as_ref()?;
    let pause = backoff::pause(Pace::Transient, repairs.count, None);
    let again = repairs.last_time.0.checked_add(pause).ok()?;
    if !backoff::waits(Some(again), state.world.now) {
        return None;
    }
    let message = format!(
        "the Secret {} was changed or deleted by somebody else again, after {} repairs: find out who writes it (kubectl \
         get secret {0} -o yaml --show-managed-fields) and stop that; it is put right again at {again}",
        state.spec.secret_name, repairs.count
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
