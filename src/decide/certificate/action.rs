//! What can be done about a MailCertificate.

use std::fmt;
use std::sync::Arc;

use super::world::{KeyPair, Origin};
use crate::api::certificate::activation::{Drained, ExecCall, HttpCall, JobCall, Publish};
use crate::api::certificate::{ChallengeType, Revision, TxtRecord};
use crate::api::revocation::RevocationReason;
use crate::pki::{CaKeyPair, Certificate, Chain, KeySpec, LeafSpec, PrivateKey, SubjectSpec, Usage};

/// Where a key comes from.
#[derive(Clone, Debug)]
pub enum KeySource {
    /// A new one.
    Generate(KeySpec),
    /// One that is stored already.
    Keep(Arc<PrivateKey>),
}

/// A name that is to be ordered, and how control of it will be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The name, with `*.` in front for a wildcard.
    pub name: String,
    /// The type of challenge.
    pub kind: ChallengeType,
}

/// A look at a challenge, as the CA would look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    /// Over HTTP on port 80.
    Http01 {
        /// The path's last segment.
        token: String,
        /// The body to expect.
        key_authorization: String,
    },
    /// Over TLS on port 443.
    TlsAlpn01 {
        /// What the certificate must speak of.
        key_authorization: String,
    },
    /// On every authoritative server.
    Dns01 {
        /// The record to expect.
        record: TxtRecord,
    },
}

/// An HTTP-01 challenge that needs a route to the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Routed {
    /// The name.
    pub name: String,
    /// The path's last segment.
    pub token: String,
    /// The solver's place among the issuer's.
    pub solver: usize,
}

/// Whom a call asks, or tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Purpose {
    /// Whether anything is still queued for the old certificate.
    Drained,
    /// Others are told of the new one.
    Publish,
    /// Whether they have taken it up.
    Confirm,
}

/// How it is asked.
#[derive(Clone, Debug, PartialEq)]
pub enum Reach {
    /// By an HTTP call.
    Http(HttpCall),
    /// By a command in pods.
    Exec(ExecCall),
    /// By a Job.
    Job(JobCall),
}

impl Reach {
    /// As the spec asks for it.
    pub fn of_drained(drained: &Drained) -> Option<Self> {
        let (http, exec, job) = (drained.http.clone(), drained.exec.clone(), drained.job.clone());
        http.map(Self::Http).or(exec.map(Self::Exec)).or(job.map(Self::Job))
    }

    /// As the spec asks for it.
    pub fn of(publish: &Publish) -> Option<Self> {
        publish.http.clone().map(Self::Http).or(publish.job.clone().map(Self::Job))
    }
}

/// What a call is about: a certificate, and never its key.
#[derive(Clone, Debug)]
pub struct Told {
    /// The revision.
    pub revision: Revision,
    /// Leaf first.
    pub chain: Arc<Chain>,
    /// Its CA.
    pub ca: Arc<Vec<Certificate>>,
}

