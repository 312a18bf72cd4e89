//! How endpoints are probed, and what they showed.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::schema;

/// How endpoints are probed.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    /// Time between two looks at an endpoint that serves what it should, in Go syntax. One that does not is looked at
    /// sooner: after 10 s, then at growing intervals up to this one. Default: 1h.
    #[serde(default = "Probe::default_interval")]
    #[schemars(schema_with = "schema::duration")]
    #[x_kube(validation = Rule::new("duration(self) >= duration('30s') && duration(self) <= duration('168h')").message("interval must be between 30s and 168h"))]
    pub interval: kube::core::Duration,
    /// The name said in EHLO (RFC 5321, section 4.1.1.1). Default: `mailcert.<domain>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253), regex(pattern = schema::HOST_PATTERN))]
    pub ehlo_name: Option<String>,
    /// Look at every ready pod behind an endpoint as well: at those of `workloads` whose containers declare the
    /// endpoint's port. The operator must be allowed to list pods (chart value `probe.perPod.enabled`).
    #[serde(default)]
    pub per_pod: bool,
    /// Look as a client without SNI as well, as mail servers are that deliver without DANE: it must be given the same
    /// certificate.
    #[serde(default, rename = "withoutSNI")]
    pub without_sni: bool,
    /// Look with every name of `hostnames.legacy` that the certificate covers as well.
    #[serde(default)]
    pub legacy_names: bool,
    /// Look once for each of these, as a client that takes no other: for servers that have a certificate of each. The
    /// active certificate must be served for its own algorithm, and a valid one for the other.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 2))]
    pub key_algorithms: Vec<ServedAlgorithm>,
}

impl Probe {
    fn default_interval() -> kube::core::Duration {
        std::time::Duration::from_secs(3600).into()
    }
}

impl Default for Probe {
    fn default() -> Self {
        Self {
            interval: Self::default_interval(),
            ehlo_name: None,
            per_pod: false,
            without_sni: false,
            legacy_names: false,
            key_algorithms: Vec::new(),
        }
    }
}

/// The algorithm of a server's key.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServedAlgorithm {
    /// RSA.
    RSA,
    /// ECDSA.
    ECDSA,
}

/// A header that says who connects, before everything else (HAProxy's proxy-protocol.txt).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProxyProtocol {
    /// Version 1, in text.
    V1,
    /// Version 2, in binary.
    V2,
}

/// What an endpoint serves.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct EndpointStatus {
    /// Protocol, host and port (`IMAPS mail.example.com:993`), then what is special about the look.
    pub endpoint: String,
    /// `Served`, or `Problem`.
    pub verdict: EndpointVerdict,
    /// A word of RFC 8460, section 4.3, where one fits (`certificate-host-mismatch`), else one of ours.
    pub reason: String,
    /// What is wrong and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// SHA-256 over the DER of the leaf that was served, in lower-case hex. Not set where a certificate of another
    /// algorithm than the active one's is served, as it should.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub served_fingerprint: Option<String>,
    /// When this verdict was reached. Later looks that find the same leave it unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub checked_at: Option<Time>,
}

/// Whether an endpoint serves the active certificate.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum EndpointVerdict {
    /// It does: same leaf, valid chain, right name.
    Served,
    /// It does not.
    Problem,
}
