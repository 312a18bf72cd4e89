//! A CA key pair, and an ACME server as data: what it answers is set by the story.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, KeyPair as RcgenKey, KeyUsagePurpose,
};

use super::super::world::*;
use super::bench::{at, failure};
use crate::api::certificate::{ChallengeType, TxtRecord};
use crate::api::revocation::RevocationReason;
use crate::decide::backoff::Pace;
use crate::pki::{CaKeyPair, KeySpec, LeafSpec, PrivateKey, SubjectSpec, Usage};

pub const ORDER: &str = "https://ca.test/order/";

pub struct FakeOrder {
    pub names: Vec<String>,
    pub status: OrderStatus,
    pub error: Option<String>,
    pub answered: BTreeSet<String>,
    /// The CSR.
    pub csr: Option<Vec<u8>>,
}

/// What is wrong with what it issues.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wrong {
    Key,
    Names,
    Dates,
}

pub struct FakeCa {
    pub pair: Arc<CaKeyPair>,
    pub orders: Vec<FakeOrder>,
    pub valid: BTreeSet<String>,
    /// Names that do not lead here.
    pub unreachable: BTreeSet<String>,
    /// Names that it cannot validate, and its words.
    pub refuses: BTreeMap<String, String>,
    pub wrong: Option<Wrong>,
    /// Challenges stand as Ingresses.
    pub exposed: bool,
    /// The CA takes its time with everything.
    pub slow: bool,
    /// When it wants to be asked again.
    pub retry_after: Option<SignedDuration>,
    pub lifetime: SignedDuration,
    /// The types of challenges that it offers.
    pub offers: Vec<ChallengeType>,
    /// TXT records that stand.
    pub records: BTreeSet<(String, String)>,
    /// How many looks it takes until every server has a record.
    pub lag: u32,
    /// Why records cannot be removed.
    pub stuck: Option<String>,
    /// What DNS says, where it is something else than that all is well.
    pub looks: BTreeMap<String, NameLook>,
    /// Why the guard holds orders back.
    pub blocked: Option<Blocked>,
    /// What it says about renewals.
    pub renewal: Option<Result<RenewalWindow, String>>,
    /// What orders said that they replace.
    pub replaced: Vec<Option<String>>,
    /// Serial numbers that were revoked.
    pub revoked: Vec<(String, RevocationReason)>,
    /// Chains besides its own choice.
    pub alternates: Vec<Arc<CaKeyPair>>,
}

/// A CA that is known by its name.
pub fn acme_view(how: How, self_check: bool) -> IssuerView {
    let solver = SolverView { index: 0, dns_names: Vec::new(), dns_zones: Vec::new(), how, self_check };
    IssuerView::Acme(Arc::new(AcmeView {
        solvers: vec![solver],
        account_uri: Some("https://ca.test/acct/1".to_owned()),
        caa_identities: vec!["ca.test".to_owned()],
        caa_required: true,
        ..AcmeView::default()
    }))
}

pub fn ca(name: &str, until: Timestamp) -> Arc<CaKeyPair> {
    let key = RcgenKey::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let time = |t: Timestamp| time::OffsetDateTime::from_unix_timestamp(t.as_second()).unwrap();
    let start = at("2030-01-01T00:00:00Z");
    params.not_before = time(start);
    params.not_after = time(until);
    let pem = params.self_signed(&key).unwrap().pem();
    Arc::new(CaKeyPair::from_pem(pem.as_bytes(), key.serialize_pem().as_bytes(), None, start).unwrap())
}

impl FakeCa {
    pub fn new() -> Self {
        Self {
            pair: ca("Root", at("2040-01-01T00:00:00Z")),
            orders: Vec::new(),
            valid: BTreeSet::new(),
            unreachable: BTreeSet::new(),
            refuses: BTreeMap::new(),
            wrong: None,
            exposed: false,
            slow: false,
            retry_after: None,
            lifetime: SignedDuration::from_hours(2160),
            offers: vec![ChallengeType::Http01, ChallengeType::TlsAlpn01, ChallengeType::Dns01],
            records: BTreeSet::new(),
            lag: 0,
            stuck: None,
            looks: BTreeMap::new(),
            blocked: None,
            renewal: None,
            replaced: Vec::new(),
            revoked: Vec::new(),
            alternates: Vec::new(),
        }
    }