/// A step to take. Each says exactly what to do.
#[derive(Clone, Debug)]
pub enum Action {
    /// Read the active Secret.
    ReadSecret,
    /// Read the password of the PKCS#12 stores.
    ReadPassword,
    /// Read a revision Secret.
    ReadRevision {
        /// Its number.
        revision: i64,
        /// Its name.
        name: String,
    },
    /// Read the source of an import.
    ReadSource {
        /// Certificates that may be the issuers it lacks.
        issuers: Vec<Certificate>,
    },
    /// Fetch an issuer that the source lacks.
    FetchIssuer {
        /// From these addresses.
        urls: Vec<String>,
    },
    /// Take what the source holds as a revision.
    Import {
        /// The revision to be.
        revision: i64,
        /// Key and certificate.
        pair: KeyPair,
        /// To be remembered with it.
        origin: Origin,
    },
    /// Sign locally.
    Sign {
        /// The revision to be.
        revision: i64,
        /// Its key.
        key: KeySource,
        /// The CA, or none for a self-signed leaf.
        ca: Option<Arc<CaKeyPair>>,
        /// What to sign.
        leaf: Box<LeafSpec>,
        /// To be remembered with it.
        origin: Origin,
    },
    /// Store a key before anybody is asked to certify it.
    StoreKey {
        /// The revision to be.
        revision: i64,
        /// The revision Secret.
        name: String,
        /// The key.
        key: KeySource,
    },
    /// Store key and certificate of a revision in its own Secret.
    StoreRevision {
        /// The revision.
        revision: i64,
        /// The revision Secret.
        name: String,
        /// Whether the Secret exists (with the key in it).
        exists: bool,
        /// Key and certificate.
        pair: KeyPair,
        /// Issuer and request.
        origin: Origin,
    },
    /// Write the active Secret: everything in one update.
    WriteActive {
        /// The revision.
        revision: i64,
        /// Key and certificate.
        pair: KeyPair,
        /// Issuer and request.
        origin: Origin,
        /// The resourceVersion that it must still have; none: it must not exist.
        over: Option<String>,
    },
    /// Delete a revision Secret that history no longer covers.
    Prune {
        /// The revision.
        revision: i64,
        /// Its Secret.
        name: String,
    },
    /// Ask DNS about the names to be ordered.
    Preflight {
        /// The names.
        asked: Vec<Asked>,
    },
    /// Have the guard count an order, where its limits allow one more.
    Reserve {
        /// For these names.
        dns_names: Vec<String>,
        /// Whether the CA asked for it: then it does not count.
        exempt: bool,
    },
    /// Create an ACME order.
    CreateOrder {
        /// For these names.
        dns_names: Vec<String>,
        /// The profile.
        profile: Option<String>,
        /// The certificate that it replaces, by its ARI identifier.
        replaces: Option<String>,
        /// Whether the guard did not count it.
        exempt: bool,
    },
    /// Look at the ACME order.
    LookAtOrder {
        /// Its URL.
        url: String,
    },
    /// Make Ingresses or HTTPRoutes for challenges.
    Expose {
        /// Of each.
        challenges: Vec<Routed>,
    },
    /// Remove them.
    Unexpose,
    /// Publish a TXT record for a DNS-01 challenge.
    Present {
        /// The name, with `*.` in front for a wildcard.
        name: String,
        /// The solver's place among the issuer's.
        solver: usize,
        /// The record's value.
        value: String,
    },
    /// Remove a TXT record.
    CleanUp {
        /// The name that it was published for.
        name: String,
        /// The solver's place among the issuer's.
        solver: usize,
        /// The record.
        record: TxtRecord,
    },
    /// Look at a challenge as the CA would.
    SelfCheck {
        /// The name, with `*.` in front for a wildcard.
        name: String,
        /// What to look at.
        check: Check,
    },
    /// Tell the CA that challenges can be looked at.
    Answer {
        /// The order.
        url: String,
        /// The names, and the challenge of each.
        asked: Vec<Asked>,
    },
    /// Send the CSR.
    Finalize {
        /// The order.
        url: String,
        /// The key to certify.
        key: Arc<PrivateKey>,
        /// What to ask for.
        subject: Box<SubjectSpec>,
        /// And for which usages.
        usages: Vec<Usage>,
    },
    /// Fetch the certificate.
    Download {
        /// The order.
        url: String,
        /// The revision.
        revision: i64,
        /// The key that the CSR was made with.
        key: Arc<PrivateKey>,
        /// To be remembered with it.
        origin: Origin,
        /// Whether to fetch the other chains that the CA offers, too.
        alternates: bool,
    },
    /// Ask the CA when it suggests to renew a certificate (RFC 9773).
    FetchRenewalInfo {
        /// The certificate, by its ARI identifier.
        certificate_id: String,
    },
    /// Revoke the active certificate.
    Revoke {
        /// Its key and chain.
        pair: KeyPair,
        /// Why.
        reason: RevocationReason,
    },
    /// Put the finalizer of a system certificate on: MailDomains depend on it. Brings [`Fact::Held`](super::Fact::Held).
    Hold,
    /// Take it off: none does. Brings [`Fact::Held`](super::Fact::Held).
    Release,
    /// Put a self-signed certificate in place until one is issued.
    WriteTemporary {
        /// The key to make.
        key: KeySpec,
        /// What to sign.
        leaf: Box<LeafSpec>,
        /// The resourceVersion that the Secret must still have; none: it must not exist.
        over: Option<String>,
    },
    /// Make a cert-manager CertificateRequest.
    CreateRequest {
        /// Its name.
        name: String,
        /// The key to certify.
        key: Arc<PrivateKey>,
        /// What to ask for.
        subject: Box<SubjectSpec>,
        /// And for which usages.
        usages: Vec<Usage>,
    },
    /// Look at it.
    LookAtRequest {
        /// Its name.
        name: String,
    },
    /// Delete it.
    DeleteRequest {
        /// Its name.
        name: String,
    },
    /// Ask or tell somebody about a certificate.
    Call {
        /// What for.
        purpose: Purpose,
        /// How.
        reach: Box<Reach>,
        /// The certificate.
        told: Box<Told>,
    },
    /// Read the key that was made ahead.
    ReadNextKey {
        /// Its Secret.
        name: String,
    },
    /// Make a key ahead.
    StoreNextKey {
        /// Its Secret.
        name: String,
        /// The key to make.
        key: KeySpec,
        /// Whether the Secret exists: what is in it is in use, or of no use.
        exists: bool,
    },
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReadSecret => write!(f, "read the active Secret"),
            Self::ReadPassword => write!(f, "read the password of the PKCS#12 stores"),
            Self::ReadRevision { name, .. } => write!(f, "read the revision Secret {name}"),
            Self::ReadSource { .. } => write!(f, "read the source"),
            Self::FetchIssuer { urls } => write!(f, "fetch the missing issuer from {}", urls.join(" or ")),
            Self::Import { revision, .. } => write!(f, "take what the source holds as revision {revision}"),
            Self::Sign { revision, leaf, .. } => {
                write!(f, "sign revision {revision} for {}", leaf.subject.dns_names.join(", "))
            }
            Self::StoreKey { revision, name, .. } => write!(f, "store the key of revision {revision} in Secret {name}"),
            Self::StoreRevision { revision, name, .. } => write!(f, "store revision {revision} in Secret {name}"),
            Self::WriteActive { revision, .. } => write!(f, "write revision {revision} to the active Secret"),
            Self::Prune { revision, name } => write!(f, "delete Secret {name} of revision {revision}"),
            Self::Preflight { asked } => write!(f, "ask DNS about {}", listed(asked)),
            Self::Reserve { dns_names, .. } => write!(f, "count an order for {}", dns_names.join(", ")),
            Self::CreateOrder { dns_names, .. } => write!(f, "create an ACME order for {}", dns_names.join(", ")),
            Self::LookAtOrder { url } => write!(f, "look at the ACME order {url}"),
            Self::Expose { challenges } => write!(f, "route {} challenges to the operator", challenges.len()),
            Self::Unexpose => write!(f, "remove the challenges' routes"),
            Self::SelfCheck { name, .. } => write!(f, "check the challenge of {name} from here"),
            Self::Present { name, .. } => write!(f, "publish the TXT record of {name}"),
            Self::CleanUp { record, .. } => write!(f, "remove the TXT record at {}", record.name),
            Self::Answer { asked, .. } => write!(f, "let the CA look at the challenges of {}", listed(asked)),
            Self::Finalize { url, .. } => write!(f, "send the CSR to the ACME order {url}"),
            Self::Download { url, .. } => write!(f, "fetch the certificate of the ACME order {url}"),
            Self::FetchRenewalInfo { certificate_id } => write!(f, "ask when to renew certificate {certificate_id}"),
            Self::Revoke { reason, .. } => write!(f, "revoke the active certificate: {}", reason.as_str()),
            Self::Hold => write!(f, "hold it back from deletion: MailDomains depend on it"),
            Self::Release => write!(f, "no longer hold it back from deletion"),
            Self::WriteTemporary { .. } => write!(f, "put a self-signed certificate in place"),
            Self::CreateRequest { name, .. } => write!(f, "create CertificateRequest {name}"),
            Self::LookAtRequest { name } => write!(f, "look at CertificateRequest {name}"),
            Self::Call { purpose: Purpose::Drained, .. } => write!(f, "ask whether anything is queued"),
            Self::Call { purpose: Purpose::Publish, told, .. } => {
                write!(f, "tell of revision {}", told.revision.revision)
            }
            Self::Call { purpose: Purpose::Confirm, told, .. } => {
                write!(f, "ask whether revision {} was taken up", told.revision.revision)
            }
            Self::ReadNextKey { name } => write!(f, "read the next key in Secret {name}"),
            Self::StoreNextKey { name, .. } => write!(f, "make the next key in Secret {name}"),
            Self::DeleteRequest { name } => write!(f, "delete CertificateRequest {name}"),
        }
    }
}

fn listed(asked: &[Asked]) -> String {
    asked.iter().map(|a| a.name.as_str()).collect::<Vec<_>>().join(", ")
}
