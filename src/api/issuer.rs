//! MailIssuer: who signs.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::schema;

/// Says who signs certificates: an ACME server, a CA key pair in a Secret, or each key itself.
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
    doc = "A MailIssuer says who signs certificates: an ACME server, a CA key pair in a Secret, or each key itself.",
    validation = Rule::new("self.metadata.name.size() <= 63").message("the name of a MailIssuer has at most 63 characters"),
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", priority = "1"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[x_kube(validation = Rule::new("[has(self.acme), has(self.ca), has(self.selfSigned)].filter(x, x).size() == 1").message("exactly one of acme, ca and selfSigned must be set"))]
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
    /// The Secret that keeps the account key (key `tls.key`, PKCS#8 PEM, EC P-256). Made when it does not exist.
    /// Default: `<issuer name>-account-key`. Keep a copy: the account cannot be used without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_key_secret_ref: Option<SecretRef>,
    /// PEM certificates that the ACME server's own HTTPS certificate must chain to, in place of the Mozilla roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub ca_bundle: Option<String>,
    /// How the CA's challenges are answered. Exactly one for now.
    #[schemars(length(min = 1, max = 1))]
    pub solvers: Vec<Solver>,
}

/// One way of answering challenges.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Solver {
    /// HTTP-01 (RFC 8555, section 8.3), answered by the operator itself behind its challenge Service.
    pub http01: Http01Solver,
}

/// How HTTP-01 requests for port 80 of a name reach the operator's challenge Service.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("[has(self.service), has(self.ingress), has(self.gatewayHTTPRoute)].filter(x, x).size() == 1").message("exactly one of service, ingress and gatewayHTTPRoute must be set"))]
#[serde(rename_all = "camelCase")]
pub struct Http01Solver {
    /// Port 80 of every name leads to the operator's challenge Service by your own means (a LoadBalancer, a proxy):
    /// nothing is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Http01Service>,
    /// An Ingress per name, in the operator's namespace, for as long as the challenge lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<Http01Ingress>,
    /// An HTTPRoute per name, in the operator's namespace, for as long as the challenge lasts.
    #[serde(default, rename = "gatewayHTTPRoute", skip_serializing_if = "Option::is_none")]
    pub gateway_http_route: Option<Http01GatewayRoute>,
    /// Whether the operator asks for the challenge itself before the CA does. `Skip` where a pod cannot reach the
    /// cluster's own public address (hairpin NAT).
    #[serde(default)]
    pub self_check: SelfCheck,
}

/// Nothing to set: port 80 leads to the challenge Service already.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Default)]
pub struct Http01Service {}

/// The Ingress to make for a challenge.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Http01Ingress {
    /// `spec.ingressClassName`. Default: the cluster's default class.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub class_name: Option<String>,
    /// Annotations for the Ingress, at most 20.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 20))]
    pub annotations: BTreeMap<String, String>,
}

/// The HTTPRoute to make for a challenge.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Http01GatewayRoute {
    /// The Gateways to attach to.
    #[schemars(length(min = 1, max = 8))]
    pub parent_refs: Vec<GatewayRef>,
}

/// A Gateway, and a listener of it.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct GatewayRef {
    /// Name of the Gateway.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the Gateway. Default: the operator's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
    /// Name of the listener. Default: every listener that fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub section_name: Option<String>,
}

/// Whether a challenge is looked at by the operator before the CA is asked.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SelfCheck {
    /// The CA is asked only when the operator itself got the right answer.
    #[default]
    Required,
    /// The CA is asked at once.
    Skip,
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
}
