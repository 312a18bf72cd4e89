//! What a MailTrustBundle's status says.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::world::{TargetFound, TargetView, World};
use super::{Bundle, Edition, version_of};
use crate::api::reasons::{condition, trust_bundle as reason};
use crate::api::trust_bundle::{MailTrustBundleStatus, TargetStatus};
use crate::decide::conditions::{Conditions, State};

/// The same findings give the same bytes.
pub(super) fn status(world: &World, bundle: &Bundle, edition: &Edition) -> MailTrustBundleStatus {
    let old = world.object.status.clone().unwrap_or_default();
    let generation = world.object.metadata.generation;
    let mut conditions = Conditions::on(&old.conditions, generation, world.now);
    let trouble = trouble(world, bundle);
    match &trouble {
        Some((word, message)) => {
            conditions.set(condition::READY, State::False, word, message);
            conditions.stalled(word, message);
        }
        None => conditions.set(condition::READY, State::True, reason::READY, &said(world, bundle, edition)),
    }
    let ending = || bundle.findings.iter().filter(|f| f.reason == reason::ANCHOR_EXPIRES_SOON);
    if let Some(first) = ending().next() {
        let more = match ending().count() {
            1 => String::new(),
            n => format!(" (and {} more: see status.findings)", n - 1),
        };
        let message = format!("{}{more}", first.message);
        conditions.set(condition::RENEWAL_OVERDUE, State::True, reason::ANCHOR_EXPIRES_SOON, &message);
    }
    if bundle.refused.is_some() || world.forbidden.is_some() {
        // What the ConfigMaps hold is what was put together last.
        return MailTrustBundleStatus {
            observed_generation: generation,
            conditions: conditions.finish(),
            targets: targets(world),
            findings: if world.forbidden.is_some() { old.findings } else { bundle.findings.clone() },
            ..old
        };
    }
    MailTrustBundleStatus {
        observed_generation: generation,
        conditions: conditions.finish(),
        version: Some(edition.version),
        bundle_sha256: Some(edition.sha256.clone()),
        anchors: Some(bundle.counts),
        next_expiry: bundle.own.iter().map(|a| a.not_after.0).min().map(Time),
        own: bundle.own.clone(),
        targets: targets(world),
        findings: bundle.findings.clone(),
    }
}

/// The first thing that is not as the spec wants it.
fn trouble(world: &World, bundle: &Bundle) -> Option<(&'static str, String)> {
    if let Some(message) = &world.forbidden {
        return Some((reason::FORBIDDEN, message.clone()));
    }
    // Why there is nothing to write, a source says better.
    let unreadable = || Some((reason::SOURCE_UNREADABLE, bundle.unreadable.first()?.clone()));
    if let Some(refused) = &bundle.refused {
        return unreadable().filter(|_| refused.0 == reason::NO_ANCHORS).or_else(|| Some(refused.clone()));
    }
    if let Some(said) = unreadable() {
        return Some(said);
    }
    if let Some(Err(why)) = world.password.as_ref().map(|p| &p.password) {
        let message = format!("the password of the trust store cannot be had: {why}; the trust store stays as it is");
        return Some((reason::PASSWORD_UNREADABLE, message));
    }
    if let Some(why) = &world.unknown_targets {
        return Some((reason::NOT_ALLOWED, why.clone()));
    }
    let wanted = || world.targets.iter().filter(|t| !t.is_former);
    let bad: Vec<(&'static str, String)> = wanted().filter_map(|t| problem(world, t)).collect();
    let (word, first) = bad.first()?;
    let more = match bad.len() {
        1 => String::new(),
        n => format!(" (and {} more of {} namespaces)", n - 1, wanted().count()),
    };
    Some((word, format!("{first}{more}")))
}

fn problem(world: &World, target: &TargetView) -> Option<(&'static str, String)> {
    if let Some(why) = world.done.failed.get(&target.namespace) {
        return Some((reason::TARGET_CONFLICT, why.clone()));
    }
    match &target.found {
        TargetFound::Foreign(why) => Some((reason::TARGET_CONFLICT, why.clone())),
        TargetFound::NotAllowed(why) => Some((reason::NOT_ALLOWED, why.clone())),
        TargetFound::NoNamespace(why) => Some((reason::TARGET_NOT_FOUND, why.clone())),
        TargetFound::Forbidden(why) => Some((reason::FORBIDDEN, why.clone())),
        TargetFound::Absent | TargetFound::Ours(_) => None,
    }
}

/// Namespaces that have the ConfigMap, or should; a former one is listed for as long as it has to be removed there.
fn targets(world: &World) -> Vec<TargetStatus> {
    let is_told = |t: &&TargetView| {
        !t.is_former
            || super::goes_with_object(world) && matches!(t.found, TargetFound::Ours(_) | TargetFound::Forbidden(_))
    };
    let mut all: Vec<TargetStatus> = world
        .targets
        .iter()
        .filter(is_told)
        .map(|target| TargetStatus {
            namespace: target.namespace.clone(),
            version: match &target.found {
                TargetFound::Ours(content) => version_of(content),
                _ => None,
            },
            problem: problem(world, target).map(|(_, message)| message),
        })
        .collect();
    all.sort_by(|a, b| a.namespace.cmp(&b.namespace));
    all
}

fn said(world: &World, bundle: &Bundle, edition: &Edition) -> String {
    let counts = bundle.counts;
    let mut parts = Vec::new();
    if counts.mozilla > 0 {
        parts.push(format!("{} Mozilla roots", counts.mozilla));
    }
    if counts.own > 0 {
        parts.push(format!("{} own", counts.own));
    }
    let n = world.targets.iter().filter(|t| !t.is_former).count();
    let place = match n {
        1 => "1 namespace".to_owned(),
        n => format!("{n} namespaces"),
    };
    let name = &world.object.spec.targets.config_map.name;
    format!("version {}: {} in ConfigMap {name} of {place}", edition.version, parts.join(", "))
}
