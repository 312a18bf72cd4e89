//! What the condition `DNSReady` says about TLSA records: the worst first.

use std::collections::BTreeSet;

use crate::api::domain::{TlsaMode, TlsaPurpose, TlsaRecord, TlsaState};
use crate::api::reasons::dns as reason;
use crate::decide::conditions::State;

use super::super::status::Said;
use super::super::{counted, first_three};
use super::places::host;
use super::world::{Sighting, Trust};
use super::{Plan, is_wanted};

/// A longer TTL than this, in seconds, makes key changes wait for longer than people expect.
const LONG: u32 = 86_400;

pub(super) fn said(plan: &Plan<'_>) -> Said {
    let mut said = judge(plan);
    let kept = plan.names().into_iter().find_map(|name| Some((name, plan.kept_ttl(name)?)));
    if let Some((name, (kept, wanted))) = kept {
        said.message.push_str(&format!(
            "; the TTL of {name} stays {kept} s, though updates ask for {wanted} s: the DNS server or somebody else wants it \
             so, and it is left"
        ));
    }
    let unwritten = plan.world.tlsa.shown.as_ref().and_then(|attempt| attempt.problem.as_ref());
    if let Some(problem) = unwritten.filter(|_| plan.mode == TlsaMode::Show) {
        said.message.push_str(&format!("; {problem}"));
    }
    said
}

fn judge(plan: &Plan<'_>) -> Said {
    if !plan.is_on() && plan.records.is_empty() && !plan.has_endpoint() {
        return withdrawn();
    }
    let problems = [failed, bogus, unsigned, overruled, unclear, pending, held, waiting, removing];
    problems.into_iter().find_map(|problem| problem(plan)).unwrap_or_else(|| good(plan))
}

fn withdrawn() -> Said {
    let message = "no TLSA records of this MailDomain are published or cached any more: spec.dns.tlsa can be removed";
    Said::new(State::True, reason::TLSA_WITHDRAWN, message.to_owned())
}

fn not(reason: &'static str, message: String) -> Option<Said> {
    Some(Said::new(State::False, reason, message))
}

/// Names with what DNS showed of them.
fn sightings<'a>(plan: &'a Plan<'_>) -> impl Iterator<Item = (&'a str, &'a Sighting)> {
    let looks = &plan.world.tlsa.looks;
    plan.names().into_iter().filter_map(|name| Some((name, looks.get(name)?.found.as_ref().ok()?)))
}

fn failed(plan: &Plan<'_>) -> Option<Said> {
    let memory = &plan.world.tlsa;
    let updates = plan.names().into_iter().filter_map(|name| memory.updates.get(name));
    let problem = updates.chain(&memory.endpoint).find_map(|attempt| attempt.problem.as_ref())?;
    not(reason::PUBLISH_FAILED, format!("TLSA records cannot be changed: {problem}"))
}

fn bogus(plan: &Plan<'_>) -> Option<Said> {
    let broken = |(name, sighting): (&str, &Sighting)| {
        sighting.servers.iter().find_map(|server| match server.answer.as_ref().map(|a| &a.trust) {
            Ok(Trust::Bogus(why)) => Some(format!(
                "what {} says about {name} does not validate (DNSSEC): {why}; servers that check it cannot send mail \
                 there until that is mended",
                server.name
            )),
            _ => None,
        })
    };
    not(reason::DNSSEC_BOGUS, sightings(plan).find_map(broken)?)
}

fn unsigned(plan: &Plan<'_>) -> Option<Said> {
    let is_insecure = |s: &super::world::Server| s.answer.as_ref().is_ok_and(|a| a.trust == Trust::Insecure);
    let (_, sighting) = sightings(plan).find(|(_, s)| plan.is_on() && s.servers.iter().any(is_insecure))?;
    not(
        reason::ZONE_NOT_SIGNED,
        format!(
            "the zone {} is not signed (DNSSEC), so TLSA records in it have no effect, and no other key can be activated \
             while spec.dns.tlsa is on; sign it and have its DS record set in the parent zone, or set \
             spec.dns.tlsa.mode to Remove",
            sighting.zone
        ),
    )
}

fn overruled(plan: &Plan<'_>) -> Option<Said> {
    let lacks = |(name, sighting): (&str, &Sighting)| {
        let alias = sighting.alias.as_ref().filter(|a| !a.values.is_empty())?;
        let lacks = plan.at(name).any(|r| is_wanted(r) && !alias.values.contains(&r.value));
        lacks.then(|| {
            format!(
                "{} is an alias of {}, below which clients look for TLSA records first (RFC 7671, section 7); those \
                 there are not of this certificate's keys: remove them, or name {} in spec.endpoints in place of the \
                 alias",
                host(name),
                alias.end,
                alias.end
            )
        })
    };
    not(reason::TLSA_OVERRULED, sightings(plan).find_map(lacks)?)
}

