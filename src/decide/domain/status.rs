//! The status of a MailDomain. The same findings give the same bytes: times move only with what they date.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::domain::{DnsStatus, DomainCertificateStatus, EndpointStatus, EndpointVerdict, MailDomainStatus};
use crate::api::reasons::{condition, dns as dns_reason, domain as reason, endpoint as word};
use crate::decide::conditions::{Conditions, State};

use super::certificate::Certificate;
use super::fallback::CopyView;
use super::names::Names;
use super::rollout::Rollout;
use super::sni::Group;
use super::targets::Targets;
use super::tlsa::Plan;
use super::verdict::Judgement;
use super::world::{ProbeTarget, World};
use super::{counted, first_three, rollout};

/// What a condition says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub state: State,
    pub reason: &'static str,
    pub message: String,
    /// Whether it takes a person to go on.
    pub is_stalled: bool,
}

impl Said {
    pub fn new(state: State, reason: &'static str, message: String) -> Self {
        Self { state, reason, message, is_stalled: false }
    }

    pub fn stalled_if(mut self, is_stalled: bool) -> Self {
        self.is_stalled = is_stalled;
        self
    }
}

/// Servers that notice a new certificate by themselves have this long, with the time that the kubelet takes.
const GRACE: SignedDuration = SignedDuration::from_mins(3);

/// A command that asks a server to reload may end before the server has.
const TAKE_UP: SignedDuration = SignedDuration::from_secs(20);

/// `judgements` has one entry for each of `targets`.
pub(super) fn status(
    world: &World,
    names: &Names,
    certificate: &Certificate<'_>,
    rollout: Rollout,
    targets: Targets,
    judgements: Vec<Option<Judgement>>,
) -> MailDomainStatus {
    let endpoints = endpoints(world, &targets.list, certificate, judgements);
    let names_match = certificate.names_match(names);
    let rolled_out = rollout::rolled_out(world, certificate, &rollout.states);
    let served = served(world, targets.list.len(), certificate, &endpoints, &rollout);
    let group = Group::of(world);
    let sni = group.as_ref().map(Group::said);
    let tlsa = Plan::of(world, names, certificate, &endpoints);
    let (dns, dns_ready) = dns(tlsa.as_ref());
    let parts = [&names_match, &rolled_out, &served];
    let ready = ready(world, certificate, parts, [sni.as_ref(), dns_ready.as_ref()], targets.list.len());

    let old = world.object.status.as_ref();
    let generation = world.object.metadata.generation;
    let mut conditions =
        Conditions::on(old.map(|s| s.conditions.as_slice()).unwrap_or_default(), generation, world.now);
    for (type_, said) in [
        (condition::READY, &ready),
        (condition::NAMES_MATCH, &names_match),
        (condition::ROLLED_OUT, &rolled_out),
        (condition::SERVED, &served),
    ] {
        conditions.set(type_, said.state, said.reason, &said.message);
    }
    if let Some(said) = &sni {
        conditions.set(condition::SNI_READY, said.state, said.reason, &said.message);
    }
    if let Some(said) = &dns_ready {
        conditions.set(condition::DNS_READY, said.state, said.reason, &said.message);
    }
    if ready.is_stalled {
        conditions.stalled(ready.reason, &ready.message);
    } else if is_under_way(&ready) {
        conditions.reconciling(ready.reason, &ready.message);
    }
    MailDomainStatus {
        observed_generation: generation,
        conditions: conditions.finish(),
        certificate: certificate_status(world, certificate, &served),
        endpoint_problems: problems(targets.list.len(), &endpoints),
        endpoints,
        workloads: rollout.states,
        findings: targets.findings.into_iter().chain(rollout.findings).collect(),
        dns,
        sni: group.as_ref().map(Group::status),
    }
}

/// Reasons of `DNSReady` that do not pass by themselves.
const NEEDS_A_PERSON: [&str; 5] = [
    dns_reason::PUBLISH_FAILED,
    dns_reason::DNSSEC_BOGUS,
    dns_reason::ZONE_NOT_SIGNED,
    dns_reason::TLSA_OVERRULED,
    dns_reason::TLSA_MISSING,
];

/// What is in DNS, and `DNSReady`; neither when nothing there is the operator's business.
fn dns(tlsa: Option<&Plan<'_>>) -> (Option<DnsStatus>, Option<Said>) {
    let Some(plan) = tlsa else { return (None, None) };
    match plan.status() {
        Some(status) => (Some(DnsStatus { tlsa: Some(status) }), Some(plan.said())),
        None => (None, None),
    }
}

