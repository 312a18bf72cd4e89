//! MailIssuer: who signs.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::certificate::{Expiring, Watched};
use super::schema;
pub use super::solver::{
    Dns01Solver, DnsEndpointProvider, DnsPersist01Solver, GatewayRef, Http01GatewayRoute, Http01Ingress, Http01Service,
    Http01Solver, Rfc2136Provider, SelfCheck, Solver, SolverSelector, TlsAlpn01Solver, TsigAlgorithm, UpdateTransport,
    WebhookProvider,
};

/// Says who signs certificates: an ACME server, a CA key pair in a Secret, cert-manager, or each key itself.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[kube(
    group = "mailcert.dev",
    version = "v1alpha1",
    kind = "MailIssuer",
    plural = "mailissuers",
    namespaced,
    status = "MailIssuerStatus",
    derive = "PartialEq",
    shortname = "missuer",
    category = "mailcert",
    doc = "A MailIssuer says who signs certificates: an ACME server, a CA key pair in a Secret, cert-manager, or each key itself.",
    validation = Rule::new("self.metadata.name.size() <= 63").message("the name of a MailIssuer has at most 63 characters"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("[has(self.acme), has(self.ca), has(self.selfSigned), has(self.certManager)].filter(x, x).size() == 1").message("exactly one of acme, ca, selfSigned and certManager must be set"))]
#[serde(rename_all = "camelCase")]
pub struct MailIssuerSpec {
    /// An ACME server (RFC 8555), such as Let's Encrypt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acme: Option<AcmeIssuer>,
    /// A CA key pair in a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<CaIssuer>,
    /// Each certificate is signed with its own key. For tests and for a first start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub self_signed: Option<SelfSignedIssuer>,
    /// An issuer of cert-manager, which must be installed: whatever it knows (Vault, step-ca, AWS PCA, …) signs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cert_manager: Option<CertManagerIssuer>,
    /// Which namespaces' MailCertificates may use this issuer. Default: only its own.
    #[serde(default)]
    pub allowed_namespaces: AllowedNamespaces,
}

/// An ACME server and the account held there.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct AcmeIssuer {
    /// URL of the ACME directory (RFC 8555, section 7.1.1), or `LetsEncrypt` or `LetsEncryptStaging`.
    #[schemars(length(min = 1, max = 512), regex(pattern = r"^(LetsEncrypt|LetsEncryptStaging|https://[^\s]+)$"))]
    pub server: String,
    /// Must be `true`: you have read and accept the CA's terms of service. Without it the issuer is not ready, and its
    /// status shows the URL of the terms to read.
    #[serde(default)]
    pub terms_of_service_agreed: bool,
    /// Mail addresses that the CA may write to. Default: `no-reply@<default domain>` where the operator has a default
    /// domain, else none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 5), inner(length(min = 3, max = 254), regex(pattern = r"^[^\s@]+@[^\s@]+$")))]
    pub contact: Vec<String>,
    /// The Secret that keeps the account key (key `tls.key`, PKCS#8 PEM, ECDSA or RSA). Made when it does not exist.
    /// Default: `<issuer name>-account-key`. Keep a copy: the account cannot be used without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_key_secret_ref: Option<SecretRef>,
    /// PEM certificates that the ACME server's own HTTPS certificate must chain to, in place of the Mozilla roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub ca_bundle: Option<String>,
    /// How the CA's challenges are answered. For each name the solver whose selector fits it most closely counts:
    /// one that lists the name, else one with the longest matching zone, else one without a selector; of equals the
    /// first.
    #[schemars(length(min = 1, max = 16))]
    pub solvers: Vec<Solver>,
    /// An account elsewhere that the ACME account is bound to (RFC 8555, section 7.3.4), where the CA wants one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external_account_binding: Option<ExternalAccountBinding>,
    /// The CA's profile to issue under (draft-ietf-acme-profiles), such as `classic` or `tlsserver` at Let's Encrypt.
    /// The status lists those that the CA has. Default: the CA's own default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[A-Za-z0-9._-]+$"))]
    pub profile: Option<String>,
    /// Of the chains that the CA offers, take the one whose topmost certificate has, or was issued by, this common
    /// name. Default: the CA's own choice.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub preferred_chain: Option<String>,
    /// PEM certificates that issued chains must lead to, for CAs that are not in Mozilla's list. Default: Mozilla's
    /// roots, and a chain that leads to none of them is reported but used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub trust_anchors: Option<String>,
    /// DNS resolvers for checks before the CA is asked, as addresses with an optional port. Default: the operator's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        inner(
            length(min = 2, max = 64),
            regex(pattern = r"^([0-9.]+|[0-9A-Fa-f:.]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$")
        )
    )]
    pub resolvers: Vec<String>,
    /// What a CAA record that forbids the CA means.
    #[serde(default)]
    pub caa_check: CaaCheck,
    /// How much is asked of the CA at most.
    #[serde(default)]
    pub limits: OrderLimits,
}

