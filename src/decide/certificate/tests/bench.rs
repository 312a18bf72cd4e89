//! A cluster in memory, and the pass loop over it: an interpreter of every Action.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};

use super::super::outputs::password_view;
use super::super::world::*;
use super::super::{Fact, World, decide, notes};
use super::cert_manager::FakeSigner;
use super::fake_ca::{FakeCa, acme_view};
use super::fake_source::FakeSource;
use crate::api::certificate::{
    CertificateOptions, IssuerRef, LegacyName, OnUnreachable, Outputs, SecretTemplate, Temporary,
};
use crate::api::{MailCertificate, MailCertificateSpec, MailCertificateStatus, keys};
use crate::decide::conditions;
use crate::decide::events::Note;
use crate::pki::{CaKeyPair, Chain, KeySpec, LeafSpec, Password, PrivateKey, self_signed};

/// Rounds within which a pass must come to rest.
const ROUNDS: usize = 12;

/// The active Secret as it lies in the cluster.
#[derive(Clone)]
pub struct Stored {
    pub version: u64,
    pub owner: Option<String>,
    pub revision: Option<i64>,
    pub content: Result<KeyPair, String>,
    pub template: Option<SecretTemplate>,
    pub origin: Origin,
    /// What was asked for besides, and the password, when it was written.
    pub outputs: (Outputs, Option<String>),
    /// It holds a self-signed certificate, which ends then.
    pub temporary: Option<Time>,
}

pub struct Bench {
    pub object: MailCertificate,
    pub now: Timestamp,
    pub issuer: IssuerView,
    pub rival: Option<String>,
    pub forbidden: Option<String>,
    pub secret: Option<Stored>,
    /// The Secret with the password of PKCS#12 stores: its version, and the password.
    pub password: Option<(u64, String)>,
    pub revisions: BTreeMap<i64, (String, RevisionSecret)>,
    pub ca: FakeCa,
    pub signer: FakeSigner,
    pub source: FakeSource,
    /// Actions whose text contains the first fail with the second.
    pub faults: Vec<(&'static str, StepFailure)>,
    /// The pass is lost before this many actions more.
    pub crash_after: Option<usize>,
    pub log: Vec<String>,
    pub notes: Vec<Note>,
    pub wake: Option<Timestamp>,
    pub dependents: Vec<Dependent>,
    /// The Secret with the key that was made ahead.
    pub next_key: Option<Arc<PrivateKey>>,
    /// What calls come to.
    pub calls: BTreeMap<Purpose, Result<bool, String>>,
    /// With the certificate that it is about.
    pub next_renewal_check: Option<(String, Timestamp)>,
    versions: u64,
}

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn days(n: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * n)
}

pub fn secs(n: i64) -> SignedDuration {
    SignedDuration::from_secs(n)
}

pub fn failure(pace: crate::decide::backoff::Pace, reason: &'static str, message: &str) -> StepFailure {
    StepFailure { pace, reason, message: message.to_owned(), retry_after: None, order_lost: false }
}

/// A reference to a MailIssuer of the same namespace.
pub fn named(issuer: &str) -> Option<IssuerRef> {
    Some(IssuerRef { name: issuer.to_owned(), namespace: None })
}

pub fn spec(names: &[&str]) -> MailCertificateSpec {
    MailCertificateSpec {
        issuer_ref: named("issuer"),
        import: None,
        secret_name: "mail-tls".to_owned(),
        dns_names: names.iter().map(|n| (*n).to_owned()).collect(),
        legacy_dns_names: Vec::new(),
        common_name: None,
        system: false,
        options: CertificateOptions::default(),
    }
}