fn unclear(plan: &Plan<'_>) -> Option<Said> {
    let looks = &plan.world.tlsa.looks;
    let why = |name: &str| match &looks.get(name)?.found {
        Err(why) => Some(format!("{name}: {why}")),
        Ok(sighting) => sighting.servers.iter().find_map(|server| match &server.answer {
            Err(why) => Some(format!("{name} at {}: {why}", server.name)),
            Ok(answer) => match &answer.trust {
                Trust::Unknown(why) => Some(format!("{name} at {} cannot be validated (DNSSEC): {why}", server.name)),
                _ => None,
            },
        }),
    };
    let problems: Vec<String> = plan.names().into_iter().filter_map(why).collect();
    let message = format!("TLSA records cannot be looked at: {}", first_three(&problems, "; "));
    (!problems.is_empty()).then(|| Said::new(State::Unknown, reason::DNS_FAILED, message))
}

/// Where a record is not, in words; nothing when no look says so.
fn absence(plan: &Plan<'_>, record: &TlsaRecord) -> Option<(Vec<String>, bool)> {
    let sighting = plan.world.tlsa.looks.get(&record.name)?.found.as_ref().ok()?;
    let lacks = |s: &&super::world::Server| s.answer.as_ref().is_ok_and(|a| !a.values.contains(&record.value));
    let lacking: Vec<String> = sighting.servers.iter().filter(lacks).map(|s| s.name.clone()).collect();
    let is_nowhere = lacking.len() == sighting.servers.len();
    (!lacking.is_empty()).then_some((lacking, is_nowhere))
}

fn pending(plan: &Plan<'_>) -> Option<Said> {
    let all: Vec<&TlsaRecord> = plan.records.iter().filter(|r| r.state == TlsaState::Pending).collect();
    let first = all.iter().find(|r| absence(plan, r).is_some()).or(all.first())?;
    let more = match all.len() {
        1 => String::new(),
        n => format!("; and {} more", counted(n - 1, "record")),
    };
    let of = format!("the TLSA record of the {} key at {} ({})", purpose(first), first.name, first.value);
    let line = format!("{}. {} IN TLSA {}", first.name, plan.ttl, first.value);
    let (reason, message) = match (absence(plan, first), plan.mode) {
        (None, _) => (reason::TLSA_PENDING, format!("{of} has not been looked for yet{more}")),
        (Some((_, true)), TlsaMode::Show) => (reason::TLSA_MISSING, format!("publish this record: {line}{more}")),
        (Some((_, true)), _) if plan.is_unheard(&first.name) => {
            let message = format!(
                "{of} is not in DNS, though the DNS server has taken several updates: is it the primary of the zone that \
                 clients ask?{more}"
            );
            (reason::TLSA_PENDING, message)
        }
        (Some((_, true)), _) => (reason::TLSA_PENDING, format!("{of} is not in DNS yet{more}")),
        (Some((servers, false)), _) => {
            let servers = first_three(&servers, ", ");
            let message = format!(
                "{of} is not at {servers} yet, though at others: does the zone's transfer to every server work?{more}"
            );
            (reason::TLSA_PENDING, message)
        }
    };
    not(reason, message)
}

fn purpose(record: &TlsaRecord) -> &'static str {
    match record.purpose {
        TlsaPurpose::Current => "current",
        TlsaPurpose::Next => "next",
        TlsaPurpose::Previous => "previous",
    }
}

fn held(plan: &Plan<'_>) -> Option<Said> {
    if plan.is_on() && plan.places.is_empty() {
        let message = "spec.endpoints names no endpoint, so there is nothing that TLSA records could be for";
        return not(reason::TLSA_HELD, message.to_owned());
    }
    if plan.is_on() && plan.keys.is_empty() {
        return not(reason::TLSA_HELD, "TLSA records are published when there is a certificate".to_owned());
    }
    let held: BTreeSet<&str> =
        plan.records.iter().filter(|r| r.state == TlsaState::Held).map(|r| r.name.as_str()).collect();
    let places = || plan.places.iter().filter(|p| held.contains(p.name.as_str()));
    let foreign: Vec<String> = places().flat_map(|p| plan.foreign(&p.name)).collect();
    let meanwhile = match &foreign[..] {
        [] => String::new(),
        _ => format!(
            "; until then no other key is activated, since somebody else has published records: {}",
            first_three(&foreign, ", ")
        ),
    };
    let unproven: Vec<&String> = places().flat_map(|p| &p.unproven).collect();
    if !unproven.is_empty() {
        let message = format!(
            "TLSA records are published when the endpoint is seen to serve the current key, which these do not yet: \
             {}{meanwhile}",
            first_three(&unproven, ", ")
        );
        return not(reason::TLSA_HELD, message);
    }
    let beside: Vec<&String> = places().flat_map(|p| &p.beside).collect();
    let message = format!(
        "TLSA records are published when every key that is served is to have one, which these are not: {}; let a \
         MailDomain with dns.tlsa and the same endpoints use the certificate of that key{meanwhile}",
        first_three(&beside, ", ")
    );
    (!beside.is_empty()).then(|| Said::new(State::False, reason::TLSA_HELD, message))
}

