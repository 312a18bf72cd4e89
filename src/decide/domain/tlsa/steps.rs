//! What is to be done about TLSA records, and when to look again.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;

use crate::api::domain::{TlsaMode, TlsaRecord, TlsaState};
use crate::decide::jitter;

use super::super::later;
use super::places::host;
use super::world::{Attempt, Sighting, Step, Update};
use super::{Plan, is_wanted};

/// From an update to the look at what it brought, and between the first looks at what is not as it should be. Doubles
/// while the looks find the same.
const FIRST_PAUSE: SignedDuration = SignedDuration::from_secs(1);
/// Longest pause between looks at what is not as it should be.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_mins(10);
/// Longest pause between looks at what waits for its time.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_mins(15);
/// Shortest and longest pause between looks at what is as it should be; between them it is the TTL.
const REST: (SignedDuration, SignedDuration) = (SignedDuration::from_secs(30), SignedDuration::from_hours(1));
/// Pause after the first failed change. Doubles with each further one, up to [`LONGEST_RETRY`].
const FIRST_RETRY: SignedDuration = SignedDuration::from_secs(10);
/// Longest pause between failed changes.
const LONGEST_RETRY: SignedDuration = SignedDuration::from_mins(15);
/// Pause before a change that succeeded and did not show is made again. Doubles with each further one, up to
/// [`LONGEST_RETRY`].
const AGAIN: SignedDuration = SignedDuration::from_secs(30);
/// A TTL that is another one after so many updates more is left as it is: the server, or somebody else, wants it so.
const MOST_REPEATS: u32 = 3;
/// Share of the pause by which looks are spread to either side.
const JITTER: f64 = 0.1;

