//! The names that have TLSA records, the keys that they are of, and which key each endpoint serves.

use std::collections::BTreeSet;

use crate::api::certificate::MailCertificateStatus;
use crate::api::domain::{EndpointStatus, EndpointVerdict, TlsaPurpose};
use crate::pki::Chain;

use super::super::certificate::Certificate;
use super::super::names::Names;
use super::super::world::{ProbeTarget, Sighting, World};

/// A key whose record is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Key {
    /// SHA-256 over its SPKI, in lower-case hex.
    pub spki: String,
    /// `Current` or `Next`.
    pub purpose: TlsaPurpose,
}

/// A name that is to have records: a port of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// `_25._tcp.mail.example.com`.
    pub name: String,
    /// The endpoints there that were not seen to serve a key whose record is wanted.
    pub unproven: Vec<String>,
    /// The endpoints there that serve another certificate as well, to clients of another algorithm, whose key nobody wants
    /// a record of.
    pub beside: Vec<String>,
}

impl Place {
    /// Whether every key that is served there has a record, or is to have one.
    pub fn is_proven(&self) -> bool {
        self.unproven.is_empty() && self.beside.is_empty()
    }
}

/// The keys of a certificate: the active one, and those that are to become it.
pub(super) fn keys(certificate: &Certificate<'_>) -> Vec<Key> {
    let mut keys = Vec::new();
    let Some(status) = status(certificate) else { return keys };
    let mut add = |spki: &str, purpose| {
        if !keys.iter().any(|k: &Key| k.spki == spki) {
            keys.push(Key { spki: spki.to_owned(), purpose });
        }
    };
    if let Some(active) = &status.active {
        add(&active.spki_sha256, TlsaPurpose::Current);
    }
    for staged in &status.staged {
        add(&staged.spki_sha256, TlsaPurpose::Next);
    }
    if let Some(next) = &status.next_key {
        add(&next.spki_sha256, TlsaPurpose::Next);
    }
    keys
}

fn status<'a>(certificate: &Certificate<'a>) -> Option<&'a MailCertificateStatus> {
    certificate.object().and_then(|object| object.status.as_ref())
}

/// What an endpoint shows, by every look at it: through its name, in each pod, with and without SNI.
fn looks<'a>(target: &'a ProbeTarget, endpoints: &'a [EndpointStatus]) -> impl Iterator<Item = &'a EndpointStatus> {
    endpoints.iter().filter(|entry| {
        entry.endpoint.strip_prefix(&target.key).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    })
}

/// Whether it is a look as a client of another algorithm, which was content with what it got.
fn is_other(entry: &EndpointStatus) -> bool {
    entry.verdict == EndpointVerdict::Served && entry.served_fingerprint.is_none()
}

/// The keys of this certificate that an endpoint serves. Nothing when it was not looked at, or a look found a certificate
/// that is not known here.
fn served<'a>(
    certificate: &Certificate<'a>,
    target: &ProbeTarget,
    endpoints: &[EndpointStatus],
) -> Option<BTreeSet<&'a str>> {
    let status = status(certificate)?;
    let spki = |entry: &EndpointStatus| {
        let served = entry.served_fingerprint.as_ref()?;
        let mut revisions = status.active.iter().chain(&status.previous).chain(&status.staged);
        revisions.find(|r| r.fingerprint_sha256 == *served).map(|r| r.spki_sha256.as_str())
    };
    let looks = looks(target, endpoints).filter(|entry| !is_other(entry));
    looks.map(spki).collect::<Option<BTreeSet<&str>>>().filter(|keys| !keys.is_empty())
}

/// The looks that found a key of another algorithm of which nobody wants a record, with that key.
fn beside(world: &World, name: &str, target: &ProbeTarget, endpoints: &[EndpointStatus]) -> Vec<String> {
    let memory = &world.tlsa;
    let seen = memory.looks.get(name).and_then(|look| look.found.as_ref().ok());
    let is_accounted_for = |value: &str| {
        let at = (name.to_owned(), value.to_owned());
        let is_published = seen.is_some_and(|s| {
            s.servers.iter().all(|server| server.answer.as_ref().is_ok_and(|answer| answer.values.contains(value)))
        });
        memory.others.contains(&at) || memory.held.contains(&at) || is_published
    };
    let one = |entry: &EndpointStatus| {
        let leaf = world.looks.get(&entry.endpoint).and_then(|look| match &look.found {
            Sighting::Chain { chain, .. } => Chain::from_ders(chain).ok().map(|c| c.leaf().spki_sha256.to_string()),
            Sighting::Failure(_) => None,
        });
        match leaf {
            None => Some(format!("{} (to be looked at)", entry.endpoint)),
            Some(spki) => {
                let value = format!("3 1 1 {spki}");
                (!is_accounted_for(&value)).then(|| format!("{} ({value})", entry.endpoint))
            }
        }
    };
    looks(target, endpoints).filter(|entry| is_other(entry)).filter_map(one).collect()
}

/// Whether every endpoint serves the current key.
pub(super) fn settled(certificate: &Certificate<'_>, names: &Names, endpoints: &[EndpointStatus]) -> bool {
    let Some(active) = certificate.active else { return false };
    let only = BTreeSet::from([active.spki_sha256.as_str()]);
    let serves = |target: &ProbeTarget| served(certificate, target, endpoints).is_some_and(|keys| keys == only);
    !names.targets.is_empty() && names.targets.iter().all(serves)
}

/// The places of a MailDomain, each once.
pub(super) fn places(
    world: &World,
    certificate: &Certificate<'_>,
    names: &Names,
    endpoints: &[EndpointStatus],
    keys: &[Key],
) -> Vec<Place> {
    let wanted: BTreeSet<&str> = keys.iter().map(|k| k.spki.as_str()).collect();
    let mut places: Vec<Place> = Vec::new();
    for target in &names.targets {
        let name = format!("_{}._tcp.{}", target.port, target.host);
        let proven = served(certificate, target, endpoints).is_some_and(|keys| keys.is_subset(&wanted));
        let at = match places.iter().position(|place| place.name == name) {
            Some(at) => at,
            None => {
                places.push(Place { name: name.clone(), unproven: Vec::new(), beside: Vec::new() });
                places.len() - 1
            }
        };
        if !proven {
            places[at].unproven.push(target.key.clone());
        }
        places[at].beside.extend(beside(world, &name, target, endpoints));
    }
    places
}

/// The host in the name of a TLSA record.
pub(super) fn host(name: &str) -> &str {
    name.splitn(3, '.').nth(2).unwrap_or(name)
}
