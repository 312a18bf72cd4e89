//! What is known about a MailCertificate in a pass, what can be done about it, and what doing it brings to light.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use crate::api::MailCertificate;
use crate::api::certificate::IssuerRef;
use crate::decide::backoff::Pace;
use crate::pki::{CaKeyPair, Certificate, Chain, PrivateKey};

pub use super::action::{Action, KeySource};

/// Everything that [`decide`](super::decide) looks at.
#[derive(Clone, Debug)]
pub struct World {
    /// The object, with the status that was written last.
    pub object: Arc<MailCertificate>,
    /// The time of this pass.
    pub now: Timestamp,
    /// Another MailCertificate of the namespace that claimed the same secretName earlier.
    pub rival: Option<String>,
    /// What the operator is not allowed to do here, and which binding to create.
    pub forbidden: Option<String>,
    /// The issuer that the spec names.
    pub issuer: IssuerView,
    /// The active Secret.
    pub secret: SecretView,
    /// The revision Secrets that exist: number to name.
    pub revisions: BTreeMap<i64, String>,
    /// Those that were read in this pass.
    pub read: BTreeMap<i64, RevisionSecret>,
    /// What has happened in this pass.
    pub learnt: Learnt,
}

/// What acting has brought to light in this pass.
#[derive(Clone, Debug, Default)]
pub struct Learnt {
    /// A certificate that was issued and is not stored yet.
    pub fresh: Option<Fresh>,
    /// The revision that was written to the active Secret, and the Secret's new resourceVersion.
    pub activated: Option<(i64, String)>,
    /// The active Secret as it was before that.
    pub replaced: Option<SecretView>,
    /// The ACME order as the server shows it.
    pub order: Option<OrderView>,
    /// The order was created in this pass.
    pub created_order: bool,
    /// Self-checks: name to what was wrong.
    pub self_checks: BTreeMap<String, Result<(), String>>,
    /// Names whose challenge the CA was told to look at.
    pub answered: BTreeSet<String>,
    /// Ingresses or HTTPRoutes were made.
    pub exposed: bool,
    /// They were removed.
    pub unexposed: bool,
    /// The CSR was sent.
    pub finalized: bool,
    /// Revision Secrets that were deleted.
    pub pruned: BTreeSet<i64>,
    /// The step that failed, which ends the pass.
    pub failure: Option<StepFailure>,
    /// Somebody else wrote what this pass wanted to write: look again.
    pub overtaken: bool,
}

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
    Acme(AcmeView),
}

/// How an ACME issuer proceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AcmeView {
    /// Whether the operator looks at each challenge itself before the CA does.
    pub self_check: bool,
    /// Whether challenges need an Ingress or HTTPRoute.
    pub exposes: bool,
}

/// The active Secret.
#[derive(Clone, Debug)]
pub enum SecretView {
    /// Its resourceVersion is the one that the status knows: it holds what the status says.
    Unchanged,
    /// It may have changed since the status was written.
    NotRead,
    /// There is none.
    Absent,
    /// It belongs to something else; to what, and what to do.
    Foreign(String),
    /// It is this MailCertificate's.
    Ours(ActiveSecret),
}

/// The active Secret, read.
#[derive(Clone, Debug)]
pub struct ActiveSecret {
    /// Precondition of the next write.
    pub resource_version: String,
    /// The revision that it says it holds.
    pub revision: Option<i64>,
    /// What it holds, or what is wrong with it.
    pub content: Result<KeyPair, String>,
    /// What its annotations say about its making.
    pub origin: Origin,
}

/// A revision Secret, read.
#[derive(Clone, Debug)]
pub struct RevisionSecret {
    /// Its key; the certificate comes later, for ACME.
    pub key: Result<Arc<PrivateKey>, String>,
    /// Key and certificate, once both are there.
    pub content: Option<KeyPair>,
    /// What its annotations say about its making.
    pub origin: Origin,
}

/// A key with its chain.
#[derive(Clone, Debug)]
pub struct KeyPair {
    /// The private key.
    pub key: Arc<PrivateKey>,
    /// Leaf first.
    pub chain: Arc<Chain>,
    /// For `ca.crt`.
    pub ca: Arc<Vec<Certificate>>,
    /// Whether every Secret key is byte by byte as it would be written now.
    pub canonical: bool,
}

