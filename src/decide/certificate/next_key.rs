//! The life of keys apart from that of certificates: when a key is replaced, and the one that is made ahead.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use super::names;
use super::state::State;
use super::world::{Action, StoredKey};
use super::{Step, next_key_name};
use crate::api::certificate::{KeyRotation, NextKey, RotationPolicy};
use crate::api::keys;
use crate::api::reasons::{certificate as reason, condition, finding};
use crate::decide::conditions::{Conditions, State as Is};
use crate::pki::{KeySpec, PrivateKey};

/// The longest time between the reminder and the rotation, unless the spec says otherwise.
const REMINDER: SignedDuration = SignedDuration::from_hours(720);

/// The name of the Secret that keeps the next key.
fn secret_name(state: &State<'_>) -> String {
    next_key_name(&state.world.object)
}

/// Whether a key is to be made ahead.
fn is_wanted(state: &State<'_>) -> bool {
    let asked =
        state.spec.options.private_key.rotation.prepare_next || state.world.dependents.iter().any(|d| d.wants_tlsa);
    // What is imported has its keys made elsewhere.
    asked && state.spec.issuer_ref.is_some() && state.active.is_some()
}

/// Makes the next key where it is wanted and there is none, or the one there was is in use now.
pub fn step(state: &mut State<'_>) -> Option<Step> {
    if !is_wanted(state) {
        return None;
    }
    let spec = names::key_spec(&state.spec.options.private_key);
    let is_there = state.world.next_key_seen || state.world.learnt.next_key_stored;
    if is_there && state.next_key.as_ref().is_some_and(|next| is_good(state, &next.spki_sha256, &next.key, &spec)) {
        return None;
    }
    let name = secret_name(state);
    let exists = match &state.world.next_key {
        None => return Some(Step::act(vec![Action::ReadNextKey { name }])),
        Some(StoredKey::Absent) => false,
        Some(StoredKey::Broken(_)) => true,
        Some(StoredKey::Key(key)) => {
            // Stored by a pass whose status was lost.
            if is_good(state, &key.spki_sha256().to_string(), &key.spec().to_string(), &spec) {
                let key = key.clone();
                state.remember(&key, &name);
                return None;
            }
            true
        }
    };
    Some(Step::act(vec![Action::StoreNextKey { name, key: spec, exists }]))
}

/// Whether a key can be the next one: of the kind asked for, and not the one in use.
fn is_good(state: &State<'_>, spki: &str, kind: &str, spec: &KeySpec) -> bool {
    state.active.as_ref().is_none_or(|a| a.spki_sha256 != spki) && kind == spec.to_string()
}

/// The key that was made ahead, for a revision that needs another one. `Err`: it has to be read first.
pub fn take(state: &State<'_>, spec: &KeySpec) -> Result<Option<std::sync::Arc<PrivateKey>>, Box<Step>> {
    let Some(next) = &state.next_key else { return Ok(None) };
    if !is_good(state, &next.spki_sha256, &next.key, spec) {
        return Ok(None);
    }
    match &state.world.next_key {
        None => Err(Box::new(Step::act(vec![Action::ReadNextKey { name: next.secret_name.clone() }]))),
        Some(StoredKey::Key(key)) => {
            Ok(Some(key.clone()).filter(|k| k.spki_sha256().to_string() == next.spki_sha256 && k.matches_spec(spec)))
        }
        Some(StoredKey::Absent | StoredKey::Broken(_)) => Ok(None),
    }
}

/// Whether the next revision is to have another key than the active one.
pub fn rotates(state: &State<'_>) -> bool {
    match state.spec.options.private_key.rotation.policy {
        RotationPolicy::Always => true,
        RotationPolicy::Never => state.asked_to_rotate(),
        RotationPolicy::After => state.asked_to_rotate() || due(state).is_some_and(|at| state.world.now >= at),
    }
}

/// When the active key is to be replaced because of its age.
pub fn due(state: &State<'_>) -> Option<Timestamp> {
    let active = state.active.as_ref()?;
    let since = active.key_since.as_ref().unwrap_or(&active.not_before).0;
    since.checked_add(after(&state.spec.options.private_key.rotation)?).ok()
}

fn after(rotation: &KeyRotation) -> Option<SignedDuration> {
    let after = rotation.after.filter(|_| rotation.policy == RotationPolicy::After)?;
    SignedDuration::try_from(std::time::Duration::from(after)).ok()
}

/// When that is announced.
pub fn reminder(state: &State<'_>) -> Option<Timestamp> {
    let rotation = &state.spec.options.private_key.rotation;
    let after = after(rotation)?;
    let asked = rotation.remind_before.map(std::time::Duration::from);
    let before = asked.and_then(|d| SignedDuration::try_from(d).ok()).unwrap_or((after / 10).min(REMINDER));
    due(state)?.checked_sub(before).ok()
}

/// Says on the object that the key is to be replaced soon.
pub fn remind(state: &State<'_>, conditions: &mut Conditions) {
    let (Some(due), Some(from)) = (due(state), reminder(state)) else { return };
    let Some(active) = state.active.as_ref().filter(|_| state.world.now >= from) else { return };
    let since = active.key_since.as_ref().unwrap_or(&active.not_before).0;
    let what = match state.spec.issuer_ref {
        Some(_) => format!("it is replaced at {due}"),
        None => format!("import a certificate with another key before {due}"),
    };
    let message = format!("the key of revision {} has been in use since {since}: {what}", active.revision);
    conditions.set(condition::KEY_ROTATION_DUE, Is::True, reason::KEY_ROTATION_DUE, &message);
}

impl State<'_> {
    /// Whether the rotate-key annotation has a value that was not acted upon yet.
    pub fn asked_to_rotate(&self) -> bool {
        let asked = self.world.object.annotations().get(keys::ROTATE_KEY);
        asked.is_some() && asked != self.rotate_seen.as_ref() && self.spec.issuer_ref.is_some()
    }

    /// The rotate-key annotation was acted upon.
    pub fn rotated(&mut self) {
        let asked = self.world.object.annotations().get(keys::ROTATE_KEY).cloned();
        self.rotate_seen = asked.or(self.rotate_seen.take());
    }

    /// Takes in the key that was made ahead in this pass.
    pub fn take_in_next_key(&mut self) {
        let Some(StoredKey::Key(key)) = self.world.next_key.clone().filter(|_| self.world.learnt.next_key_stored)
        else {
            return;
        };
        let name = secret_name(self);
        let lost = self.next_key.take().map(|k| k.spki_sha256).zip(self.world.learnt.next_key_lost.as_ref());
        let told = lost.map(|(spki, why)| {
            format!(
                "the Secret {name} with the next key (SPKI {spki}) cannot be used ({why}): another one was made, and DNS has \
                 to learn of it"
            )
        });
        self.find(finding::NEXT_KEY_LOST, "nextKey", told);
        self.remember(&key, &name);
    }

    fn remember(&mut self, key: &PrivateKey, name: &str) {
        self.next_key = Some(NextKey {
            spki_sha256: key.spki_sha256().to_string(),
            key: key.spec().to_string(),
            secret_name: name.to_owned(),
            since: Time(self.world.now),
        });
    }
}
