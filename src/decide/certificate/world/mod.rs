//! What is known about a MailCertificate in a pass, what can be done about it, and what doing it brings to light.

mod dependent;
mod import;
mod issuer;
mod order;
mod secret;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::chains;
use crate::api::MailCertificate;
use crate::api::certificate::{Finding, Temporary, TxtRecord};
use crate::decide::backoff::Pace;
use crate::decide::caa::CaaRecord;
use crate::pki::{Chain, PrivateKey};

pub use super::action::{Action, Asked, Check, KeySource, Purpose, Reach, Routed, Told};
pub use dependent::Dependent;
pub use import::{Demand, ImportView, Lacking, SourceFact, SourceLearnt, SourceRead};
pub use issuer::{AcmeView, CertManagerView, How, IssuerView, SolverView};
pub use order::{AuthorizationView, ChallengeView, OrderStatus, OrderView, RequestView};
pub use secret::{ActiveSecret, Fresh, KeyPair, Origin, PasswordView, RevisionSecret, SecretView, StoredKey};

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
    /// Its part as the namespace's system certificate.
    pub system: SystemView,
    /// The issuer that the spec names.
    pub issuer: IssuerView,
    /// The active Secret.
    pub secret: SecretView,
    /// The password of the PKCS#12 stores in it.
    pub password: PasswordView,
    /// The revision Secrets that exist: number to name.
    pub revisions: BTreeMap<i64, String>,
    /// Those that were read in this pass.
    pub read: BTreeMap<i64, RevisionSecret>,
    /// Whether the Secret with the key that was made ahead is there, as far as the watch shows it.
    pub next_key_seen: bool,
    /// That key, once it was read or made in this pass.
    pub next_key: Option<StoredKey>,
    /// The MailDomains that use the certificate.
    pub dependents: Vec<Dependent>,
    /// When the CA is to be asked about the active certificate's renewal; `None`: it has not been asked yet.
    pub next_renewal_check: Option<Timestamp>,
    /// What has happened in this pass.
    pub learnt: Learnt,
}

/// A MailCertificate's part as the namespace's system certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SystemView {
    /// The MailCertificate that has the role, when it is another one.
    pub holder: Option<String>,
    /// The MailDomains that depend on this one, by name; those being deleted left out.
    pub dependents: Vec<String>,
}

/// What acting has brought to light in this pass.
#[derive(Clone, Debug, Default)]
pub struct Learnt {
    /// Whether the finalizer of a system certificate is on it now.
    pub held: Option<bool>,
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
    /// What DNS says about the names to be ordered.
    pub preflight: Option<Vec<NameLook>>,
    /// The guard's answer to an order.
    pub reserved: Option<Result<(), Blocked>>,
    /// TXT records that were published: name to record, or what was wrong.
    pub presented: BTreeMap<String, Result<TxtRecord, String>>,
    /// TXT records that were removed, or what was wrong.
    pub cleaned_up: Vec<(TxtRecord, Result<(), String>)>,
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
    /// What there is to say about the chain that was taken.
    pub chain_findings: Vec<Finding>,
    /// What the CA says about the active certificate's renewal.
    pub renewal_info: Option<RenewalAnswer>,
    /// The active certificate was revoked, or why it could not be.
    pub revoked: bool,
    /// A self-signed certificate was put in place.
    pub temporary: Option<Temporary>,
    /// The cert-manager request as it is; `None`: it does not exist.
    pub request: Option<Option<RequestView>>,
    /// The cert-manager request was made in this pass.
    pub created_request: bool,
    /// The cert-manager request was deleted in this pass.
    pub deleted_request: bool,
    /// Revision Secrets that do not exist, although the status names them.
    pub gone: BTreeSet<i64>,
    /// What calls came to: `Ok(false)` is under way.
    pub called: BTreeMap<Purpose, Result<bool, String>>,
    /// What is wrong with the key that was made ahead before, where it cannot be used.
    pub next_key_lost: Option<String>,
    /// The next key was made in this pass.
    pub next_key_stored: bool,
    /// Revision Secrets that were deleted.
    pub pruned: BTreeSet<i64>,
    /// What is known of the source of an import.
    pub source: SourceLearnt,
    /// The step that failed, which ends the pass.
    pub failure: Option<StepFailure>,
    /// Somebody else wrote what this pass wanted to write: look again.
    pub overtaken: bool,
}

