//! MailDomain: a mail domain and what serves it.

pub mod dns;
mod sni;

pub use dns::{Dns, DnsStatus, Tlsa, TlsaEndpoint, TlsaMode, TlsaPurpose, TlsaRecord, TlsaState, TlsaStatus};
pub use sni::{Sni, SniStatus};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::certificate::{CertificateOptions, Finding, Import, IssuerRef, LegacyName};
use crate::api::endpoint::{Protocol, TlsMode};
use crate::api::schema;

pub mod probe;
pub mod reload;
pub mod rollout;

pub use probe::{EndpointStatus, EndpointVerdict, Probe, ProxyProtocol, ServedAlgorithm};
pub use reload::{PodReload, PodReloadState, Preset, Reload};
pub use rollout::{DisruptionBudgets, Rollout, RolloutState, WorkloadStatus};

/// A mail domain: its host names, its certificate, the workloads that serve it and the endpoints to prove.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "mailcert.dev",
    version = "v1alpha1",
    kind = "MailDomain",
    plural = "maildomains",
    namespaced,
    status = "MailDomainStatus",
    derive = "PartialEq",
    shortname = "mdom",
    category = "mailcert",
    doc = "A MailDomain is a mail domain: its host names, its certificate, the workloads that serve it and the endpoints to prove.",
    selectable = ".spec.domain",
    validation = Rule::new("self.metadata.name.size() <= 63").message("the name of a MailDomain has at most 63 characters"),
    printcolumn(name = "Domain", type_ = "string", json_path = ".spec.domain"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Served", type_ = "string", json_path = ".status.conditions[?(@.type==\"Served\")].status"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.certificate.notAfter"),
    printcolumn(name = "Endpoint problems", type_ = "string", json_path = ".status.endpointProblems"),
    printcolumn(name = "DNS", type_ = "string", json_path = ".status.conditions[?(@.type==\"DNSReady\")].status", priority = "1"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct MailDomainSpec {
    /// The part of mail addresses after the `@` (`example.com`), in A-labels or Unicode.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::HOST_PATTERN))]
    pub domain: String,
    /// The address that users and their programs are told (`https://mail.example.com`). Its host must be covered by
    /// the certificate.
    #[serde(rename = "externalURL")]
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^https://[^\s/@]+(/[^\s]*)?$"))]
    pub external_url: String,
    /// Further host names.
    #[serde(default)]
    pub hostnames: Hostnames,
    /// The certificate: one of this MailDomain's own, one that exists, or the namespace's system certificate.
    pub certificate: DomainCertificate,
    /// What listens, and where. Each one is probed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub endpoints: Vec<Endpoint>,
    /// What takes up the certificate when it changes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub workloads: Vec<Workload>,
    /// When, in which order and how many of them at once.
    #[serde(default)]
    pub rollout: Rollout,
    /// How endpoints are probed.
    #[serde(default)]
    pub probe: Probe,
    /// DNS records of the endpoints. Default: none of the operator's business.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<Dns>,
    /// One server for several mail domains, which picks their certificates by name (SNI).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sni: Option<Sni>,
}

/// Further host names of the mail server.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Default)]
pub struct Hostnames {
    /// Names in use besides the external URL's host, in A-labels or Unicode.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), inner(length(min = 1, max = 253), regex(pattern = schema::SAN_PATTERN)))]
    pub additional: Vec<String>,
    /// Old names that clients still use. One that cannot be validated never blocks the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub legacy: Vec<LegacyName>,
}

/// Where the certificate comes from.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("[has(self.ref), has(self.template), has(self.disabled) && self.disabled].filter(x, x).size() == 1").message("exactly one of ref, template and disabled: true must be set"))]
#[x_kube(validation = Rule::new("!has(self.secretName) || (has(self.disabled) && self.disabled)").message("secretName goes with disabled only; a template has its own").field_path(".secretName"))]
#[x_kube(validation = Rule::new("!has(oldSelf.disabled) || !oldSelf.disabled || !has(self.disabled) || !self.disabled || (has(self.secretName) ? self.secretName : '') == (has(oldSelf.secretName) ? oldSelf.secretName : '')").message("secretName cannot change while the certificate is disabled: pods mount that Secret"))]
#[serde(rename_all = "camelCase")]
pub struct DomainCertificate {
    /// A MailCertificate of the same namespace, which others may use as well.
    #[serde(default, rename = "ref", skip_serializing_if = "Option::is_none")]
    pub reference: Option<CertificateRef>,
    /// A MailCertificate of this MailDomain's own, with the MailDomain's name. Its names are computed: the external
    /// URL's host, every endpoint's host, `hostnames` and the template's own dnsNames.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<CertificateTemplate>,
    /// `true`: no certificate of this MailDomain's own. Its former one is removed, and the namespace's system certificate
    /// (a MailCertificate with `system: true`) serves in its place; the Secret that pods mount holds a copy of it from then on.
    /// Nothing is removed before that copy is in place.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
    /// With `disabled`: the Secret for the copy. Default: the Secret of the former certificate, else
    /// `<name of the MailDomain>-tls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME_PATTERN))]
    pub secret_name: Option<String>,
}

/// A MailCertificate of the same namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct CertificateRef {
    /// Name of the MailCertificate.
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::OBJECT_NAME_PATTERN))]
    pub name: String,
}