/// An account elsewhere that the ACME account is bound to.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ExternalAccountBinding {
    /// The key identifier that the CA gave.
    #[serde(rename = "keyID")]
    #[schemars(length(min = 1, max = 256))]
    pub key_id: String,
    /// The Secret with the MAC key that the CA gave, in base64url as it was given.
    pub key_secret_ref: SecretKeyRef,
    /// How the binding is signed.
    #[serde(default)]
    pub algorithm: MacAlgorithm,
}

/// A MAC algorithm for JWS (RFC 7518, section 3.2).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum MacAlgorithm {
    /// HMAC with SHA-256.
    #[default]
    HS256,
    /// HMAC with SHA-384.
    HS384,
    /// HMAC with SHA-512.
    HS512,
}

/// What a CAA record (RFC 8659) that forbids the CA means.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CaaCheck {
    /// The CA is not asked: it would refuse.
    #[default]
    Required,
    /// It is said, and the CA is asked all the same: where the cluster sees another DNS than the CA does.
    Report,
}

/// How much is asked of a CA at most. The defaults stay below Let's Encrypt's own limits.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct OrderLimits {
    /// Orders for exactly the same names in 7 days. Default: 4.
    #[serde(default = "OrderLimits::default_per_name_set")]
    #[schemars(range(min = 1, max = 1000))]
    pub per_name_set: u32,
    /// Orders with names of the same registered domain in 7 days. Default: 40.
    #[serde(default = "OrderLimits::default_per_domain")]
    #[schemars(range(min = 1, max = 100000))]
    pub per_domain: u32,
    /// Orders of the account in 3 hours. Default: 250.
    #[serde(default = "OrderLimits::default_per_account")]
    #[schemars(range(min = 1, max = 100000))]
    pub per_account: u32,
    /// Failed authorizations of a name in an hour. Default: 4.
    #[serde(default = "OrderLimits::default_failed_authorizations")]
    #[schemars(range(min = 1, max = 1000))]
    pub failed_authorizations: u32,
    /// Orders of this issuer that are open at once. Default: 60.
    #[serde(default = "OrderLimits::default_concurrent")]
    #[schemars(range(min = 1, max = 1000))]
    pub concurrent: u32,
}

impl OrderLimits {
    fn default_per_name_set() -> u32 {
        4
    }
    fn default_per_domain() -> u32 {
        40
    }
    fn default_per_account() -> u32 {
        250
    }
    fn default_failed_authorizations() -> u32 {
        4
    }
    fn default_concurrent() -> u32 {
        60
    }
}

impl Default for OrderLimits {
    fn default() -> Self {
        Self {
            per_name_set: Self::default_per_name_set(),
            per_domain: Self::default_per_domain(),
            per_account: Self::default_per_account(),
            failed_authorizations: Self::default_failed_authorizations(),
            concurrent: Self::default_concurrent(),
        }
    }
}

