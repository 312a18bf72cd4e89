//! An ACME order and a cert-manager request, as their server shows them.

use k8s_openapi::jiff::SignedDuration;

use crate::api::certificate::ChallengeType;

/// An ACME order as the server shows it (RFC 8555, section 7.1.3).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderView {
    /// Its URL.
    pub url: String,
    /// Its status.
    pub status: OrderStatus,
    /// The CA's words about what went wrong.
    pub error: Option<String>,
    /// One for each name.
    pub authorizations: Vec<AuthorizationView>,
    /// When the server wants to be asked again.
    pub retry_after: Option<SignedDuration>,
    /// Why the order does not name the certificate that it replaces, where it was to.
    pub not_replaced: Option<String>,
}

/// The status of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderStatus {
    /// Waits for authorizations.
    Pending,
    /// Waits for the CSR.
    Ready,
    /// The certificate is being made.
    Processing,
    /// The certificate can be fetched.
    Valid,
    /// Over.
    Invalid,
}

/// An authorization (RFC 8555, section 7.1.4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuthorizationView {
    /// The DNS name.
    pub name: String,
    /// Whether the name is validated.
    pub valid: bool,
    /// Whether it can no longer be.
    pub failed: bool,
    /// The challenges that the CA offers and the operator knows.
    pub challenges: Vec<ChallengeView>,
    /// The types of those that it does not know.
    pub unknown: Vec<String>,
    /// The CA's words about what went wrong.
    pub error: Option<String>,
}

/// A challenge (RFC 8555, section 7.1.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChallengeView {
    /// Its type.
    pub kind: ChallengeType,
    /// Its token; DNS-PERSIST-01 has none.
    pub token: String,
    /// The answer, or what it is made from; DNS-PERSIST-01 has none.
    pub key_authorization: String,
    /// The value of the TXT record, for DNS-01.
    pub dns_value: Option<String>,
    /// Whether the CA waits to be told that it may look.
    pub pending: bool,
    /// The CA's words about what went wrong.
    pub error: Option<String>,
}

impl AuthorizationView {
    /// Its challenge of a type.
    pub fn challenge(&self, kind: ChallengeType) -> Option<&ChallengeView> {
        self.challenges.iter().find(|c| c.kind == kind)
    }

    /// The CA's words about what went wrong.
    pub fn error(&self) -> Option<&str> {
        self.challenges.iter().find_map(|c| c.error.as_deref()).or(self.error.as_deref())
    }
}

/// A cert-manager CertificateRequest as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RequestView {
    /// Whether it was approved.
    pub approved: bool,
    /// Why it was denied.
    pub denied: Option<String>,
    /// Why it failed.
    pub failed: Option<String>,
    /// Why it is invalid.
    pub invalid: Option<String>,
    /// What cert-manager says about it while it is not ready.
    pub pending: Option<String>,
    /// The chain that was issued, in PEM, once it is ready.
    pub certificate: Option<Vec<u8>>,
    /// The CA's certificates, in PEM, where the issuer gives them.
    pub ca: Option<Vec<u8>>,
}
