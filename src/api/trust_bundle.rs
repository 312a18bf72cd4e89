//! MailTrustBundle: whom mail servers and clients trust.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::certificate::{DeletionPolicy, Finding, PasswordRef};
use super::schema;

/// Trust anchors for mail servers and clients: the Mozilla roots, own CA certificates, or both, in ConfigMaps.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "mailcert.dev",
    version = "v1alpha1",
    kind = "MailTrustBundle",
    plural = "mailtrustbundles",
    namespaced,
    status = "MailTrustBundleStatus",
    derive = "PartialEq",
    shortname = "mtrust",
    category = "mailcert",
    doc = "A MailTrustBundle puts trust anchors into ConfigMaps: the Mozilla roots, own CA certificates, or both.",
    validation = Rule::new("self.metadata.name.size() <= 63").message("the name of a MailTrustBundle has at most 63 characters"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "ConfigMap", type_ = "string", json_path = ".spec.targets.configMap.name"),
    printcolumn(name = "Anchors", type_ = "integer", json_path = ".status.anchors.total"),
    printcolumn(name = "Version", type_ = "integer", json_path = ".status.version"),
    printcolumn(name = "Next expiry", type_ = "string", json_path = ".status.nextExpiry", priority = "1"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
pub struct MailTrustBundleSpec {
    /// Where the trust anchors come from.
    #[schemars(length(min = 1, max = 32))]
    pub sources: Vec<TrustSource>,
    /// Where they go.
    pub targets: TrustTargets,
    /// How long an own anchor stays in the bundle after its source, which is still in the spec, has dropped it, in Go
    /// syntax; as long as it is valid. `0s`: not at all. A source that is taken out of the spec takes its anchors with it at
    /// once. Default: 720h (30 days).
    #[serde(default = "MailTrustBundleSpec::default_overlap")]
    #[schemars(schema_with = "schema::duration")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('0s') && duration(self) <= duration('87600h')").message("overlap must be between 0s and 87600h"))]
    pub overlap: kube::core::Duration,
    /// What becomes of the ConfigMaps when the MailTrustBundle is deleted, and of one whose namespace is no longer a target.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

impl MailTrustBundleSpec {
    fn default_overlap() -> kube::core::Duration {
        std::time::Duration::from_secs(720 * 3600).into()
    }
}

/// Where trust anchors come from.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[x_kube(validation = Rule::new("[has(self.mozilla) && self.mozilla, has(self.configMap), has(self.secret), has(self.inline)].filter(x, x).size() == 1").message("exactly one of mozilla, configMap, secret and inline must be set"))]
#[serde(rename_all = "camelCase")]
pub struct TrustSource {
    /// The roots that Mozilla trusts for TLS servers, as this release of mailcert carries them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mozilla: bool,
    /// CA certificates in a ConfigMap of the same namespace, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map: Option<TrustKeyRef>,
    /// CA certificates in a Secret of the same namespace, PEM. Other blocks, such as private keys, are not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<TrustKeyRef>,
    /// CA certificates, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 131_072))]
    pub inline: Option<String>,
}

/// A key of a ConfigMap or Secret of the same namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TrustKeyRef {
    /// Name of the ConfigMap or Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME_PATTERN))]
    pub name: String,
    /// The key in it.
    #[serde(default = "TrustKeyRef::default_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

impl TrustKeyRef {
    fn default_key() -> String {
        "ca.crt".to_owned()
    }
}

/// Where trust anchors go.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("!has(self.truststore) || self.truststore.key != self.configMap.key").message("truststore.key must not be configMap.key").field_path(".truststore.key"))]
#[serde(rename_all = "camelCase")]
pub struct TrustTargets {
    /// The ConfigMap, in each target namespace. One that something else made is never written.
    pub config_map: TargetConfigMap,
    /// A PKCS#12 trust store for Java programs besides, in the same ConfigMap (`binaryData`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub truststore: Option<Truststore>,
    /// Which namespaces. Default: the MailTrustBundle's own. Others take a MailTrustBundle in the operator's namespace, or
    /// in one of those that the operator is told of (`--trust-bundles-from`).
    #[serde(default)]
    pub namespaces: TargetNamespaces,
}

/// The ConfigMap to write.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TargetConfigMap {
    /// Its name.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME_PATTERN))]
    pub name: String,
    /// The key for the certificates, PEM.
    #[serde(default = "TrustKeyRef::default_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
    /// Labels for the ConfigMap, at most 20.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 20))]
    pub labels: BTreeMap<String, String>,
}

/// A PKCS#12 trust store.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Truststore {
    /// The key of the ConfigMap.
    #[serde(default = "Truststore::default_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
    /// The Secret with its password, of the same namespace, key `password` by default. Default: `changeit`, which every
    /// Java program tries. The certificates are public; the password only protects them against change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<PasswordRef>,
}

impl Truststore {
    fn default_key() -> String {
        "truststore.p12".to_owned()
    }
}

/// Which namespaces get the ConfigMap.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[x_kube(validation = Rule::new("!(has(self.names) && has(self.selector))").message("at most one of names and selector may be set"))]
pub struct TargetNamespaces {
    /// These. The MailTrustBundle's own only when it is among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 63), regex(pattern = schema::OBJECT_NAME_PATTERN)))]
    pub names: Vec<String>,
    /// Those with these labels, also ones that are made later. Takes an operator that serves all namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// What was found out about a trust bundle.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct MailTrustBundleStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`; `Stalled` while it takes a person to go on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// Counts up with every change of the anchors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// SHA-256 over the certificates as they are written, in lower-case hex: that of the file that programs read.
    #[serde(default, rename = "bundleSHA256", skip_serializing_if = "Option::is_none")]
    pub bundle_sha256: Option<String>,
    /// How many anchors there are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchors: Option<AnchorCounts>,
    /// The own anchors in the bundle.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub own: Vec<OwnAnchor>,
    /// When the first own anchor in the bundle expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_expiry: Option<Time>,
    /// The namespaces that have the ConfigMap, and what is wrong where one has not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub targets: Vec<TargetStatus>,
    /// What was found wrong, or soon will be, and does not stop anything.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
}

/// How many anchors a bundle has. One that comes from several sources counts once.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct AnchorCounts {
    /// All.
    pub total: i64,
    /// Mozilla's roots.
    pub mozilla: i64,
    /// Own ones that are no Mozilla roots.
    pub own: i64,
    /// Of those, the ones that their source has dropped and that stay for the overlap.
    pub retained: i64,
}

/// An own trust anchor.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OwnAnchor {
    /// SHA-256 over its DER, in lower-case hex.
    #[serde(rename = "fingerprintSHA256")]
    pub fingerprint_sha256: String,
    /// Its subject.
    pub subject: String,
    /// When it expires.
    pub not_after: Time,
    /// The sources that it comes from (`ConfigMap corporate-ca/ca.crt`).
    pub sources: Vec<String>,
    /// Since when no source has it any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gone_since: Option<Time>,
    /// Its DER, in base64: kept so that it can stay in the bundle when a source drops it or cannot be read.
    pub certificate: String,
}

/// What is known of a target.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TargetStatus {
    /// The namespace.
    pub namespace: String,
    /// The version of the bundle that its ConfigMap has, when it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<i64>,
    /// What is wrong and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}
