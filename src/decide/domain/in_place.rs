//! Pods that load a certificate in place: each one once for each certificate, and only after its files have arrived.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::domain::{PodReload, PodReloadState, Reload, RolloutState, WorkloadStatus};
use crate::decide::backoff::{Pace, pause};

use super::method::{Mounted, mounts, steps};
use super::pods::PodView;
use super::sharing::{Member, Wanted};
use super::world::{Action, Place, Pods, Progress, WorkloadView, World};
use super::{first_three, later};

/// A pod that is this much younger than the wish started with the new files: the API server's clock, which says when it
/// was made, may be ahead of the operator's, and the kubelet may have had the Secret in a cache. Those that are younger by
/// less are reloaded, which does them no harm.
const FRESH: SignedDuration = SignedDuration::from_mins(2);
/// The kubelet brings a changed Secret into a pod within about two minutes.
const KUBELET: SignedDuration = SignedDuration::from_mins(5);
/// Longest pause between tries.
const LONGEST_PAUSE: SignedDuration = SignedDuration::from_mins(10);
/// A pod whose reload failed holds the others back, and tells nothing against the certificate, until it has failed this often.
pub const PATIENCE: i32 = 3;
/// More would make the status too large.
const MOST_PODS: usize = 100;
/// Said of a pod whose reload went too far.
const ENDED: &str = "the reload ended its container, which has started again with the new certificate: correct it, so \
                     that it only has the server load its files";

/// How far the pods of a workload are, and what is to be done about them.
pub(super) struct InPlace {
    pub actions: Vec<Action>,
    pub pods: Vec<PodReload>,
    pub state: RolloutState,
    pub message: Option<String>,
    pub wake: Option<Timestamp>,
}

impl InPlace {
    fn at_rest(state: RolloutState, message: Option<String>, wake: Option<Timestamp>) -> Self {
        Self { actions: Vec::new(), pods: Vec::new(), state, message, wake }
    }
}

/// What is said of the pods, by urgency.
#[derive(Default)]
struct Told {
    failed: Vec<String>,
    waiting: Vec<String>,
    wakes: Vec<Timestamp>,
}

/// Looks at every pod of a workload. `before` is what the status says of it for the same certificate, `held` why nothing
/// may be begun now.
pub(super) fn look(
    world: &World,
    view: &WorkloadView,
    wanted: &Wanted<'_>,
    reloads: &[&Reload],
    before: Option<&WorkloadStatus>,
    held: Option<&str>,
) -> InPlace {
    let soon = later(world.now, SignedDuration::from_mins(1));
    let pods = match &view.pods {
        Pods::NotAsked => &Vec::new(),
        Pods::Forbidden(why) => return InPlace::at_rest(RolloutState::Blocked, Some(why.clone()), Some(soon)),
        Pods::Listed(pods) => pods,
    };
    // One that is being deleted may take long, or never end where its node is gone: there is nothing to be done in it.
    let (ending, pods): (Vec<&PodView>, Vec<&PodView>) = pods.iter().partition(|pod| pod.is_ending);
    if pods.len() > MOST_PODS {
        let message =
            format!("it has {} pods; at most {MOST_PODS} are reloaded in place: use reload.restart", pods.len());
        return InPlace::at_rest(RolloutState::Blocked, Some(message), None);
    }
    let since = before.and_then(|b| b.since.as_ref()).map_or(world.now, |t| t.0);
    let observed = world.object.status.as_ref().and_then(|s| s.observed_generation);
    let is_new_spec = observed != world.object.metadata.generation;
    let mut pass = Pass {
        world,
        wanted,
        reloads,
        since,
        held,
        is_new_spec,
        told: Told::default(),
        actions: Vec::new(),
        ready: Vec::new(),
    };
    let mut records = Vec::new();
    for pod in pods {
        let record = record(world, pod, before);
        pass.pod(pod, record.as_ref());
        records.extend(record);
    }
    pass.begin(view, &records);
    let Pass { told, actions, .. } = pass;
    let (state, mut message) = summary(view, &told, held, &records);
    if state == RolloutState::RolledOut && message.is_none() && !ending.is_empty() {
        message = Some(left_alone(&ending));
    }
    InPlace { actions, pods: records, state, message, wake: told.wakes.into_iter().min() }
}

/// Said of pods that are being deleted, where the others are through.
fn left_alone(ending: &[&PodView]) -> String {
    let names: Vec<&str> = ending.iter().map(|pod| pod.name.as_str()).collect();
    let (pods, verb) = if names.len() == 1 { ("pod", "is") } else { ("pods", "are") };
    format!("{pods} {} {verb} being deleted, and not reloaded", first_three(&names, ", "))
}

