//! MailTrustBundle: which trust anchors go where.
//!
//! Sources are read in every pass; what one that cannot be read gave last stays. The ConfigMaps are written only when they
//! do not hold what they should, and never where something else made them.

pub mod anchors;
mod status;
#[cfg(test)]
mod tests;
pub mod world;

pub use anchors::Bundle;
pub use world::{Action, Fact, World};

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use self::world::{Content, StoreWanted, TargetContent, TargetFound, TargetView};
use crate::api::certificate::{DeletionPolicy, Finding};
use crate::api::reasons::{condition, trust_bundle as reason};
use crate::api::{keys, trust_bundle::MailTrustBundleStatus};
use crate::decide::Decision;
use crate::decide::events::{self, Note};
use crate::pki::Fingerprint;

/// What is to be done about a MailTrustBundle, and what is to be said about it.
pub fn decide(world: &World) -> Decision<Action, MailTrustBundleStatus> {
    if world.object.metadata.deletion_timestamp.is_some() {
        let status = world.object.status.clone().unwrap_or_default();
        return Decision { actions: farewell(world), status, wake: retry(world) };
    }
    let bundle = anchors::bundle(world);
    let edition = Edition::of(world, &bundle);
    let mut actions: Vec<Action> = finalizer(world).into_iter().collect();
    if world.forbidden.is_none() {
        if bundle.refused.is_none() {
            actions.extend(writes(world, &bundle, &edition));
        }
        actions.extend(world.targets.iter().filter(|t| t.is_former).filter_map(|t| remove(world, t)));
    }
    let status = status::status(world, &bundle, &edition);
    let wake = [bundle.wake, retry(world)].into_iter().flatten().min();
    Decision { actions, status, wake }
}

/// The Events that tell of a change of status.
pub fn notes(old: &MailTrustBundleStatus, new: &MailTrustBundleStatus) -> Vec<Note> {
    let mut notes = events::of_conditions(&old.conditions, &new.conditions);
    // Each threshold before an anchor ends is told once, in place of the condition.
    notes.retain(|n| n.action != condition::RENEWAL_OVERDUE);
    let is_new = |f: &&Finding| {
        let same = |o: &&Finding| o.reason == f.reason && o.about == f.about;
        let known = old.findings.iter().find(same).is_some_and(|o| o.reason != reason::ANCHOR_EXPIRES_SOON || o == *f);
        !known && !notes.iter().any(|n| n.reason == f.reason)
    };
    let found: Vec<Note> = new
        .findings
        .iter()
        .filter(is_new)
        .map(|f| Note {
            warning: f.reason != reason::ANCHOR_RETAINED,
            reason: f.reason.clone(),
            action: "Check".to_owned(),
            message: f.message.clone(),
        })
        .collect();
    notes.extend(found);
    notes
}

/// A bundle's text, and the number of its version.
pub(crate) struct Edition {
    pem: String,
    sha256: String,
    version: i64,
}

impl Edition {
    fn of(world: &World, bundle: &Bundle) -> Self {
        let pem: String = bundle.certificates.iter().map(crate::pki::Certificate::to_pem).collect();
        let sha256 = Fingerprint::of(pem.as_bytes()).to_string();
        let status = world.object.status.as_ref();
        let known = status.and_then(|s| s.version);
        // Where the status was lost, the ConfigMaps say how far it had come.
        let written = world.targets.iter().filter_map(|t| match &t.found {
            TargetFound::Ours(content) => Some((version_of(content)?, content)),
            _ => None,
        });
        let (mut last, mut same) =
            (known.unwrap_or(0), known.filter(|_| status.and_then(|s| s.bundle_sha256.as_ref()) == Some(&sha256)));
        for (version, content) in written {
            last = last.max(version);
            if same.is_none() && content.annotations.get(keys::BUNDLE_SHA256) == Some(&sha256) {
                same = Some(version);
            }
        }
        Self { pem, sha256, version: same.unwrap_or_else(|| last.saturating_add(1)) }
    }
}

/// The version of the bundle that a ConfigMap of ours has. A number that nobody can have reached was written by hand.
fn version_of(content: &TargetContent) -> Option<i64> {
    let version: i64 = content.annotations.get(keys::BUNDLE_VERSION)?.parse().ok()?;
    (1..1_000_000_000).contains(&version).then_some(version)
}

/// The labels by which a ConfigMap is known as this MailTrustBundle's.
pub fn labels(world: &World) -> BTreeMap<String, String> {
    let (name, namespace) = (world.object.name_any(), world.object.namespace().unwrap_or_default());
    BTreeMap::from([
        (keys::MANAGED_BY.to_owned(), keys::MANAGER.to_owned()),
        (keys::TRUST_BUNDLE.to_owned(), name),
        (keys::TRUST_BUNDLE_NAMESPACE.to_owned(), namespace),
    ])
}

