//! How workloads take up the active certificate: restarted by its fingerprint in the pod template's annotation, or
//! reloaded in place; and how far that has come.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;

use crate::api::certificate::Finding;
use crate::api::domain::{PodReloadState, RolloutState, WorkloadStatus};
use crate::api::reasons::{domain as reason, domain_finding};
use crate::decide::conditions::State;

use super::certificate::Certificate;
use super::hold::{self, Held};
use super::in_place;
use super::method::Method;
use super::sharing::{self, Wanted};
use super::status::Said;
use super::urgency::{self, Urgency};
use super::world::{Action, FoundWorkload, Progress, WorkloadFound, WorkloadView, World};
use super::{counted, first_three};

/// Everything about the workloads in this pass.
#[derive(Default)]
pub(super) struct Rollout {
    /// What is due.
    pub actions: Vec<Action>,
    /// How far each workload is, in the order of the spec. Nothing is said before there is a certificate.
    pub states: Vec<WorkloadStatus>,
    /// What is wrong and stops nothing.
    pub findings: Vec<Finding>,
    /// When to look again, besides when a workload changes.
    pub wake: Option<Timestamp>,
    /// Since when servers that notice by themselves have had the new certificate to notice.
    pub alone_since: Option<Timestamp>,
}

impl Rollout {
    pub fn of(world: &World, certificate: &Certificate<'_>) -> Self {
        let mut out = Self::default();
        if certificate.active.is_none() || world.forbidden.is_some() {
            return out;
        }
        let mut order: Vec<usize> = (0..world.workloads.len()).collect();
        order.sort_by_key(|i| hold::rank(world, &world.workloads[*i]));
        let mut states: Vec<Option<WorkloadStatus>> = vec![None; world.workloads.len()];
        let mut walk =
            Walk { world, certificate, out: &mut out, before: Vec::new(), under_way: under_way(world, certificate) };
        for i in order {
            states[i] = walk.workload(&world.workloads[i]);
        }
        out.states = states.into_iter().flatten().collect();
        out.findings.extend(hold::unknown(world));
        out.findings.extend(sharing::conflicts(world));
        out
    }

    /// Whether pods are being replaced or reloaded, or are about to be.
    pub fn is_rolling(&self) -> bool {
        self.states.iter().any(|s| s.state == RolloutState::RollingOut)
    }

    /// Whether something is held back.
    pub fn is_waiting(&self) -> bool {
        self.states.iter().any(|s| s.state == RolloutState::Waiting)
    }
}

/// How many workloads are being restarted.
fn under_way(world: &World, certificate: &Certificate<'_>) -> usize {
    let is_it = |view: &&WorkloadView| {
        let wanted = Wanted::of(world, certificate, view);
        let WorkloadFound::Found(found) = &view.found else { return false };
        matches!(found.progress, Progress::RollingOut(_)) && wanted.is_some_and(|w| found.annotation == Some(w.value))
    };
    world.workloads.iter().filter(is_it).count()
}

/// A workload that others may have to wait for.
struct Before {
    rank: usize,
    title: String,
    state: RolloutState,
}

/// Goes through the workloads in their order.
struct Walk<'a, 'b> {
    world: &'a World,
    certificate: &'a Certificate<'a>,
    out: &'b mut Rollout,
    /// Workloads that have not taken the certificate up, in their order.
    before: Vec<Before>,
    under_way: usize,
}