fn waiting(plan: &Plan<'_>) -> Option<Said> {
    let waits = plan.records.iter().filter(|r| r.state == TlsaState::Waiting);
    let last = waits.max_by_key(|r| r.safe_from.as_ref().map(|at| at.0))?;
    let ttl = plan.ttl.max(last.ttl.unwrap_or(0));
    let key = match last.purpose {
        TlsaPurpose::Current => "another key can follow the current one".to_owned(),
        _ => format!("the {} key can be activated", purpose(last)),
    };
    let at = last.safe_from.as_ref().map(|at| at.0.to_string()).unwrap_or_default();
    let mut message = format!(
        "{key} at {at}: two TTLs (of {ttl} s) after its record was first seen at every server of {}",
        last.name
    );
    if ttl > LONG {
        message.push_str(&format!(
            "; a TTL of {} makes every change of the key wait for twice that: an hour (spec.dns.tlsa.ttl: 3600, and the \
             same in the zone) is enough",
            days(ttl)
        ));
    }
    not(reason::TLSA_WAITING, message)
}

/// A long time as people write it.
fn days(seconds: u32) -> String {
    match (seconds / 86_400, seconds % 86_400 / 3600) {
        (days, 0) => counted(days as usize, "day"),
        (days, hours) => format!("{} and {}", counted(days as usize, "day"), counted(hours as usize, "hour")),
    }
}

fn removing(plan: &Plan<'_>) -> Option<Said> {
    let is_whole = |r: &&TlsaRecord| matches!(r.state, TlsaState::Removing | TlsaState::Withdrawn);
    let leaving: Vec<&TlsaRecord> = plan.records.iter().filter(is_whole).collect();
    let there: Vec<&&TlsaRecord> = leaving.iter().filter(|r| r.state == TlsaState::Removing).collect();
    let by_hand = plan.server().is_none() && plan.mode != TlsaMode::DNSEndpoint && !plan.has_endpoint();
    if let Some(first) = there.first() {
        let message = match by_hand {
            true => format!("remove this record: {}. IN TLSA {}", first.name, first.value),
            false => format!("{} to be withdrawn, the first at {}", counted(there.len(), "TLSA record"), first.name),
        };
        return not(reason::TLSA_WITHDRAWING, message);
    }
    if plan.is_on() {
        // A record that is still cached somewhere is nobody's concern while others are there.
        return None;
    }
    let last = leaving.iter().filter_map(|r| r.cached_until.as_ref()).max_by_key(|at| at.0)?;
    let message = format!(
        "the TLSA records are withdrawn, and may be cached until {}: until then only a key whose record was published is \
         activated",
        last.0
    );
    not(reason::TLSA_WITHDRAWING, message)
}

fn good(plan: &Plan<'_>) -> Said {
    let wanted: Vec<&TlsaRecord> = plan.records.iter().filter(|r| is_wanted(r)).collect();
    let names: BTreeSet<&str> = wanted.iter().map(|r| r.name.as_str()).collect();
    let mut message = format!(
        "{} at {} {} at every server, validly signed",
        counted(wanted.len(), "TLSA record"),
        counted(names.len(), "name"),
        if wanted.len() == 1 { "is" } else { "are" }
    );
    let foreign: BTreeSet<String> = sightings(plan)
        .flat_map(|(name, sighting)| {
            let values = sighting.servers.iter().filter_map(|s| s.answer.as_ref().ok()).flat_map(|a| &a.values);
            let is_ours = move |value: &&String| plan.at(name).any(|r| r.value == **value);
            values.filter(move |v| !is_ours(v)).map(move |value| format!("{name} {value}"))
        })
        .collect();
    if !foreign.is_empty() {
        let list: Vec<&String> = foreign.iter().collect();
        message.push_str(&format!("; not of this MailDomain, and left alone: {}", first_three(&list, ", ")));
    }
    Said::new(State::True, reason::TLSA_PUBLISHED, message)
}