/// `Ready`: the first thing that is not as it should be.
fn ready(
    world: &World,
    certificate: &Certificate<'_>,
    parts: [&Said; 3],
    [sni, dns]: [Option<&Said>; 2],
    looks: usize,
) -> Said {
    let [names_match, rolled_out, served] = parts;
    let not_met = |said: &Said| Said { state: State::False, ..said.clone() };
    if names_match.reason == reason::INVALID_SPEC {
        return not_met(names_match);
    }
    if let Some(message) = &world.forbidden {
        return Said::new(State::False, reason::FORBIDDEN, message.clone()).stalled_if(true);
    }
    if let Some(trouble) = certificate.trouble() {
        return trouble;
    }
    if let Some(said) = sni.filter(|said| said.is_stalled) {
        return not_met(said);
    }
    let is_excused = |said: &Said| [reason::NO_WORKLOADS, reason::NO_ENDPOINTS].contains(&said.reason);
    if let Some(said) = parts.into_iter().chain(sni).find(|said| said.state != State::True && !is_excused(said)) {
        return not_met(said);
    }
    // What passes by itself takes hours, and mail flows all the while.
    if let Some(said) = dns.filter(|said| NEEDS_A_PERSON.contains(&said.reason)) {
        return not_met(said);
    }
    let revision = certificate.active.map(|r| format!("revision {} (expires at {})", r.revision, r.not_after.0));
    let mut message = format!("{} covers every name", revision.unwrap_or_default());
    if rolled_out.state == State::True {
        message.push_str(", runs in every workload");
    }
    message.push_str(&match served.state {
        State::True => format!(" and is served by {}", counted(looks, "endpoint")),
        _ => "; spec.endpoints names no endpoint, so nothing is proven".to_owned(),
    });
    Said::new(State::True, reason::READY, message)
}

/// Whether it will get better by itself, as far as one can tell.
fn is_under_way(ready: &Said) -> bool {
    let reasons = [
        reason::CERTIFICATE_NOT_READY,
        reason::CERTIFICATE_NOT_FOUND,
        reason::COPY_PENDING,
        reason::NAME_MISSING,
        reason::ROLLING_OUT,
        reason::ROLLOUT_WAITING,
        reason::NOT_PROBED,
        reason::SNI_PENDING,
    ];
    ready.state == State::False && reasons.contains(&ready.reason)
}

fn certificate_status(world: &World, certificate: &Certificate<'_>, served: &Said) -> Option<DomainCertificateStatus> {
    let old = world.object.status.as_ref().and_then(|s| s.certificate.as_ref());
    let fallback = world.fallback.as_ref().filter(|f| !f.is_ending);
    if certificate.object().is_none() {
        // Which Secret pods mount is not forgotten while there is nothing to put into it.
        return old.filter(|_| fallback.is_some()).cloned();
    }
    let copy = fallback.and_then(|f| match &f.copy {
        CopyView::Current(copy) => Some(copy.clone()),
        _ => None,
    });
    let fingerprint = certificate.active.map(|r| r.fingerprint_sha256.clone());
    let since = old.filter(|o| o.fingerprint_sha256 == fingerprint).and_then(|o| o.unserved_since.clone());
    let is_counted = fingerprint.is_some() && served.state != State::True && served.reason != reason::NO_ENDPOINTS;
    Some(DomainCertificateStatus {
        unserved_since: is_counted.then(|| since.unwrap_or_else(|| whole_second(world.now))),
        name: certificate.name(),
        secret_name: certificate.secret.to_owned(),
        system: fallback.is_some_and(|f| f.own.is_none() || f.is_in_place()),
        copy,
        fingerprint_sha256: fingerprint,
        not_after: certificate.active.map(|r| r.not_after.clone()),
    })
}

/// What each endpoint serves. One that has not been looked at for the active certificate is missing.
fn endpoints(
    world: &World,
    targets: &[ProbeTarget],
    certificate: &Certificate<'_>,
    judgements: Vec<Option<Judgement>>,
) -> Vec<EndpointStatus> {
    let Some(active) = certificate.active else { return Vec::new() };
    let old = world.object.status.as_ref();
    // After a restart there are no looks in memory; the status is as good, if it speaks of the same certificate.
    let was_active = old.and_then(|s| s.certificate.as_ref()).and_then(|c| c.fingerprint_sha256.as_ref());
    let is_same = was_active == Some(&active.fingerprint_sha256);
    let one = |(target, judgement): (&ProbeTarget, Option<Judgement>)| {
        let before = old.and_then(|s| s.endpoints.iter().find(|e| e.endpoint == target.key));
        match judgement {
            Some(judgement) => Some(endpoint(world, target, judgement, before)),
            None => before.filter(|_| is_same).cloned(),
        }
    };
    targets.iter().zip(judgements).filter_map(one).collect()
}

