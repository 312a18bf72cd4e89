//! A MailDomain, its zone with a primary and a secondary server, and what the endpoints serve.

use std::collections::BTreeSet;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::super::tests::fixtures::{NOW, change, domain, next_pass, revision, served, world};
use super::super::super::world::{Action, CertificateView, Fact, World};
use super::super::super::{decide, tests::fixtures::said};
use super::super::{Alias, Answer, Outcome, Server, Sighting, Step, Trust};
use crate::api::domain::{MailDomainStatus, ServedAlgorithm, TlsaStatus};
use crate::api::keys;
use crate::decide::Decision;
use crate::pki::Chain;

pub const SMTP: &str = "_25._tcp.mail.example.com";

/// A server's records at every name of the zone: all of a MailDomain's names have the same.
pub type Values = BTreeSet<(String, String)>;

/// The zone, as updates and people make it.
pub struct Zone {
    pub primary: Values,
    /// What the secondary has.
    pub secondary: Values,
    /// Whether the secondary follows the primary at once.
    pub in_step: bool,
    pub ttl: u32,
    pub trust: Trust,
    /// Why updates fail, if they do.
    pub refusal: Option<String>,
    /// Why looks fail, if they do.
    pub silence: Option<String>,
    pub alias: Option<Alias>,
    /// The TTL that the server gives records, whatever an update asks for.
    pub fixed_ttl: Option<u32>,
    /// Whether updates are taken and change nothing.
    pub is_deaf: bool,
    /// The lines of the ConfigMap.
    pub shown: String,
    /// Updates that were sent.
    pub updates: usize,
}

pub struct Scene {
    pub world: World,
    pub zone: Zone,
    /// What the endpoints serve.
    pub serving: Chain,
    /// What they serve to clients of the other algorithm, where asked for it.
    pub beside: Option<Chain>,
    /// What the last pass decided.
    pub status: MailDomainStatus,
    pub wake: Option<Timestamp>,
}

/// `dns.tlsa` for mode RFC2136.
pub fn rfc2136(ttl: u32) -> Value {
    json!({"mode": "RFC2136", "ttl": ttl, "rfc2136": {
        "server": "192.0.2.53", "tsigKeyName": "mailcert", "tsigSecretRef": {"name": "tsig", "key": "secret"}}})
}

impl Scene {
    /// With an SMTP endpoint only, which serves `serving`, the active certificate.
    pub fn new(tlsa: &Value, serving: &Chain) -> Self {
        let domain = domain(json!({"endpoints": [{"protocol": "SMTP"}], "workloads": [], "dns": {"tlsa": tlsa}}));
        let mut world = world(domain);
        change(&mut world, |c| {
            let status = c.status.get_or_insert_default();
            status.active = Some(revision(2, serving));
            status.previous.clear();
        });
        let zone = Zone {
            primary: Values::new(),
            secondary: Values::new(),
            in_step: true,
            ttl: 3600,
            trust: Trust::Secure,
            refusal: None,
            silence: None,
            alias: None,
            fixed_ttl: None,
            is_deaf: false,
            shown: String::new(),
            updates: 0,
        };
        Self { world, zone, serving: serving.clone(), beside: None, status: MailDomainStatus::default(), wake: None }
    }

    fn act(&mut self, action: Action) -> Fact {
        let at = self.world.now;
        match action {
            Action::Probe(target) => {
                let other = self.beside.as_ref().filter(|_| target.algorithm == Some(ServedAlgorithm::RSA));
                Fact::Probed { key: target.key, at, result: served(other.unwrap_or(&self.serving)) }
            }
            Action::Tlsa(Step::Look { name, .. }) => {
                let found = match &self.zone.silence {
                    Some(why) => Err(why.clone()),
                    None => Ok(self.zone.sighting(&name)),
                };
                Fact::Tlsa(Outcome::Looked { name, at, found })
            }
            Action::Tlsa(step) => {
                let problem = self.zone.change(&step);
                Fact::Tlsa(Outcome::Done { step, at, problem })
            }
            Action::Hold | Action::Release => {
                let is_on = action == Action::Hold;
                let finalizers = is_on.then(|| vec![keys::TLSA_FINALIZER.to_owned()]);
                Arc::make_mut(&mut self.world.object).metadata.finalizers = finalizers;
                Fact::Held(is_on)
            }
            other => panic!("unexpected: {other}"),
        }
    }

    /// One pass, as the controller does it. Returns the actions.
    pub fn pass(&mut self) -> Vec<String> {
        let mut all = Vec::new();
        for _ in 0..12 {
            let Decision { actions, status, wake } = decide(&self.world);
            (self.status, self.wake) = (status, wake);
            if actions.is_empty() {
                self.world = next_pass(&self.world, self.status.clone(), SignedDuration::ZERO);
                return all;
            }
            for action in actions {
                all.push(action.to_string());
                let fact = self.act(action);
                self.world.learn(fact);
            }
        }
        panic!("no end after {all:?}");
    }

    /// A pass in which the operator is killed after so many actions, or before it writes the status: what it did is done,
    /// and nothing tells of it.
    pub fn killed_pass(&mut self, actions: usize) {
        let mut left = actions;
        for _ in 0..12 {
            for action in decide(&self.world).actions.into_iter().take(left) {
                left -= 1;
                let fact = self.act(action);
                self.world.learn(fact);
            }
        }
        self.world.done = Default::default();
        self.restart();
    }

