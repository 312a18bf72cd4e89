//! MailCertificate: one key pair and its certificate.

pub mod activation;
mod expiry;
mod import;
mod outputs;
mod status;

use std::collections::BTreeMap;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

pub use activation::{Activation, ActivationMode};
pub use expiry::{Expiring, ExpiryWarning, Watched, WatchedKind};
pub use import::{Import, ImportFormat, ImportKeys, ImportStatus, PasswordRef};
pub use outputs::{KeyEncoding, Outputs, OutputsStatus, Pkcs12Output, Pkcs12Profile};
pub use status::{
    ActivationStatus, Attempt, Call, Challenge, ChallengeType, Failure, Finding, Gate, IssuedChain,
    MailCertificateStatus, NextKey, OmittedName, Order, PublishedRecord, RenewalInfo, Repairs, Request, Revision,
    RevisionState, Revocation, Rollback, Temporary, TxtRecord,
};

/// One key pair and its certificate, kept in a Secret that mail pods mount.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "mailcert.dev",
    version = "v1alpha1",
    kind = "MailCertificate",
    plural = "mailcertificates",
    namespaced,
    status = "MailCertificateStatus",
    derive = "PartialEq",
    shortname = "mcert",
    category = "mailcert",
    doc = "A MailCertificate is one key pair and its certificate, kept in a Secret that mail pods mount.",
    selectable = ".spec.secretName",
    selectable = ".spec.issuerRef.name",
    validation = Rule::new("self.metadata.name.size() <= 63").message("the name of a MailCertificate has at most 63 characters"),
    validation = Rule::new("!has(oldSelf.status) || !has(oldSelf.status.active) || self.spec.secretName == oldSelf.spec.secretName").message("secretName cannot change while a certificate is active in it: pods mount that Secret. Make a second MailCertificate with the new secretName, move the pods, then delete this one"),
    validation = Rule::new("!has(oldSelf.spec.system) || !oldSelf.spec.system || (has(self.spec.system) && self.spec.system) || !has(oldSelf.status) || !has(oldSelf.status.dependents)").message("system cannot be turned off while MailDomains depend on the system certificate (status.dependents): give them certificates of their own, or make another MailCertificate with system: true and delete this one"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Secret", type_ = "string", json_path = ".spec.secretName"),
    printcolumn(name = "Issuer", type_ = "string", json_path = ".spec.issuerRef.name"),
    printcolumn(name = "Imported from", type_ = "string", json_path = ".spec.import.secretRef.name", priority = "1"),
    printcolumn(name = "Expires", type_ = "string", json_path = ".status.active.notAfter"),
    printcolumn(name = "Renews", type_ = "string", json_path = ".status.renewalTime", priority = "1"),
    printcolumn(name = "Revision", type_ = "integer", json_path = ".status.active.revision", priority = "1"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("has(self.issuerRef) != has(self.import)").message("exactly one of issuerRef and import must be set"))]
