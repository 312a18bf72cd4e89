//! What was found out about a MailCertificate.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Expiring, ImportStatus, IssuerRef, OutputsStatus, Watched};

/// What was found out about a certificate, and where its issuance stands.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, PartialEq, Default)]
#[serde(rename_all = "camelCase")]
pub struct MailCertificateStatus {
    /// The generation of the spec that this status speaks of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// `Ready`; `Issuing` while a new revision is under way; `Stalled` while it takes a person to go on.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// The revision in the Secret that pods mount.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active: Option<Revision>,
    /// New revisions that wait for their gates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub staged: Vec<Revision>,
    /// What the staged revision waits for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gates: Vec<Gate>,
    /// The question whether anything is still queued for the old certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained: Option<Call>,
    /// The key that a later revision is to have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_key: Option<NextKey>,
    /// What has become of the active revision since it became active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activation: Option<ActivationStatus>,
    /// The last time that an earlier revision became active again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollback: Option<Rollback>,
    /// Former revisions whose key is kept, the last one that was active first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previous: Vec<Revision>,
    /// When the active revision is due for renewal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal_time: Option<Time>,
    /// The value of the annotation `mailcert.dev/renew` that was acted upon last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_renew_request: Option<String>,
    /// The value of the annotation `mailcert.dev/rollback` that was acted upon last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_rollback_request: Option<String>,
    /// The value of the annotation `mailcert.dev/rotate-key` that was acted upon last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_rotate_request: Option<String>,
    /// The issuance under way, or the one that fails: a revision in the state New.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt: Option<Attempt>,
    /// Legacy names that the active certificate lacks.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub omitted_names: Vec<OmittedName>,
    /// What the active certificate's CA says about its renewal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renewal_info: Option<RenewalInfo>,
    /// The self-signed certificate in the Secret until one is issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temporary: Option<Temporary>,
    /// TXT records that the operator has published for challenges and not removed yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub published_records: Vec<PublishedRecord>,
    /// What was found wrong, or soon will be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// What was found in the source of an import.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub import: Option<ImportStatus>,
    /// Warnings of certificates that expire soon and are not renewed here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub expiring: Vec<Expiring>,
    /// The value of the annotation `mailcert.dev/revoke` that was acted upon last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_revoke_request: Option<String>,
    /// The latest revision whose Secret was lost before it became active: its number is not used again, since somebody may
    /// have approved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_revision: Option<i64>,
    /// The revocation that was asked for last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revocation: Option<Revocation>,
    /// The MailDomains that depend on it as the namespace's system certificate, at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dependents: Vec<String>,
    /// What the Secret's outputs were made from, where some need more than the certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outputs: Option<OutputsStatus>,
    /// Times that the active Secret was put right after somebody else had changed or deleted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repairs: Option<Repairs>,
}

/// One key pair with its certificate.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Revision {
    /// Counts up from 1 for each MailCertificate.
    pub revision: i64,
    /// Serial number, in hex.
    pub serial: String,
    /// SHA-256 over the leaf's DER, in lower-case hex.
    #[serde(rename = "fingerprintSHA256")]
    pub fingerprint_sha256: String,
    /// SHA-256 over the leaf's SPKI, in lower-case hex: what `TLSA 3 1 1` carries.
    #[serde(rename = "spkiSHA256")]
    pub spki_sha256: String,
    /// When its validity begins.
    pub not_before: Time,
    /// When it expires.
    pub not_after: Time,
    /// The issuer's distinguished name.
    pub issuer: String,
    /// The DNS names among its SANs.
    pub dns_names: Vec<String>,
    /// The MailIssuer that signed it; none: it was imported.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer_ref: Option<IssuerRef>,
    /// Algorithm and size of its key (`ECDSA P-256`).
    pub key: String,
    /// SHA-256 over subject, mail addresses and usages as they were asked for: another one is a reason to re-issue. For an
    /// imported one, over key, chain and CA certificates.
    #[serde(default, rename = "requestSHA256", skip_serializing_if = "Option::is_none")]
    pub request_sha256: Option<String>,
    /// SHA-256 over the SPKI of the CA that signed it, for `ca` issuers: another CA key pair is a reason to re-issue.
    #[serde(default, rename = "authoritySPKISHA256", skip_serializing_if = "Option::is_none")]
    pub authority_spki_sha256: Option<String>,
    /// The chain that is served with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chain: Option<IssuedChain>,
    /// The CA certificates that came with it, for an imported one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub authorities: Vec<Watched>,
    /// Its ARI identifier (RFC 9773, section 4.1), where it can have one.
    #[serde(default, rename = "ariID", skip_serializing_if = "Option::is_none")]
    pub ari_id: Option<String>,
    /// How far it has come.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<RevisionState>,
    /// Why there is this revision (`RenewalDue`, `NamesChanged`, …), or why it is active again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// What was wrong with it, when it has failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Who approved it, as the annotation `mailcert.dev/approved-by` says. It informs, and proves nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approved_by: Option<String>,
    /// Since when its key is in use, once it has been active.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_since: Option<Time>,
    /// The Secret that keeps its key apart from the active one, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_name: Option<String>,
    /// The active Secret's resourceVersion as it was written or last read: the same one needs no second look.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_resource_version: Option<String>,
}