    pub fn act(&mut self, action: Action, now: Timestamp) -> Fact {
        match action {
            Action::Preflight { asked } => {
                let well = |a: &Asked| NameLook {
                    name: a.name.clone(),
                    has_address: Some(Ok(true)),
                    caa: Some(Ok((None, Vec::new()))),
                    persist: Some(Ok(Vec::new())),
                };
                let look = |a: &Asked| self.looks.get(&a.name).cloned().unwrap_or_else(|| well(a));
                Fact::Preflight(asked.iter().map(look).collect())
            }
            Action::Reserve { .. } => Fact::Reserved(self.blocked.clone().map_or(Ok(()), Err)),
            Action::Present { name, value, .. } => {
                let record = TxtRecord { name: format!("_acme-challenge.{name}"), value, zone: None };
                self.records.insert((record.name.clone(), record.value.clone()));
                Fact::Presented(name, Ok(record))
            }
            Action::CleanUp { record, .. } if self.stuck.is_some() => {
                Fact::CleanedUp(record, Err(self.stuck.clone().unwrap_or_default()))
            }
            Action::CleanUp { record, .. } => {
                self.records.remove(&(record.name.clone(), record.value.clone()));
                Fact::CleanedUp(record, Ok(()))
            }
            Action::FetchRenewalInfo { certificate_id } => Fact::RenewalInfo(RenewalAnswer {
                certificate_id,
                window: self.renewal.clone().unwrap_or_else(|| Err("the CA knows nothing of it".to_owned())),
                retry_after: None,
            }),
            Action::Revoke { pair, reason } => {
                self.revoked.push((pair.chain.leaf().serial.clone(), reason));
                Fact::Revoked
            }
            Action::CreateOrder { dns_names, replaces, .. } => {
                self.replaced.push(replaces);
                self.orders.push(FakeOrder {
                    names: dns_names,
                    status: OrderStatus::Pending,
                    error: None,
                    answered: BTreeSet::new(),
                    csr: None,
                });
                Fact::OrderCreated(self.view(self.orders.len() - 1))
            }
            Action::LookAtOrder { url } => {
                let number = index(&url);
                self.proceed(number);
                Fact::Order(self.view(number))
            }
            Action::Expose { .. } => {
                self.exposed = true;
                Fact::Exposed
            }
            Action::Unexpose => {
                self.exposed = false;
                Fact::Unexposed
            }
            Action::SelfCheck { name, check: Check::Dns01 { record } } => {
                let there = self.records.contains(&(record.name, record.value));
                let lags = self.lag > 0;
                self.lag = self.lag.saturating_sub(1);
                let found = if there && !lags { Ok(()) } else { Err("ns2.test lacks it".to_owned()) };
                Fact::SelfChecked(name, found)
            }
            Action::SelfCheck { name, .. } => {
                let found = if self.unreachable.contains(&name) { Err("404 Not Found".to_owned()) } else { Ok(()) };
                Fact::SelfChecked(name, found)
            }
            Action::Answer { url, asked } => {
                let reachable = |a: &Asked| match a.kind {
                    ChallengeType::Http01 => self.exposed,
                    ChallengeType::Dns01 => {
                        self.records.iter().any(|(name, _)| *name == format!("_acme-challenge.{}", a.name))
                    }
                    _ => true,
                };
                assert!(asked.iter().all(reachable), "answered before it is reachable");
                let names: Vec<String> = asked.into_iter().map(|a| a.name).collect();
                self.orders[index(&url)].answered.extend(names.iter().cloned());
                Fact::Answered(names)
            }
            Action::Finalize { url, key, subject, usages } => {
                let csr = crate::pki::csr(&key, &subject, &usages).unwrap();
                let order = &mut self.orders[index(&url)];
                assert_eq!(order.status, OrderStatus::Ready);
                assert!(order.csr.replace(csr).is_none(), "finalized twice");
                order.status = OrderStatus::Processing;
                Fact::Finalized(self.view(index(&url)))
            }
            Action::Download { url, revision, key, origin, .. } => self.download(&url, revision, key, origin, now),
            other => panic!("{other}"),
        }
    }

