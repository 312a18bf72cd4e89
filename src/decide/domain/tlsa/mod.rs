//! TLSA records (DANE, RFC 6698, 7671 and 7672): which are wanted, when a key is safe to activate, when a record may go.
//!
//! Each endpoint's name has `3 1 1` records of the current and of every next key. A record is `Pending` until every
//! authoritative server has it with a valid signature, `Waiting` for two TTLs from then, and then `Ready`: whoever has
//! records of this name in a cache has this one among them. A record that vanishes begins anew. A key that is replaced
//! keeps its record until two TTLs after every endpoint was seen to serve the current one. Turning it all off withdraws
//! the records and lets go of the key two TTLs later.
//!
//! What is done is in the status first: a record is never published that a restarted operator would not know of.

mod places;
mod records;
mod said;
mod steps;
#[cfg(test)]
mod tests;
mod world;

pub use world::{
    Alias, Answer, Attempt, CONFIG_MAP_VALUE, Look, Memory, Outcome, Server, Sighting, Step, Trust, Update,
};

use std::collections::BTreeSet;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::domain::{EndpointStatus, MailDomain, Tlsa, TlsaMode, TlsaPurpose, TlsaRecord, TlsaState, TlsaStatus};
use crate::api::solver::DnsServer;

use super::certificate::Certificate;
use super::later;
use super::names::Names;
use super::status::Said;
use super::world::World;
use places::{Key, Place};

/// What there is to decide about the TLSA records of a MailDomain.
pub(super) struct Plan<'a> {
    world: &'a World,
    spec: Option<&'a Tlsa>,
    old: Option<&'a TlsaStatus>,
    mode: TlsaMode,
    /// In seconds.
    ttl: u32,
    keys: Vec<Key>,
    places: Vec<Place>,
    /// Whether every endpoint was seen to serve the current key.
    settled: bool,
    records: Vec<TlsaRecord>,
}

impl<'a> Plan<'a> {
    /// Nothing when TLSA records are neither wanted nor left over. `endpoints` is what the endpoints serve.
    pub fn of(
        world: &'a World,
        names: &Names,
        certificate: &Certificate<'a>,
        endpoints: &[EndpointStatus],
    ) -> Option<Self> {
        // One that is being deleted wants none any more.
        let is_leaving = world.object.metadata.deletion_timestamp.is_some();
        let spec = world.object.spec.dns.as_ref().filter(|_| !is_leaving).and_then(|dns| dns.tlsa.as_ref());
        let old = world.object.status.as_ref().and_then(|s| s.dns.as_ref()).and_then(|dns| dns.tlsa.as_ref());
        if spec.is_none() && old.is_none() {
            return None;
        }
        let longest = old.iter().flat_map(|o| &o.records).filter_map(|r| r.ttl).max();
        let set = spec.map(|tlsa| tlsa.ttl);
        let mode = spec.map_or(TlsaMode::Remove, |tlsa| tlsa.mode);
        let keys = places::keys(certificate);
        let mut plan = Self {
            world,
            spec,
            old,
            mode,
            // What is withdrawn has the TTL that it was published with.
            ttl: if mode == TlsaMode::Remove { longest.or(set) } else { set }.unwrap_or(1),
            settled: places::settled(certificate, names, endpoints),
            places: places::places(world, certificate, names, endpoints, &keys),
            keys,
            records: Vec::new(),
        };
        plan.records = records::records(&plan);
        Some(plan)
    }

    fn is_on(&self) -> bool {
        self.mode != TlsaMode::Remove
    }