/// How a revision came about: what a certificate does not say itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// The MailIssuer.
    pub issuer: Option<IssuerRef>,
    /// SHA-256 over the SPKI of the signing CA, for `ca` issuers.
    pub authority_spki: Option<String>,
    /// Digest of subject and usages asked for.
    pub request: Option<String>,
}

/// A certificate just issued.
#[derive(Clone, Debug)]
pub struct Fresh {
    /// Its revision.
    pub revision: i64,
    /// Key and chain.
    pub pair: KeyPair,
    /// Issuer and request.
    pub origin: Origin,
}

/// What an action brought to light.
#[derive(Clone, Debug)]
pub enum Fact {
    /// The active Secret.
    Secret(SecretView),
    /// A revision Secret; `None`: it is gone.
    Revision(i64, Option<RevisionSecret>),
    /// A certificate was issued.
    Issued(Fresh),
    /// A revision Secret was written.
    Stored(i64, String, RevisionSecret),
    /// The active Secret was written; its resourceVersion now.
    Activated(i64, String),
    /// A revision Secret was deleted.
    Pruned(i64),
    /// An order was created.
    OrderCreated(OrderView),
    /// An order was looked at.
    Order(OrderView),
    /// Challenges are reachable through Ingresses or HTTPRoutes.
    Exposed,
    /// And no longer.
    Unexposed,
    /// A self-check.
    SelfChecked(String, Result<(), String>),
    /// The CA was told of these names.
    Answered(Vec<String>),
    /// The CSR was sent.
    Finalized(OrderView),
    /// Somebody else wrote it meanwhile.
    Overtaken,
    /// The step failed.
    Failed(StepFailure),
}

/// A step that failed. Ends the pass; what works stays as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepFailure {
    /// How to retry.
    pub pace: Pace,
    /// One of [`reasons::certificate`](crate::api::reasons::certificate).
    pub reason: &'static str,
    /// What is wrong and what to do, with the CA's words where it had any.
    pub message: String,
    /// When the server wants to be asked again.
    pub retry_after: Option<SignedDuration>,
    /// The order cannot be gone on with.
    pub order_lost: bool,
}

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
    /// Its HTTP-01 challenge, if the CA offers one.
    pub http01: Option<Http01View>,
}

/// An HTTP-01 challenge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http01View {
    /// The last segment of the path.
    pub token: String,
    /// The body of the answer.
    pub key_authorization: String,
    /// Whether the CA waits to be told that it may look.
    pub pending: bool,
    /// The CA's words about what went wrong.
    pub error: Option<String>,
}

impl World {
    /// Takes in what an action brought to light.
    pub fn learn(&mut self, fact: Fact) {
        let learnt = &mut self.learnt;
        match fact {
            Fact::Secret(view) => self.secret = view,
            Fact::Revision(revision, Some(secret)) => {
                self.read.insert(revision, secret);
            }
            Fact::Revision(revision, None) => {
                self.revisions.remove(&revision);
            }
            Fact::Issued(fresh) => learnt.fresh = Some(fresh),
            Fact::Stored(revision, name, secret) => {
                self.revisions.insert(revision, name);
                self.read.insert(revision, secret);
            }
            Fact::Activated(revision, version) => {
                learnt.replaced = Some(std::mem::replace(&mut self.secret, SecretView::Unchanged));
                learnt.activated = Some((revision, version));
            }
            Fact::Pruned(revision) => {
                self.revisions.remove(&revision);
                learnt.pruned.insert(revision);
            }
            Fact::OrderCreated(view) => {
                learnt.created_order = true;
                learnt.order = Some(view);
            }
            Fact::Order(view) => learnt.order = Some(view),
            Fact::Exposed => learnt.exposed = true,
            Fact::Unexposed => learnt.unexposed = true,
            Fact::SelfChecked(name, result) => {
                learnt.self_checks.insert(name, result);
            }
            Fact::Answered(names) => learnt.answered.extend(names),
            Fact::Finalized(view) => {
                learnt.finalized = true;
                learnt.order = Some(view);
            }
            Fact::Overtaken => learnt.overtaken = true,
            Fact::Failed(failure) => learnt.failure = Some(failure),
        }
    }
}
