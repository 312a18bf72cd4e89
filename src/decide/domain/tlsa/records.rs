//! How far each TLSA record is: the state machine.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::domain::{TlsaPurpose, TlsaRecord, TlsaState};

use super::super::later;
use super::Plan;
use super::places::{Key, Place};
use super::world::{Look, Sighting, Trust};

/// Whether a record is in DNS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// At every authoritative server, with a valid signature.
    Everywhere,
    /// At least one server lacks it, or its signature is missing or wrong.
    Not,
    /// It could not be found out.
    Unclear,
}

/// Whether the record is where clients will look for it.
pub(super) fn seen(sighting: &Sighting, value: &str) -> Seen {
    let mut seen = Seen::Everywhere;
    if sighting.alias.as_ref().is_some_and(|a| !a.values.is_empty() && !a.values.contains(value)) {
        return Seen::Not;
    }
    for server in &sighting.servers {
        match &server.answer {
            Ok(answer) if !answer.values.contains(value) => return Seen::Not,
            Ok(answer) => match answer.trust {
                Trust::Secure => {}
                Trust::Unknown(_) => seen = Seen::Unclear,
                Trust::Insecure | Trust::Bogus(_) => return Seen::Not,
            },
            Err(_) => seen = Seen::Unclear,
        }
    }
    if sighting.servers.is_empty() { Seen::Unclear } else { seen }
}

/// Whether a record is in DNS nowhere any more; nothing when that could not be found out since it was changed last.
fn gone(plan: &Plan<'_>, record: &TlsaRecord) -> Option<bool> {
    let memory = &plan.world.tlsa;
    let look = memory.looks.get(&record.name)?;
    let sighting = look.found.as_ref().ok()?;
    let has = |s: &super::world::Server| s.answer.as_ref().is_ok_and(|a| a.values.contains(&record.value));
    if sighting.servers.iter().any(has) {
        return Some(false);
    }
    let changes = memory.updates.get(&record.name).into_iter().chain(&memory.endpoint);
    let is_newer = changes.into_iter().all(|change| change.at < look.at);
    (is_newer && sighting.servers.iter().all(|s| s.answer.is_ok())).then_some(true)
}

/// Every record that is wanted or left over, by name, purpose and key.
pub(super) fn records(plan: &Plan<'_>) -> Vec<TlsaRecord> {
    let old = plan.old.map(|o| o.records.as_slice()).unwrap_or_default();
    let places: &[Place] = if plan.is_on() { &plan.places } else { &[] };
    let mut names: Vec<&str> =
        places.iter().map(|p| p.name.as_str()).chain(old.iter().map(|r| r.name.as_str())).collect();
    names.sort_unstable();
    names.dedup();
    let mut all = Vec::new();
    for name in names {
        let standing: Vec<&TlsaRecord> = old.iter().filter(|r| r.name == name).collect();
        let place = places.iter().find(|p| p.name == name);
        let one = Name { plan, look: plan.world.tlsa.looks.get(name), ttl: Ttl::of(plan, name, &standing) };
        let keys = if place.is_some() { plan.keys.as_slice() } else { &[] };
        if let Some(place) = place {
            let is_begun = place.is_proven() || standing.iter().any(|r| super::is_wanted(r));
            let find = |key: &Key| standing.iter().find(|r| r.spki_sha256 == key.spki).copied();
            all.extend(keys.iter().map(|key| one.wanted(place, key, find(key), is_begun)));
        }
        let left = standing.iter().filter(|r| !keys.iter().any(|k| k.spki == r.spki_sha256));
        all.extend(left.filter_map(|record| one.left(record, place.is_some())));
    }
    all.sort_by(|a, b| (&a.name, a.purpose, &a.spki_sha256).cmp(&(&b.name, b.purpose, &b.spki_sha256)));
    all
}

/// The records of one name.
struct Name<'a> {
    plan: &'a Plan<'a>,
    look: Option<&'a Look>,
    ttl: Ttl,
}

