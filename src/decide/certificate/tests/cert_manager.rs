//! cert-manager as data: what its approver and its signer do is set by the story.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::jiff::Timestamp;

use super::super::world::*;
use super::bench::*;
use super::fake_ca::{acme_view, ca};
use crate::pki::{CaKeyPair, KeySpec, LeafSpec, PrivateKey, SubjectSpec, Usage};

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Sign,
    /// Nobody approves it.
    Unapproved,
    /// Approved, and not signed yet.
    Slow,
    Deny,
    Invalidate,
    Fail,
    WrongKey,
    WrongName,
    Garbage,
}

pub struct FakeSigner {
    pub pair: Arc<CaKeyPair>,
    pub fate: Fate,
    /// Requests that stand: key, subject and usages.
    pub requests: BTreeMap<String, (Arc<PrivateKey>, SubjectSpec, Vec<Usage>)>,
    /// Requests ever made.
    pub made: usize,
}

impl FakeSigner {
    pub fn new() -> Self {
        let pair = ca("Private root", at("2045-01-01T00:00:00Z"));
        Self { pair, fate: Fate::Sign, requests: BTreeMap::new(), made: 0 }
    }

    pub fn act(&mut self, action: Action, now: Timestamp) -> Fact {
        match action {
            Action::CreateRequest { name, key, subject, usages } => {
                if !self.requests.contains_key(&name) {
                    self.made += 1;
                    self.requests.insert(name.clone(), (key, *subject, usages));
                }
                Fact::RequestCreated(self.view(&name, now).expect("it was just made"))
            }
            Action::LookAtRequest { name } => Fact::Request(self.view(&name, now)),
            Action::DeleteRequest { name } => {
                self.requests.remove(&name);
                Fact::RequestDeleted
            }
            other => panic!("{other} is nothing for cert-manager"),
        }
    }

    fn view(&self, name: &str, now: Timestamp) -> Option<RequestView> {
        let (key, subject, usages) = self.requests.get(name)?;
        let words = |words: &str| Some(words.to_owned());
        let approved = RequestView { approved: true, ..RequestView::default() };
        Some(match self.fate {
            Fate::Sign => self.signed(key, subject, usages, now),
            Fate::Unapproved => RequestView::default(),
            Fate::Slow => RequestView { pending: words("Vault is sealed"), ..approved },
            Fate::Deny => RequestView { denied: words("no policy allows it"), ..RequestView::default() },
            Fate::Invalidate => RequestView { invalid: words("too many names"), ..approved },
            Fate::Fail => RequestView { failed: words("the CA has expired"), ..approved },
            Fate::WrongKey => {
                let other = PrivateKey::generate(&KeySpec::ecdsa(256)).unwrap();
                self.signed(&other, subject, usages, now)
            }
            Fate::WrongName => {
                let other = SubjectSpec { dns_names: vec!["other.example.com".to_owned()], ..subject.clone() };
                self.signed(key, &other, usages, now)
            }
            Fate::Garbage => RequestView { certificate: Some(b"hello".to_vec()), ..approved },
        })
    }

    fn signed(&self, key: &PrivateKey, subject: &SubjectSpec, usages: &[Usage], now: Timestamp) -> RequestView {
        let leaf = LeafSpec {
            subject: subject.clone(),
            usages: usages.to_vec(),
            not_before: now,
            not_after: now + days(90),
            serial: None,
        };
        let chain = match self.pair.sign(key.spki_der(), &leaf) {
            Ok(chain) => chain,
            Err(e) => return RequestView { approved: true, failed: Some(e.to_string()), ..RequestView::default() },
        };
        let roots = self.pair.roots().iter().map(crate::pki::Certificate::to_pem).collect::<String>();
        RequestView {
            approved: true,
            certificate: Some(chain.to_pem().into_bytes()),
            ca: Some(roots.into_bytes()),
            ..RequestView::default()
        }
    }
}