#[x_kube(validation = Rule::new("has(self.import) || (has(self.dnsNames) && self.dnsNames.size() > 0)").message("dnsNames must name at least one name, unless the certificate is imported").field_path(".dnsNames"))]
#[x_kube(validation = Rule::new("!has(self.import) || self.import.secretRef.name != self.secretName").message("import.secretRef must name another Secret than secretName: the operator writes that one, and never the source"))]
#[x_kube(validation = Rule::new("!has(self.import) || (!has(self.commonName) && !has(self.subject) && !has(self.emailAddresses) && !has(self.duration) && !(has(self.issueTemporary) && self.issueTemporary))").message("commonName, subject, emailAddresses, duration and issueTemporary go with issuerRef: what is imported is taken as it is"))]
#[x_kube(validation = Rule::new("!has(self.commonName) || (has(self.dnsNames) && self.dnsNames.exists(n, n == self.commonName))").message("commonName must be one of dnsNames: clients ignore a CN that is not also a SAN").field_path(".commonName"))]
#[serde(rename_all = "camelCase")]
pub struct MailCertificateSpec {
    /// The MailIssuer that signs. Exactly one of issuerRef and import must be set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_ref: Option<IssuerRef>,
    /// Key and certificate from a Secret, in place of issuerRef.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<Import>,
    /// The Secret that pods mount. It belongs to this MailCertificate alone and is never written when it belongs to
    /// something else. Cannot change while a certificate is active.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME_PATTERN))]
    pub secret_name: String,
    /// DNS names that the certificate must carry as SANs, in A-labels or Unicode; a wildcard is a whole left-most
    /// label (`*.example.com`). The order does not matter; a change is a new revision. A certificate that is imported
    /// must cover them; there may be none then.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(min = 1, max = 253), regex(pattern = schema::SAN_PATTERN)))]
    pub dns_names: Vec<String>,
    /// Old DNS names that clients still use. One that cannot be validated never blocks the others.
    #[serde(default, rename = "legacyDNSNames", skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 50))]
    pub legacy_dns_names: Vec<LegacyName>,
    /// The subject's common name. Default: none, as CAs now issue. When set, one of dnsNames, at most 64 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub common_name: Option<String>,
    /// Makes this the namespace's system certificate: the one that serves every MailDomain whose own certificate is
    /// `disabled`. One in a namespace; of several the oldest has the role. While MailDomains depend on it, it is not deleted.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub system: bool,
    /// Key, validity, renewal and what else can have a default.
    #[serde(flatten)]
    pub options: CertificateOptions,
}

/// What a MailCertificate and a MailDomain's template share.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CertificateOptions {
    /// Further attributes of the subject. CAs of the public Web leave them out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// Mail addresses to carry as SANs (rfc822Name). Only `ca` and `selfSigned` issuers grant them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), inner(length(min = 3, max = 254), regex(pattern = r"^[^\s@]+@[^\s@]+$")))]
    pub email_addresses: Vec<String>,
    /// Extended key usages.
    #[serde(default = "CertificateOptions::default_usages")]
    #[schemars(length(min = 1, max = 3))]
    pub usages: Vec<Usage>,
    /// Requested validity, in Go syntax (`2160h`). Default: 2160h (90 days) for `ca` and `selfSigned`, the CA's own
    /// choice for `acme`. A leaf never outlives its CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_duration")]
    #[x_kube(validation = Rule::new("self == null || (duration(self) >= duration('1h') && duration(self) <= duration('87600h'))").message("duration must be between 1h and 87600h"))]
    pub duration: Option<kube::core::Duration>,
    /// The private key.
    #[serde(default)]
    pub private_key: PrivateKeyOptions,
    /// When to renew.
    #[serde(default)]
    pub renewal: Renewal,
    /// How long before expiry to warn of certificates that are not renewed here: imported ones, with the CA certificates
    /// that come with them. Default: 30, 14, 7, 3 and 1 days, of which those count that are at most a third of the
    /// lifetime.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10))]
    pub expiry_warnings: Vec<ExpiryWarning>,
    /// Puts a self-signed certificate into the Secret while there is none yet, so that pods that mount it can start.
    /// It never counts as Ready, and never takes the place of an issued one.
    #[serde(default)]
    pub issue_temporary: bool,
    /// When a new revision is put to use, and when it is taken back.
    #[serde(default)]
    pub activation: Activation,
    /// How many previous revisions to keep.
    #[serde(default)]
    pub history: History,
    /// Labels and annotations for the Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_template: Option<SecretTemplate>,
    /// Further forms of certificate and key in the Secret.
    #[serde(default, skip_serializing_if = "Outputs::is_empty")]
    pub outputs: Outputs,
    /// What becomes of the active Secret when the MailCertificate is deleted.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

impl CertificateOptions {
    fn default_usages() -> Vec<Usage> {
        vec![Usage::ServerAuth]
    }
}

