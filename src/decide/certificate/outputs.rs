//! What the active Secret holds besides certificate, key and CA in PEM: what it is made from, and what is missing.

use std::collections::BTreeSet;

use super::Step;
use super::state::State;
use super::world::{Action, KeyPair, PasswordView, SecretView, World};
use crate::api::certificate::{KeyEncoding, MailCertificate, OutputsStatus, Pkcs12Profile, Usage};
use crate::api::reasons::finding;
use crate::pki::outputs::Previous;
use crate::pki::outputs::all_names;
use crate::pki::{Encoding, KeyAlgorithm, Outputs, Pair, Pkcs12, Profile};

/// What a finding about PKCS#12 stores is about.
const STORES: &str = "spec.outputs.pkcs12";
/// What a finding about the form of the key is about.
const ENCODING: &str = "spec.privateKey.encoding";

/// What the Secret is to hold with a pair, by the spec and with the password as far as it is known.
pub fn wanted(world: &World, with: Option<&KeyPair>) -> Outputs {
    let spec = &world.object.spec.options;
    let password = match &world.password {
        PasswordView::Read { password: Ok(password), .. } => Some(password.clone()),
        _ => None,
    };
    Outputs {
        encoding: match spec.private_key.encoding {
            KeyEncoding::PKCS8 => Encoding::Pkcs8,
            KeyEncoding::Traditional => Encoding::Traditional,
        },
        der: spec.outputs.der,
        bluemind: spec.outputs.bluemind,
        pkcs12: spec.outputs.pkcs12.as_ref().map(|wanted| Pkcs12 {
            profile: match wanted.profile {
                Pkcs12Profile::Modern2023 => Profile::Modern2023,
                Pkcs12Profile::LegacyDES => Profile::LegacyDes,
            },
            truststore: wanted.truststore,
            password,
        }),
        previous: with.map(|pair| previous(world, pair)).unwrap_or_default(),
    }
}

/// Whether old mail has to stay readable: then every former key stands beside the current one.
pub(super) fn keeps_all(object: &MailCertificate) -> bool {
    object.spec.options.usages.contains(&Usage::EmailProtection)
}

/// The revisions that have been active, by the status.
fn former(world: &World) -> impl Iterator<Item = i64> + '_ {
    let status = world.object.status.as_ref();
    status.into_iter().flat_map(|s| s.former().chain(&s.active)).map(|r| r.revision)
}

/// Former pairs, newest first, where they are to stand beside this one.
fn previous(world: &World, beside: &KeyPair) -> Vec<Previous> {
    if !keeps_all(&world.object) {
        return Vec::new();
    }
    let mut numbers: Vec<i64> = former(world).collect();
    numbers.sort_unstable_by(|a, b| b.cmp(a));
    let stored = |number: i64| Some((number, world.read.get(&number)?.content.as_ref()?));
    let others = numbers.into_iter().filter_map(stored);
    let others = others.filter(|(_, pair)| pair.chain.leaf().fingerprint != beside.chain.leaf().fingerprint);
    others.map(|(number, pair)| Previous { number, key: pair.key.clone(), chain: pair.chain.clone() }).collect()
}

/// The former revisions that have to be read before the Secret is.
fn unread(world: &World) -> Vec<Action> {
    if !keeps_all(&world.object) {
        return Vec::new();
    }
    let name = |n: i64| world.revisions.get(&n).filter(|_| !world.read.contains_key(&n)).cloned();
    former(world).filter_map(|n| Some(Action::ReadRevision { revision: n, name: name(n)? })).collect()
}

/// The pair as [`Outputs`] takes it.
pub fn pair(of: &KeyPair) -> Pair<'_> {
    Pair { key: &of.key, chain: &of.chain, ca: &of.ca }
}

/// The further keys that mailcert wrote to the Secret before.
pub fn listed(view: &SecretView) -> BTreeSet<String> {
    match view {
        SecretView::Ours(secret) => secret.outputs.clone(),
        // All of it is ours, and made for a key that nobody is to use any more.
        SecretView::Temporary(_) => all_names(),
        SecretView::Copy { outputs, .. } => outputs.clone(),
        SecretView::Unchanged | SecretView::NotRead | SecretView::Absent | SecretView::Foreign(_) => BTreeSet::new(),
    }
}