impl Plan<'_> {
    /// What is to be done now.
    pub(super) fn due(&self) -> Vec<Step> {
        let now = self.world.now;
        let mut steps = Vec::new();
        for name in self.names() {
            if self.next_look(name).is_some_and(|at| at <= now) {
                steps.push(Step::Look { name: name.to_owned(), host: host(name).to_owned() });
            } else if let Some((update, at)) = self.update(name)
                && at <= now
            {
                steps.push(Step::Update(update));
            }
        }
        steps.extend(self.endpoint_due().filter(|(_, at)| *at <= now).map(|(step, _)| step));
        steps.extend(self.show_due().filter(|(_, at)| *at <= now).map(|(step, _)| step));
        steps
    }

    /// When something changes without any event.
    pub fn wake(&self) -> Option<Timestamp> {
        let unknown = self.records.iter().any(|r| is_wanted(r) && !self.is_persisted(r))
            || (self.mode == TlsaMode::Show && !self.may_show());
        let soon = unknown.then(|| later(self.world.now, FIRST_PAUSE));
        let dates = |r: &TlsaRecord| [r.remove_after.clone(), r.cached_until.clone(), r.ttl_until.clone()];
        let dates = self.records.iter().flat_map(dates).flatten().map(|at| at.0).filter(|at| *at > self.world.now);
        let looks = self.names().into_iter().filter_map(|name| self.next_look(name));
        let updates = self.names().into_iter().filter_map(|name| self.update(name)).map(|(_, at)| at);
        let others = self.endpoint_due().into_iter().chain(self.show_due()).map(|(_, at)| at);
        dates.chain(looks).chain(updates).chain(others).chain(soon).min()
    }

    /// When a name is looked at next. What others have published there counts as well, before anything is of this one.
    fn next_look(&self, name: &str) -> Option<Timestamp> {
        let has = |state: TlsaState| self.at(name).any(|r| r.state == state);
        let Some(look) = self.world.tlsa.looks.get(name) else { return Some(self.world.now) };
        let changes = self.world.tlsa.updates.get(name).into_iter().chain(&self.world.tlsa.endpoint);
        let changed =
            changes.filter(|a| a.problem.is_none()).map(|a| later(a.at, FIRST_PAUSE)).find(|at| *at > look.at);
        let ttl = SignedDuration::from_secs(i64::from(self.ttl));
        let pause = if has(TlsaState::Pending) || has(TlsaState::Removing) || look.found.is_err() {
            (FIRST_PAUSE * 2i32.pow(look.same.min(12))).min(LONGEST_PAUSE)
        } else if has(TlsaState::Waiting) || has(TlsaState::Withdrawn) {
            (ttl / 2).clamp(FIRST_PAUSE, LONGEST_WAIT)
        } else {
            let uid = self.world.object.uid().unwrap_or_default();
            ttl.clamp(REST.0, REST.1).mul_f64(1.0 + JITTER * (2.0 * jitter::fraction(&[&uid, name]) - 1.0))
        };
        let safe = self.at(name).filter(|r| r.state == TlsaState::Waiting).filter_map(|r| r.safe_from.as_ref());
        let safe = safe.map(|at| at.0).filter(|at| *at > look.at);
        safe.chain(changed).chain([later(look.at, pause)]).min()
    }

    /// Whether the status that the object has knows of a record: only then is it published.
    fn is_persisted(&self, record: &TlsaRecord) -> bool {
        let known = self.old.iter().flat_map(|old| &old.records);
        known.into_iter().any(|r| r.name == record.name && r.value == record.value && is_wanted(r))
    }

    fn sighting(&self, name: &str) -> Option<&Sighting> {
        self.world.tlsa.looks.get(name)?.found.as_ref().ok()
    }

    /// The change that a name needs at the server that takes updates; and the TTL that is there, where it is only that.
    fn change(&self, name: &str) -> Option<(Update, Option<u32>)> {
        let server = self.server()?;
        let sighting = self.sighting(name)?;
        let values = |which: &dyn Fn(&TlsaRecord) -> bool| -> BTreeSet<String> {
            self.at(name).filter(|r| which(r)).map(|r| r.value.clone()).collect()
        };
        let add = values(&|r| is_wanted(r) && self.is_persisted(r));
        let remove = values(&|r| matches!(r.state, TlsaState::Removing | TlsaState::Withdrawn));
        // The records of a name have one TTL: of those who want different ones all take the shortest.
        let ttl = self.ttl.min(self.world.tlsa.ttls.get(name).copied().unwrap_or(u32::MAX));
        let answers: Vec<_> = sighting.servers.iter().filter_map(|s| s.answer.as_ref().ok()).collect();
        let is_there = |value: &String| answers.iter().any(|a| a.values.contains(value));
        let is_whole = add.iter().all(is_there) && !remove.iter().any(is_there);
        let other = answers.iter().find(|a| !a.values.is_disjoint(&add) && a.ttl != ttl).map(|a| a.ttl);
        if is_whole && other.is_none() {
            return None;
        }
        let (owner, name) = (sighting.owner.clone(), name.to_owned());
        Some((Update { server: server.clone(), owner, add, remove, ttl, name }, other.filter(|_| is_whole)))
    }

    /// The change that is made at the server that takes updates, and when.
    fn update(&self, name: &str) -> Option<(Update, Timestamp)> {
        let (update, ttl) = self.change(name)?;
        if ttl.is_some() && self.is_in_vain(&update) {
            return None;
        }
        let at = self.retry(self.world.tlsa.updates.get(&update.name), &Step::Update(update.clone()));
        Some((update, at))
    }

    /// Whether this was done again and again.
    fn is_in_vain(&self, update: &Update) -> bool {
        let last = self.world.tlsa.updates.get(&update.name);
        last.is_some_and(|last| last.repeats >= MOST_REPEATS && last.what == Step::Update(update.clone()).digest())
    }

    /// The TTL that a name's records have, and the one that they do not take.
    pub(super) fn kept_ttl(&self, name: &str) -> Option<(u32, u32)> {
        let (update, ttl) = self.change(name)?;
        ttl.filter(|_| self.is_in_vain(&update)).map(|kept| (kept, update.ttl))
    }

    /// Whether the server has taken updates of a name that did not show.
    pub(super) fn is_unheard(&self, name: &str) -> bool {
        self.change(name).is_some_and(|(update, ttl)| ttl.is_none() && self.is_in_vain(&update))
    }

    /// The DNSEndpoint as it should be, if there should be one or one is left.
    pub(super) fn endpoint_step(&self) -> Option<Step> {
        let mut records: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        if self.mode == TlsaMode::DNSEndpoint {
            for record in self.records.iter().filter(|r| is_wanted(r) && self.is_persisted(r)) {
                let owner = self.sighting(&record.name).map_or(&record.name, |s| &s.owner);
                let others = self.world.tlsa.others.iter().filter(|(name, _)| *name == record.name);
                let values = records.entry(owner.clone()).or_default();
                values.insert(record.value.clone());
                values.extend(others.map(|(_, value)| value.clone()));
            }
        }
        let stands = self.old.is_some_and(|old| old.dns_endpoint);
        let labels =
            self.spec.and_then(|tlsa| tlsa.dns_endpoint.as_ref()).map(|e| e.labels.clone()).unwrap_or_default();
        (stands || !records.is_empty()).then_some(Step::Endpoint { records, ttl: self.ttl, labels })
    }

    fn endpoint_due(&self) -> Option<(Step, Timestamp)> {
        let step = self.endpoint_step()?;
        let last = self.world.tlsa.endpoint.as_ref();
        if self.is_done(last, &step) {
            return None;
        }
        let at = self.retry(last, &step);
        Some((step, at))
    }

    /// The ConfigMap as it should be, if there should be one or one is left.
    fn show_due(&self) -> Option<(Step, Timestamp)> {
        // It is in the status before there is one, so that it is found again whatever happens.
        if !self.may_show() {
            return None;
        }
        let step = Step::Show(if self.mode == TlsaMode::Show { self.lines() } else { String::new() });
        let last = self.world.tlsa.shown.as_ref();
        if self.is_done(last, &step) {
            return None;
        }
        let at = self.retry(last, &step);
        Some((step, at))
    }

    /// Whether the status knows that there may be a ConfigMap.
    fn may_show(&self) -> bool {
        self.old.is_some_and(|old| old.mode == TlsaMode::Show)
    }

    /// The records as lines of a zone file.
    pub(super) fn lines(&self) -> String {
        let line = |r: &TlsaRecord| format!("{}. {} IN TLSA {}\n", r.name, self.ttl, r.value);
        self.records.iter().filter(|r| is_wanted(r)).map(line).collect()
    }

    /// Whether this was done last, and succeeded.
    pub(super) fn is_done(&self, last: Option<&Attempt>, step: &Step) -> bool {
        last.is_some_and(|a| a.problem.is_none() && a.what == step.digest())
    }

    /// When a step is made, after the last one of its kind.
    fn retry(&self, last: Option<&Attempt>, step: &Step) -> Timestamp {
        let Some(last) = last.filter(|a| a.what == step.digest()) else { return self.world.now };
        let pause = match last.failures {
            0 => (AGAIN * 2i32.pow(last.repeats.min(10))).min(LONGEST_RETRY),
            n => (FIRST_RETRY * 2i32.pow((n - 1).min(10))).min(LONGEST_RETRY),
        };
        later(last.at, pause)
    }
}