impl<'a> Walk<'a, '_> {
    fn workload(&mut self, view: &'a WorkloadView) -> Option<WorkloadStatus> {
        let wanted = Wanted::of(self.world, self.certificate, view)?;
        let old =
            self.world.object.status.as_ref().and_then(|s| s.workloads.iter().find(|w| w.workload == view.title()));
        let old = old.filter(|old| old.certificate.as_ref() == Some(&wanted.value));
        let since = old.and_then(|o| o.since.clone()).unwrap_or(Time(self.world.now));
        let mut status = WorkloadStatus {
            workload: view.title(),
            state: RolloutState::RolledOut,
            message: None,
            certificate: Some(wanted.value.clone()),
            since: Some(since),
            pods: Vec::new(),
        };
        match &view.found {
            WorkloadFound::NotFound => {
                status.state = RolloutState::NotFound;
                status.message = Some(format!(
                    "there is no {:?} \"{}\" in this namespace; make it, or correct spec.workloads",
                    view.kind, view.name
                ));
                (status.certificate, status.since) = (None, None);
            }
            WorkloadFound::Found(found) => self.found(view, found, &wanted, old, &mut status),
        }
        if old.is_some_and(|old| old.state.is_held()) && !status.state.is_held() && status.since.is_some() {
            // What it had to wait for does not count against it.
            status.since = Some(Time(self.world.now));
        }
        // Nobody waits for what there is not.
        if ![RolloutState::RolledOut, RolloutState::NotFound].contains(&status.state) {
            let rank = hold::rank(self.world, view);
            self.before.push(Before { rank, title: view.title(), state: status.state });
        }
        Some(status)
    }

    fn found(
        &mut self,
        view: &WorkloadView,
        found: &FoundWorkload,
        wanted: &Wanted<'_>,
        old: Option<&WorkloadStatus>,
        status: &mut WorkloadStatus,
    ) {
        let method = Method::of(wanted.reloads, &wanted.members, &found.uses);
        if let Method::Restart(Some(why)) = &method {
            self.find(domain_finding::RESTARTED_INSTEAD, view, why.clone());
        }
        let is_restart = matches!(method, Method::Restart(_));
        if is_restart && found.annotation.as_ref() == Some(&wanted.value) {
            (status.state, status.message) = of_progress(&found.progress);
            return;
        }
        if !wanted.is_valid() {
            let what = if is_restart { "restarted" } else { "reloaded" };
            status.state = RolloutState::Failed;
            status.message = Some(format!("it is not {what} for a certificate that is not valid now"));
            return;
        }
        if !self.certificate.is_mounted {
            // A pod that is restarted before its Secret has the certificate would start with another one.
            status.state = RolloutState::RollingOut;
            status.message = Some("its Secret gets the system certificate first".to_owned());
            return;
        }
        if let Some(decider) = wanted.decider {
            let its = decider.status.as_ref().filter(|s| s.certificate.as_ref() == Some(&wanted.value));
            status.state = its.map_or(RolloutState::RollingOut, |s| s.state);
            status.message = match its {
                Some(its) => its.message.clone(),
                None => Some(format!("MailDomain {}, the oldest of those that name it, sees to it", decider.name)),
            };
            return;
        }
        let since = status.since.as_ref().map_or(self.world.now, |t| t.0);
        let rolled = match &method {
            Method::Restart(_) => urgency::of_template(found),
            Method::InPlace(_) | Method::Alone => urgency::of_pods(view, wanted),
        };
        let urgency = Urgency::of(self.world, self.certificate, wanted, &rolled, since);
        let in_turn = self.in_turn(view, &urgency);
        match method {
            Method::Restart(_) => self.restart(view, wanted, in_turn, &urgency, status),
            Method::Alone => {
                (status.state, status.message) = of_progress(&found.progress);
                self.out.alone_since = self.out.alone_since.max(status.since.as_ref().map(|t| t.0));
            }
            Method::InPlace(reloads) => {
                let held = in_turn.as_ref().map(|held| held.why.as_str());
                let looked = in_place::look(self.world, view, wanted, &reloads, old, held);
                self.out.actions.extend(looked.actions);
                self.wake(looked.wake);
                self.wake(in_turn.and_then(|held| held.wake));
                let has_ended =
                    |p: &&crate::api::domain::PodReload| p.state == PodReloadState::Reloaded && p.message.is_some();
                if let Some(pod) = looked.pods.iter().find(has_ended) {
                    let message = format!("pod {}: {}", pod.name, pod.message.as_deref().unwrap_or_default());
                    self.find(domain_finding::RELOAD_ENDED_SERVER, view, message);
                }
                (status.state, status.message, status.pods) = (looked.state, looked.message, looked.pods);
            }
        }
    }

    /// Why the order holds it back.
    fn in_turn(&self, view: &WorkloadView, urgency: &Urgency) -> Option<Held> {
        let (rank, now) = (hold::rank(self.world, view), self.world.now);
        let first = self.before.iter().find(|before| before.rank < rank && urgency.waits_for(before.state, now))?;
        let why = format!("waits for {}, which is before it in spec.rollout.order", first.title);
        Some(Held { why, wake: urgency.next(now) })
    }

    fn restart(
        &mut self,
        view: &WorkloadView,
        wanted: &Wanted<'_>,
        in_turn: Option<Held>,
        urgency: &Urgency,
        status: &mut WorkloadStatus,
    ) {
        let held = in_turn.or_else(|| hold::restart(self.world, view, self.under_way, urgency));
        if let Some(held) = held {
            (status.state, status.message) = (RolloutState::Waiting, Some(held.why));
            self.wake(held.wake);
            return;
        }
        let revision = self.certificate.active.map_or(0, |r| r.revision);
        status.state = RolloutState::RollingOut;
        status.message = Some(format!("it is to be restarted for revision {revision}"));
        if !self.world.done.rolled.contains(&(view.kind, view.name.clone())) {
            self.under_way += 1;
            let (kind, name, value) = (view.kind, view.name.clone(), wanted.value.clone());
            self.out.actions.push(Action::Roll { kind, name, value });
        }
    }

    fn find(&mut self, word: &str, view: &WorkloadView, message: String) {
        self.out.findings.push(Finding { reason: word.to_owned(), about: view.title(), message });
    }

    fn wake(&mut self, at: Option<Timestamp>) {
        self.out.wake = self.out.wake.into_iter().chain(at).min();
    }
}

