//! How a MailIssuer's ACME challenges are answered.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::issuer::SecretKeyRef;
use super::schema;

/// One way of answering challenges.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[x_kube(validation = Rule::new("[has(self.http01), has(self.tlsAlpn01), has(self.dns01), has(self.dnsPersist01)].filter(x, x).size() == 1").message("exactly one of http01, tlsAlpn01, dns01 and dnsPersist01 must be set"))]
#[serde(rename_all = "camelCase")]
pub struct Solver {
    /// The names that this solver is for. Default: all for which no other solver is closer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<SolverSelector>,
    /// HTTP-01 (RFC 8555, section 8.3), answered by the operator itself behind its challenge Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http01: Option<Http01Solver>,
    /// TLS-ALPN-01 (RFC 8737), answered by the operator itself behind its challenge Service.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls_alpn01: Option<TlsAlpn01Solver>,
    /// DNS-01 (RFC 8555, section 8.4). The only one, with dnsPersist01, that grants wildcards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns01: Option<Dns01Solver>,
    /// DNS-PERSIST-01 (draft-ietf-acme-dns-persist): a TXT record that you set once, and the operator checks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_persist01: Option<DnsPersist01Solver>,
}

/// The names that a solver is for.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[x_kube(validation = Rule::new("has(self.dnsNames) || has(self.dnsZones)").message("dnsNames or dnsZones must be set"))]
#[serde(rename_all = "camelCase")]
pub struct SolverSelector {
    /// These names, wildcards as they are written in the MailCertificate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 100), inner(length(min = 1, max = 253), regex(pattern = schema::SAN_PATTERN)))]
    pub dns_names: Vec<String>,
    /// These zones and all names below them, wildcards too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 100), inner(length(min = 1, max = 253), regex(pattern = r"^[^\s*]+$")))]
    pub dns_zones: Vec<String>,
}

/// How TLS-ALPN-01 connections to port 443 of a name reach the operator: port 443 of its challenge Service, by your own
/// means (a LoadBalancer, TLS passthrough). Nothing is created, and nothing may end TLS on the way.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct TlsAlpn01Solver {
    /// Whether the operator connects itself before the CA does.
    #[serde(default)]
    pub self_check: SelfCheck,
}

/// How the TXT record of a DNS-01 challenge is published.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[x_kube(validation = Rule::new("[has(self.rfc2136), has(self.webhook), has(self.dnsEndpoint)].filter(x, x).size() == 1").message("exactly one of rfc2136, webhook and dnsEndpoint must be set"))]
#[serde(rename_all = "camelCase")]
pub struct Dns01Solver {
    /// Dynamic updates (RFC 2136) signed with TSIG (RFC 8945), as BIND, Knot and PowerDNS take them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rfc2136: Option<Rfc2136Provider>,
    /// A DNS-01 webhook made for cert-manager.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookProvider>,
    /// A DNSEndpoint object for external-dns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_endpoint: Option<DnsEndpointProvider>,
    /// Whether the operator looks for the record on every authoritative server before the CA is asked. `Skip` only
    /// where it cannot reach them.
    #[serde(default)]
    pub self_check: SelfCheck,
}

/// A DNS server that takes the TXT record of a challenge with dynamic updates.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
pub struct Rfc2136Provider {
    /// The server and its key.
    #[serde(flatten)]
    pub at: DnsServer,
    /// Time to live of the record, in seconds.
    #[serde(default = "default_ttl")]
    #[schemars(range(min = 1, max = 86400))]
    pub ttl: u32,
}

fn default_ttl() -> u32 {
    60
}

/// A DNS server that takes dynamic updates (RFC 2136), and the TSIG key (RFC 8945) that it knows.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DnsServer {
    /// Host name or address of the primary server, with an optional port (default 53).
    #[schemars(length(min = 1, max = 260), regex(pattern = r"^[^\s/]+$"))]
    pub server: String,
    /// How updates are sent.
    #[serde(default)]
    pub transport: UpdateTransport,
    /// Name of the TSIG key.
    #[schemars(length(min = 1, max = 253), regex(pattern = r"^[^\s]+$"))]
    pub tsig_key_name: String,
    /// The TSIG key's algorithm.
    #[serde(default)]
    pub tsig_algorithm: TsigAlgorithm,
    /// The Secret with the TSIG key in base64, as `tsig-keygen` prints it. In the namespace of the object that names it.
    pub tsig_secret_ref: SecretKeyRef,
}

/// How DNS updates are sent.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum UpdateTransport {
    /// Over TCP.
    #[default]
    TCP,
    /// Over UDP.
    UDP,
}

/// An algorithm of a TSIG key (RFC 8945, section 6).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "lowercase")]
pub enum TsigAlgorithm {
    /// HMAC with SHA-256.
    #[default]
    #[serde(rename = "hmac-sha256")]
    HmacSha256,
    /// HMAC with SHA-384.
    #[serde(rename = "hmac-sha384")]
    HmacSha384,
    /// HMAC with SHA-512.
    #[serde(rename = "hmac-sha512")]
    HmacSha512,
}

/// A DNS-01 webhook made for cert-manager.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct WebhookProvider {
    /// The API group that the webhook was installed with.
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::OBJECT_NAME_PATTERN))]
    pub group_name: String,
    /// The webhook's solver name, as its documentation gives it.
    #[schemars(length(min = 1, max = 63), regex(pattern = schema::OBJECT_NAME_PATTERN))]
    pub solver_name: String,
    /// What the webhook wants to be told, as its documentation gives it. Secrets that it names are in the MailIssuer's
    /// namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::any_object")]
    pub config: Option<serde_json::Value>,
}

/// A DNSEndpoint object for external-dns, in the MailIssuer's namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct DnsEndpointProvider {
    /// Labels for the object, by which external-dns may be told to choose. At most 20.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 20))]
    pub labels: BTreeMap<String, String>,
    /// Time to live of the record, in seconds.
    #[serde(default = "default_ttl")]
    #[schemars(range(min = 1, max = 86400))]
    pub ttl: u32,
    /// Whether the value stands in quotation marks. external-dns hands it to its provider as it is: Route 53 and PowerDNS
    /// want them, Azure would publish them.
    #[serde(default = "default_quoted")]
    pub quoted: bool,
}

fn default_quoted() -> bool {
    true
}

/// A TXT record at `_validation-persist.<name>` that you set once. The MailCertificate's status shows it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct DnsPersist01Solver {
    /// When the record that is shown ends to be valid (`persistUntil`). Default: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub persist_until: Option<Time>,
    /// Whether the operator looks for the record before the CA is asked.
    #[serde(default)]
    pub self_check: SelfCheck,
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
