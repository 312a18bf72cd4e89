//! The pods of workloads, and the PodDisruptionBudgets of a namespace: read only where they are wanted.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::Api;
use kube::api::ListParams;
use kube::core::Selector;

use super::context::Context;
use super::pass::PassError;
use crate::api::domain::DisruptionBudgets;
use crate::api::domain::MailDomain;
use crate::decide::domain::method::looks_into_pods;
use crate::decide::domain::world::{
    BUDGETS_VALUE, BudgetView, Budgets, PER_POD_VALUE, PodView, Pods, RELOAD_VALUE, WorkloadFound, WorkloadView,
};

/// A page is enough: more pods are not reloaded in place, and more looks are not made.
const MOST: u32 = 250;

/// The pods of a workload, where they are reloaded in place or looked at one by one.
pub async fn observe(context: &Context, domain: &MailDomain, view: &WorkloadView) -> Result<Pods, PassError> {
    let WorkloadFound::Found(found) = &view.found else { return Ok(Pods::NotAsked) };
    let in_place = looks_into_pods(&view.reloads) || view.shared.iter().any(|s| looks_into_pods(&s.reloads));
    if !in_place && !domain.spec.probe.per_pod {
        return Ok(Pods::NotAsked);
    }
    let namespace = domain.metadata.namespace.clone().unwrap_or_default();
    let Ok(selector) = Selector::try_from(found.selector.clone()) else { return Ok(Pods::Listed(Vec::new())) };
    let api: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
    match api.list(&ListParams::default().labels(&selector.to_string()).limit(MOST)).await {
        Ok(list) => {
            let own = |pod: &Pod| PodView::of(pod, view.kind, &view.name, &found.uid);
            let mut pods: Vec<PodView> = list.items.iter().filter_map(own).collect();
            pods.sort_by(|a, b| a.name.cmp(&b.name));
            Ok(Pods::Listed(pods))
        }
        Err(kube::Error::Api(status)) if status.code == 403 => {
            let value = if in_place { RELOAD_VALUE } else { PER_POD_VALUE };
            Ok(Pods::Forbidden(format!(
                "the operator may not list pods in namespace {namespace}: set the chart value {value} to true"
            )))
        }
        Err(error) => Err(PassError::api(format!("listing pods in namespace {namespace}"))(error)),
    }
}

/// The PodDisruptionBudgets of the namespace, where they are to be respected.
pub async fn budgets(context: &Context, domain: &MailDomain) -> Result<Budgets, PassError> {
    if domain.spec.rollout.disruption_budgets == DisruptionBudgets::Ignore {
        return Ok(Budgets::NotAsked);
    }
    let namespace = domain.metadata.namespace.clone().unwrap_or_default();
    let api: Api<PodDisruptionBudget> = Api::namespaced(context.client.clone(), &namespace);
    match api.list(&ListParams::default().limit(MOST)).await {
        Ok(list) => Ok(Budgets::Listed(list.items.iter().map(budget).collect())),
        Err(kube::Error::Api(status)) if status.code == 403 => Ok(Budgets::Forbidden(format!(
            "the operator may not list PodDisruptionBudgets in namespace {namespace}: set the chart value \
             {BUDGETS_VALUE} to true, or spec.rollout.disruptionBudgets to Ignore"
        ))),
        Err(error) => Err(PassError::api(format!("listing PodDisruptionBudgets in namespace {namespace}"))(error)),
    }
}

fn budget(object: &PodDisruptionBudget) -> BudgetView {
    BudgetView {
        name: object.metadata.name.clone().unwrap_or_default(),
        selector: object.spec.as_ref().and_then(|s| s.selector.clone()),
        allowed: object.status.as_ref().map_or(0, |s| s.disruptions_allowed),
    }
}