impl Bench {
    /// A MailCertificate that was just created, for mail.example.com.
    pub fn new(issuer: IssuerView) -> Self {
        let mut object = MailCertificate::new("mail", spec(&["mail.example.com"]));
        object.metadata.namespace = Some("post".to_owned());
        object.metadata.uid = Some("0b1c".to_owned());
        object.metadata.generation = Some(1);
        let now = at("2030-06-15T12:00:00Z");
        Self {
            object,
            now,
            issuer,
            rival: None,
            forbidden: None,
            secret: None,
            password: None,
            revisions: BTreeMap::new(),
            ca: FakeCa::new(),
            signer: FakeSigner::new(),
            source: FakeSource::default(),
            faults: Vec::new(),
            crash_after: None,
            log: Vec::new(),
            notes: Vec::new(),
            wake: None,
            dependents: Vec::new(),
            next_key: None,
            calls: BTreeMap::new(),
            next_renewal_check: None,
            versions: 100,
        }
    }

    pub fn self_signed() -> Self {
        Self::new(IssuerView::SelfSigned)
    }

    pub fn with_ca() -> Self {
        let mut bench = Self::self_signed();
        bench.issuer = IssuerView::Ca(bench.ca.pair.clone());
        bench
    }

    pub fn acme() -> Self {
        Self::new(acme_view(How::Http01 { exposes: true }, true))
    }

    /// Changes the spec as the API server does.
    pub fn edit(&mut self, change: impl FnOnce(&mut MailCertificateSpec)) {
        change(&mut self.object.spec);
        self.object.metadata.generation = self.object.metadata.generation.map(|g| g + 1);
    }

    pub fn legacy(&mut self, name: &str, on_unreachable: OnUnreachable) {
        let legacy = LegacyName { name: name.to_owned(), on_unreachable };
        self.edit(|spec| spec.legacy_dns_names.push(legacy));
    }

    pub fn ask_to_renew(&mut self, value: &str) {
        let annotations = self.object.metadata.annotations.get_or_insert_default();
        annotations.insert(keys::RENEW.to_owned(), value.to_owned());
    }

    pub fn annotate(&mut self, key: &str, value: &str) {
        self.object.metadata.annotations.get_or_insert_default().insert(key.to_owned(), value.to_owned());
    }

    pub fn status(&self) -> MailCertificateStatus {
        self.object.status.clone().unwrap_or_default()
    }

    pub fn active(&self) -> crate::api::certificate::Revision {
        self.status().active.expect("a revision is active")
    }

    pub fn attempt(&self) -> crate::api::certificate::Attempt {
        self.status().attempt.expect("an attempt is under way")
    }

    /// Status, reason and message of a condition.
    pub fn condition(&self, type_: &str) -> (String, String, String) {
        let status = self.status();
        match conditions::find(&status.conditions, type_) {
            Some(c) => (c.status.clone(), c.reason.clone(), c.message.clone()),
            None => Default::default(),
        }
    }

    pub fn assert_condition(&self, type_: &str, status: &str, reason: &str, message: &str) {
        let (s, r, m) = self.condition(type_);
        assert_eq!((s.as_str(), r.as_str(), m.as_str()), (status, reason, message), "{type_}");
    }

    pub fn assert_ready(&self) {
        let (status, reason, message) = self.condition("Ready");
        assert_eq!((status.as_str(), reason.as_str()), ("True", "Active"), "{message}");
    }

    /// What was done since this was asked last.
    pub fn take_log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    pub fn take_notes(&mut self) -> Vec<(bool, String, String)> {
        std::mem::take(&mut self.notes).into_iter().map(|n| (n.warning, n.reason, n.message)).collect()
    }

    pub fn pair(&self) -> &KeyPair {
        self.secret.as_ref().expect("a Secret").content.as_ref().expect("a key pair")
    }

    /// A write by somebody else.
    pub fn tamper(&mut self, change: impl FnOnce(&mut Stored)) {
        self.versions += 1;
        let secret = self.secret.as_mut().expect("a Secret");
        change(secret);
        secret.version = self.versions;
    }

