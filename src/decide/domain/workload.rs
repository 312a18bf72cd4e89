//! How far a workload's rollout is, with the semantics of `kubectl rollout status`.

use std::collections::BTreeMap;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, DeploymentCondition, DeploymentSpec, StatefulSet};
use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

use crate::api::domain::WorkloadKind;
use crate::api::keys;

use super::pods::uses;
use super::world::{FoundWorkload, Pods, Progress, WorkloadFound, WorkloadView};

const DEPLOYMENT_REVISION: &str = "deployment.kubernetes.io/revision";
const DAEMONSET_GENERATION: &str = "deprecated.daemonset.template.generation";

impl WorkloadView {
    /// Nothing has this name, or matches the selector whose text this is.
    pub fn not_found(kind: WorkloadKind, name: &str) -> Self {
        Self::new(kind, name.to_owned(), WorkloadFound::NotFound)
    }

    /// What a Deployment shows.
    pub fn of_deployment(object: &Deployment) -> Self {
        let spec = object.spec.as_ref().map(|s| Spec {
            template: &s.template,
            selector: &s.selector,
            takes_away: deployment_takes_away(s),
        });
        let revision = annotation(object.metadata.annotations.as_ref(), DEPLOYMENT_REVISION);
        Self::found(WorkloadKind::Deployment, &object.metadata, spec.as_ref(), revision, deployment(object))
    }

    /// What a StatefulSet shows.
    pub fn of_stateful_set(object: &StatefulSet) -> Self {
        let spec = object.spec.as_ref();
        let spec = spec.map(|s| Spec { template: &s.template, selector: &s.selector, takes_away: true });
        let revision = object.status.as_ref().and_then(|s| s.update_revision.clone());
        Self::found(WorkloadKind::StatefulSet, &object.metadata, spec.as_ref(), revision, stateful_set(object))
    }

    /// What a DaemonSet shows.
    pub fn of_daemon_set(object: &DaemonSet) -> Self {
        let spec = object.spec.as_ref();
        let spec = spec.map(|s| Spec { template: &s.template, selector: &s.selector, takes_away: true });
        let revision = annotation(object.metadata.annotations.as_ref(), DAEMONSET_GENERATION);
        Self::found(WorkloadKind::DaemonSet, &object.metadata, spec.as_ref(), revision, daemon_set(object))
    }

    fn found(
        kind: WorkloadKind,
        metadata: &ObjectMeta,
        spec: Option<&Spec<'_>>,
        revision: Option<String>,
        progress: Progress,
    ) -> Self {
        let template = spec.and_then(|s| s.template.metadata.as_ref());
        let found = FoundWorkload {
            uid: metadata.uid.clone().unwrap_or_default(),
            annotation: annotation(template.and_then(|t| t.annotations.as_ref()), keys::POD_TEMPLATE_FINGERPRINT),
            template: revision.unwrap_or_default(),
            progress,
            selector: spec.map(|s| s.selector.clone()).unwrap_or_default(),
            labels: template.and_then(|t| t.labels.clone()).unwrap_or_default(),
            uses: spec.and_then(|s| s.template.spec.as_ref()).map(uses).unwrap_or_default(),
            takes_away: spec.is_some_and(|s| s.takes_away),
        };
        Self::new(kind, metadata.name.clone().unwrap_or_default(), WorkloadFound::Found(Box::new(found)))
    }

    fn new(kind: WorkloadKind, name: String, found: WorkloadFound) -> Self {
        Self { kind, name, found, reloads: Vec::new(), shared: Vec::new(), pods: Pods::NotAsked }
    }

    /// How far its rollout is.
    pub fn progress(&self) -> Option<&Progress> {
        match &self.found {
            WorkloadFound::Found(found) => Some(&found.progress),
            WorkloadFound::NotFound => None,
        }
    }

    /// `Deployment/postfix`.
    pub fn title(&self) -> String {
        format!("{:?}/{}", self.kind, self.name)
    }
}

/// What the kinds of workloads have in common.
struct Spec<'a> {
    template: &'a PodTemplateSpec,
    selector: &'a LabelSelector,
    takes_away: bool,
}

/// Whether pods may be missing while a Deployment is restarted (`maxUnavailable`, rounded down; with no surge it is at
/// least one).
fn deployment_takes_away(spec: &DeploymentSpec) -> bool {
    let strategy = spec.strategy.as_ref();
    if strategy.and_then(|s| s.type_.as_deref()) == Some("Recreate") {
        return true;
    }
    let rolling = strategy.and_then(|s| s.rolling_update.as_ref());
    let replicas = i64::from(spec.replicas.unwrap_or(1));
    let count = |value: Option<&IntOrString>, up: bool| match value {
        Some(IntOrString::Int(n)) => i64::from(*n),
        Some(IntOrString::String(text)) => percent(text, replicas, up),
        None => percent("25%", replicas, up),
    };
    let unavailable = count(rolling.and_then(|r| r.max_unavailable.as_ref()), false);
    unavailable > 0 || count(rolling.and_then(|r| r.max_surge.as_ref()), true) == 0
}