impl MailCertificateStatus {
    /// The revisions that were active before and are not now: those in `previous`, and a staged one that is gone back to.
    pub fn former(&self) -> impl Iterator<Item = &Revision> {
        self.previous.iter().chain(self.staged.iter().filter(|r| r.was_active()))
    }
}

impl Revision {
    /// Whether it is, or was, active.
    pub fn was_active(&self) -> bool {
        self.key_since.is_some()
    }
}

/// How far a revision has come. One that is being issued is in `attempt`, and New.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq)]
pub enum RevisionState {
    /// It waits for its gates.
    Staged,
    /// Pods mount it.
    Active,
    /// It was active.
    Previous,
    /// It was active, and was taken back because it did not work.
    Failed,
}

/// Something that a staged revision waits for.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// The gate: a condition type.
    #[serde(rename = "type")]
    pub type_: String,
    /// What it waits for, and what can be done.
    pub message: String,
    /// Since when it has been unmet.
    pub since: Time,
}

/// A key that was made ahead.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct NextKey {
    /// SHA-256 over its SPKI, in lower-case hex: what `TLSA 3 1 1` carries.
    #[serde(rename = "spkiSHA256")]
    pub spki_sha256: String,
    /// Algorithm and size (`ECDSA P-256`).
    pub key: String,
    /// The Secret that keeps it.
    pub secret_name: String,
    /// When it was made.
    pub since: Time,
}

/// What has become of the active revision since it became active.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ActivationStatus {
    /// The revision that it is about.
    pub revision: i64,
    /// When it became active.
    pub since: Time,
    /// MailDomains whose workloads and endpoints were as they should be with the revision before, and have not been seen
    /// so with this one: it is taken back if that takes too long.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub judges: Vec<String>,
    /// The latest revision that they have seen work: where this one does not, that is gone back to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proven: Option<i64>,
    /// How far others were told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Call>,
    /// Whether they have taken it up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirmed: Option<Call>,
}

/// A call that is made until it succeeds.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, Default)]
#[serde(rename_all = "camelCase")]
pub struct Call {
    /// When it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub done_at: Option<Time>,
    /// Failures in a row.
    #[serde(default)]
    pub failures: i32,
    /// What was wrong at the last try.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Not before this time is it tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_time: Option<Time>,
}

/// An earlier revision became active again.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Rollback {
    /// The revision that was taken back.
    pub from: i64,
    /// The one that is active again; none: there was no valid one, and the failed one stayed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<i64>,
    /// `NotServed`, `RolloutFailed`, `RollbackRequested` or `NothingNewer`.
    pub reason: String,
    /// What was wrong.
    pub message: String,
    /// When it was taken back.
    pub time: Time,
    /// Rollbacks in a row.
    #[serde(default)]
    pub failures: i32,
    /// MailDomains that have not seen it work, with their generation at that time: they judge what is tried next, and when one
    /// of them is changed, it is tried at once.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub judges: BTreeMap<String, i64>,
    /// The annotation `mailcert.dev/approve` at that time: another value lets the failed revision be tried at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<String>,
    /// No later revision is tried before this time, unless the spec, that of a judge, or an annotation asks for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_time: Option<Time>,
}

/// An issuance.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Attempt {
    /// The revision that it is to become.
    pub revision: i64,
    /// Why it was begun.
    pub reason: String,
    /// When it was begun.
    pub started_at: Time,
    /// Failures in a row.
    #[serde(default)]
    pub failures: i32,
    /// When it failed last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure_time: Option<Time>,
    /// What failed, in the CA's words where it had any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<Failure>,
    /// Nothing is asked of the CA before this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_time: Option<Time>,
    /// The ACME order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Order>,
    /// TXT records that are to be set by you before the CA can be asked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wanted_records: Vec<TxtRecord>,
    /// The cert-manager CertificateRequest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
    /// Legacy names that this attempt does without.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub omitted_names: Vec<OmittedName>,
}