impl Default for CertificateOptions {
    fn default() -> Self {
        Self {
            subject: None,
            email_addresses: Vec::new(),
            usages: Self::default_usages(),
            duration: None,
            private_key: PrivateKeyOptions::default(),
            renewal: Renewal::default(),
            expiry_warnings: Vec::new(),
            issue_temporary: false,
            activation: Activation::default(),
            history: History::default(),
            secret_template: None,
            outputs: Outputs::default(),
            deletion_policy: DeletionPolicy::default(),
        }
    }
}

/// A MailIssuer.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IssuerRef {
    /// Name of the MailIssuer.
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::OBJECT_NAME_PATTERN))]
    pub name: String,
    /// Namespace of the MailIssuer, which must allow it (`allowedNamespaces`). Default: the referring object's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::OBJECT_NAME_PATTERN))]
    pub namespace: Option<String>,
}

/// A host name that clients still use although the server has moved on.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct LegacyName {
    /// The name, in A-labels or Unicode.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::HOST_PATTERN))]
    pub name: String,
    /// What to do when the CA cannot validate it: the rest is issued either way.
    #[serde(default)]
    pub on_unreachable: OnUnreachable,
}

/// What to do about a legacy name that cannot be validated.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnUnreachable {
    /// Leave it out and say so: `NamesMatch` is False until it is in.
    #[default]
    Report,
    /// Leave it out; only the status lists it.
    Drop,
}

/// Attributes of the subject (RFC 5280, section 4.1.2.6).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Subject {
    /// O: the organization's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub organization: Option<String>,
    /// OU: a unit of the organization.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub organizational_unit: Option<String>,
    /// C, two letters (ISO 3166).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 2, max = 2), regex(pattern = r"^[A-Z]{2}$"))]
    pub country: Option<String>,
    /// ST: state or province.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub province: Option<String>,
    /// L: city or other locality.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub locality: Option<String>,
}

/// An extended key usage (RFC 5280, section 4.2.1.12).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "camelCase")]
pub enum Usage {
    /// TLS server.
    ServerAuth,
    /// TLS client.
    ClientAuth,
    /// S/MIME.
    EmailProtection,
}

/// The private key to make.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[x_kube(validation = Rule::new("!has(self.encoding) || self.encoding != 'Traditional' || self.algorithm != 'Ed25519'").message("there is no traditional encoding of Ed25519 keys: use PKCS8").field_path(".encoding"))]
#[x_kube(validation = Rule::new("!has(self.size) || (self.algorithm == 'ECDSA' ? self.size in [256, 384, 521] : (self.algorithm == 'RSA' ? self.size in [2048, 3072, 4096] : false))").message("size must be 256, 384 or 521 for ECDSA, 2048, 3072 or 4096 for RSA, and unset for Ed25519"))]
#[serde(rename_all = "camelCase")]
pub struct PrivateKeyOptions {
    /// The algorithm. Public CAs accept ECDSA and RSA.
    #[serde(default)]
    pub algorithm: KeyAlgorithm,
    /// Size in bits. Default: 256 for ECDSA, 2048 for RSA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<i32>,
    /// The form of `tls.key` and of the key in `tls-combined.pem`.
    #[serde(default)]
    pub encoding: KeyEncoding,
    /// Whether a renewal makes a new key.
    #[serde(default)]
    pub rotation: KeyRotation,
}

/// An algorithm for private keys.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum KeyAlgorithm {
    /// Elliptic curve, NIST P-256, P-384 or P-521.
    #[default]
    ECDSA,
    /// RSA.
    RSA,
    /// Ed25519 (RFC 8410). Not accepted by public CAs, nor by many mail clients.
    Ed25519,
}

