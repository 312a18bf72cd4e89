//! The names that have TLSA records, the keys that they are of, and which key each endpoint serves.

use std::collections::BTreeSet;

use crate::api::certificate::MailCertificateStatus;
use crate::api::domain::{EndpointStatus, TlsaPurpose};

use super::super::certificate::Certificate;
use super::super::names::Names;
use super::super::world::ProbeTarget;

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

/// The keys that an endpoint serves, by every look at it: through its name, in each pod, with and without SNI. Nothing
/// when it was not looked at, or a look found a certificate that is not known here.
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
    let is_of = |entry: &&EndpointStatus| {
        entry.endpoint.strip_prefix(&target.key).is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    };
    let looks = endpoints.iter().filter(is_of);
    looks.map(spki).collect::<Option<BTreeSet<&str>>>().filter(|keys| !keys.is_empty())
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
                places.push(Place { name, unproven: Vec::new() });
                places.len() - 1
            }
        };
        if !proven {
            places[at].unproven.push(target.key.clone());
        }
    }
    places
}

/// The host in the name of a TLSA record.
pub(super) fn host(name: &str) -> &str {
    name.splitn(3, '.').nth(2).unwrap_or(name)
}