/// Why an attempt failed.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// One of the documented reasons.
    pub reason: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// An ACME order (RFC 8555, section 7.1.3).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Order {
    /// Its URL: after a restart it is resumed from here.
    pub url: String,
    /// The names it was made for.
    pub dns_names: Vec<String>,
    /// When it was made.
    pub created_at: Time,
    /// Challenges that are answered now. Nothing in them is secret: the CA fetches them over plain HTTP or DNS.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub challenges: Vec<Challenge>,
    /// Whether Ingresses or HTTPRoutes stand for its challenges.
    #[serde(default)]
    pub exposed: bool,
    /// Whether the CSR has been sent: from then on the key belongs to this order.
    #[serde(default)]
    pub finalized: bool,
}

/// A way of showing control of a name, by its name in the registry of ACME validation methods.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum ChallengeType {
    /// RFC 8555, section 8.3.
    #[default]
    #[serde(rename = "http-01")]
    Http01,
    /// RFC 8737.
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// RFC 8555, section 8.4.
    #[serde(rename = "dns-01")]
    Dns01,
    /// draft-ietf-acme-dns-persist.
    #[serde(rename = "dns-persist-01")]
    DnsPersist01,
}

impl ChallengeType {
    /// The name in the registry.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http01 => "http-01",
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Dns01 => "dns-01",
            Self::DnsPersist01 => "dns-persist-01",
        }
    }
}

/// A challenge that was chosen for a name.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Challenge {
    /// The DNS name to be validated, with `*.` in front for a wildcard.
    pub name: String,
    /// How control of the name is shown.
    #[serde(default, rename = "type")]
    pub type_: ChallengeType,
    /// The challenge's token.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub token: String,
    /// The answer, or what it is made from.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key_authorization: String,
    /// The TXT record that was published for it, or that is to be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<TxtRecord>,
    /// Whether the CA has been told that it may ask.
    #[serde(default)]
    pub answered: bool,
    /// Self-checks that failed in a row.
    #[serde(default)]
    pub failures: i32,
    /// What the last self-check, or the CA, found wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// A TXT record.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct TxtRecord {
    /// Its name, where the CNAMEs of `_acme-challenge` lead.
    pub name: String,
    /// The text in it.
    pub value: String,
    /// The zone that it lies in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zone: Option<String>,
}

/// A TXT record that the operator has published for a challenge.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PublishedRecord {
    /// The DNS name to be validated, with `*.` in front for a wildcard.
    pub for_name: String,
    /// The record.
    #[serde(flatten)]
    pub record: TxtRecord,
    /// Attempts to remove it that failed in a row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: i32,
    /// Not before this time is it tried again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_time: Option<Time>,
}

fn is_zero(n: &i32) -> bool {
    *n == 0
}

/// A cert-manager CertificateRequest.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Its name; it is in the MailCertificate's namespace.
    pub name: String,
    /// When it was made.
    pub created_at: Time,
}

/// What the CA says about a certificate's renewal (RFC 9773).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct RenewalInfo {
    /// The certificate that it is about, by its ARI identifier (RFC 9773, section 4.1).
    #[serde(rename = "certificateID")]
    pub certificate_id: String,
    /// When the suggested window begins.
    pub start: Time,
    /// When it ends.
    pub end: Time,
    /// The moment in the window that was drawn for this certificate.
    pub renew_at: Time,
    /// A page where the CA explains the window.
    #[serde(default, rename = "explanationURL", skip_serializing_if = "Option::is_none")]
    pub explanation_url: Option<String>,
}

/// The self-signed certificate in the Secret until one is issued.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Temporary {
    /// SHA-256 over its DER, in lower-case hex.
    #[serde(rename = "fingerprintSHA256")]
    pub fingerprint_sha256: String,
    /// When it expires.
    pub not_after: Time,
    /// The Secret's resourceVersion as it was written or last read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_resource_version: Option<String>,
}

/// A revocation (RFC 8555, section 7.6).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Revocation {
    /// The revoked revision.
    pub revision: i64,
    /// Its serial number, in hex.
    pub serial: String,
    /// Why (RFC 5280, section 5.3.1).
    pub reason: String,
    /// When the CA confirmed it.
    pub time: Time,
}

/// The chain that is served with a leaf.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct IssuedChain {
    /// The common names of the issuers, from the leaf's upwards.
    pub issuers: Vec<String>,
    /// The trust anchor that it was verified to, where there is a known one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub anchor: Option<String>,
}

/// Something that is wrong, or soon will be.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// One of the documented reasons.
    pub reason: String,
    /// The name or thing that it is about.
    pub about: String,
    /// What is wrong and what to do.
    pub message: String,
}

/// A legacy name that was left out.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct OmittedName {
    /// The DNS name, in A-labels.
    pub name: String,
    /// Why it could not be validated.
    pub problem: String,
    /// Since when it is left out.
    pub since: Time,
}

/// Changes by others that were undone.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Repairs {
    /// How often in a row, each within an hour of the one before.
    pub count: i32,
    /// When it was put right last.
    pub last_time: Time,
}