impl Name<'_> {
    fn now(&self) -> Timestamp {
        self.plan.world.now
    }

    /// A record of a key that is wanted. A name that has records must have those of what is served there: the first ones
    /// wait for the proof, and what was being withdrawn before then still goes, all of it.
    fn wanted(&self, place: &Place, key: &Key, old: Option<&TlsaRecord>, is_begun: bool) -> TlsaRecord {
        if !is_begun && let Some(leaving) = old.and_then(|old| self.left(old, false)) {
            return leaving;
        }
        let mut record = TlsaRecord {
            name: place.name.clone(),
            value: format!("3 1 1 {}", key.spki),
            spki_sha256: key.spki.clone(),
            purpose: key.purpose,
            state: TlsaState::Held,
            first_seen: None,
            ttl: None,
            ttl_until: None,
            safe_from: None,
            remove_after: None,
            cached_until: None,
        };
        if is_begun {
            self.advance(&mut record, old.filter(|r| super::is_wanted(r)));
        }
        record
    }

    /// The state of a record that is to be in DNS, by what DNS showed last.
    fn advance(&self, record: &mut TlsaRecord, before: Option<&TlsaRecord>) {
        record.state = TlsaState::Pending;
        (record.ttl, record.ttl_until) = (self.ttl.seconds, self.ttl.until.map(Time));
        record.first_seen = before.and_then(|r| r.first_seen.clone());
        record.safe_from = before.and_then(|r| r.safe_from.clone());
        let Some(look) = self.look else {
            // Not looked at since the operator started: as it was.
            if let Some(before) = before {
                record.state = before.state;
            }
            return;
        };
        match look.found.as_ref().map_or(Seen::Unclear, |sighting| seen(sighting, &record.value)) {
            Seen::Everywhere => {
                let since = record.first_seen.get_or_insert(Time(look.at)).0;
                let was_ready = before.is_some_and(|r| r.state == TlsaState::Ready);
                let safe = match (&record.safe_from, was_ready) {
                    (Some(at), true) => at.0,
                    _ => self.plan.after(since, record.ttl),
                };
                record.safe_from = Some(Time(safe));
                // It counts when it is seen again at the end of the time.
                record.state = if look.at >= safe { TlsaState::Ready } else { TlsaState::Waiting };
            }
            Seen::Unclear if record.first_seen.is_some() => record.state = TlsaState::Waiting,
            Seen::Unclear => {}
            Seen::Not => (record.first_seen, record.safe_from) = (None, None),
        }
    }

    /// What becomes of a record whose key is no longer wanted at its name, or whose name is not.
    fn left(&self, old: &TlsaRecord, name_stays: bool) -> Option<TlsaRecord> {
        if old.state == TlsaState::Held {
            return None;
        }
        let mut record = old.clone();
        if name_stays {
            record.purpose = TlsaPurpose::Previous;
        }
        if super::is_wanted(old) {
            if name_stays && !self.may_go(&mut record) {
                self.advance(&mut record, Some(old));
                return Some(record);
            }
            if name_stays {
                // From here on others are cached without it.
                (record.first_seen, record.safe_from) = (None, None);
            }
            record.state = TlsaState::Removing;
            record.remove_after = None;
        }
        self.withdraw(record)
    }

    /// Whether two TTLs have passed since every endpoint was seen to serve the current key.
    fn may_go(&self, record: &mut TlsaRecord) -> bool {
        if !self.plan.settled {
            record.remove_after = None;
            return false;
        }
        // The proof may be younger than the pass.
        let proven = self.plan.world.looks.values().map(|look| look.at).fold(self.now(), Timestamp::max);
        let when = self.plan.after(proven, record.ttl);
        record.remove_after.get_or_insert(Time(when)).0 <= self.now()
    }

    fn withdraw(&self, mut record: TlsaRecord) -> Option<TlsaRecord> {
        let at = (record.name.clone(), record.value.clone());
        if self.plan.world.tlsa.others.contains(&at) {
            // Another MailDomain wants it, and will see to it.
            return None;
        }
        match gone(self.plan, &record) {
            Some(false) => {
                record.state = TlsaState::Removing;
                record.cached_until = None;
            }
            Some(true) if record.state == TlsaState::Removing => {
                let seen_at = self.look.map_or(self.now(), |look| look.at);
                record.state = TlsaState::Withdrawn;
                record.cached_until = Some(Time(self.plan.after(seen_at, record.ttl)));
            }
            _ => {}
        }
        let is_over = record.cached_until.as_ref().is_some_and(|at| at.0 <= self.now());
        (!is_over).then_some(record)
    }
}

/// How long resolvers may keep what they have of a name.
struct Ttl {
    seconds: Option<u32>,
    until: Option<Timestamp>,
}

impl Ttl {
    /// The longest that was seen. A shorter one counts only when those who have the longer one have lost it.
    fn of(plan: &Plan<'_>, name: &str, standing: &[&TlsaRecord]) -> Self {
        let known = standing.iter().filter_map(|r| r.ttl).max();
        let until = standing.iter().filter_map(|r| r.ttl_until.as_ref()).map(|at| at.0).max();
        let Some(found) = seen_ttl(plan.world.tlsa.looks.get(name)) else {
            return Self { seconds: known, until };
        };
        let Some(known) = known.filter(|known| *known > found) else {
            return Self { seconds: Some(found), until: None };
        };
        let until = until.unwrap_or_else(|| later(plan.world.now, SignedDuration::from_secs(i64::from(known))));
        if until <= plan.world.now {
            return Self { seconds: Some(found), until: None };
        }
        Self { seconds: Some(known), until: Some(until) }
    }
}

/// The longest TTL of a name's records, where all servers have signed ones.
fn seen_ttl(look: Option<&Look>) -> Option<u32> {
    let sighting = look?.found.as_ref().ok()?;
    let of = |s: &super::world::Server| {
        let answer = s.answer.as_ref().ok().filter(|a| a.trust == Trust::Secure && !a.values.is_empty());
        answer.map(|a| a.ttl)
    };
    sighting.servers.iter().map(of).collect::<Option<Vec<u32>>>()?.into_iter().max()
}