/// An issuer that is known by its name.
pub fn cert_manager_view() -> IssuerView {
    let (name, kind, group) = ("vault".to_owned(), "Issuer".to_owned(), "cert-manager.io".to_owned());
    IssuerView::CertManager(CertManagerView { name, kind, group })
}

fn bench(fate: Fate) -> Bench {
    let mut bench = Bench::new(cert_manager_view());
    bench.signer.fate = fate;
    bench
}

fn request(bench: &Bench) -> String {
    bench.attempt().request.expect("a request is under way").name
}

fn refused(fate: Fate, reason: &str, message: &str) {
    let mut bench = bench(fate);
    bench.settle();
    let failure = bench.attempt().last_failure.unwrap();
    let said = failure.message.replace(&name_in(&failure.message), "NAME");
    assert_eq!((failure.reason.as_str(), said.as_str()), (reason, message));
    assert!(bench.signer.requests.is_empty() && bench.attempt().request.is_none(), "it is deleted: {:#?}", bench.log);
    assert!(bench.secret.is_none(), "nothing is put to use");
    // 1 min, 10 min, 100 min, then daily.
    let start = bench.now;
    while bench.now < start + days(3) {
        bench.now = bench.wake.unwrap();
        bench.settle();
    }
    assert_eq!(bench.signer.made, 7, "{:#?}", bench.log);
    assert_eq!(bench.revisions.len(), 1, "the key stays the same");
    bench.signer.fate = Fate::Sign;
    bench.now = bench.wake.unwrap();
    bench.settle();
    bench.assert_ready();
    assert_eq!(bench.active().revision, 1);
}

fn name_in(message: &str) -> String {
    message.split([' ', ':']).find(|word| word.starts_with("mail-r1-")).unwrap_or("NAME").to_owned()
}

#[test]
fn a_certificate_is_signed_stored_and_its_request_deleted() {
    let mut bench = bench(Fate::Sign);
    bench.settle();
    let log = bench.take_log();
    assert!(log[0].starts_with("store the key of revision 1 in Secret mail-tls-r1-"), "{log:#?}");
    assert!(log[1].starts_with("create CertificateRequest mail-r1-"), "{log:#?}");
    assert!(log.last().unwrap().starts_with("delete CertificateRequest mail-r1-"), "{log:#?}");
    assert_eq!(log[log.len() - 2], "write revision 1 to the active Secret");
    bench.assert_ready();
    assert_eq!((bench.signer.made, bench.signer.requests.len()), (1, 0));
    assert_eq!(bench.active().issuer, "CN=Private root");
    let ca = &bench.pair().ca;
    assert_eq!(ca.len(), 1, "readers get the CA that the issuer gives");
    assert_eq!(ca[0].fingerprint, bench.signer.pair.roots()[0].fingerprint);
}

#[test]
fn a_renewal_has_a_key_and_a_request_of_its_own() {
    let mut bench = bench(Fate::Sign);
    bench.settle();
    let first = bench.active();
    bench.now = bench.wake.unwrap();
    bench.settle();
    assert_eq!((bench.active().revision, bench.signer.made), (2, 2));
    assert_ne!(bench.active().spki_sha256, first.spki_sha256);
    assert!(bench.log.iter().any(|l| l.starts_with("create CertificateRequest mail-r2-")), "{:#?}", bench.log);
}

#[test]
fn each_refusal_is_said_in_its_own_words_and_tried_again_ever_later() {
    refused(Fate::Deny, "RequestRefused", "the CertificateRequest NAME was denied: no policy allows it");
    refused(
        Fate::Invalidate,
        "RequestRefused",
        "the CertificateRequest NAME is invalid, says its issuer: too many names",
    );
    refused(Fate::Fail, "RequestRefused", "the CertificateRequest NAME has failed: the CA has expired");
}