    pub fn observe(&self) -> World {
        let known = self.status().active.and_then(|a| a.secret_resource_version);
        let temporary = self
            .status()
            .temporary
            .filter(|t| t.secret_resource_version == self.secret.as_ref().map(|s| s.version.to_string()));
        let secret = match &self.secret {
            _ if temporary.is_some() => temporary.map_or(SecretView::Absent, SecretView::Temporary),
            None => SecretView::Absent,
            Some(s) if s.owner.as_deref() != Some("mail") => self.read_secret(),
            Some(s) if known.as_deref() == Some(s.version.to_string().as_str()) => SecretView::Unchanged,
            Some(_) => SecretView::NotRead,
        };
        World {
            system: Default::default(),
            object: Arc::new(self.object.clone()),
            now: self.now,
            rival: self.rival.clone(),
            forbidden: self.forbidden.clone(),
            issuer: match &self.object.spec.import {
                Some(_) => self.source.view(),
                None => self.issuer.clone(),
            },
            secret,
            password: password_view(&self.object, self.password.as_ref().map(|p| p.0.to_string())),
            revisions: self.revisions.iter().map(|(n, (name, _))| (*n, name.clone())).collect(),
            read: BTreeMap::new(),
            next_key_seen: self.next_key.is_some(),
            next_key: None,
            dependents: self.dependents.clone(),
            next_renewal_check: {
                let known = self.status().active.and_then(|a| a.ari_id);
                self.next_renewal_check.clone().filter(|(id, _)| known.as_ref() == Some(id)).map(|(_, at)| at)
            },
            learnt: Learnt::default(),
        }
    }

    pub fn read_secret(&self) -> SecretView {
        let Some(secret) = &self.secret else { return SecretView::Absent };
        if secret.owner.as_deref() != Some("mail") {
            return SecretView::Foreign("the Secret mail-tls belongs to something else".to_owned());
        }
        if let (Some(temporary), Ok(pair)) = (secret.temporary.clone(), &secret.content) {
            return SecretView::Temporary(Temporary {
                fingerprint_sha256: pair.chain.leaf().fingerprint.to_string(),
                not_after: temporary,
                secret_resource_version: Some(secret.version.to_string()),
            });
        }
        let canonical = secret.template == self.object.spec.options.secret_template
            && secret.outputs == self.outputs()
            && secret.content.as_ref().is_ok_and(|p| p.canonical);
        SecretView::Ours(ActiveSecret {
            resource_version: secret.version.to_string(),
            revision: secret.revision,
            content: secret.content.clone().map(|pair| KeyPair { canonical, ..pair }),
            origin: secret.origin.clone(),
            outputs: BTreeSet::new(),
        })
    }

    /// What is asked for besides, with the password.
    fn outputs(&self) -> (Outputs, Option<String>) {
        let outputs = self.object.spec.options.outputs.clone();
        let password = outputs.pkcs12.as_ref().and(self.password.as_ref()).map(|p| p.1.clone());
        (outputs, password)
    }

    /// One pass. Whether it came to its end.
    pub fn pass(&mut self) -> bool {
        let mut world = self.observe();
        for _ in 0..ROUNDS {
            let decision = decide(&world);
            if decision.actions.is_empty() {
                if self.crashes() {
                    return false;
                }
                self.notes.extend(notes(&self.status(), &decision.status));
                self.object.status = Some(decision.status);
                self.wake = decision.wake;
                if let Some(answer) = &world.learnt.renewal_info {
                    let next = super::super::next_renewal_check(self.now, answer, "0b1c");
                    self.next_renewal_check = Some((answer.certificate_id.clone(), next));
                }
                assert!(self.wake.is_none_or(|w| w > self.now), "wake {:?} at {}", self.wake, self.now);
                return true;
            }
            for action in decision.actions {
                if self.crashes() {
                    return false;
                }
                let fact = self.act(action);
                let over = matches!(fact, Fact::Failed(_) | Fact::Overtaken);
                world.learn(fact);
                if over {
                    break;
                }
            }
        }
        panic!("the pass does not come to rest: {:#?}", self.log);
    }

    fn crashes(&mut self) -> bool {
        match &mut self.crash_after {
            Some(0) => {
                self.crash_after = None;
                true
            }
            Some(n) => {
                *n -= 1;
                false
            }
            None => false,
        }
    }