/// Whether a renewal makes a new key. The annotation `mailcert.dev/rotate-key` asks for another one at any time.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[x_kube(validation = Rule::new("(self.policy == 'After') == has(self.after)").message("after must be set when policy is After, and only then"))]
#[serde(rename_all = "camelCase")]
pub struct KeyRotation {
    /// `Always`: every revision has a key of its own. `Never`: a renewal keeps the key, so that a published
    /// `TLSA 3 1 1` record (DANE) stays right. `After`: it is kept for a time.
    #[serde(default)]
    pub policy: RotationPolicy,
    /// How long a key is in use, in Go syntax (`8760h`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_duration")]
    #[x_kube(validation = Rule::new("self == null || (duration(self) >= duration('1h') && duration(self) <= duration('262800h'))").message("after must be between 1h and 262800h"))]
    pub after: Option<kube::core::Duration>,
    /// How long before that `KeyRotationDue` becomes True. Default: a tenth of it, and at most 720h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_duration")]
    pub remind_before: Option<kube::core::Duration>,
    /// Makes the next key ahead and shows its SPKI in the status. A MailDomain with `dns.tlsa` implies it.
    #[serde(default)]
    pub prepare_next: bool,
}

/// When keys change.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum RotationPolicy {
    /// With every renewal.
    #[default]
    Always,
    /// Only when the algorithm or size asked for changes, or the annotation asks for it.
    Never,
    /// When it has been in use for as long as `after` says.
    After,
}

/// When to renew. Default: when the CA suggests it (RFC 9773), else when a third of the actual lifetime is left (half,
/// for lifetimes below ten days).
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("!(has(self.before) && has(self.beforePercentage))").message("at most one of before and beforePercentage may be set"))]
#[serde(rename_all = "camelCase")]
pub struct Renewal {
    /// Renew this long before expiry, in Go syntax (`720h`). Where it is no less than the actual lifetime, the default
    /// counts instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::optional_duration")]
    #[x_kube(validation = Rule::new("self == null || duration(self) >= duration('5m')").message("before must be at least 5m"))]
    pub before: Option<kube::core::Duration>,
    /// Renew when this share of the actual lifetime is left, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 95))]
    pub before_percentage: Option<i32>,
    /// Whether to renew when the CA suggests it (ACME Renewal Information, RFC 9773), where it does. Only a renewal
    /// that the CA asks for before the time that `before` or `beforePercentage` sets comes earlier than that.
    #[serde(default = "Renewal::default_ari")]
    pub ari: bool,
}

impl Renewal {
    fn default_ari() -> bool {
        true
    }
}

impl Default for Renewal {
    fn default() -> Self {
        Self { before: None, before_percentage: None, ari: Self::default_ari() }
    }
}

/// What is kept of the past.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub struct History {
    /// Previous revisions, key and certificate, kept in Secrets of their own.
    #[serde(default = "History::default_revisions")]
    #[schemars(range(min = 0, max = 20))]
    pub revisions: i32,
}

impl History {
    fn default_revisions() -> i32 {
        3
    }
}

impl Default for History {
    fn default() -> Self {
        Self { revisions: Self::default_revisions() }
    }
}

/// Labels and annotations to put on the active Secret.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[x_kube(validation = Rule::new("(!has(self.labels) || self.labels.all(k, !k.startsWith('mailcert.dev/') && k != 'app.kubernetes.io/managed-by')) && (!has(self.annotations) || self.annotations.all(k, !k.startsWith('mailcert.dev/')))").message("labels and annotations below mailcert.dev/, and the label app.kubernetes.io/managed-by, are set by the operator"))]
pub struct SecretTemplate {
    /// Labels, at most 20.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 20))]
    pub labels: BTreeMap<String, String>,
    /// Annotations, at most 20.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 20))]
    pub annotations: BTreeMap<String, String>,
}

/// What becomes of the active Secret when the MailCertificate is deleted.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DeletionPolicy {
    /// It stays, so that a deleted object never takes a running mail server's certificate with it.
    #[default]
    Retain,
    /// It is deleted with the MailCertificate.
    Delete,
}