/// What is known of a pod's reload for this certificate.
fn record(world: &World, pod: &PodView, before: Option<&WorkloadStatus>) -> Option<PodReload> {
    let old = before.and_then(|b| b.pods.iter().find(|p| p.uid == pod.uid));
    let Some((at, result)) = world.done.reloaded.get(&pod.uid) else {
        return old.map(|old| ended(pod, old.clone()));
    };
    let failures = old.map_or(0, |o| o.failures);
    let mut new = PodReload {
        name: pod.name.clone(),
        uid: pod.uid.clone(),
        state: PodReloadState::Reloaded,
        failures: 0,
        restarts: pod.restarts,
        at: Time(Timestamp::from_second(at.as_second()).unwrap_or(*at)),
        message: None,
    };
    if let Err(why) = result {
        new.state = PodReloadState::Failed;
        new.failures = failures.saturating_add(1);
        new.message = Some(why.clone());
    }
    Some(new)
}

/// A container that was ended by the reload has read the new files when it is back.
fn ended(pod: &PodView, mut old: PodReload) -> PodReload {
    if old.state == PodReloadState::Failed && pod.ready && pod.restarts > old.restarts {
        old.state = PodReloadState::Reloaded;
        old.failures = 0;
        old.message = Some(ENDED.to_owned());
    }
    old
}

struct Pass<'a> {
    world: &'a World,
    wanted: &'a Wanted<'a>,
    reloads: &'a [&'a Reload],
    since: Timestamp,
    held: Option<&'a str>,
    is_new_spec: bool,
    told: Told,
    actions: Vec<Action>,
    /// Pods whose files have arrived, those that failed before first.
    ready: Vec<(bool, Action)>,
}