fn endpoint(world: &World, target: &ProbeTarget, now: Judgement, before: Option<&EndpointStatus>) -> EndpointStatus {
    let is_same = |old: &&EndpointStatus| {
        old.verdict == now.verdict && old.reason == now.reason && old.served_fingerprint == now.served
    };
    let looked_at = || world.looks.get(&target.key).map(|look| whole_second(look.at));
    let checked_at = before.filter(is_same).map_or_else(looked_at, |old| old.checked_at.clone());
    EndpointStatus {
        endpoint: target.key.clone(),
        verdict: now.verdict,
        reason: now.reason,
        message: now.message,
        served_fingerprint: now.served,
        checked_at,
    }
}

/// Endpoints that still serve the certificate before are no problem while its successor is held back, or has had no time
/// to be noticed.
fn not_yet(world: &World, endpoints: &[EndpointStatus], rollout: &Rollout) -> Option<Said> {
    let bad: Vec<&EndpointStatus> = endpoints.iter().filter(|e| e.verdict == EndpointVerdict::Problem).collect();
    if bad.is_empty() || bad.iter().any(|e| e.reason != word::STALE) {
        return None;
    }
    let is_new = rollout.alone_since.is_some_and(|since| world.now.duration_since(since) < GRACE);
    let is_fresh = rollout::last_reload(world).is_some_and(|at| world.now.duration_since(at) < TAKE_UP);
    let why = if rollout.is_waiting() {
        "its rollout is held back"
    } else if is_fresh {
        "the servers have only just been reloaded"
    } else if is_new {
        "servers that notice by themselves have 3 minutes"
    } else {
        return None;
    };
    let message = format!("{} still serve the certificate before: {why}", counted(bad.len(), "endpoint"));
    Some(Said::new(State::Unknown, reason::NOT_PROBED, message))
}

/// As the API writes times.
fn whole_second(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

fn problems(looks: usize, endpoints: &[EndpointStatus]) -> Option<String> {
    let problems = endpoints.iter().filter(|e| e.verdict == EndpointVerdict::Problem).count();
    let is_whole = !endpoints.is_empty() && endpoints.len() == looks;
    is_whole.then(|| format!("{problems}/{}", endpoints.len()))
}

/// `Served`.
fn served(
    world: &World,
    total: usize,
    certificate: &Certificate<'_>,
    endpoints: &[EndpointStatus],
    rollout: &Rollout,
) -> Said {
    if world.object.spec.endpoints.is_empty() {
        let message = "spec.endpoints names no endpoint to look at, so nothing is proven".to_owned();
        return Said::new(State::Unknown, reason::NO_ENDPOINTS, message);
    }
    if let Some(message) = &world.forbidden {
        return Said::new(State::Unknown, reason::FORBIDDEN, message.clone());
    }
    let Some(active) = certificate.active else {
        let message = "endpoints are not looked at before there is a certificate".to_owned();
        return Said::new(State::Unknown, reason::NOT_PROBED, message);
    };
    if let Some(said) = not_yet(world, endpoints, rollout) {
        return said;
    }
    let is_problem = |e: &&EndpointStatus| e.verdict == EndpointVerdict::Problem;
    let one = |e: &EndpointStatus| format!("{}: {}", e.endpoint, e.message.as_deref().unwrap_or(&e.reason));
    let bad: Vec<String> = endpoints.iter().filter(is_problem).map(one).collect();
    if !bad.is_empty() {
        return Said::new(State::False, reason::ENDPOINT_PROBLEM, first_three(&bad, "; "));
    }
    if endpoints.len() < total || total == 0 {
        let pods = if rollout.is_rolling() { "; its pods are being replaced or reloaded" } else { "" };
        let message = format!(
            "{} of {} have been looked at since revision {} became active{pods}",
            endpoints.len(),
            counted(total, "endpoint"),
            active.revision
        );
        return Said::new(State::Unknown, reason::NOT_PROBED, message);
    }
    let verb = if total == 1 { "serves" } else { "serve" };
    let message = format!("{} {verb} revision {}", counted(total, "endpoint"), active.revision);
    Said::new(State::True, reason::SERVED, message)
}
