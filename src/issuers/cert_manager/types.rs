//! The fields of a CertificateRequest that are used here, as cert-manager's CRD publishes them.

use k8s_openapi::ByteString;
use k8s_openapi::jiff::SignedDuration;
use kube::api::DynamicObject;
use serde::{Deserialize, Serialize};

use super::Draft;
use crate::decide::certificate::world::RequestView;
use crate::issuers::acme::failure::printable;
use crate::pki::{KeyAlgorithm, Usage, csr_pem};

/// The longest text of cert-manager's that is quoted, in characters.
const QUOTED: usize = 500;

/// `spec.issuerRef`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuerRef {
    /// The issuer's name.
    pub name: String,
    /// Its kind.
    #[serde(default)]
    pub kind: String,
    /// Its API group.
    #[serde(default)]
    pub group: String,
}

/// `spec`.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    duration: Option<String>,
    pub issuer_ref: IssuerRef,
    /// PEM, in base64 once more.
    request: ByteString,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    usages: Vec<String>,
}

impl Spec {
    pub fn new(draft: &Draft<'_>) -> Self {
        Self {
            duration: draft.duration.clone(),
            issuer_ref: draft.issuer.clone(),
            request: ByteString(csr_pem(draft.csr).into_bytes()),
            usages: draft.usages.iter().map(ToString::to_string).collect(),
        }
    }
}

/// `status`.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Status {
    conditions: Vec<Condition>,
    certificate: Option<ByteString>,
    ca: Option<ByteString>,
    failure_time: Option<String>,
}

#[derive(Deserialize)]
struct Condition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

impl Condition {
    fn words(&self) -> String {
        words(if self.message.trim().is_empty() { &self.reason } else { &self.message })
    }
}

/// What others wrote, bounded and printable.
pub(super) fn words(text: &str) -> String {
    printable(text, QUOTED)
}

/// What a request shows. Whatever else is in its status, a denial and a failure are final.
pub fn view(object: &DynamicObject) -> RequestView {
    let status = object.data.get("status").cloned().unwrap_or_default();
    let status: Status = match serde_json::from_value::<Option<Status>>(status) {
        Ok(status) => status.unwrap_or_default(),
        Err(e) => {
            return RequestView { failed: Some(format!("its status cannot be read: {e}")), ..RequestView::default() };
        }
    };
    let condition = |type_: &str| status.conditions.iter().find(|c| c.type_ == type_);
    let stands = |type_: &str| condition(type_).filter(|c| c.status == "True");
    let ready = condition("Ready");
    let for_reason = |reason: &str| ready.filter(|c| c.status != "True" && c.reason == reason).map(Condition::words);
    let issued = ready.is_some_and(|c| c.status == "True");
    let without_reason = || {
        let ended = status.failure_time.is_some() && !issued;
        ended.then(|| ready.map_or_else(|| "no reason was given".to_owned(), Condition::words))
    };
    let empty = || "it is ready, and has no certificate".to_owned();
    let certificate = status.certificate.filter(|c| issued && !c.0.is_empty()).map(|c| c.0);
    let missing = (issued && certificate.is_none()).then(empty);
    RequestView {
        approved: stands("Approved").is_some(),
        denied: stands("Denied").map(Condition::words).or_else(|| for_reason("Denied")),
        failed: for_reason("Failed").or_else(without_reason).or(missing),
        invalid: stands("InvalidRequest").map(Condition::words),
        pending: ready.filter(|c| c.status != "True").map(Condition::words).filter(|w| !w.is_empty()),
        certificate,
        ca: status.ca.map(|c| c.0).filter(|c| !c.is_empty()),
    }
}

/// The usages of our CSR as cert-manager calls them: key usages by algorithm, then extended ones.
pub fn usages(algorithm: KeyAlgorithm, extended: &[Usage]) -> Vec<&'static str> {
    let mut usages = vec!["digital signature"];
    if algorithm == KeyAlgorithm::Rsa {
        usages.push("key encipherment");
    }
    usages.extend(extended.iter().map(|usage| match usage {
        Usage::ServerAuth => "server auth",
        Usage::ClientAuth => "client auth",
        Usage::EmailProtection => "email protection",
    }));
    usages
}

/// A duration as Go writes it.
pub fn duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs().max(0);
    format!("{}h{}m{}s", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
