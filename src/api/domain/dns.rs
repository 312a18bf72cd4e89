//! DNS of a MailDomain: TLSA records (DANE, RFC 7672), and what was found out about them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::solver::DnsServer;

/// What the operator does about the MailDomain's DNS records.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Dns {
    /// DNS resolvers to begin at, as addresses with an optional port. What they say is validated here (DNSSEC), so they
    /// need not be trusted, but they must hand on signatures. Default: the operator's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 8),
        inner(
            length(min = 2, max = 64),
            regex(pattern = r"^([0-9.]+|[0-9A-Fa-f:.]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?$")
        )
    )]
    pub resolvers: Vec<String>,
    /// TLSA records of every endpoint, so that other mail servers can verify them without a CA (DANE, RFC 7672).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tlsa: Option<Tlsa>,
}

/// TLSA `3 1 1` records (RFC 6698): the hash of the current and of the next key, for every endpoint. While they are
/// wanted or may still be cached, no key is activated before its record has been in DNS for two TTLs.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[x_kube(validation = Rule::new("self.mode != 'RFC2136' || has(self.rfc2136)").message("mode RFC2136 needs rfc2136"))]
#[x_kube(validation = Rule::new("!has(self.dnsEndpoint) || self.mode in ['DNSEndpoint', 'Remove']").message("dnsEndpoint is for mode DNSEndpoint"))]
#[serde(rename_all = "camelCase")]
pub struct Tlsa {
    /// Who publishes the records. `Remove` withdraws them, and lets go of the key two TTLs after they are gone: set it
    /// before you remove this block.
    pub mode: TlsaMode,
    /// The server that takes updates, for mode `RFC2136`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rfc2136: Option<DnsServer>,
    /// The DNSEndpoint to make, for mode `DNSEndpoint`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dns_endpoint: Option<TlsaEndpoint>,
    /// Time to live of the records, in seconds. A key change waits for at least two of it: an hour or less is good.
    #[serde(default = "default_ttl")]
    #[schemars(range(min = 1, max = 604_800))]
    pub ttl: u32,
}

fn default_ttl() -> u32 {
    3600
}

/// Who publishes TLSA records.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsaMode {
    /// You do: they are in the status and, where the chart allows it, in a ConfigMap as lines of a zone file.
    Show,
    /// The operator, with dynamic updates (RFC 2136) signed with TSIG (RFC 8945).
    RFC2136,
    /// external-dns, which reads them from a DNSEndpoint. It must be one that knows TLSA records.
    DNSEndpoint,
    /// Nobody any more: those that were published are withdrawn.
    Remove,
}

/// The DNSEndpoint for external-dns, in the MailDomain's namespace.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub struct TlsaEndpoint {
    /// Labels for the object, by which external-dns may be told to choose. At most 20.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 20))]
    pub labels: BTreeMap<String, String>,
}

/// What was found out about the MailDomain's DNS records.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
pub struct DnsStatus {
    /// The TLSA records. Absent when there are none and none can be cached any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tlsa: Option<TlsaStatus>,
}

/// The TLSA records of a MailDomain.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TlsaStatus {
    /// Who publishes them.
    pub mode: TlsaMode,
    /// The server that they were published at, so that they can be withdrawn after the spec has forgotten it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server: Option<DnsServer>,
    /// Whether a DNSEndpoint has been made.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub dns_endpoint: bool,
    /// Every record that is wanted, or may still be in somebody's cache.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub records: Vec<TlsaRecord>,
    /// SHA-256 over the SPKIs of the keys that can be activated now, in lower-case hex: every resolver that has records
    /// of an endpoint at all has theirs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ready: Vec<String>,
    /// SHA-256 over the SPKIs of the keys whose record is published or may still be cached, in lower-case hex.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published: Vec<String>,
    /// What is waited for, or wrong, and what to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// A TLSA record.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct TlsaRecord {
    /// Its name (`_25._tcp.mail.example.com`).
    pub name: String,
    /// Its value (`3 1 1 <hex>`).
    pub value: String,
    /// SHA-256 over the key's SPKI, in lower-case hex.
    #[serde(rename = "spkiSHA256")]
    pub spki_sha256: String,
    /// Which key it is of.
    pub purpose: TlsaPurpose,
    /// How far it is.
    pub state: TlsaState,
    /// Since when every authoritative server has it, with a valid signature.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_seen: Option<Time>,
    /// Time to live in seconds: the longest that resolvers may keep what they have at this name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl: Option<u32>,
    /// When a longer TTL that was seen before no longer counts.
    #[serde(default, rename = "ttlUntil", skip_serializing_if = "Option::is_none")]
    pub ttl_until: Option<Time>,
    /// From when on its key can be activated: two TTLs after it was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub safe_from: Option<Time>,
    /// When it is withdrawn: two TTLs after every endpoint was seen to serve another key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remove_after: Option<Time>,
    /// Until when somebody may have it cached: two TTLs after it was withdrawn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cached_until: Option<Time>,
}

/// Which key a TLSA record is of.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsaPurpose {
    /// The active one.
    Current,
    /// One that is to become active.
    Next,
    /// One that was active, or was to become it.
    Previous,
}

/// How far a TLSA record is.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsaState {
    /// Not to be published yet: the endpoint has not been seen to serve the current key.
    Held,
    /// To be published, and not yet seen at every authoritative server with a valid signature.
    Pending,
    /// Seen, for less than two TTLs.
    Waiting,
    /// Seen for at least two TTLs.
    Ready,
    /// Being withdrawn.
    Removing,
    /// Withdrawn. It may still be cached.
    Withdrawn,
}
