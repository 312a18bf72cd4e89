//! Restarts of workloads: the active fingerprint in the pod template's annotation, and how far that has come.

use crate::api::domain::{RolloutState, WorkloadStatus};
use crate::api::reasons::domain as reason;
use crate::decide::conditions::State;

use super::certificate::Certificate;
use super::status::Said;
use super::world::{Action, Progress, WorkloadFound, WorkloadView, World};
use super::{counted, first_three};

/// The annotation that a workload's pod template shall have: the active fingerprints of every MailDomain that names it.
fn wanted(view: &WorkloadView, fingerprint: &str) -> String {
    let mut all: Vec<&str> = view.also.iter().map(String::as_str).chain([fingerprint]).collect();
    all.sort_unstable();
    all.dedup();
    all.join(",")
}

/// The restarts that are due. None for a certificate that nobody would accept.
pub(super) fn rolls(world: &World, certificate: &Certificate<'_>) -> Vec<Action> {
    // A pod that is restarted before its Secret has the certificate would start with another one.
    let is_mounted = world.fallback.as_ref().is_none_or(|f| f.is_ending || f.own.is_some() || f.is_in_place());
    let may = world.forbidden.is_none() && is_mounted;
    let Some(active) = certificate.valid().filter(|_| may) else { return Vec::new() };
    let roll = |view: &WorkloadView| {
        let value = wanted(view, &active.fingerprint_sha256);
        let is_done = world.done.rolled.contains(&(view.kind, view.name.clone()));
        let is_due =
            matches!(&view.found, WorkloadFound::Found { annotation, .. } if annotation.as_ref() != Some(&value));
        (is_due && !is_done).then(|| Action::Roll { kind: view.kind, name: view.name.clone(), value })
    };
    world.workloads.iter().filter_map(roll).collect()
}

/// Whether pods are being replaced, or are about to be.
pub(super) fn is_rolling(world: &World, certificate: &Certificate<'_>) -> bool {
    states(world, certificate).iter().any(|s| s.state == RolloutState::RollingOut)
}

/// Identifies the pods that serve: changes when pods with another template have taken over.
pub(super) fn templates(world: &World) -> String {
    let one = |view: &WorkloadView| match &view.found {
        WorkloadFound::NotFound => format!("{}:", view.title()),
        WorkloadFound::Found { annotation, template, progress } => {
            let by_hand = if matches!(progress, Progress::Failed(_)) { "!" } else { "" };
            format!("{}:{template}:{}{by_hand}", view.title(), annotation.as_deref().unwrap_or_default())
        }
    };
    world.workloads.iter().map(one).collect::<Vec<_>>().join(" ")
}

/// How far each workload is. Nothing is said before there is a certificate.
pub(super) fn states(world: &World, certificate: &Certificate<'_>) -> Vec<WorkloadStatus> {
    let Some(active) = certificate.active.filter(|_| world.forbidden.is_none()) else { return Vec::new() };
    let one = |view: &WorkloadView| {
        let (state, message) = match &view.found {
            WorkloadFound::NotFound => (
                RolloutState::NotFound,
                Some(format!(
                    "there is no {:?} \"{}\" in this namespace; make it, or correct spec.workloads",
                    view.kind, view.name
                )),
            ),
            WorkloadFound::Found { annotation, progress, .. } => {
                let is_marked = annotation.as_deref() == Some(&wanted(view, &active.fingerprint_sha256));
                match progress {
                    _ if !is_marked && certificate.valid().is_none() => (
                        RolloutState::Failed,
                        Some("it is not restarted for a certificate that is not valid now".to_owned()),
                    ),
                    _ if !is_marked => (
                        RolloutState::RollingOut,
                        Some(format!("it is to be restarted for revision {}", active.revision)),
                    ),
                    Progress::RolledOut => (RolloutState::RolledOut, None),
                    Progress::RollingOut(message) => (RolloutState::RollingOut, Some(message.clone())),
                    Progress::Failed(message) => (RolloutState::Failed, Some(message.clone())),
                }
            }
        };
        WorkloadStatus { workload: view.title(), state, message }
    };
    world.workloads.iter().map(one).collect()
}

/// `RolledOut`.
pub(super) fn rolled_out(world: &World, certificate: &Certificate<'_>, states: &[WorkloadStatus]) -> Said {
    if world.object.spec.workloads.is_empty() {
        let message = "spec.workloads names nothing to restart: the servers must load a new certificate by themselves";
        return Said::new(State::Unknown, reason::NO_WORKLOADS, message.to_owned());
    }
    if let Some(message) = &world.forbidden {
        return Said::new(State::Unknown, reason::FORBIDDEN, message.clone());
    }
    let Some(active) = certificate.active else {
        let message = "nothing is restarted before there is a certificate".to_owned();
        return Said::new(State::Unknown, reason::CERTIFICATE_NOT_READY, message);
    };
    let order = [
        (RolloutState::NotFound, reason::WORKLOAD_NOT_FOUND),
        (RolloutState::Failed, reason::ROLLOUT_FAILED),
        (RolloutState::RollingOut, reason::ROLLING_OUT),
    ];
    for (state, word) in order {
        let one = |s: &WorkloadStatus| format!("{}: {}", s.workload, s.message.as_deref().unwrap_or_default());
        let such: Vec<String> = states.iter().filter(|s| s.state == state).map(one).collect();
        if !such.is_empty() {
            return Said::new(State::False, word, first_three(&such, "; "));
        }
    }
    let runs = if states.len() == 1 { "runs" } else { "run" };
    let message = format!("{} {runs} with revision {}", counted(states.len(), "workload"), active.revision);
    Said::new(State::True, reason::ROLLED_OUT, message)
}
