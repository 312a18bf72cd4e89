//! Which endpoints are to be looked at, when, and what the looks so far prove.

use std::sync::Arc;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::api::domain::EndpointVerdict;
use crate::api::reasons::{condition, domain as reason};
use crate::decide::conditions::find;
use crate::decide::jitter;

use super::certificate::Certificate;
use super::later;
use super::names::names;
use super::rollout;
use super::targets::Targets;
use super::verdict::{Judgement, judge, judge_other};
use super::world::{Look, LookFailure, ProbeTarget, Served, Sighting, World};

/// Pause after the first look that found a problem. Doubles with each further one.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(10);
/// Longest pause between looks at an endpoint with a problem.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_mins(10);
/// Pause before the next pass while pods are being replaced, besides the watch on the workloads.
const ROLLOUT_PAUSE: SignedDuration = SignedDuration::from_secs(15);
/// After this time of replacing pods, endpoints are looked at all the same: pods that crash for good look like a
/// rollout that never ends.
const PATIENCE: SignedDuration = SignedDuration::from_mins(10);
/// From the end of a rollout to the first look: until then nodes may still lead to pods that are ending.
const SETTLE: SignedDuration = SignedDuration::from_secs(3);
/// Longest interval that the API allows.
const LONGEST_INTERVAL: SignedDuration = SignedDuration::from_hours(168);
/// Share of the interval by which looks are spread to either side.
const JITTER: f64 = 0.1;

/// When each endpoint is to be looked at next.
pub(super) struct Plan<'a> {
    world: &'a World,
    next: Vec<(&'a ProbeTarget, Timestamp)>,
    is_paused: bool,
}

impl<'a> Plan<'a> {
    pub fn of(
        world: &'a World,
        targets: &'a [ProbeTarget],
        certificate: &Certificate<'_>,
        judgements: &[Option<Judgement>],
        is_rolling: bool,
    ) -> Self {
        let is_open = certificate.active.is_some() && world.forbidden.is_none();
        let targets = targets.iter().zip(judgements).filter(|_| is_open);
        let templates = rollout::templates(world);
        let next = targets.map(|(t, j)| (t, next_look(world, certificate, t, j.as_ref(), &templates))).collect();
        let is_paused = is_rolling && !lasts_too_long(world);
        Self { world, next, is_paused }
    }

    pub fn due(&self) -> impl Iterator<Item = ProbeTarget> {
        let is_due = |(target, at): &&(&ProbeTarget, Timestamp)| {
            !self.is_paused && *at <= self.world.now && !self.world.done.probed.contains(&target.key)
        };
        self.next.iter().filter(is_due).map(|(target, _)| (*target).clone()).collect::<Vec<_>>().into_iter()
    }

    pub fn wake(&self) -> Option<Timestamp> {
        if self.is_paused && !self.next.is_empty() {
            return Some(later(self.world.now, ROLLOUT_PAUSE));
        }
        self.next.iter().map(|(_, at)| *at).min()
    }
}

fn lasts_too_long(world: &World) -> bool {
    let conditions = world.object.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    find(conditions, condition::ROLLED_OUT)
        .filter(|c| c.status == "False" && c.reason == reason::ROLLING_OUT)
        .is_some_and(|c| world.now.duration_since(c.last_transition_time.0) > PATIENCE)
}

/// When what was rolled out can be looked at.
fn settled(world: &World) -> Timestamp {
    let conditions = world.object.status.as_ref().map(|s| s.conditions.as_slice()).unwrap_or_default();
    let rolled_out = match find(conditions, condition::ROLLED_OUT) {
        Some(c) if c.status == "True" => later(c.last_transition_time.0, SETTLE),
        Some(c) if c.reason == reason::ROLLING_OUT && !lasts_too_long(world) => later(world.now, SETTLE),
        _ => world.now,
    };
    // A reload may begin and end in one pass, of which the condition shows nothing.
    rollout::last_reload(world).map_or(rolled_out, |at| rolled_out.max(later(at, SETTLE)))
}