/// What is known of the password before it is read. `seen` is the resourceVersion of its Secret, where there is one.
pub fn password_view(object: &MailCertificate, seen: Option<String>) -> PasswordView {
    if object.spec.options.outputs.pkcs12.is_none() {
        return PasswordView::NotWanted;
    }
    let known = object.status.as_ref().and_then(|s| s.outputs.as_ref());
    match known.is_some_and(|k| k.password_secret_resource_version == seen) {
        true => PasswordView::Unchanged,
        false => PasswordView::Changed,
    }
}

/// Whether the Secret has to be looked at for the password's sake.
pub(super) fn password_is_new(state: &State<'_>) -> bool {
    matches!(state.world.password, PasswordView::Changed)
}

/// Whether what differs in the Secret may come from another password, and is nobody's fault.
pub(super) fn changed_by_password(state: &State<'_>) -> bool {
    let PasswordView::Read { version, .. } = &state.world.password else { return false };
    let known = state.world.object.status.as_ref().and_then(|s| s.outputs.as_ref());
    known.is_none_or(|k| k.password_secret_resource_version != *version)
}

/// Reads first what a step needs that touches the active Secret.
pub(super) fn prepare(state: &State<'_>, step: &mut Step) {
    let writes = step.actions.iter().any(|a| matches!(a, Action::WriteActive { .. } | Action::WriteTemporary { .. }));
    let reads = step.actions.iter().any(|a| matches!(a, Action::ReadSecret));
    // What an earlier write has left there stands on the Secret.
    if writes
        && matches!(state.world.secret, SecretView::Unchanged)
        && (wanted(state.world, None).has_more() || keeps_all(&state.world.object))
    {
        step.actions.insert(0, Action::ReadSecret);
    }
    let unknown = matches!(state.world.password, PasswordView::Changed | PasswordView::Unchanged);
    if (writes || reads) && unknown {
        step.actions.insert(0, Action::ReadPassword);
    }
    if writes || reads {
        // Read before anything is written: the first write stands on all of them.
        let first = unread(state.world);
        if !first.is_empty() {
            step.actions = first;
        }
    }
}

/// Says what is asked for and cannot be written.
pub(super) fn take_in(state: &mut State<'_>) {
    match &state.world.password {
        PasswordView::NotWanted => {
            state.outputs = None;
            state.find(finding::OUTPUT_SKIPPED, STORES, None);
        }
        PasswordView::Changed | PasswordView::Unchanged => {}
        PasswordView::Read { version, password } => {
            state.outputs = Some(OutputsStatus { password_secret_resource_version: version.clone() });
            let missing = password.as_ref().err().cloned();
            let message = missing.or_else(|| active_pair(state).filter(|p| p.ca.is_empty()).and_then(|_| no_ca(state)));
            state.find(finding::OUTPUT_SKIPPED, STORES, message);
        }
    }
    if let Some(pair) = active_pair(state) {
        let asked = state.spec.options.private_key.encoding == KeyEncoding::Traditional;
        let message = (asked && pair.key.spec().algorithm == KeyAlgorithm::Ed25519).then(|| {
            "tls.key is PKCS#8: there is no traditional encoding of Ed25519 keys. Set it to PKCS8, or use a key of RSA or ECDSA"
                .to_owned()
        });
        state.find(finding::OUTPUT_SKIPPED, ENCODING, message);
    }
}

fn no_ca(state: &State<'_>) -> Option<String> {
    let wanted = state.spec.options.outputs.pkcs12.as_ref()?;
    wanted.truststore.then(|| {
        "truststore.p12 is not written: there is no ca.crt with this certificate. Set truststore to false, and have clients \
         trust the public CAs, as a MailTrustBundle holds them"
            .to_owned()
    })
}

/// The active pair, where this pass has seen it.
fn active_pair<'a>(state: &State<'a>) -> Option<&'a KeyPair> {
    let active = state.active.as_ref()?;
    let world = state.world;
    let of = |view: &'a SecretView| match view {
        SecretView::Ours(secret) => secret.content.as_ref().ok(),
        _ => None,
    };
    let fresh = world.learnt.fresh.as_ref().map(|f| &f.pair);
    let stored = world.read.get(&active.revision).and_then(|r| r.content.as_ref());
    let seen = [fresh, stored, of(&world.secret), world.learnt.replaced.as_ref().and_then(of)];
    seen.into_iter().flatten().find(|p| p.chain.leaf().fingerprint.to_string() == active.fingerprint_sha256)
}
