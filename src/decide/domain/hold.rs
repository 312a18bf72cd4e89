//! What holds a workload back: order, windows, how many at once, disruption budgets.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use kube::core::{Selector, SelectorExt};

use crate::api::certificate::Finding;
use crate::api::domain::DisruptionBudgets;
use crate::api::reasons::domain_finding as reason;
use crate::decide::window::{self, Opening};

use super::later;
use super::urgency::Urgency;
use super::world::{WorkloadFound, WorkloadView, World};

/// Nothing tells when a budget allows a disruption again.
const BUDGET_PAUSE: SignedDuration = SignedDuration::from_secs(15);

/// The PodDisruptionBudgets of the namespace.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Budgets {
    /// They were not asked for.
    #[default]
    NotAsked,
    /// The operator may not list them. Says what to set.
    Forbidden(String),
    /// These.
    Listed(Vec<BudgetView>),
}

/// A PodDisruptionBudget.
#[derive(Clone, Debug, PartialEq)]
pub struct BudgetView {
    /// Its name.
    pub name: String,
    /// The pods that it is for.
    pub selector: Option<LabelSelector>,
    /// How many of them may be taken away now.
    pub allowed: i32,
}

impl BudgetView {
    fn is_for(&self, labels: &BTreeMap<String, String>) -> bool {
        let selector = self.selector.clone().and_then(|s| Selector::try_from(s).ok());
        selector.is_some_and(|s: Selector| s.matches(labels))
    }
}

/// Why a workload is held back, and when to look again.
pub(super) struct Held {
    pub why: String,
    pub wake: Option<Timestamp>,
}

/// The place of a workload in the order: those that are not named come last, together.
pub(super) fn rank(world: &World, view: &WorkloadView) -> usize {
    let order = &world.object.spec.rollout.order;
    order.iter().position(|name| is_called(view, name)).unwrap_or(order.len())
}

fn is_called(view: &WorkloadView, name: &str) -> bool {
    view.name == *name || view.title() == *name
}

/// The names in the order that are no workload's.
pub(super) fn unknown(world: &World) -> Option<Finding> {
    let is_unknown = |name: &&String| !world.workloads.iter().any(|view| is_called(view, name));
    let name = world.object.spec.rollout.order.iter().find(is_unknown)?;
    Some(Finding {
        reason: reason::ORDER_UNKNOWN.to_owned(),
        about: name.clone(),
        message: format!("spec.rollout.order names {name}, which is none of spec.workloads; correct it"),
    })
}

/// Why a restart may not begin now.
pub(super) fn restart(world: &World, view: &WorkloadView, under_way: usize, urgency: &Urgency) -> Option<Held> {
    let rollout = &world.object.spec.rollout;
    let most = rollout.max_concurrent.and_then(|n| usize::try_from(n).ok());
    if most.is_some_and(|most| under_way >= most) && world.now < urgency.last {
        let why = format!("waits for its turn: spec.rollout.maxConcurrent is {}", most.unwrap_or_default());
        return Some(Held { why, wake: urgency.next(world.now) });
    }
    if world.now >= urgency.from {
        return None;
    }
    let held = match window::look(&rollout.windows, world.now) {
        Ok(Opening::Open { .. }) => budget(world, view),
        Ok(Opening::Closed { next }) => {
            let why = format!("waits for the next of spec.rollout.windows, at {next}");
            Some(Held { why, wake: Some(next) })
        }
        Err(why) => Some(Held { why: format!("spec.rollout.{why}"), wake: None }),
    };
    held.map(|held| Held { wake: held.wake.into_iter().chain(urgency.next(world.now)).min(), ..held })
}

fn budget(world: &World, view: &WorkloadView) -> Option<Held> {
    if world.object.spec.rollout.disruption_budgets == DisruptionBudgets::Ignore {
        return None;
    }
    let WorkloadFound::Found(found) = &view.found else { return None };
    let again = Some(later(world.now, BUDGET_PAUSE));
    match &world.budgets {
        _ if !found.takes_away => None,
        Budgets::NotAsked => None,
        Budgets::Forbidden(why) => {
            Some(Held { why: why.clone(), wake: Some(later(world.now, SignedDuration::from_mins(1))) })
        }
        Budgets::Listed(all) => {
            let closed = all.iter().find(|b| b.allowed <= 0 && b.is_for(&found.labels))?;
            let why = format!("waits until PodDisruptionBudget {} allows a disruption", closed.name);
            Some(Held { why, wake: again })
        }
    }
}