/// The MailCertificate to make.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("has(self.issuerRef) != has(self.import)").message("exactly one of issuerRef and import must be set"))]
#[x_kube(validation = Rule::new("!has(self.import) || !has(self.secretName) || self.import.secretRef.name != self.secretName").message("import.secretRef must name another Secret than secretName: the operator writes that one, and never the source"))]
#[x_kube(validation = Rule::new("!has(self.import) || (!has(self.subject) && !has(self.emailAddresses) && !has(self.duration) && !(has(self.issueTemporary) && self.issueTemporary))").message("subject, emailAddresses, duration and issueTemporary go with issuerRef: what is imported is taken as it is"))]
#[serde(rename_all = "camelCase")]
pub struct CertificateTemplate {
    /// The MailIssuer that signs. Exactly one of issuerRef and import must be set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_ref: Option<IssuerRef>,
    /// Key and certificate from a Secret, in place of issuerRef.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<Import>,
    /// The Secret that pods mount. Default: `<name of the MailDomain>-tls`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME_PATTERN))]
    pub secret_name: Option<String>,
    /// DNS names besides those computed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50), inner(length(min = 1, max = 253), regex(pattern = schema::SAN_PATTERN)))]
    pub dns_names: Vec<String>,
    /// Key, validity, renewal and what else can have a default.
    #[serde(flatten)]
    pub options: CertificateOptions,
}

/// Something that listens.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// What is spoken there.
    pub protocol: Protocol,
    /// The name that clients connect to, sent as SNI. Default: the external URL's host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::HOST_PATTERN))]
    pub host: Option<String>,
    /// Default: the protocol's registered port (25, 587, 465, 143, 993, 110, 995, 4190, 443, 24).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub port: Option<i32>,
    /// How TLS begins. Default: as registered for the protocol.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsMode>,
    /// Where to connect in place of `host`: a DNS name (such as a Service's) or an IP address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub address: Option<String>,
    /// The port in the pods, where it is another one than `port`: for `probe.perPod`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65535))]
    pub pod_port: Option<i32>,
    /// The header that the listener wants before everything else, if it wants one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
}

/// Pods that serve the certificate.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("has(self.name) != has(self.selector)").message("exactly one of name and selector must be set"))]
pub struct Workload {
    /// What kind of workload it is.
    pub kind: WorkloadKind,
    /// Name of the workload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME_PATTERN))]
    pub name: Option<String>,
    /// Labels of the workloads (not of their pods).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// How its pods come to load a new certificate. Default: they are restarted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reload: Option<Reload>,
}

/// A kind of workload.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum WorkloadKind {
    /// apps/v1 Deployment.
    Deployment,
    /// apps/v1 StatefulSet.
    StatefulSet,
    /// apps/v1 DaemonSet.
    DaemonSet,
}

/// What was found out about a mail domain.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct MailDomainStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, `NamesMatch`, `RolledOut`, `Served`; `DNSReady` where DNS records are wanted; `Stalled` while it takes a person to go on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The certificate in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<DomainCertificateStatus>,
    /// How many endpoints do not serve it, of how many (`1/7`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint_problems: Option<String>,
    /// What each endpoint serves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub endpoints: Vec<EndpointStatus>,
    /// How far each workload has come.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub workloads: Vec<WorkloadStatus>,
    /// What is wrong, or soon will be, and stops nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// What is published in DNS, and what is safe by it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns: Option<DnsStatus>,
    /// What the Secret of a server that it shares with others has for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sni: Option<SniStatus>,
}

/// The certificate in use.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DomainCertificateStatus {
    /// Name of the MailCertificate.
    pub name: String,
    /// The Secret that pods mount.
    pub secret_name: String,
    /// Whether it is the namespace's system certificate, of which the Secret holds a copy.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub system: bool,
    /// The copy, as it was written or last read: the same versions need no second look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<CopyStatus>,
    /// SHA-256 over the active leaf's DER, in lower-case hex.
    #[serde(default, rename = "fingerprintSHA256", skip_serializing_if = "Option::is_none")]
    pub fingerprint_sha256: Option<String>,
    /// When it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_after: Option<Time>,
    /// Since when it has not been served by every endpoint. Not set while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unserved_since: Option<Time>,
}

/// The copy of the system certificate's Secret.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CopyStatus {
    /// The resourceVersion of the system certificate's Secret.
    pub source_resource_version: String,
    /// The resourceVersion of the copy.
    pub resource_version: String,
}
