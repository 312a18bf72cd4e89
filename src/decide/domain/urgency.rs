//! How long a workload can be held back: as long as what its pods serve is good for.

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::domain::{EndpointVerdict, RolloutState};
use crate::pki::Chain;

use super::certificate::Certificate;
use super::later;
use super::names::names;
use super::sharing::{Member, Wanted};
use super::targets::Targets;
use super::verdict::judge_other;
use super::world::{FoundWorkload, Look, Pods, Sighting, WorkloadView, World};

/// What is left of a certificate's lifetime when its successor can wait no longer: a tenth, at most three days.
const SHARE: i32 = 10;
const MOST: SignedDuration = SignedDuration::from_hours(72);
/// How long workloads that get on are waited for all the same.
const GRACE: SignedDuration = SignedDuration::from_mins(10);

/// From when on less and less holds a workload back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Urgency {
    /// From then on neither windows nor budgets count, nor workloads before it that do not get on.
    pub from: Timestamp,
    /// From then on nothing counts: nor those before it that get on, nor how many may be restarted at once.
    pub last: Timestamp,
}

impl Urgency {
    const NEVER: Self = Self { from: Timestamp::MAX, last: Timestamp::MAX };

    /// By the certificate that is needed most of those that the workload is to serve. `rolled` are the fingerprints that
    /// it was restarted or reloaded for last, `since` is when it first was to serve what it shall serve now.
    pub fn of(
        world: &World,
        certificate: &Certificate<'_>,
        wanted: &Wanted<'_>,
        rolled: &[&str],
        since: Timestamp,
    ) -> Self {
        let own = certificate.active.map(|r| r.fingerprint_sha256.as_str());
        let is_missing = |m: &&Member| m.is_valid && !rolled.contains(&m.fingerprint.as_str());
        let one = |member: &Member| {
            let known = member.former.iter().filter(|f| rolled.contains(&f.fingerprint.as_str()));
            // Where it is not known, it is the one before.
            let any = member.former.iter().filter(|_| rolled.is_empty());
            match known.chain(any).max_by_key(|f| f.revision) {
                // Taken back: what is served has failed.
                Some(served) if served.revision > member.revision => Self::now(world, since),
                Some(served) => Self::before(served.valid, since),
                None if own == Some(member.fingerprint.as_str()) => Self::of_looks(world, certificate, rolled, since),
                None => Self::now(world, since),
            }
        };
        wanted.members.iter().filter(is_missing).map(one).fold(Self::NEVER, Self::sooner)
    }

    fn now(world: &World, since: Timestamp) -> Self {
        Self { from: world.now, last: later(since, GRACE) }
    }

    /// Before a certificate ends.
    fn before((start, end): (Timestamp, Timestamp), since: Timestamp) -> Self {
        let margin = (end.duration_since(start) / SHARE).min(MOST);
        let from = later(end, -margin);
        let last = later(from.max(since), GRACE).min(end).max(later(end, -margin / 2));
        Self { from, last }
    }

    /// Pods serve a certificate that is of no revision any more: by what the endpoints showed.
    fn of_looks(world: &World, certificate: &Certificate<'_>, rolled: &[&str], since: Timestamp) -> Self {
        let targets = Targets::of(world, &names(&world.object), certificate).list;
        let chain = |look: &Look| match &look.found {
            Sighting::Chain { chain, .. } => Chain::from_ders(chain).ok(),
            Sighting::Failure(_) => None,
        };
        let looks: Vec<_> = targets.iter().map(|t| (t, world.looks.get(&t.key))).collect();
        let chains: Vec<Chain> = looks.iter().filter_map(|(_, look)| chain((*look)?)).collect();
        let of = |chain: &Chain| Self::before((chain.leaf().not_before, chain.leaf().not_after), since);
        let is_rolled = |chain: &&Chain| rolled.contains(&chain.leaf().fingerprint.to_string().as_str());
        if let Some(served) = chains.iter().filter(is_rolled).map(of).reduce(Self::sooner) {
            return served;
        }
        if looks.iter().any(|(_, look)| look.is_none()) {
            // They are looked at in this pass, or as soon as other pods are through.
            return Self { from: later(world.now, GRACE), last: later(world.now, GRACE * 2) };
        }
        let is_good = |look: &Look, host: &str| {
            judge_other(&look.found, &world.anchors, host, world.now).verdict == EndpointVerdict::Served
        };
        match looks.iter().all(|(t, look)| look.is_some_and(|look| is_good(look, &t.host))) {
            true => chains.iter().map(of).reduce(Self::sooner).unwrap_or_else(|| Self::now(world, since)),
            false => Self::now(world, since),
        }
    }

    fn sooner(self, other: Self) -> Self {
        Self { from: self.from.min(other.from), last: self.last.min(other.last) }
    }

    /// Whether a workload in this state, before it in the order, is waited for.
    pub fn waits_for(&self, state: RolloutState, now: Timestamp) -> bool {
        now < self.from || (now < self.last && state == RolloutState::RollingOut)
    }

    /// When less holds it back.
    pub fn next(&self, now: Timestamp) -> Option<Timestamp> {
        [self.from, self.last].into_iter().filter(|at| *at > now && *at < Timestamp::MAX).min()
    }
}

/// The fingerprints that a workload was restarted for last.
pub(super) fn of_template(found: &FoundWorkload) -> Vec<&str> {
    found.annotation.iter().flat_map(|value| value.split(',')).collect()
}

/// The fingerprints that all its pods were reloaded for last. Nothing where one of them is on its way, or began with what
/// was there.
pub(super) fn of_pods<'a>(view: &'a WorkloadView, wanted: &Wanted<'_>) -> Vec<&'a str> {
    let Pods::Listed(pods) = &view.pods else { return Vec::new() };
    let mut all = pods.iter().filter(|pod| !pod.is_ending).map(|pod| pod.annotation.as_deref().unwrap_or_default());
    let Some(first) = all.next().filter(|first| !first.is_empty() && *first != wanted.value) else { return Vec::new() };
    if all.all(|other| other == first) { first.split(',').collect() } else { Vec::new() }
}