fn of_progress(progress: &Progress) -> (RolloutState, Option<String>) {
    match progress {
        Progress::RolledOut => (RolloutState::RolledOut, None),
        Progress::RollingOut(message) => (RolloutState::RollingOut, Some(message.clone())),
        Progress::Blocked(message) => (RolloutState::Blocked, Some(message.clone())),
        Progress::Failed(message) => (RolloutState::Failed, Some(message.clone())),
    }
}

/// When a pod was reloaded last.
pub(super) fn last_reload(world: &World) -> Option<Timestamp> {
    let workloads = world.object.status.iter().flat_map(|s| &s.workloads);
    let before = workloads.flat_map(|w| &w.pods).filter(|p| p.state == PodReloadState::Reloaded).map(|p| p.at.0);
    let now = world.done.reloaded.values().filter(|(_, result)| result.is_ok()).map(|(at, _)| *at);
    before.chain(now).max()
}

/// Identifies the pods that serve, and what they have loaded: changes when others have taken over.
pub(super) fn templates(world: &World) -> String {
    let reloaded = |title: &str| {
        let old = world.object.status.as_ref().and_then(|s| s.workloads.iter().find(|w| w.workload == title));
        let pods = old.map(|w| w.pods.as_slice()).unwrap_or_default();
        pods.iter().filter(|p| p.state == PodReloadState::Reloaded).count()
    };
    let one = |view: &WorkloadView| match &view.found {
        WorkloadFound::NotFound => format!("{}:", view.title()),
        WorkloadFound::Found(found) => {
            let by_hand = if matches!(found.progress, Progress::Failed(_) | Progress::Blocked(_)) { "!" } else { "" };
            let annotation = found.annotation.as_deref().unwrap_or_default();
            format!("{}:{}:{annotation}{by_hand}:{}", view.title(), found.template, reloaded(&view.title()))
        }
    };
    world.workloads.iter().map(one).collect::<Vec<_>>().join(" ")
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
        (&[RolloutState::NotFound][..], reason::WORKLOAD_NOT_FOUND),
        (&[RolloutState::Failed, RolloutState::Blocked], reason::ROLLOUT_FAILED),
        (&[RolloutState::RollingOut], reason::ROLLING_OUT),
        (&[RolloutState::Waiting], reason::ROLLOUT_WAITING),
    ];
    for (such, word) in order {
        let one = |s: &WorkloadStatus| format!("{}: {}", s.workload, s.message.as_deref().unwrap_or_default());
        let such: Vec<String> = states.iter().filter(|s| such.contains(&s.state)).map(one).collect();
        if !such.is_empty() {
            return Said::new(State::False, word, first_three(&such, "; "));
        }
    }
    let runs = if states.len() == 1 { "runs" } else { "run" };
    let message = format!("{} {runs} with revision {}", counted(states.len(), "workload"), active.revision);
    Said::new(State::True, reason::ROLLED_OUT, message)
}