    /// Passes, with the clock moved to every wake time until the next is further away than `patience`.
    pub fn settle_within(&mut self, patience: SignedDuration) {
        for _ in 0..60 {
            let over = self.pass();
            match self.wake.filter(|w| over && w.duration_since(self.now) <= patience) {
                Some(wake) => self.now = wake,
                None if over => return,
                None => {}
            }
        }
        panic!("does not settle: {:#?}", self.log);
    }

    /// Passes until nothing more happens within a minute, and makes sure that a further pass changes nothing.
    pub fn settle(&mut self) {
        self.settle_within(secs(59));
        let (status, done) = (self.object.status.clone(), self.log.len());
        self.pass();
        assert_eq!(self.object.status, status, "an idle pass changes nothing");
        assert_eq!(self.log.len(), done, "an idle pass does nothing: {:?}", &self.log[done..]);
    }

    /// Moves the clock, then settles.
    pub fn settle_after(&mut self, time: SignedDuration) {
        self.now += time;
        self.settle();
    }

    pub fn act(&mut self, action: Action) -> Fact {
        let text = action.to_string();
        self.log.push(text.clone());
        if let Some((_, failure)) = self.faults.iter().find(|(part, _)| text.contains(part)) {
            return Fact::Failed(failure.clone());
        }
        match action {
            Action::ReadSecret => Fact::Secret(self.read_secret()),
            Action::ReadPassword => Fact::Password(PasswordView::Read {
                version: self.password.as_ref().map(|p| p.0.to_string()),
                password: match &self.password {
                    Some((_, text)) => Password::new(text.as_bytes()).map_err(|e| e.to_string()),
                    None => Err("there is no Secret store".to_owned()),
                },
            }),
            Action::ReadRevision { revision, name } => {
                let found = self.revisions.get(&revision).filter(|(n, _)| *n == name);
                Fact::Revision(revision, found.map(|(_, secret)| secret.clone()))
            }
            Action::Sign { revision, key, ca, leaf, origin } => sign(self.now, revision, key, ca, &leaf, origin),
            Action::StoreKey { revision, name, key } => {
                let key = key_of(key);
                self.store(
                    revision,
                    name,
                    false,
                    RevisionSecret { key: Ok(key), content: None, origin: Origin::default() },
                )
            }
            Action::StoreRevision { revision, name, exists, pair, origin } => {
                let secret = RevisionSecret { key: Ok(pair.key.clone()), content: Some(pair), origin };
                self.store(revision, name, exists, secret)
            }
            Action::WriteActive { revision, pair, origin, over } => self.write_active(revision, pair, origin, over),
            Action::Prune { revision, name } => {
                let (stored, _) = self.revisions.remove(&revision).expect("only what exists is deleted");
                assert_eq!(stored, name);
                Fact::Pruned(revision)
            }
            // Nothing depends on the MailCertificate of a bench.
            Action::Hold | Action::Release => panic!("it is no system certificate"),
            Action::Call { purpose, .. } => {
                Fact::Called(purpose, self.calls.get(&purpose).cloned().unwrap_or(Ok(true)))
            }
            Action::ReadNextKey { .. } => {
                Fact::NextKey(self.next_key.clone().map_or(StoredKey::Absent, StoredKey::Key))
            }
            Action::StoreNextKey { key, exists, .. } => {
                assert_eq!(self.next_key.is_some(), exists);
                let key = key_of(KeySource::Generate(key));
                self.next_key = Some(key.clone());
                Fact::NextKeyStored(key)
            }
            Action::WriteTemporary { key, leaf, over } => self.write_temporary(&key, &leaf, over),
            request @ (Action::CreateRequest { .. } | Action::LookAtRequest { .. } | Action::DeleteRequest { .. }) => {
                self.signer.act(request, self.now)
            }
            import @ (Action::ReadSource { .. } | Action::FetchIssuer { .. } | Action::Import { .. }) => {
                self.source.act(import)
            }
            acme => self.ca.act(acme, self.now),
        }
    }