fn percent(text: &str, of: i64, up: bool) -> i64 {
    let share: i64 = text.trim_end_matches('%').parse().unwrap_or(0);
    let product = of.saturating_mul(share);
    if up { product.saturating_add(99) / 100 } else { product / 100 }
}

fn annotation(annotations: Option<&BTreeMap<String, String>>, key: &str) -> Option<String> {
    annotations.and_then(|a| a.get(key)).cloned()
}

fn is_observed(metadata: &ObjectMeta, observed: Option<i64>) -> bool {
    observed.unwrap_or(0) >= metadata.generation.unwrap_or(1)
}

fn unobserved() -> Progress {
    Progress::RollingOut("its change has not been taken up yet".to_owned())
}

fn deployment(object: &Deployment) -> Progress {
    let (Some(spec), Some(status)) = (&object.spec, &object.status) else { return unobserved() };
    if !is_observed(&object.metadata, status.observed_generation) {
        return unobserved();
    }
    let wanted = spec.replicas.unwrap_or(1);
    let (all, updated) = (status.replicas.unwrap_or(0), status.updated_replicas.unwrap_or(0));
    let available = status.available_replicas.unwrap_or(0);
    if updated >= wanted && all <= updated && available >= updated {
        return Progress::RolledOut;
    }
    if let Some(exceeded) = deadline_exceeded(status.conditions.as_deref()) {
        return Progress::Failed(format!(
            "its pods do not become available: {}; see its pods' events and logs",
            exceeded.message.as_deref().unwrap_or("its progress deadline is exceeded")
        ));
    }
    let replaced = updated >= wanted && all <= updated;
    if spec.paused == Some(true) && !replaced {
        return Progress::Blocked("it is paused; resume it (kubectl rollout resume)".to_owned());
    }
    Progress::RollingOut(match replaced {
        true => format!("{available} of {updated} updated pods are available"),
        false if updated < wanted => format!("{updated} of {wanted} pods are updated"),
        false => format!("{} old pods are still to be stopped", all - updated),
    })
}

fn deadline_exceeded(conditions: Option<&[DeploymentCondition]>) -> Option<&DeploymentCondition> {
    let is_it =
        |c: &&DeploymentCondition| c.type_ == "Progressing" && c.reason.as_deref() == Some("ProgressDeadlineExceeded");
    conditions.unwrap_or_default().iter().find(is_it)
}

fn stateful_set(object: &StatefulSet) -> Progress {
    let (Some(spec), Some(status)) = (&object.spec, &object.status) else { return unobserved() };
    if !is_observed(&object.metadata, status.observed_generation) {
        return unobserved();
    }
    let strategy = spec.update_strategy.as_ref();
    let partition = strategy.and_then(|s| s.rolling_update.as_ref()).and_then(|r| r.partition).unwrap_or(0);
    let wanted = spec.replicas.unwrap_or(1);
    let same = status.current_revision == status.update_revision;
    let updated = if same { status.replicas } else { status.updated_replicas.unwrap_or(0) };
    let ready = status.ready_replicas.unwrap_or(0);
    if strategy.and_then(|s| s.type_.as_deref()) == Some("OnDelete") && !same && updated < wanted {
        return on_delete();
    }
    if ready < wanted {
        return Progress::RollingOut(format!("{ready} of {wanted} pods are ready"));
    }
    if updated >= wanted {
        return Progress::RolledOut;
    }
    if partition > 0 && updated >= wanted - partition {
        return Progress::Blocked(format!(
            "its partition {partition} keeps {} of {wanted} pods on the old template; \
             set spec.updateStrategy.rollingUpdate.partition to 0",
            wanted - updated
        ));
    }
    Progress::RollingOut(format!("{updated} of {wanted} pods are updated"))
}

fn daemon_set(object: &DaemonSet) -> Progress {
    let (Some(spec), Some(status)) = (&object.spec, &object.status) else { return unobserved() };
    if !is_observed(&object.metadata, status.observed_generation) {
        return unobserved();
    }
    let wanted = status.desired_number_scheduled;
    let updated = status.updated_number_scheduled.unwrap_or(0);
    let available = status.number_available.unwrap_or(0);
    let strategy = spec.update_strategy.as_ref().and_then(|s| s.type_.as_deref());
    if strategy == Some("OnDelete") && updated < wanted {
        return on_delete();
    }
    if updated < wanted {
        return Progress::RollingOut(format!("{updated} of {wanted} pods are updated"));
    }
    if available < wanted {
        return Progress::RollingOut(format!("{available} of {wanted} pods are available"));
    }
    Progress::RolledOut
}

fn on_delete() -> Progress {
    Progress::Blocked(
        "its update strategy is OnDelete: delete its pods yourself, or set the strategy to RollingUpdate".to_owned(),
    )
}