    /// Lets this much time pass, with a pass at every wake.
    pub fn run(&mut self, time: SignedDuration) -> Vec<String> {
        let end = self.world.now + time;
        let mut all = self.pass();
        while let Some(at) = self.wake.filter(|at| *at <= end) {
            self.world.now = at.max(self.world.now + SignedDuration::from_secs(1)).min(end);
            all.extend(self.pass());
            if self.world.now == end {
                return all;
            }
        }
        self.world.now = end;
        all.extend(self.pass());
        all
    }

    pub fn seconds(&mut self, seconds: i64) -> Vec<String> {
        self.run(SignedDuration::from_secs(seconds))
    }

    /// Since the beginning.
    pub fn elapsed(&self) -> SignedDuration {
        self.world.now.duration_since(NOW)
    }

    pub fn tlsa(&self) -> TlsaStatus {
        self.status.dns.clone().unwrap().tlsa.unwrap()
    }

    /// `Current Ready`, one for each record.
    pub fn states(&self) -> Vec<String> {
        let tlsa = self.status.dns.as_ref().and_then(|d| d.tlsa.clone());
        tlsa.iter().flat_map(|t| &t.records).map(|r| format!("{:?} {:?}", r.purpose, r.state)).collect()
    }

    pub fn ready(&self) -> String {
        said(&self.status, "Ready")
    }

    pub fn dns_ready(&self) -> String {
        said(&self.status, "DNSReady")
    }

    pub fn is_ready(&self, chain: &Chain) -> bool {
        self.status.dns.as_ref().and_then(|d| d.tlsa.as_ref()).is_none_or(|t| t.ready.contains(&spki(chain)))
    }

    /// A key that is to become active.
    pub fn stage(&mut self, chain: Option<&Chain>) {
        let staged = chain.map(|chain| revision(3, chain));
        change(&mut self.world, |c| c.status.get_or_insert_default().staged = staged.into_iter().collect());
    }

    /// It becomes active, and the one before previous. Endpoints serve it from [`Scene::serving`] on.
    pub fn activate(&mut self, chain: &Chain) {
        change(&mut self.world, |c| {
            let status = c.status.get_or_insert_default();
            status.previous = status.active.take().into_iter().collect();
            status.active = Some(revision(3, chain));
            status.staged.clear();
        });
    }

    pub fn active(&self) -> String {
        let CertificateView::Found(certificate) = &self.world.certificate else { panic!("no certificate") };
        certificate.status.as_ref().unwrap().active.as_ref().unwrap().spki_sha256.clone()
    }

    /// `spec.dns.tlsa` as given; nothing removes the block.
    pub fn set(&mut self, tlsa: Option<&Value>) {
        let mut object = self.world.object.as_ref().clone();
        object.spec.dns = tlsa.map(|tlsa| serde_json::from_value(json!({"tlsa": tlsa})).unwrap());
        self.world.object = Arc::new(object);
    }

    /// Somebody deletes the MailDomain.
    pub fn delete(&mut self) {
        Arc::make_mut(&mut self.world.object).metadata.deletion_timestamp = Some(Time(self.world.now));
    }

    /// Whether a deletion waits for the operator.
    pub fn is_held(&self) -> bool {
        self.world.object.metadata.finalizers.is_some()
    }

    /// A restarted operator remembers nothing but the status.
    pub fn restart(&mut self) {
        self.world.tlsa = Default::default();
        self.world.looks.clear();
    }
}

pub fn spki(chain: &Chain) -> String {
    chain.leaf().spki_sha256.to_string()
}

pub fn record(chain: &Chain) -> (String, String) {
    (SMTP.to_owned(), format!("3 1 1 {}", spki(chain)))
}

impl Zone {
    fn answer(&self, values: &Values, name: &str) -> Answer {
        let values: BTreeSet<String> = values.iter().filter(|(at, _)| at == name).map(|(_, v)| v.clone()).collect();
        Answer { ttl: if values.is_empty() { 0 } else { self.ttl }, values, trust: self.trust.clone() }
    }

    fn sighting(&self, name: &str) -> Sighting {
        let server = |server: &str, values| Server { name: server.to_owned(), answer: Ok(self.answer(values, name)) };
        Sighting {
            owner: name.to_owned(),
            zone: "example.com".to_owned(),
            servers: vec![server("ns1.example.com", &self.primary), server("ns2.example.com", &self.secondary)],
            alias: self.alias.clone(),
        }
    }

    /// Does what a step asks for; the words of a refusal.
    fn change(&mut self, step: &Step) -> Option<String> {
        if let Step::Show(lines) = step {
            self.shown.clone_from(lines);
            return None;
        }
        self.updates += 1;
        if self.refusal.is_some() || self.is_deaf {
            return self.refusal.clone();
        }
        match step {
            Step::Update(update) => {
                let all = |values: &BTreeSet<String>| -> Values {
                    values.iter().map(|value| (update.owner.clone(), value.clone())).collect()
                };
                self.primary.retain(|record| !all(&update.remove).contains(record));
                self.primary.extend(all(&update.add));
                if !update.add.is_empty() {
                    self.ttl = self.fixed_ttl.unwrap_or(update.ttl);
                }
            }
            Step::Endpoint { records, ttl, .. } => {
                let pairs = records.iter().flat_map(|(name, values)| values.iter().map(|v| (name.clone(), v.clone())));
                self.primary = pairs.collect();
                self.ttl = *ttl;
            }
            Step::Look { .. } | Step::Show(_) => {}
        }
        self.sync();
        None
    }

    /// The secondary follows, where it does.
    pub fn sync(&mut self) {
        if self.in_step {
            self.secondary = self.primary.clone();
        }
    }
}