fn writes(world: &World, bundle: &Bundle, edition: &Edition) -> Vec<Action> {
    if world.done.overtaken {
        return Vec::new();
    }
    let content = Arc::new(content(world, bundle, edition));
    let is_open = |t: &&TargetView| !t.is_former && !world.done.failed.contains_key(&t.namespace);
    let due = world.targets.iter().filter(is_open).filter_map(|target| {
        let over = match &target.found {
            TargetFound::Absent => None,
            TargetFound::Ours(present) if !holds(present, &content) => Some(present.clone()),
            _ => return None,
        };
        Some(Action::Write { namespace: target.namespace.clone(), over, content: content.clone() })
    });
    due.collect()
}

fn content(world: &World, bundle: &Bundle, edition: &Edition) -> Content {
    let targets = &world.object.spec.targets;
    let mut labels_wanted = targets.config_map.labels.clone();
    labels_wanted.extend(labels(world));
    let mut annotations = BTreeMap::from([
        (keys::BUNDLE_VERSION.to_owned(), edition.version.to_string()),
        (keys::BUNDLE_SHA256.to_owned(), edition.sha256.clone()),
    ]);
    let truststore = match (&targets.truststore, &world.password) {
        (Some(store), Some(view)) => match &view.password {
            Ok(password) => {
                let made_from = format!("{}\n{}", edition.sha256, view.version);
                annotations
                    .insert(keys::TRUSTSTORE_SHA256.to_owned(), Fingerprint::of(made_from.as_bytes()).to_string());
                let anchors = Arc::new(bundle.certificates.clone());
                StoreWanted::Make { key: store.key.clone(), password: password.clone(), anchors }
            }
            Err(_) => StoreWanted::Keep,
        },
        _ => StoreWanted::No,
    };
    let (key, pem) = (targets.config_map.key.clone(), edition.pem.clone());
    Content { key, pem, truststore, labels: labels_wanted, annotations }
}

/// Whether a ConfigMap holds exactly what it should. A trust store is salted: what it was made from is compared.
fn holds(present: &TargetContent, wanted: &Content) -> bool {
    let has = |present: &BTreeMap<String, String>, wanted: &BTreeMap<String, String>| {
        wanted.iter().all(|(k, v)| present.get(k) == Some(v))
    };
    let digest = Fingerprint::of(wanted.pem.as_bytes()).to_string();
    let text = present.data.len() == 1 && present.data.get(&wanted.key) == Some(&digest);
    let store = match &wanted.truststore {
        StoreWanted::No => present.binary_data.is_empty() && !present.annotations.contains_key(keys::TRUSTSTORE_SHA256),
        StoreWanted::Keep => true,
        StoreWanted::Make { key, .. } => present.binary_data.len() == 1 && present.binary_data.contains(key),
    };
    text && store && has(&present.labels, &wanted.labels) && has(&present.annotations, &wanted.annotations)
}

fn goes_with_object(world: &World) -> bool {
    world.object.spec.deletion_policy == DeletionPolicy::Delete
}

fn remove(world: &World, target: &TargetView) -> Option<Action> {
    let is_open = !world.done.overtaken && !world.done.failed.contains_key(&target.namespace);
    match &target.found {
        TargetFound::Ours(present) if is_open && goes_with_object(world) => Some(Action::Remove {
            namespace: target.namespace.clone(),
            resource_version: present.resource_version.clone(),
        }),
        _ => None,
    }
}

fn has_finalizer(world: &World) -> bool {
    let is_on = || world.object.finalizers().iter().any(|f| f == keys::TRUST_BUNDLE_FINALIZER);
    world.done.held.unwrap_or_else(is_on)
}

fn finalizer(world: &World) -> Option<Action> {
    match (has_finalizer(world), goes_with_object(world)) {
        (false, true) => Some(Action::Hold),
        (true, false) => Some(Action::Release),
        _ => None,
    }
}

/// What is left to do for one that is being deleted: its ConfigMaps first, where they go with it.
fn farewell(world: &World) -> Vec<Action> {
    if !has_finalizer(world) {
        return Vec::new();
    }
    let removals: Vec<Action> = world.targets.iter().filter_map(|t| remove(world, t)).collect();
    // Where ConfigMaps cannot even be looked at, waiting would hold a namespace's deletion up for ever.
    match removals.is_empty() && (world.done.failed.is_empty() || world.forbidden.is_some()) && !world.done.overtaken {
        true => vec![Action::Release],
        false => removals,
    }
}

/// A permission that is granted, or a namespace that is made, may cause no event.
fn retry(world: &World) -> Option<Timestamp> {
    let is_shut =
        |t: &TargetView| matches!(t.found, TargetFound::Forbidden(_) | TargetFound::NoNamespace(_)) && !t.is_former;
    let seconds = if world.done.overtaken {
        2
    } else if world.forbidden.is_some() || !world.done.failed.is_empty() || world.targets.iter().any(is_shut) {
        60
    } else {
        return None;
    };
    world.now.checked_add(SignedDuration::from_secs(seconds)).ok()
}