impl Pass<'_> {
    fn pod(&mut self, pod: &PodView, record: Option<&PodReload>) {
        let is_done = record.is_some_and(|r| r.state == PodReloadState::Reloaded);
        if is_done || pod.created.is_some_and(|at| at > later(self.since, FRESH)) {
            return;
        }
        if !pod.ready {
            let what = record.and_then(|r| r.message.as_ref()).map(|m| format!(" ({m})")).unwrap_or_default();
            self.told.waiting.push(format!("pod {} is not ready{what}", pod.name));
            return;
        }
        if let Some(failed) = record {
            let why = failed.message.as_deref().unwrap_or_default();
            self.told.failed.push(format!("pod {}: {why}", pod.name));
            let next = later(failed.at.0, pause(Pace::Transient, failed.failures, None).min(LONGEST_PAUSE));
            // Another spec may be what it takes.
            let is_new = self.is_new_spec && !self.world.done.reloaded.contains_key(&pod.uid);
            if next > self.world.now && !is_new {
                self.told.wakes.push(next);
                return;
            }
        }
        if self.held.is_some() {
            return;
        }
        match self.prepare(pod) {
            Ok(Some(reload)) => self.ready.push((record.is_some(), reload)),
            Ok(None) => {}
            Err(why) => {
                self.told.failed.push(format!("pod {}: {why}", pod.name));
                let elapsed = self.world.now.duration_since(self.since);
                let again = (elapsed / 10).clamp(SignedDuration::from_secs(10), LONGEST_PAUSE);
                self.told.wakes.push(later(self.world.now, again));
            }
        }
    }

    /// Whether the files have arrived; until they have, has them brought and looked for.
    fn prepare(&mut self, pod: &PodView) -> Result<Option<Action>, String> {
        let members = &self.wanted.members;
        let steps = steps(self.reloads, pod, members)?;
        let mounted: Vec<_> = mounts(pod, members).collect();
        if mounted.is_empty() {
            let secrets: BTreeSet<&str> = members.iter().flat_map(Member::secrets).collect();
            let secrets = Vec::from_iter(secrets);
            return Err(format!(
                "none of its containers mounts the folder of Secret {}; mount it, or use reload.restart",
                first_three(&secrets, ", ")
            ));
        }
        if pod.annotation.as_ref() != Some(&self.wanted.value) && !self.world.done.nudged.contains(&pod.uid) {
            let (pod, uid, value) = (pod.name.clone(), pod.uid.clone(), self.wanted.value.clone());
            self.told.waiting.push(format!("pod {pod} is to be looked at"));
            self.actions.push(Action::Nudge { pod, uid, value });
            return Ok(None);
        }
        let mut has_all = true;
        let mut places: BTreeMap<(&str, &Member), Vec<Place>> = BTreeMap::new();
        for Mounted { container, secret, member, path } in mounted {
            places.entry((secret, member)).or_default().push(Place { container: container.to_owned(), path });
        }
        for ((secret, member), places) in places {
            // A Secret may hold several of them.
            let what = match &member.sni {
                Some((sni, key)) if sni == secret => format!("{secret}/{key}"),
                _ => secret.to_owned(),
            };
            match self.world.done.read.get(&(pod.uid.clone(), what.clone())) {
                None => {
                    let (pod, uid) = (pod.name.clone(), pod.uid.clone());
                    self.told.waiting.push(format!("pod {pod} is to be looked at"));
                    self.actions.push(Action::Read { pod, uid, secret: what, places });
                    has_all = false;
                }
                Some(Ok(fingerprint)) if *fingerprint == member.fingerprint => {}
                Some(Ok(_)) => {
                    self.arriving(pod, secret);
                    has_all = false;
                }
                Some(Err(why)) => return Err(why.clone()),
            }
        }
        let (name, uid, ip) = (pod.name.clone(), pod.uid.clone(), pod.ip.clone());
        Ok(has_all.then_some(Action::Reload { pod: name, uid, ip, steps }))
    }

    fn arriving(&mut self, pod: &PodView, secret: &str) {
        let elapsed = self.world.now.duration_since(self.since);
        let again = (elapsed / 10).clamp(SignedDuration::from_secs(1), SignedDuration::from_secs(15));
        self.told.wakes.push(later(self.world.now, again));
        let what = format!("the kubelet has not brought Secret {secret} into pod {} yet", pod.name);
        if elapsed > KUBELET {
            self.told.failed.push(format!("{what}, for {} min; see the kubelet's log on its node", elapsed.as_mins()));
        } else {
            self.told.waiting.push(what);
        }
    }

    /// As many as may be reloaded at once. The next ones come in the next pass, after what these brought to light is in
    /// the status.
    fn begin(&mut self, view: &WorkloadView, records: &[PodReload]) {
        let Pods::Listed(pods) = &view.pods else { return };
        let begun = pods.iter().filter(|p| self.world.done.reloaded.contains_key(&p.uid)).count();
        if begun > 0 {
            if !self.ready.is_empty() {
                self.told.wakes.push(self.world.now);
            }
            self.told.waiting.extend(self.ready.iter().filter_map(|(_, action)| turn(action)));
            return;
        }
        let in_trouble = |r: &&PodReload| r.state == PodReloadState::Failed && r.failures < PATIENCE;
        let again = self.ready.iter().filter(|(before, _)| *before).count();
        let taken = records.iter().filter(in_trouble).count().saturating_sub(again);
        let limit = self.world.object.spec.rollout.max_concurrent.and_then(|n| usize::try_from(n).ok()).unwrap_or(1);
        self.ready.sort_by_key(|(before, _)| !before);
        for (index, (_, action)) in std::mem::take(&mut self.ready).into_iter().enumerate() {
            self.told.waiting.extend(turn(&action));
            if index < limit.max(1).saturating_sub(taken) {
                self.actions.push(action);
            }
        }
    }
}

fn turn(action: &Action) -> Option<String> {
    match action {
        Action::Reload { pod, .. } => Some(format!("pod {pod} waits for its turn")),
        _ => None,
    }
}

fn summary(
    view: &WorkloadView,
    told: &Told,
    held: Option<&str>,
    records: &[PodReload],
) -> (RolloutState, Option<String>) {
    let progress = view.progress();
    if !told.failed.is_empty() {
        return (RolloutState::Failed, Some(first_three(&told.failed, "; ")));
    }
    if let Some(Progress::Failed(message)) = progress {
        return (RolloutState::Failed, Some(message.clone()));
    }
    if let Some(Progress::Blocked(message)) = progress {
        return (RolloutState::Blocked, Some(message.clone()));
    }
    if let Some(held) = held {
        return (RolloutState::Waiting, Some(held.to_owned()));
    }
    if !told.waiting.is_empty() {
        return (RolloutState::RollingOut, Some(first_three(&told.waiting, "; ")));
    }
    if let Some(Progress::RollingOut(message)) = progress {
        return (RolloutState::RollingOut, Some(message.clone()));
    }
    let ended: Vec<String> =
        records.iter().filter_map(|r| Some(format!("pod {}: {}", r.name, r.message.as_ref()?))).collect();
    (RolloutState::RolledOut, (!ended.is_empty()).then(|| first_three(&ended, "; ")))
}