#[test]
fn what_is_not_what_was_asked_for_is_not_used() {
    for (fate, words) in [
        (Fate::WrongKey, "what was issued is not what was asked for, and is not used: "),
        (Fate::WrongName, "what was issued is not what was asked for, and is not used: "),
        (Fate::Garbage, "what was issued for the CertificateRequest mail-r1-"),
    ] {
        let mut bench = bench(fate);
        bench.settle();
        let failure = bench.attempt().last_failure.unwrap();
        assert_eq!(failure.reason, "IssuedInvalid", "{fate:?}");
        assert!(failure.message.starts_with(words), "{fate:?}: {}", failure.message);
        assert!(bench.secret.is_none() && bench.signer.requests.is_empty(), "{fate:?}");
    }
}

#[test]
fn what_it_waits_for_is_said() {
    let mut bench = bench(Fate::Unapproved);
    bench.settle_within(secs(1));
    let name = request(&bench);
    let message = format!(
        "the CertificateRequest {name} waits for approval: cert-manager's approver gives it, or a policy, or you with: \
         cmctl approve --namespace post {name}"
    );
    bench.assert_condition("Ready", "False", "RequestPending", &message);
    assert_eq!(bench.wake, Some(bench.now + secs(2)), "signers in the cluster answer in seconds");
    bench.now += secs(600);
    bench.pass();
    assert_eq!(bench.wake, Some(bench.now + secs(30)), "people take longer");

    bench.signer.fate = Fate::Slow;
    bench.now = bench.wake.unwrap();
    bench.pass();
    let message = format!(
        "the CertificateRequest {name} is approved and waits for Issuer vault of cert-manager.io to sign it (Vault is sealed)"
    );
    bench.assert_condition("Ready", "False", "RequestPending", &message);
    bench.signer.fate = Fate::Sign;
    bench.now = bench.wake.unwrap();
    bench.settle();
    bench.assert_ready();
    assert_eq!(bench.signer.made, 1, "it was waited for");
}

#[test]
fn other_wishes_are_another_request() {
    let mut bench = bench(Fate::Unapproved);
    bench.settle_within(secs(1));
    let first = request(&bench);
    bench.edit(|spec| spec.dns_names.push("imap.example.com".to_owned()));
    bench.settle_within(secs(1));
    let second = request(&bench);
    assert_ne!(first, second);
    assert_eq!(bench.signer.requests.keys().cloned().collect::<Vec<_>>(), [second], "the first one is deleted");

    // A wish that changes nothing here leaves it alone.
    bench.edit(|spec| spec.options.history.revisions += 1);
    bench.settle_within(secs(1));
    assert_eq!(bench.signer.made, 2);

    bench.issuer = acme_view(How::Http01 { exposes: true }, true);
    bench.edit(|spec| spec.issuer_ref = named("acme"));
    bench.settle();
    bench.assert_ready();
    assert!(bench.signer.requests.is_empty(), "another issuer has no use for it: {:#?}", bench.log);
}

#[test]
fn a_request_that_somebody_deletes_is_made_again() {
    let mut bench = bench(Fate::Unapproved);
    bench.settle_within(secs(1));
    let name = request(&bench);
    bench.signer.requests.clear();
    bench.signer.fate = Fate::Sign;
    bench.now = bench.wake.unwrap();
    bench.settle();
    bench.assert_ready();
    assert_eq!(bench.log.iter().filter(|l| **l == format!("create CertificateRequest {name}")).count(), 2);
}

#[test]
fn an_interruption_at_any_step_makes_no_second_request() {
    for step in 0..50 {
        let mut bench = bench(Fate::Sign);
        bench.crash_after = Some(step);
        bench.settle();
        bench.assert_ready();
        assert_eq!((bench.signer.made, bench.revisions.len()), (1, 1), "step {step}: {:#?}", bench.log);
        assert!(bench.signer.requests.is_empty(), "step {step}: {:#?}", bench.log);
        if bench.crash_after.is_some() {
            assert!(step > 5, "the story has no steps");
            return;
        }
    }
    panic!("the story does not end");
}