    fn proceed(&mut self, number: usize) {
        if self.slow {
            return;
        }
        let order = &mut self.orders[number];
        for name in &order.answered {
            if !self.refuses.contains_key(name) {
                self.valid.insert(name.clone());
            }
        }
        let refused = order.names.iter().any(|n| order.answered.contains(n) && self.refuses.contains_key(n));
        order.status = match order.status {
            OrderStatus::Pending if refused => OrderStatus::Invalid,
            OrderStatus::Pending if order.names.iter().all(|n| self.valid.contains(n)) => OrderStatus::Ready,
            OrderStatus::Processing => OrderStatus::Valid,
            other => other,
        };
    }

    fn view(&self, number: usize) -> OrderView {
        let order = &self.orders[number];
        let authorization = |name: &String| {
            let failed = order.answered.contains(name) && order.status == OrderStatus::Invalid;
            let error = self.refuses.get(name).filter(|_| failed).cloned();
            AuthorizationView {
                name: name.clone(),
                valid: self.valid.contains(name),
                failed: error.is_some(),
                challenges: self
                    .offers
                    .iter()
                    .map(|kind| ChallengeView {
                        kind: *kind,
                        token: format!("token-{number}-{name}"),
                        key_authorization: format!("token-{number}-{name}.print"),
                        dns_value: Some(format!("value-{number}-{name}")),
                        pending: !order.answered.contains(name),
                        error: error.clone(),
                    })
                    .collect(),
                unknown: vec!["device-attest-01".to_owned()],
                error: None,
            }
        };
        OrderView {
            url: format!("{ORDER}{number}"),
            status: order.status,
            error: order.error.clone(),
            authorizations: order.names.iter().map(authorization).collect(),
            retry_after: self.retry_after,
            not_replaced: None,
        }
    }

    fn download(&self, url: &str, revision: i64, key: Arc<PrivateKey>, origin: Origin, now: Timestamp) -> Fact {
        let order = &self.orders[index(url)];
        let csr = order.csr.as_ref().expect("finalized");
        assert!(contains(csr, key.spki_der()), "the key is not the one that the CSR was made with");
        let other = PrivateKey::generate(&KeySpec::P256).unwrap();
        let spki = if self.wrong == Some(Wrong::Key) { other.spki_der() } else { key.spki_der() };
        let mut names = order.names.clone();
        if self.wrong == Some(Wrong::Names) {
            names = vec!["other.example.com".to_owned()];
        }
        let start = if self.wrong == Some(Wrong::Dates) { now - SignedDuration::from_hours(100) } else { now };
        let lifetime = if self.wrong == Some(Wrong::Dates) { SignedDuration::from_hours(50) } else { self.lifetime };
        let leaf = LeafSpec {
            subject: SubjectSpec { dns_names: names, ..SubjectSpec::default() },
            usages: vec![Usage::ServerAuth],
            not_before: start,
            not_after: start + lifetime,
            serial: None,
        };
        let all = std::iter::once(&self.pair).chain(&self.alternates).map(|ca| ca.sign(spki, &leaf));
        match all.collect::<Result<Vec<_>, _>>() {
            Ok(chains) => Fact::Downloaded(Download { revision, key, origin, chains }),
            Err(e) => Fact::Failed(failure(Pace::Transient, "ServerUnavailable", &e.to_string())),
        }
    }
}

fn index(url: &str) -> usize {
    url.strip_prefix(ORDER).and_then(|n| n.parse().ok()).expect("an order of this CA")
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|w| w == needle)
}
