//! A MailDomain that uses the certificate, by what its status says.

use std::collections::BTreeSet;

use k8s_openapi::jiff::Timestamp;
use kube::ResourceExt;

use crate::api::MailDomain;
use crate::api::domain::{EndpointStatus, EndpointVerdict, PodReloadState, RolloutState, WorkloadStatus};
use crate::api::reasons::condition;
use crate::decide::conditions;
use crate::decide::domain::in_place;

/// A MailDomain that uses the certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Dependent {
    /// Its name.
    pub name: String,
    /// The generation of its spec.
    pub generation: i64,
    /// Whether it wants TLSA records.
    pub wants_tlsa: bool,
    /// SPKIs (SHA-256, hex) whose records are everywhere for long enough: safe to activate.
    pub tlsa_ready: BTreeSet<String>,
    /// SPKIs that have a record, or may still be in caches.
    pub tlsa_published: BTreeSet<String>,
    /// What the records wait for.
    pub tlsa_message: Option<String>,
    /// How many endpoints are to serve it.
    pub endpoints: usize,
    /// Whether it names workloads, which the operator reloads.
    pub reloads: bool,
    /// Whether those run with the certificate that the status speaks of.
    pub rolled_out: bool,
    /// Whether what is left of them waits for its window, its turn or a person: they are not late.
    pub waits: bool,
    /// When the last of them began to take the certificate up.
    pub begun: Option<Timestamp>,
    /// Fingerprints of leaves that any endpoint serves.
    pub served: BTreeSet<String>,
    /// The fingerprint that every endpoint serves.
    pub all_served: Option<String>,
    /// What the endpoints lack.
    pub served_message: Option<String>,
    /// The fingerprint that its status speaks of.
    pub speaks_of: Option<String>,
    /// Why its rollout failed.
    pub rollout_failed: Option<String>,
}

impl Dependent {
    /// By the MailDomain's spec and status.
    pub fn of(domain: &MailDomain) -> Self {
        let status = domain.status.clone().unwrap_or_default();
        let served: BTreeSet<String> = status.endpoints.iter().filter_map(|e| e.served_fingerprint.clone()).collect();
        // An endpoint is looked at in several ways; one that serves a certificate of another algorithm shows none of ours.
        let is_whole = status.endpoints.len() == domain.spec.endpoints.len() || status.endpoint_problems.is_some();
        let shows = |e: &EndpointStatus| e.served_fingerprint.is_some() || e.verdict == EndpointVerdict::Served;
        let all_answered = is_whole && status.endpoints.iter().all(shows);
        let all_served = served.first().filter(|_| served.len() == 1 && all_answered).cloned();
        let is_false = |type_: &str| conditions::find(&status.conditions, type_).filter(|c| c.status == "False");
        let failing = is_false(condition::SERVED);
        let failed = status.workloads.iter().find(|w| w.state == RolloutState::Failed && is_given_up(w));
        let mut left = status.workloads.iter().filter(|w| w.state != RolloutState::RolledOut).peekable();
        let waits = left.peek().is_some() && left.all(|w| w.state.is_held());
        let begun =
            status.workloads.iter().filter(|w| !w.state.is_held()).filter_map(|w| Some(w.since.as_ref()?.0)).max();
        let tlsa = status.dns.as_ref().and_then(|d| d.tlsa.as_ref());
        let set = |list: Option<&Vec<String>>| list.into_iter().flatten().cloned().collect();
        Self {
            name: domain.name_any(),
            generation: domain.metadata.generation.unwrap_or(0),
            wants_tlsa: tlsa.is_some() || domain.spec.dns.as_ref().is_some_and(|d| d.tlsa.is_some()),
            tlsa_ready: set(tlsa.map(|t| &t.ready)),
            tlsa_published: set(tlsa.map(|t| &t.published)),
            tlsa_message: tlsa.and_then(|t| t.message.clone()),
            endpoints: domain.spec.endpoints.len(),
            rolled_out: conditions::is_true(&status.conditions, condition::ROLLED_OUT),
            reloads: !domain.spec.workloads.is_empty(),
            served,
            all_served,
            served_message: failing.map(|c| c.message.clone()),
            speaks_of: status.certificate.as_ref().and_then(|c| c.fingerprint_sha256.clone()),
            rollout_failed: failed
                .map(|w| format!("{}: {}", w.workload, w.message.as_deref().unwrap_or("its pods are not available"))),
            waits,
            begun,
        }
    }
}

/// A reload that failed is tried again a few times before that says anything about the certificate.
fn is_given_up(workload: &WorkloadStatus) -> bool {
    let mut failing = workload.pods.iter().filter(|p| p.state == PodReloadState::Failed).peekable();
    failing.peek().is_none() || failing.any(|p| p.failures >= in_place::PATIENCE)
}