/// A CA key pair.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CaIssuer {
    /// A Secret of the issuer's namespace: `tls.crt` (the CA certificate, then its chain, if any) and `tls.key`.
    pub secret_ref: SecretRef,
}

/// Nothing to set.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Default)]
pub struct SelfSignedIssuer {}

/// An issuer of cert-manager.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CertManagerIssuer {
    /// The issuer, as cert-manager's Certificate would name it. An `Issuer` must be in the MailCertificate's namespace.
    pub issuer_ref: CertManagerIssuerRef,
}

/// A reference to an issuer of cert-manager.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct CertManagerIssuerRef {
    /// Name of the issuer.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME_PATTERN))]
    pub name: String,
    /// Kind of the issuer.
    #[serde(default = "CertManagerIssuerRef::default_kind")]
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[A-Za-z0-9]+$"))]
    pub kind: String,
    /// API group of the issuer.
    #[serde(default = "CertManagerIssuerRef::default_group")]
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME_PATTERN))]
    pub group: String,
}

impl CertManagerIssuerRef {
    fn default_kind() -> String {
        "Issuer".to_owned()
    }
    fn default_group() -> String {
        "cert-manager.io".to_owned()
    }
}

/// A key of a Secret of the same namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct SecretKeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME_PATTERN))]
    pub name: String,
    /// Key in it.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[-._a-zA-Z0-9]+$"))]
    pub key: String,
}

/// A Secret of the same namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME_PATTERN))]
    pub name: String,
}

/// Which namespaces may refer to an issuer.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[x_kube(validation = Rule::new("(self.from == 'Selector') == has(self.selector)").message("selector must be set when from is Selector, and only then"))]
#[serde(rename_all = "camelCase")]
pub struct AllowedNamespaces {
    /// `Same`: the issuer's own. `All`: every namespace. `Selector`: those whose labels match.
    #[serde(default)]
    pub from: NamespacesFrom,
    /// Labels of the allowed namespaces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
}

/// Where referring objects may live.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum NamespacesFrom {
    /// The issuer's own namespace.
    #[default]
    Same,
    /// Every namespace.
    All,
    /// Namespaces whose labels match the selector.
    Selector,
}

/// What was found out about an issuer.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct MailIssuerStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`, and `Stalled` while it takes a person to go on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The ACME account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acme: Option<AcmeStatus>,
    /// The CA certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<CaStatus>,
    /// Registration attempts that failed in a row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failures: Option<i32>,
    /// When the last attempt failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure_time: Option<Time>,
    /// Not before this time is the server asked again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_time: Option<Time>,
}

/// The ACME account.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct AcmeStatus {
    /// The account's URL (RFC 8555, section 7.3), for CAA `accounturi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_uri: Option<String>,
    /// URL of the directory where the account is registered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// URL of the CA's terms of service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms_of_service: Option<String>,
    /// The contacts that the CA was told.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub contact: Vec<String>,
    /// SHA-256 of the account key's thumbprint input: tells whether the Secret still holds the registered key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_thumbprint: Option<String>,
    /// The profiles that the CA offers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub profiles: Vec<String>,
    /// The domains that stand for the CA in CAA records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caa_identities: Vec<String>,
    /// Whether the CA suggests when to renew (RFC 9773).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub renewal_info: bool,
    /// The value of the annotation `mailcert.dev/rollover` that was acted upon last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_rollover_request: Option<String>,
    /// Whether the account was deactivated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deactivated: bool,
}

/// The CA certificate.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct CaStatus {
    /// Its subject, as a distinguished name.
    pub subject: String,
    /// SHA-256 over its DER, in lower-case hex.
    #[serde(rename = "fingerprintSHA256")]
    pub fingerprint_sha256: String,
    /// When it expires. No leaf outlives it.
    pub not_after: Time,
    /// It and those above it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub watched: Vec<Watched>,
    /// Warnings of those that expire soon.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expiring: Vec<Expiring>,
}