/// What an action brought to light.
#[derive(Clone, Debug)]
pub enum Fact {
    /// The active Secret.
    Secret(SecretView),
    /// The password of the PKCS#12 stores.
    Password(PasswordView),
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
    /// What DNS says about the names to be ordered.
    Preflight(Vec<NameLook>),
    /// The guard lets the order pass, or not.
    Reserved(Result<(), Blocked>),
    /// Challenges are reachable through Ingresses or HTTPRoutes.
    Exposed,
    /// And no longer.
    Unexposed,
    /// A TXT record was published for a name.
    Presented(String, Result<TxtRecord, String>),
    /// A TXT record was removed.
    CleanedUp(TxtRecord, Result<(), String>),
    /// A self-check.
    SelfChecked(String, Result<(), String>),
    /// The CA was told of these names.
    Answered(Vec<String>),
    /// The CSR was sent.
    Finalized(OrderView),
    /// The chains that the CA offers were fetched, its own choice first.
    Downloaded(Download),
    /// The CA was asked about the active certificate's renewal.
    RenewalInfo(RenewalAnswer),
    /// The active certificate was revoked.
    Revoked,
    /// A self-signed certificate was put in place.
    Temporary(Temporary),
    /// A cert-manager request was made.
    RequestCreated(RequestView),
    /// A cert-manager request was looked at; `None`: it is gone.
    Request(Option<RequestView>),
    /// A cert-manager request was deleted.
    RequestDeleted,
    /// The finalizer of a system certificate was put on (`true`) or taken off.
    Held(bool),
    /// Something about the source of an import.
    Source(SourceFact),
    /// What a call came to: `Ok(false)` is under way, and an `Err` says what is wrong.
    Called(Purpose, Result<bool, String>),
    /// The key that was made ahead.
    NextKey(StoredKey),
    /// A key was made ahead.
    NextKeyStored(Arc<PrivateKey>),
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

/// Where the walk up the tree found CAA records, if anywhere, and those records.
pub type CaaFound = (Option<String>, Vec<CaaRecord>);

/// What DNS says about a name to be ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NameLook {
    /// The name, with `*.` in front for a wildcard.
    pub name: String,
    /// Whether it has an address, where that matters.
    pub has_address: Option<Result<bool, String>>,
    /// Where the CAA tree walk ended, and the records there.
    pub caa: Option<Result<CaaFound, String>>,
    /// The TXT records at its `_validation-persist` name, where they matter.
    pub persist: Option<Result<Vec<String>, String>>,
}

/// Why the guard holds an order back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Until when.
    pub until: Timestamp,
    /// Which limit, in words.
    pub words: String,
    /// Whether only other orders under way are in the way: that is soon over.
    pub busy: bool,
}

/// The chains that a CA offers for a certificate.
#[derive(Clone, Debug)]
pub struct Download {
    /// The revision.
    pub revision: i64,
    /// The key that the CSR was made with.
    pub key: Arc<PrivateKey>,
    /// To be remembered with it.
    pub origin: Origin,
    /// At least one, the CA's own choice first.
    pub chains: Vec<Chain>,
}

/// What the CA says about a certificate's renewal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalAnswer {
    /// The certificate, by its ARI identifier.
    pub certificate_id: String,
    /// The window, or why there is none.
    pub window: Result<RenewalWindow, String>,
    /// When the server wants to be asked again.
    pub retry_after: Option<SignedDuration>,
}

/// When a CA suggests to renew (RFC 9773, section 4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewalWindow {
    /// From then on.
    pub start: Timestamp,
    /// Until then.
    pub end: Timestamp,
    /// A page where the CA explains the window.
    pub explanation_url: Option<String>,
}

impl World {
    /// Takes in what an action brought to light.
    pub fn learn(&mut self, fact: Fact) {
        let learnt = &mut self.learnt;
        match fact {
            Fact::Secret(view) => self.secret = view,
            Fact::Password(view) => self.password = view,
            Fact::Revision(revision, Some(secret)) => {
                self.read.insert(revision, secret);
            }
            Fact::Revision(revision, None) => {
                self.revisions.remove(&revision);
                learnt.gone.insert(revision);
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
            Fact::Preflight(looks) => learnt.preflight = Some(looks),
            Fact::Reserved(result) => learnt.reserved = Some(result),
            Fact::Presented(name, result) => {
                learnt.presented.insert(name, result);
            }
            Fact::CleanedUp(record, result) => learnt.cleaned_up.push((record, result)),
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
            Fact::Downloaded(download) => {
                let (fresh, findings) = chains::choose(download, self.issuer.acme(), self.now);
                learnt.fresh = Some(fresh);
                learnt.chain_findings = findings;
            }
            Fact::RenewalInfo(answer) => learnt.renewal_info = Some(answer),
            Fact::Revoked => learnt.revoked = true,
            Fact::Temporary(temporary) => {
                self.secret = SecretView::Temporary(temporary.clone());
                learnt.temporary = Some(temporary);
            }
            Fact::RequestCreated(view) => {
                learnt.created_request = true;
                learnt.request = Some(Some(view));
            }
            Fact::Request(view) => learnt.request = Some(view),
            // What it showed last is still to be judged: a deletion follows the judgement.
            Fact::RequestDeleted => learnt.deleted_request = true,
            Fact::Held(is_held) => learnt.held = Some(is_held),
            Fact::Source(fact) => learnt.source.learn(fact),
            Fact::Called(purpose, result) => {
                learnt.called.insert(purpose, result);
            }
            Fact::NextKey(key) => {
                learnt.next_key_lost = match &key {
                    StoredKey::Absent => Some("somebody else deleted it".to_owned()),
                    StoredKey::Broken(why) => Some(why.clone()),
                    StoredKey::Key(_) => None,
                };
                self.next_key = Some(key);
            }
            Fact::NextKeyStored(key) => {
                learnt.next_key_stored = true;
                self.next_key = Some(StoredKey::Key(key));
            }
            Fact::Overtaken => learnt.overtaken = true,
            Fact::Failed(failure) => learnt.failure = Some(failure),
        }
    }
}
