//! Where a certificate comes from that no MailIssuer signs: a Secret.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::issuer::SecretRef;
use crate::api::schema;

/// Key and certificate from a Secret of the same namespace, which is watched: what is put there is validated, and becomes
/// a new revision. The Secret itself is never written.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Import {
    /// The Secret, of any type. It must not be the one that `secretName` names.
    pub secret_ref: SecretRef,
    /// What is in it. Default: found by its content.
    #[serde(default)]
    pub format: ImportFormat,
    /// The password of an encrypted key, or of PKCS#12.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret_ref: Option<PasswordRef>,
    /// The keys of the Secret to take. Default: those that are named as certificates and keys commonly are (`tls.crt`,
    /// `tls.key`, `ca.crt`, `fullchain.pem`, `*.p12`, …), else every `*.pem`, `*.crt`, `*.cer` and `*.key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys: Option<ImportKeys>,
    /// Findings that are no obstacle here, by their documented words (`NameNotCovered`); each for itself, so that what has
    /// expired must still be trusted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(min = 1, max = 63), regex(pattern = r"^[A-Z][A-Za-z0-9]*$")))]
    pub allow: Vec<String>,
    /// Whether a chain that leads to no known trust anchor is no obstacle.
    #[serde(default)]
    pub allow_untrusted: bool,
    /// PEM certificates that the chain must lead to, for CAs that are not in Mozilla's list. Default: Mozilla's roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub trust_anchors: Option<String>,
    /// Whether issuers that the chain lacks are fetched from where the certificate says that they are (AIA), over plain
    /// HTTP. The operator must allow it, too (the chart's value `import.fetchIssuers.enabled`).
    #[serde(default)]
    pub fetch_missing_issuers: bool,
}

/// A password in a Secret of the same namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct PasswordRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME_PATTERN))]
    pub name: String,
    /// The key in it.
    #[serde(default = "PasswordRef::default_key")]
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::SECRET_KEY_PATTERN))]
    pub key: String,
}

impl PasswordRef {
    fn default_key() -> String {
        "password".to_owned()
    }
}

/// What is in a source.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum ImportFormat {
    /// Found by its content.
    #[default]
    Auto,
    /// PEM, or DER: certificates and keys (PKCS#8, PKCS#1, SEC1, encrypted PKCS#8), in any order.
    PEM,
    /// PKCS#12 (`.p12`, `.pfx`).
    PKCS12,
}

/// The keys of a source Secret to take.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Eq, Default)]
#[x_kube(validation = Rule::new("has(self.certificate) != has(self.pkcs12)").message("exactly one of certificate and pkcs12 must be set"))]
#[x_kube(validation = Rule::new("!has(self.pkcs12) || !has(self.key)").message("key goes with certificate: PKCS#12 has its key in it"))]
pub struct ImportKeys {
    /// The certificate, with its chain or without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::SECRET_KEY_PATTERN))]
    pub certificate: Option<String>,
    /// The private key, where it is not with the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::SECRET_KEY_PATTERN))]
    pub key: Option<String>,
    /// Certificates of CAs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::SECRET_KEY_PATTERN))]
    pub ca: Option<String>,
    /// PKCS#12, with key and certificate in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::SECRET_KEY_PATTERN))]
    pub pkcs12: Option<String>,
}

/// What was found in the source of an import.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct ImportStatus {
    /// The source's resourceVersion as it was read last: the same one needs no second look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource_version: Option<String>,
    /// That of the Secret with the password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_resource_version: Option<String>,
    /// SHA-256 over what was expected of it: when something else is, it is looked at again.
    #[serde(default, rename = "expectationSHA256", skip_serializing_if = "Option::is_none")]
    pub expectation_sha256: Option<String>,
    /// SHA-256 over the key, the chain and the CA certificates that were taken last: the same again is no new revision.
    #[serde(default, rename = "contentSHA256", skip_serializing_if = "Option::is_none")]
    pub content_sha256: Option<String>,
    /// Why what is there now is not used, if it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
    /// When it is looked at again although nothing changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_time: Option<Time>,
}
