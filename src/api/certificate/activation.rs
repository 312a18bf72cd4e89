//! When a new revision is put to use, what is told to others about it, and when it is taken back.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::api::issuer::SecretKeyRef;
use crate::api::schema;
use crate::api::window::Window;

/// When a new revision is put to use, what is told to others about it, and when it is taken back.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("!(has(self.gates) && 'MaintenanceWindow' in self.gates) || has(self.windows)").message("the gate MaintenanceWindow needs windows"))]
#[x_kube(validation = Rule::new("!(has(self.gates) && 'Drained' in self.gates) || has(self.drained)").message("the gate Drained needs drained"))]
#[x_kube(validation = Rule::new("!has(self.confirm) || has(self.publish)").message("confirm needs publish"))]
#[serde(rename_all = "camelCase")]
pub struct Activation {
    /// `Manual`: every new revision waits to be approved.
    #[serde(default)]
    pub mode: ActivationMode,
    /// What a new revision waits for: `Approved`, `MaintenanceWindow`, `TLSAPublished`, `Drained`, or any condition type
    /// that another controller sets to True in this object's status. `mode: Manual`, `windows`, `drained` and a
    /// MailDomain with `dns.tlsa` imply theirs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 316), regex(pattern = schema::CONDITION_TYPE_PATTERN)))]
    pub gates: Vec<String>,
    /// New revisions become active only while one of these is open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub windows: Vec<Window>,
    /// Asks whether anything is still queued for the old certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained: Option<Drained>,
    /// Goes on without unmet gates when the active revision expires within this time, in Go syntax (`24h`). Default: 1h,
    /// or a tenth of its lifetime where that is less.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_duration")]
    #[x_kube(validation = Rule::new("self == null || duration(self) <= duration('87600h')").message("overrideBeforeExpiry must be at most 87600h"))]
    pub override_before_expiry: Option<kube::core::Duration>,
    /// The gates that may be gone on without. Default: all but `TLSAPublished`. An empty list: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 316), regex(pattern = schema::CONDITION_TYPE_PATTERN)))]
    pub override_gates: Option<Vec<String>>,
    /// How long a new revision may take until every endpoint serves it, in Go syntax. Default: 1h for MailDomains whose
    /// workloads the operator reloads; others are not judged by time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_duration")]
    #[x_kube(validation = Rule::new("self == null || (duration(self) >= duration('10s') && duration(self) <= duration('720h'))").message("deadline must be between 10s and 720h"))]
    pub deadline: Option<kube::core::Duration>,
    /// Whether the previous revision becomes active again when the new one is not served in time, or when its rollout
    /// fails.
    #[serde(default = "Activation::default_rollback")]
    pub rollback_on_failure: bool,
    /// Tells others about a revision once it is active. They are given the certificate, never the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub publish: Option<Publish>,
    /// Asks whether those others have taken it up. Until they have, no former revision is deleted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm: Option<Publish>,
}

impl Activation {
    fn default_rollback() -> bool {
        true
    }
}

impl Default for Activation {
    fn default() -> Self {
        Self {
            mode: ActivationMode::default(),
            gates: Vec::new(),
            windows: Vec::new(),
            drained: None,
            override_before_expiry: None,
            override_gates: None,
            deadline: None,
            rollback_on_failure: Self::default_rollback(),
            publish: None,
            confirm: None,
        }
    }
}

/// Who decides that a new revision becomes active.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ActivationMode {
    /// Its gates alone.
    #[default]
    Automatic,
    /// A person as well: `kubectl mailcert approve`, or the annotation `mailcert.dev/approve` with the revision's number.
    Manual,
}

/// A question whose answer is yes or not yet.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("[has(self.http), has(self.exec), has(self.job)].filter(x, x).size() == 1").message("exactly one of http, exec and job must be set"))]
#[serde(rename_all = "camelCase")]
pub struct Drained {
    /// Asks an HTTP endpoint: a 2xx answer means that nothing is queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpCall>,
    /// Runs a command in pods: exit status 0 in each of them means that nothing is queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecCall>,
    /// Runs a Job: when it is complete, nothing is queued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobCall>,
    /// Time between two questions, and between a Job that failed and the next one, in Go syntax.
    #[serde(default = "Drained::default_interval")]
    #[schemars(schema_with = "schema::duration")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('5s') && duration(self) <= duration('24h')").message("interval must be between 5s and 24h"))]
    pub interval: kube::core::Duration,
}

impl Drained {
    fn default_interval() -> kube::core::Duration {
        std::time::Duration::from_secs(60).into()
    }
}

/// Tells, or asks, somebody about the active certificate.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("has(self.http) != has(self.job)").message("exactly one of http and job must be set"))]
#[serde(rename_all = "camelCase")]
pub struct Publish {
    /// Calls an HTTP endpoint; a 2xx answer is success.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpCall>,
    /// Runs a Job; success is its completion.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job: Option<JobCall>,
}

/// An HTTP call.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HttpCall {
    /// Where. `{namespace}`, `{name}`, `{revision}`, `{serial}` and `{fingerprint}` are replaced. Not followed elsewhere.
    #[schemars(length(min = 8, max = 1024), regex(pattern = r"^https?://[^\s/@]+(/[^\s]*)?$"))]
    pub url: String,
    /// Default: POST for `publish`, with the certificate as JSON (`namespace`, `name`, `revision`, `serial`,
    /// `fingerprintSHA256`, `spkiSHA256`, `dnsNames`, `notAfter`, `certificate`, `ca`); else GET.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<HttpMethod>,
    /// A 2xx answer counts only with this body, spaces at its ends aside (`0`, or `{fingerprint}`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub expect_body: Option<String>,
    /// The value of the header Authorization, in a Secret of the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_secret_ref: Option<SecretKeyRef>,
    /// PEM certificates that an HTTPS server must chain to, in place of the Mozilla roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub ca_bundle: Option<String>,
}

/// An HTTP method.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpMethod {
    /// Asks.
    GET,
    /// Tells.
    POST,
    /// Puts in place.
    PUT,
}

/// A command in pods.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ExecCall {
    /// Labels of the pods, in the same namespace. There must be at least one pod, and at most 20: of more, none is asked.
    pub selector: LabelSelector,
    /// Default: the pod's first container.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,
    /// The command and its arguments. No shell is between: name one where it is needed.
    #[schemars(length(min = 1, max = 64), inner(length(max = 4096)))]
    pub command: Vec<String>,
}

/// A Job.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct JobCall {
    /// `metadata` and `spec` of a batch/v1 Job. Its containers are given `MAILCERT_NAMESPACE`, `MAILCERT_NAME`,
    /// `MAILCERT_REVISION`, `MAILCERT_SERIAL`, `MAILCERT_FINGERPRINT` and `MAILCERT_CERTIFICATE` (PEM) as environment. Unless it says otherwise,
    /// `activeDeadlineSeconds` is 600 and `ttlSecondsAfterFinished` is 86400.
    #[schemars(schema_with = "schema::any_object")]
    pub template: Value,
}
