//! When, in which order and how many workloads take up a new certificate, and how far each has come.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reload::PodReload;
use crate::api::window::Window;

/// When, in which order and how many workloads take up a new certificate.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// When workloads may be restarted. Reloads in place happen at any time, and so does a restart when the certificate
    /// before has less than a tenth of its lifetime left (at most three days), or none works.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub windows: Vec<Window>,
    /// How many workloads are restarted at once, and how many pods of a workload are reloaded at once. Default: all
    /// workloads, and one pod after the other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub max_concurrent: Option<i32>,
    /// Names of workloads (`dovecot`, or `Deployment/dovecot`): each waits until those before it have taken the
    /// certificate up, as long as the one before does not end. Workloads that are not named come after them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), inner(length(min = 1, max = 270)))]
    pub order: Vec<String>,
    /// Whether a restart that takes pods away waits until every PodDisruptionBudget of them allows a disruption.
    #[serde(default)]
    pub disruption_budgets: DisruptionBudgets,
}

/// Whether PodDisruptionBudgets are asked before a restart.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DisruptionBudgets {
    /// No, as Kubernetes itself does for rollouts.
    #[default]
    Ignore,
    /// Yes. The operator must be allowed to list them (chart value `rollout.disruptionBudgets.enabled`).
    Respect,
}

/// How far a workload has come.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WorkloadStatus {
    /// Kind and name (`Deployment/postfix`).
    pub workload: String,
    /// `RolledOut`, `RollingOut`, `Waiting`, `Blocked`, `Failed` or `NotFound`.
    pub state: RolloutState,
    /// What is wrong and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// The certificates that it shall serve: SHA-256 over each leaf's DER, in lower-case hex, separated by commas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Since when it shall serve them; where it had to wait, since when it has not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Time>,
    /// Pods that are reloaded in place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pods: Vec<PodReload>,
}

/// The state of a rollout.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RolloutState {
    /// Every pod runs with the active certificate and is available.
    RolledOut,
    /// Pods are being replaced or reloaded.
    RollingOut,
    /// It is held back: by the order, a window, or a PodDisruptionBudget.
    Waiting,
    /// A person has to see to it: it is paused, its update strategy waits for one, or a right is missing.
    Blocked,
    /// Pods do not become available, or a reload fails.
    Failed,
    /// There is no such workload.
    NotFound,
}

impl RolloutState {
    /// Whether it has not begun, or cannot go on, and that is not its own failure.
    pub fn is_held(self) -> bool {
        matches!(self, Self::Waiting | Self::Blocked)
    }
}
