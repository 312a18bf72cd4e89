//! How the pods of a workload come to load a new certificate.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::schema;

/// How the pods of a workload come to load a new certificate. A Secret that is mounted through `subPath` or read into the
/// environment never changes in a running pod: such a workload is restarted, whatever is said here.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[x_kube(
    validation = Rule::new("[has(self.restart), has(self.exec), has(self.http), has(self.none), has(self.preset)].filter(x, x).size() == 1").message("exactly one of restart, exec, http, none and preset must be set"),
    validation = Rule::new("!has(self.container) || has(self.preset)").message("container belongs to preset; use exec.container with exec"),
    validation = Rule::new("!has(self.authorizationSecretRef) || has(self.preset)").message("authorizationSecretRef belongs to preset; use http.authorizationSecretRef with http")
)]
#[serde(rename_all = "camelCase")]
pub struct Reload {
    /// Replace the pods, by an annotation on the pod template. The default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// Run a command in each pod, once the new certificate has arrived there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<ExecReload>,
    /// Send an HTTP request to each pod, once the new certificate has arrived there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpReload>,
    /// Do nothing: the server notices by itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub none: Option<NoReload>,
    /// What a mail server's documentation says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub preset: Option<Preset>,
    /// The container that a preset's command runs in. Default: the one that mounts the Secret; of several, the one with
    /// the preset's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub container: Option<String>,
    /// For a preset that sends an HTTP request: the value of its Authorization header (`Bearer …`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_secret_ref: Option<AuthorizationRef>,
}

/// Replaces the pods.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, Default)]
pub struct Restart {}

/// The server notices a new certificate by itself.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, Default)]
pub struct NoReload {}

/// A command that has the server load its certificate. It must not end the server.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ExecReload {
    /// The container. Default: the one that mounts the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([a-z0-9-]*[a-z0-9])?$"))]
    pub container: Option<String>,
    /// The command and its arguments. No shell is involved unless it is the command.
    #[schemars(length(min = 1, max = 32), inner(length(min = 1, max = 1024)))]
    pub command: Vec<String>,
    /// The longest time that it may take, in Go syntax. Default: 20s.
    #[serde(default = "default_timeout")]
    #[schemars(schema_with = "schema::duration")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('30s')").message("timeout must be between 1s and 30s"))]
    pub timeout: kube::core::Duration,
}

/// An HTTP request that has the server load its certificate. Any answer with a status of 2xx is success.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct HttpReload {
    /// GET, POST or PUT. Default: POST.
    #[serde(default)]
    pub method: HttpMethod,
    /// HTTP or HTTPS. With HTTPS the certificate is not verified: it is the one that is to be replaced. Default: HTTP.
    #[serde(default)]
    pub scheme: HttpScheme,
    /// The port in the pod.
    #[schemars(range(min = 1, max = 65535))]
    pub port: i32,
    /// The path, with its query if there is one.
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^/[!-~]*$"))]
    pub path: String,
    /// The body, sent as `application/json`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 4096))]
    pub body: Option<String>,
    /// An answer whose body contains this text is a failure, whatever its status.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub failure_text: Option<String>,
    /// The value of the Authorization header (`Bearer …`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization_secret_ref: Option<AuthorizationRef>,
    /// The longest time that it may take, in Go syntax. Default: 20s.
    #[serde(default = "default_timeout")]
    #[schemars(schema_with = "schema::duration")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('1s') && duration(self) <= duration('30s')").message("timeout must be between 1s and 30s"))]
    pub timeout: kube::core::Duration,
}

/// A method of HTTP.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpMethod {
    /// GET.
    Get,
    /// POST.
    #[default]
    Post,
    /// PUT.
    Put,
}

/// HTTP with or without TLS.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "UPPERCASE")]
pub enum HttpScheme {
    /// Without.
    #[default]
    Http,
    /// With.
    Https,
}

/// A value in a Secret of the same namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME_PATTERN))]
    pub name: String,
    /// Key in the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// A mail server whose way to load a certificate is known.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// `postfix reload`.
    Postfix,
    /// `doveadm reload`.
    Dovecot,
    /// Stalwart 0.16 and later: the action ReloadTlsCertificates on port 8080, with `authorizationSecretRef`.
    Stalwart,
    /// Its change detector notices by itself.
    DockerMailserver,
    /// Its certificate watcher notices by itself.
    Mailu,
    /// Apache James: `POST /servers?reload-certificate` of WebAdmin on port 8000.
    James,
    /// Restarted: only `config/tls` is watched, and not the default certificate.
    Haraka,
    /// Notices by itself (inotify, or at each connection where the option is expanded).
    Exim,
    /// SIGHUP to the master process.
    Cyrus,
}

fn default_timeout() -> kube::core::Duration {
    std::time::Duration::from_secs(20).into()
}

/// A pod of a workload that is reloaded in place.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PodReload {
    /// Name of the pod.
    pub name: String,
    /// Its UID: a pod of the same name that is another one is reloaded anew.
    pub uid: String,
    /// `Reloaded`, or `Failed`.
    pub state: PodReloadState,
    /// Failed tries in a row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: i32,
    /// Restarts of its containers when it was tried last.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub restarts: i32,
    /// When it was tried last.
    pub at: Time,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

fn is_zero(n: &i32) -> bool {
    *n == 0
}

/// How far a pod has come.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodReloadState {
    /// It has loaded the certificate.
    Reloaded,
    /// The command or the request failed. It is tried again.
    Failed,
}