fn next_look(
    world: &World,
    certificate: &Certificate<'_>,
    target: &ProbeTarget,
    judgement: Option<&Judgement>,
    templates: &str,
) -> Timestamp {
    let Some(look) = fresh(world, certificate, &target.key).filter(|l| l.templates == templates) else {
        return settled(world);
    };
    let interval = SignedDuration::try_from(std::time::Duration::from(world.object.spec.probe.interval))
        .unwrap_or(LONGEST_INTERVAL)
        .clamp(FIRST_PAUSE, LONGEST_INTERVAL);
    let is_served = look.failures == 0 && judgement.is_some_and(|j| j.verdict == EndpointVerdict::Served);
    let pause = if is_served {
        let uid = world.object.uid().unwrap_or_default();
        interval.mul_f64(1.0 + JITTER * (2.0 * jitter::fraction(&[&uid, &target.key]) - 1.0))
    } else {
        let doublings = look.failures.clamp(1, 10) - 1;
        (FIRST_PAUSE * 2i32.pow(doublings)).min(LONGEST_PAUSE).min(interval)
    };
    later(look.at, pause)
}

/// The look at an endpoint, if it was made while the certificate that is active now was active.
fn fresh<'a>(world: &'a World, certificate: &Certificate<'_>, key: &str) -> Option<&'a Look> {
    let active = certificate.active?;
    world.looks.get(key).filter(|look| look.fingerprint == active.fingerprint_sha256)
}

/// What the last look at an endpoint proves now; nothing when there was none for this certificate.
pub(super) fn judgement(world: &World, certificate: &Certificate<'_>, target: &ProbeTarget) -> Option<Judgement> {
    let look = fresh(world, certificate, &target.key)?;
    judged(world, certificate, target, &look.found)
}

fn judged(world: &World, certificate: &Certificate<'_>, target: &ProbeTarget, found: &Sighting) -> Option<Judgement> {
    let expected = certificate.expected()?;
    // `ECDSA P-256`, `RSA 2048`.
    let is_other = target.algorithm.is_some_and(|a| !expected.active.key.starts_with(&format!("{a:?}")));
    Some(match is_other {
        true => judge_other(found, &world.anchors, &target.host, world.now),
        false => judge(found, &expected, &world.anchors, &target.host, world.now),
    })
}

/// Remembers a look.
pub(super) fn learn(world: &mut World, key: String, at: Timestamp, result: Result<Served, LookFailure>) {
    let found = match result {
        Ok(Served { address, chain }) => Sighting::Chain { address, chain: shared(world, chain) },
        Err(failure) => Sighting::Failure(failure),
    };
    let targets = Targets::of(world, &names(&world.object), &Certificate::of(world)).list;
    world.looks.retain(|key, _| targets.iter().any(|t| t.key == *key));
    world.done.probed.insert(key.clone());
    let certificate = Certificate::of(world);
    let (Some(active), Some(target)) = (certificate.active, targets.iter().find(|t| t.key == key)) else {
        return;
    };
    let templates = rollout::templates(world);
    let before = fresh(world, &certificate, &key).filter(|l| l.templates == templates).map_or(0, |l| l.failures);
    let mut look = Look { at, failures: 0, found, fingerprint: active.fingerprint_sha256.clone(), templates };
    let judged = judged(world, &certificate, target, &look.found);
    if judged.is_some_and(|j| j.verdict == EndpointVerdict::Problem) {
        look.failures = before.saturating_add(1);
    }
    world.looks.insert(key, look);
}

/// The chain as another endpoint has it in memory already, or else as it came.
fn shared(world: &World, chain: Vec<Vec<u8>>) -> Arc<[Vec<u8>]> {
    let known = world.looks.values().find_map(|look| match &look.found {
        Sighting::Chain { chain: known, .. } if **known == *chain => Some(known.clone()),
        _ => None,
    });
    known.unwrap_or_else(|| chain.into())
}
