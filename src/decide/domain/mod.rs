//! MailDomain: which names its certificate needs, who is to be restarted, what is to be probed, and what that proves.
//!
//! The order of a pass: the own MailCertificate gets its spec; workloads that have not taken up the active certificate
//! are restarted or reloaded; when none of that is under way, the endpoints that are due are looked at. What works is
//! kept: a problem in the spec stops none of the steps that can be done without it.

pub mod hold;
pub mod in_place;
pub mod method;
pub mod names;
pub mod pods;
pub mod sharing;
pub mod sni;
pub mod tlsa;
pub mod verdict;
pub mod workload;
pub mod world;

mod certificate;
pub mod fallback;
mod farewell;
mod probes;
mod rollout;
mod status;
mod targets;
#[cfg(test)]
mod tests;
mod urgency;

pub use names::desired_certificate;
pub use world::{Action, CertificateView, Fact, World};

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::domain::MailDomainStatus;
use crate::decide::Decision;

use certificate::Certificate;
use rollout::Rollout;
use targets::Targets;

/// What is to be done about a MailDomain, and what is to be said about it. The same world always gives the same
/// decision; a decision without actions has the status to write.
pub fn decide(world: &World) -> Decision<Action, MailDomainStatus> {
    if let Some(since) = &world.object.metadata.deletion_timestamp {
        // The MailCertificate goes by its owner reference.
        return farewell::decide(world, since.0);
    }
    let names = names::names(&world.object);
    let certificate = Certificate::of(world);
    let mut actions = Vec::new();
    actions.extend(certificate::apply(world, &names));
    actions.extend(fallback::actions(world));
    let group = sni::Group::of(world);
    actions.extend(group.as_ref().and_then(sni::Group::step));
    let mut rollout = Rollout::of(world, &certificate);
    // Pods that took it up before the tables are written would not have in them what they took it up for.
    if !group.as_ref().is_none_or(sni::Group::lets_roll) {
        rollout.actions.clear();
    }
    let is_paused = rollout.is_rolling() || !rollout.actions.is_empty();
    actions.append(&mut rollout.actions);
    let targets = Targets::of(world, &names, &certificate);
    let judgements: Vec<_> = targets.list.iter().map(|t| probes::judgement(world, &certificate, t)).collect();
    let probes = probes::Plan::of(world, &targets.list, &certificate, &judgements, is_paused);
    // What endpoints serve before the copy is in place is not worth a look.
    if !actions.iter().any(|a| matches!(a, Action::CopySystem { .. })) {
        actions.extend(probes.due().map(Action::Probe));
    }
    let wake = wake(world, &certificate, &rollout, &probes);
    let status = status::status(world, &names, &certificate, rollout, targets, judgements);
    let tlsa = tlsa::Plan::of(world, &names, &certificate, &status.endpoints);
    let hold = farewell::hold(world, tlsa.as_ref());
    // Nothing is published that nobody would be held up for.
    let may_go = |step: &tlsa::Step| hold != Some(Action::Hold) || !matches!(step, tlsa::Step::Update(_));
    actions.extend(tlsa.iter().flat_map(tlsa::Plan::steps).filter(may_go).map(Action::Tlsa));
    actions.extend(hold.filter(|_| !world.done.overtaken));
    let second = later(world.now, SignedDuration::from_secs(1));
    let wake = wake.into_iter().chain(tlsa.and_then(|plan| plan.wake()).map(|at| at.max(second))).min();
    Decision { actions, status, wake }
}

fn wake(
    world: &World,
    certificate: &Certificate<'_>,
    rollout: &Rollout,
    probes: &probes::Plan<'_>,
) -> Option<Timestamp> {
    let second = SignedDuration::from_secs(1);
    // A permission that is granted causes no event.
    let permission = world.forbidden.as_ref().map(|_| later(world.now, SignedDuration::from_mins(1)));
    // A Secret that is put right is an event for its MailCertificate alone.
    let sni = world.sni.as_ref().and_then(|view| view.waits.as_ref());
    let sni = sni.map(|_| later(world.now, SignedDuration::from_secs(10)));
    // Ready must turn False at expiry without any event.
    let dates = certificate.dates().filter(|at| *at >= world.now).map(|at| later(at, second));
    let overtaken = world.done.overtaken.then(|| later(world.now, SignedDuration::from_secs(2)));
    let others = permission.into_iter().chain(sni).chain(overtaken).chain(rollout.wake).chain(probes.wake());
    dates.chain(others).min().map(|at| at.max(later(world.now, second)))
}

impl World {
    /// Takes in what an action brought to light.
    pub fn learn(&mut self, fact: Fact) {
        match fact {
            Fact::CertificateApplied(certificate) => {
                self.certificate = CertificateView::Found(certificate);
                self.done.applied = true;
            }
            Fact::Rolled(view) => {
                self.done.rolled.insert((view.kind, view.name.clone()));
                if let Some(old) = self.workloads.iter_mut().find(|w| w.kind == view.kind && w.name == view.name) {
                    old.found = view.found;
                }
            }
            Fact::Sni(secret) => {
                if let Some(view) = &mut self.sni {
                    view.secret = secret;
                }
            }
            Fact::SniWaits(why) => {
                if let Some(view) = &mut self.sni {
                    view.waits = Some(why);
                }
            }
            Fact::Copied(copy) => self.learn_fallback(|f| f.copy = fallback::CopyView::Current(copy)),
            Fact::CopyOvertaken | Fact::Overtaken => self.done.overtaken = true,
            Fact::Held(is_on) => self.done.held = Some(is_on),
            Fact::SecretRemoved(name) => self.learn_fallback(|f| f.leftovers.retain(|l| *l != name)),
            Fact::CertificateRemoved => self.learn_fallback(|f| f.own = None),
            Fact::Nudged(uid) => {
                self.done.nudged.insert(uid);
            }
            Fact::Read { uid, secret, result } => {
                self.done.read.insert((uid, secret), result);
            }
            Fact::Reloaded { uid, at, result } => {
                self.done.reloaded.insert(uid, (at, result));
            }
            Fact::Probed { key, at, result } => probes::learn(self, key, at, result),
            Fact::Tlsa(outcome) => self.tlsa.learn(outcome),
        }
    }
}

impl World {
    /// What becomes of the copy decides which certificate is in use.
    fn learn_fallback(&mut self, change: impl FnOnce(&mut fallback::Fallback)) {
        let Some(fallback) = &mut self.fallback else { return };
        change(fallback);
        if !fallback.is_ending {
            self.certificate = fallback.in_use(&self.object);
        }
    }
}

fn later(at: Timestamp, by: SignedDuration) -> Timestamp {
    at.checked_add(by).unwrap_or(Timestamp::MAX)
}

/// At most three of them, and how many more there are.
fn first_three<T: AsRef<str>>(all: &[T], separator: &str) -> String {
    let shown: Vec<&str> = all.iter().take(3).map(AsRef::as_ref).collect();
    match all.len() {
        n if n > 3 => format!("{} and {} more", shown.join(separator), n - 3),
        _ => shown.join(separator),
    }
}

/// `1 endpoint`, `2 endpoints`.
fn counted(n: usize, noun: &str) -> String {
    format!("{n} {noun}{}", if n == 1 { "" } else { "s" })
}
