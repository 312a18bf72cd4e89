//! Deployments, StatefulSets and DaemonSets of a MailDomain.

use std::collections::BTreeMap;

use k8s_openapi::NamespaceResourceScope;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::{Selector, SelectorExt};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::json;

use super::context::Context;
use super::pass::PassError;
use super::pods;
use super::relations::key;
use super::system;
use crate::api::domain::{MailDomain, Reload, Workload, WorkloadKind};
use crate::api::keys;
use crate::decide::domain::world::{Sharer, WorkloadView};

/// Whether a MailDomain names this workload.
pub fn names(domain: &MailDomain, kind: &str, name: &str, labels: &BTreeMap<String, String>) -> bool {
    naming(domain, kind, name, labels).next().is_some()
}

/// How a MailDomain wants the pods of this workload to load a certificate: a restart where it says nothing.
fn reloads(domain: &MailDomain, kind: &str, name: &str, labels: &BTreeMap<String, String>) -> Vec<Reload> {
    let restart = || Reload { restart: Some(Default::default()), ..Reload::default() };
    let mut all: Vec<Reload> = Vec::new();
    for workload in naming(domain, kind, name, labels) {
        let reload = workload.reload.clone().unwrap_or_else(restart);
        if !all.contains(&reload) {
            all.push(reload);
        }
    }
    all
}

fn naming<'a>(
    domain: &'a MailDomain,
    kind: &'a str,
    name: &'a str,
    labels: &'a BTreeMap<String, String>,
) -> impl Iterator<Item = &'a Workload> {
    domain.spec.workloads.iter().filter(move |w| {
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
    for (view, labels) in &mut found {
        view.reloads = reloads(domain, kind_name(view.kind), &view.name, labels);
        view.shared = sharers(context, domain, view, labels);
        view.pods = pods::observe(context, domain, view).await?;
    }
    Ok(found.into_iter().map(|(view, _)| view).collect())
}

/// The other MailDomains of the namespace that name this workload and have a certificate.
fn sharers(
    context: &Context,
    domain: &MailDomain,
    view: &WorkloadView,
    labels: &BTreeMap<String, String>,
) -> Vec<Sharer> {
    let own = key(domain);
    let kind = kind_name(view.kind);
    let mut sharers: Vec<Sharer> = context
        .relations
        .naming(&own.0, kind, &view.name)
        .into_iter()
        .filter(|k| *k != own)
        .filter_map(|k| context.kinds.domains.get(&k))
        .filter(|other| other.metadata.deletion_timestamp.is_none() && names(other, kind, &view.name, labels))
        .filter_map(|other| {
            let certificate = system::used_by(context, &other)?;
            Sharer::of(&other, &certificate, &view.title(), reloads(&other, kind, &view.name, labels))
        })
        .collect();
    sharers.sort_by(|a, b| a.name.cmp(&b.name));
    sharers
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

/// `Deployment`.
pub fn kind_name(kind: WorkloadKind) -> &'static str {
    match kind {
        WorkloadKind::Deployment => "Deployment",
        WorkloadKind::StatefulSet => "StatefulSet",
        WorkloadKind::DaemonSet => "DaemonSet",
    }
}