    fn write_temporary(&mut self, key: &KeySpec, leaf: &LeafSpec, over: Option<String>) -> Fact {
        assert_eq!(self.secret.as_ref().map(|s| s.version.to_string()), over);
        assert!(self.secret.as_ref().is_none_or(|s| s.temporary.is_some()), "a real certificate is overwritten");
        let key = Arc::new(PrivateKey::generate(key).unwrap());
        let chain = self_signed(&key, leaf).unwrap();
        self.versions += 1;
        self.secret = Some(Stored {
            version: self.versions,
            owner: Some("mail".to_owned()),
            revision: None,
            temporary: Some(Time(chain.leaf().not_after)),
            content: Ok(pair(key, chain)),
            template: self.object.spec.options.secret_template.clone(),
            origin: Origin::default(),
            outputs: self.outputs(),
        });
        match self.read_secret() {
            SecretView::Temporary(temporary) => Fact::Temporary(temporary),
            other => panic!("{other:?}"),
        }
    }

    fn store(&mut self, revision: i64, name: String, exists: bool, secret: RevisionSecret) -> Fact {
        let there = self.revisions.get(&revision);
        assert_eq!(there.is_some(), exists, "revision {revision}");
        if let Some((stored, old)) = there {
            assert_eq!(*stored, name);
            let same = old.content.is_none() || old.key.as_ref().is_ok_and(|k| k.spki_der() == spki(&secret));
            assert!(same, "the key of the complete revision {revision} is lost");
        }
        self.revisions.insert(revision, (name.clone(), secret.clone()));
        Fact::Stored(revision, name, secret)
    }

    fn write_active(&mut self, revision: i64, pair: KeyPair, origin: Origin, over: Option<String>) -> Fact {
        if self.secret.as_ref().map(|s| s.version.to_string()) != over {
            return Fact::Overtaken;
        }
        let foreign = self.secret.as_ref().is_some_and(|s| s.owner.as_deref() != Some("mail"));
        assert!(!foreign && self.rival.is_none(), "the Secret of somebody else is overwritten");
        assert!(pair.chain.leaf().spki_der() == pair.key.spki_der(), "key and certificate do not belong together");
        self.versions += 1;
        self.secret = Some(Stored {
            version: self.versions,
            owner: Some("mail".to_owned()),
            revision: Some(revision),
            content: Ok(KeyPair { canonical: true, ..pair }),
            template: self.object.spec.options.secret_template.clone(),
            origin,
            outputs: self.outputs(),
            temporary: None,
        });
        Fact::Activated(revision, self.versions.to_string())
    }
}

fn spki(secret: &RevisionSecret) -> &[u8] {
    secret.key.as_ref().expect("a key").spki_der()
}

fn key_of(source: KeySource) -> Arc<PrivateKey> {
    match source {
        KeySource::Generate(spec) => Arc::new(PrivateKey::generate(&spec).unwrap()),
        KeySource::Keep(key) => key,
    }
}

fn sign(
    now: Timestamp,
    revision: i64,
    key: KeySource,
    ca: Option<Arc<CaKeyPair>>,
    leaf: &crate::pki::LeafSpec,
    origin: Origin,
) -> Fact {
    assert_eq!(leaf.not_before, now);
    let key = key_of(key);
    let signed = match &ca {
        Some(ca) => ca.sign(key.spki_der(), leaf),
        None => self_signed(&key, leaf),
    };
    match signed {
        Ok(chain) => Fact::Issued(Fresh { revision, pair: pair(key, chain), origin }),
        Err(e) => Fact::Failed(failure(crate::decide::backoff::Pace::Person, "SigningFailed", &e.to_string())),
    }
}

pub fn pair(key: Arc<PrivateKey>, chain: Chain) -> KeyPair {
    KeyPair { key, chain: Arc::new(chain), ca: Arc::new(Vec::new()), canonical: true }
}
