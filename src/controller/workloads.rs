//! Deployments, StatefulSets and DaemonSets of a MailDomain.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::NamespaceResourceScope;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::{Selector, SelectorExt};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::context::Context;
use super::pass::PassError;
use super::relations::key;
use super::system;
use crate::api::domain::{MailDomain, Workload, WorkloadKind};
use crate::api::keys;
use crate::decide::domain::world::WorkloadView;

/// Whether a MailDomain names this workload.
pub fn names(domain: &MailDomain, kind: &str, name: &str, labels: &BTreeMap<String, String>) -> bool {
    domain.spec.workloads.iter().any(|w| {
        kind_name(w.kind) == kind
            && match (&w.name, &w.selector) {
                (Some(wanted), _) => wanted == name,
                (None, Some(selector)) => {
                    Selector::try_from(selector.clone()).is_ok_and(|s: Selector| s.matches(labels))
                }
                (None, None) => false,
            }
    })
}

/// The workloads that a MailDomain names, selectors resolved, each one once.
pub async fn observe(context: &Context, domain: &MailDomain) -> Result<Vec<WorkloadView>, PassError> {
    let namespace = domain.namespace().unwrap_or_default();
    let mut found: Vec<(WorkloadView, BTreeMap<String, String>)> = Vec::new();
    for workload in &domain.spec.workloads {
        let views = match workload.kind {
            WorkloadKind::Deployment => look(context, &namespace, workload, WorkloadView::of_deployment).await?,
            WorkloadKind::StatefulSet => look(context, &namespace, workload, WorkloadView::of_stateful_set).await?,
            WorkloadKind::DaemonSet => look(context, &namespace, workload, WorkloadView::of_daemon_set).await?,
        };
        for (view, labels) in views {
            if !found.iter().any(|(f, _)| f.kind == view.kind && f.name == view.name) {
                found.push((view, labels));
            }
        }
    }
    let sharers = sharers(context, domain);
    for (view, labels) in &mut found {
        view.also = sharers
            .iter()
            .filter(|(other, _)| names(other, kind_name(view.kind), &view.name, labels))
            .map(|(_, fingerprint)| fingerprint.clone())
            .collect::<BTreeSet<_>>();
    }
    Ok(found.into_iter().map(|(view, _)| view).collect())
}

/// The other MailDomains of the namespace, with the fingerprint of their active certificate.
fn sharers(context: &Context, domain: &MailDomain) -> Vec<(std::sync::Arc<MailDomain>, String)> {
    let own = key(domain);
    let others = context.relations.domains_in.of(&own.0).into_iter().filter(|k| *k != own);
    let others = others.filter_map(|k| context.kinds.domains.get(&k));
    others
        .filter_map(|other| {
            let certificate = system::used_by(context, &other)?;
            let active = certificate.status.as_ref()?.active.as_ref()?;
            Some((other, active.fingerprint_sha256.clone()))
        })
        .collect()
}

async fn look<W>(
    context: &Context,
    namespace: &str,
    workload: &Workload,
    view: fn(&W) -> WorkloadView,
) -> Result<Vec<(WorkloadView, BTreeMap<String, String>)>, PassError>
where
    W: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let api: Api<W> = Api::namespaced(context.client.clone(), namespace);
    let doing = || format!("reading {}s in namespace {namespace}", W::kind(&()));
    let with_labels = |w: &W| (view(w), w.labels().clone());
    let missing = |name: &str| vec![(WorkloadView::not_found(workload.kind, name), BTreeMap::new())];
    if let Some(name) = &workload.name {
        let found = api.get_opt(name).await.map_err(PassError::api(doing()))?;
        return Ok(found.map_or_else(|| missing(name), |w| vec![with_labels(&w)]));
    }
    let selector = Selector::try_from(workload.selector.clone().unwrap_or_default());
    let Ok(selector) = selector else { return Ok(missing("(a selector that cannot be used)")) };
    let text = selector.to_string();
    let list = api.list(&ListParams::default().labels(&text)).await.map_err(PassError::api(doing()))?;
    if list.items.is_empty() {
        return Ok(missing(&text));
    }
    Ok(list.items.iter().map(with_labels).collect())
}

/// Sets the pod template's annotation, which restarts the pods.
pub async fn roll(
    context: &Context,
    namespace: &str,
    kind: WorkloadKind,
    name: &str,
    value: &str,
) -> Result<WorkloadView, PassError> {
    match kind {
        WorkloadKind::Deployment => patch(context, namespace, name, value, WorkloadView::of_deployment).await,
        WorkloadKind::StatefulSet => patch(context, namespace, name, value, WorkloadView::of_stateful_set).await,
        WorkloadKind::DaemonSet => patch(context, namespace, name, value, WorkloadView::of_daemon_set).await,
    }
}

async fn patch<W>(
    context: &Context,
    namespace: &str,
    name: &str,
    value: &str,
    view: fn(&W) -> WorkloadView,
) -> Result<WorkloadView, PassError>
where
    W: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + std::fmt::Debug + DeserializeOwned,
{
    let api: Api<W> = Api::namespaced(context.client.clone(), namespace);
    // Applied under a manager of its own, so that GitOps tools see who owns this one field.
    let body = json!({
        "apiVersion": W::api_version(&()),
        "kind": W::kind(&()),
        "metadata": {"name": name},
        "spec": {"template": {"metadata": {"annotations": {keys::POD_TEMPLATE_FINGERPRINT: value}}}},
    });
    let params = PatchParams::apply(keys::ROLLOUT_FIELD_MANAGER).force();
    let doing = format!("restarting the pods of {} {name}", W::kind(&()));
    let patched = api.patch(name, &params, &Patch::Apply(&body)).await.map_err(PassError::api(doing))?;
    Ok(view(&patched))
}

fn kind_name(kind: WorkloadKind) -> &'static str {
    match kind {
        WorkloadKind::Deployment => "Deployment",
        WorkloadKind::StatefulSet => "StatefulSet",
        WorkloadKind::DaemonSet => "DaemonSet",
    }
}