    /// The server that takes updates, where one does.
    fn server(&self) -> Option<&'a DnsServer> {
        let own = self.spec.and_then(|tlsa| tlsa.rfc2136.as_ref());
        match self.mode {
            TlsaMode::RFC2136 => own,
            TlsaMode::Remove => own.or_else(|| last_server(&self.world.object)),
            TlsaMode::Show | TlsaMode::DNSEndpoint => None,
        }
    }

    /// Whether there is a DNSEndpoint, or is about to be.
    fn has_endpoint(&self) -> bool {
        let was = self.old.is_some_and(|old| old.dns_endpoint);
        let is_gone = || self.endpoint_step().is_none_or(|step| self.is_done(self.world.tlsa.endpoint.as_ref(), &step));
        self.mode == TlsaMode::DNSEndpoint || (was && !is_gone())
    }

    /// The status to write; nothing when the spec says nothing of TLSA records and it is all over.
    pub fn status(&self) -> Option<TlsaStatus> {
        let dns_endpoint = self.has_endpoint();
        if self.spec.is_none() && self.records.is_empty() && !dns_endpoint {
            return None;
        }
        let said = self.said();
        Some(TlsaStatus {
            mode: self.mode,
            server: self.server().cloned(),
            dns_endpoint,
            records: self.records.clone(),
            ready: self.ready(),
            published: self.spkis(|record| record.state != TlsaState::Held),
            message: Some(crate::decide::conditions::shortened(&said.message)),
        })
    }

    /// The keys that can be activated now. The active one is among them, and before there is one, every key: nothing
    /// that works can break.
    fn ready(&self) -> Vec<String> {
        let names = self.names();
        let is_visible = |name: &str| self.at(name).any(|r| r.state != TlsaState::Held) || !self.is_free(name);
        let has = |name: &str, spki: &str| self.at(name).any(|r| r.spki_sha256 == spki && self.is_safe(r));
        let is_current = |spki: &str| self.keys.iter().any(|k| k.purpose == TlsaPurpose::Current && k.spki == spki);
        let is_first = !self.keys.iter().any(|k| k.purpose == TlsaPurpose::Current);
        let candidates = self.keys.iter().map(|k| &k.spki).chain(self.records.iter().map(|r| &r.spki_sha256));
        let mut ready: Vec<String> = candidates
            .filter(|spki| {
                is_first || is_current(spki) || names.iter().all(|name| !is_visible(name) || has(name, spki))
            })
            .cloned()
            .collect();
        ready.sort();
        ready.dedup();
        ready
    }

    /// Whether it is known that nobody else has published records of keys at a name where nothing is of this MailDomain.
    fn is_free(&self, name: &str) -> bool {
        let sighting = self.world.tlsa.looks.get(name).and_then(|look| look.found.as_ref().ok());
        let has_none = |s: &Server| s.answer.as_ref().is_ok_and(|answer| !answer.values.iter().any(|v| is_of_key(v)));
        sighting.is_some_and(|s| s.servers.iter().all(has_none))
    }

    /// Records of keys at a name that are none of this MailDomain's.
    fn foreign(&self, name: &str) -> Vec<String> {
        let sighting = self.world.tlsa.looks.get(name).and_then(|look| look.found.as_ref().ok());
        let answers = sighting.iter().flat_map(|s| &s.servers).filter_map(|s| s.answer.as_ref().ok());
        let values: BTreeSet<&String> = answers.flat_map(|answer| &answer.values).collect();
        let is_other = |value: &&String| is_of_key(value) && !self.at(name).any(|r| r.value == **value);
        values.into_iter().filter(is_other).map(|value| format!("{name} {value}")).collect()
    }

    /// Whether everybody who has records of this name at all has this one.
    fn is_safe(&self, record: &TlsaRecord) -> bool {
        let was = record.safe_from.as_ref().is_some_and(|at| at.0 <= self.world.now);
        match record.state {
            TlsaState::Ready => true,
            // The whole name goes, and until then its records are cached together.
            TlsaState::Removing | TlsaState::Withdrawn => was,
            TlsaState::Held | TlsaState::Pending | TlsaState::Waiting => false,
        }
    }

    fn spkis(&self, which: impl Fn(&TlsaRecord) -> bool) -> Vec<String> {
        let mut all: Vec<String> = self.records.iter().filter(|r| which(r)).map(|r| r.spki_sha256.clone()).collect();
        all.sort();
        all.dedup();
        all
    }

    /// The names that have records, each once.
    fn names(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.records.iter().map(|r| r.name.as_str()).collect();
        names.dedup();
        names
    }

    fn at<'b>(&'b self, name: &'b str) -> impl Iterator<Item = &'b TlsaRecord> + 'b {
        self.records.iter().filter(move |r| r.name == name)
    }

    /// Two TTLs, of the longest that is set or was seen; and a second, since times are whole seconds, rounded down.
    fn hold(&self, seen: Option<u32>) -> SignedDuration {
        SignedDuration::from_secs(2 * i64::from(self.ttl.max(seen.unwrap_or(0))) + 1)
    }

    fn after(&self, at: Timestamp, seen: Option<u32>) -> Timestamp {
        later(at, self.hold(seen))
    }

    /// What the condition `DNSReady` says.
    pub fn said(&self) -> Said {
        said::said(self)
    }

    /// Whether records are, or are about to be, at a server that takes updates, or in somebody's cache.
    pub fn is_at_server(&self) -> bool {
        self.server().is_some() && self.records.iter().any(|r| r.state != TlsaState::Held)
    }

    /// The records that are to be withdrawn and are not yet, as in a zone file.
    pub fn leaving(&self) -> Vec<String> {
        let leaving = self.records.iter().filter(|r| r.state == TlsaState::Removing);
        leaving.map(|r| format!("{}. IN TLSA {}", r.name, r.value)).collect()
    }

    /// Whether a record that is withdrawn may still be cached.
    pub fn is_cached(&self) -> bool {
        self.records.iter().any(|r| r.state == TlsaState::Withdrawn)
    }

    /// What is to be done now.
    pub fn steps(&self) -> Vec<Step> {
        self.due()
    }
}

/// The server that took a MailDomain's updates, or may have done so before the status could tell of it.
pub fn last_server(object: &MailDomain) -> Option<&DnsServer> {
    let told = object.status.as_ref().and_then(|s| s.dns.as_ref()).and_then(|dns| dns.tlsa.as_ref());
    let wanted = object.spec.dns.as_ref().and_then(|dns| dns.tlsa.as_ref());
    let wanted = wanted.filter(|tlsa| tlsa.mode == TlsaMode::RFC2136);
    told.and_then(|tlsa| tlsa.server.as_ref()).or_else(|| wanted.and_then(|tlsa| tlsa.rfc2136.as_ref()))
}

/// Whether a record names a server's own key or certificate (DANE-EE): one that does not fit another key.
fn is_of_key(value: &str) -> bool {
    value.starts_with("3 ")
}

/// Whether a record is, or is to be, in DNS.
fn is_wanted(record: &TlsaRecord) -> bool {
    matches!(record.state, TlsaState::Pending | TlsaState::Waiting | TlsaState::Ready)
}
