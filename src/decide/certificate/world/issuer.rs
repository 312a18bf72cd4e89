//! The issuer that a MailCertificate names, as far as a decision needs to know it.

use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use super::ImportView;
use crate::api::certificate::ChallengeType;
use crate::pki::{Anchors, CaKeyPair};

/// The issuer that a MailCertificate names.
#[derive(Clone, Debug)]
pub enum IssuerView {
    /// There is none.
    NotFound,
    /// It does not allow this namespace; why.
    NotAllowed(String),
    /// It cannot sign now; why.
    NotReady(String),
    /// Signs each certificate with its own key.
    SelfSigned,
    /// Signs with a CA key pair.
    Ca(Arc<CaKeyPair>),
    /// Asks an ACME server.
    Acme(Arc<AcmeView>),
    /// Asks cert-manager.
    CertManager(CertManagerView),
    /// There is no issuer: key and certificate come from a Secret.
    Import(Arc<ImportView>),
}

impl IssuerView {
    /// The ACME issuer, where it is one.
    pub fn acme(&self) -> Option<&AcmeView> {
        match self {
            Self::Acme(view) => Some(view),
            _ => None,
        }
    }
}

/// How an ACME issuer proceeds.
#[derive(Clone, Debug, Default)]
pub struct AcmeView {
    /// How challenges are answered, in the spec's order.
    pub solvers: Vec<SolverView>,
    /// The account's URL.
    pub account_uri: Option<String>,
    /// The profile to ask for.
    pub profile: Option<String>,
    /// The common name that the chain to take is known by.
    pub preferred_chain: Option<String>,
    /// What chains must lead to; `None`: Mozilla's roots are looked for, and none is no obstacle.
    pub trust_anchors: Option<Arc<Anchors>>,
    /// The domains that stand for the CA in CAA records.
    pub caa_identities: Vec<String>,
    /// Whether a CAA record that forbids the CA stops the order.
    pub caa_required: bool,
    /// Whether the CA suggests when to renew.
    pub renewal_info: bool,
}

/// One way of answering challenges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SolverView {
    /// Its place among the issuer's solvers.
    pub index: usize,
    /// The names that it is for, lower-cased A-labels.
    pub dns_names: Vec<String>,
    /// The zones that it is for, lower-cased A-labels.
    pub dns_zones: Vec<String>,
    /// How.
    pub how: How,
    /// Whether the operator looks at each challenge itself before the CA does.
    pub self_check: bool,
}

/// How challenges are answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum How {
    /// On port 80, by the operator.
    Http01 {
        /// Whether that needs an Ingress or HTTPRoute.
        exposes: bool,
    },
    /// On port 443, by the operator.
    TlsAlpn01,
    /// By a TXT record that the operator publishes.
    Dns01,
    /// By a TXT record that stays.
    DnsPersist01 {
        /// When the record that is shown shall end to count.
        until: Option<Timestamp>,
    },
}

impl How {
    /// The type of challenge that is answered so.
    pub fn kind(&self) -> ChallengeType {
        match self {
            Self::Http01 { .. } => ChallengeType::Http01,
            Self::TlsAlpn01 => ChallengeType::TlsAlpn01,
            Self::Dns01 => ChallengeType::Dns01,
            Self::DnsPersist01 { .. } => ChallengeType::DnsPersist01,
        }
    }
}

/// An issuer of cert-manager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertManagerView {
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Its API group.
    pub group: String,
}
