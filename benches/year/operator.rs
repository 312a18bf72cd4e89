//! The operator: the pass over an object as `src/controller/pass.rs` makes it, and what only its memory holds.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use k8s_openapi::jiff::{SignedDuration, Timestamp};
use mailcert::api::issuer::OrderLimits;
use mailcert::decide::certificate::world::{AcmeView, How, IssuerView, Learnt, PasswordView, SolverView};
use mailcert::decide::certificate::{self, Action, World};
use mailcert::decide::guard::{Ledger, Request};
use mailcert::decide::jitter;
use mailcert::issuers::acme::account::{AccountView, AcmeAccount, new_account_key, register};
use mailcert::issuers::acme::http::{BoundedHttp, Limits, Trust};
use mailcert::pki::{Anchors, Chain, PemLimits};
use mailcert_testenv::acme::AcmeServer;

use crate::Result;
use crate::cluster::Cluster;

/// As in the controller.
const ROUNDS: usize = 12;
/// A restarted operator asks about renewals within this time.
const SPREAD_SECONDS: f64 = 1800.0;

/// What a restart loses.
#[derive(Default)]
pub struct Memory {
    pub account: Option<AcmeAccount>,
    pub ledger: Option<Ledger>,
    pub reservations: HashMap<usize, (Request, Timestamp)>,
    pub open_orders: HashSet<usize>,
    /// By certificate: its ARI identifier, and when the CA is asked about it.
    renewal_checks: HashMap<usize, (String, Timestamp)>,
}

/// A running operator.
pub struct Operator {
    pub server: String,
    pub http: BoundedHttp,
    pub key: Vec<u8>,
    pub account: Option<AccountView>,
    pub limits: OrderLimits,
    pub memory: Memory,
    anchors: Arc<Anchors>,
    pub passes: usize,
}

impl Operator {
    pub fn new(server: &AcmeServer) -> Self {
        let trust = Trust::Bundle { pem: server.ca_pem().to_owned(), and_mozilla: false };
        let limits = Limits { body: 100_000, ..Limits::default() };
        let root = Chain::from_pem(server.root_pem(0).expect("a root").as_bytes(), &PemLimits::CHAIN).expect("a root");
        Self {
            server: server.directory_url(),
            http: BoundedHttp::new(&trust, limits).expect("a CA bundle"),
            key: new_account_key().expect("a key").to_vec(),
            account: None,
            limits: OrderLimits::default(),
            memory: Memory::default(),
            anchors: Arc::new(Anchors::own([root.leaf().clone()])),
            passes: 0,
        }
    }

    /// What the controller of MailIssuers has done before the year begins.
    pub async fn register(&mut self) -> Result<()> {
        self.account = Some(register(&self.server, &self.http, &self.key, &[], true, None).await?);
        Ok(())
    }

    /// Everything that no status holds is gone, and every object is looked at.
    pub fn restart(&mut self, cluster: &mut Cluster) {
        self.memory = Memory::default();
        for cell in &mut cluster.cells {
            cell.wake = cluster.now;
        }
    }

    fn observe(&mut self, cluster: &Cluster, number: usize) -> World {
        let next_renewal_check = self.next_renewal_check(cluster, number);
        let cell = &cluster.cells[number];
        let solver = SolverView {
            index: 0,
            dns_names: Vec::new(),
            dns_zones: Vec::new(),
            how: How::Http01 { exposes: false },
            self_check: true,
        };
        let issuer = AcmeView {
            solvers: vec![solver],
            account_uri: self.account.as_ref().map(|a| a.uri.clone()),
            trust_anchors: Some(self.anchors.clone()),
            caa_identities: vec!["ca.test".to_owned()],
            caa_required: true,
            renewal_info: true,
            ..AcmeView::default()
        };
        World {
            system: Default::default(),
            object: Arc::new(cell.object.clone()),
            now: cluster.now,
            rival: None,
            forbidden: None,
            issuer: IssuerView::Acme(Arc::new(issuer)),
            secret: cell.watched(),
            password: PasswordView::NotWanted,
            revisions: cell.revisions.iter().map(|(n, (name, _))| (*n, name.clone())).collect(),
            read: BTreeMap::new(),
            next_key_seen: false,
            next_key: None,
            dependents: Vec::new(),
            next_renewal_check,
            learnt: Learnt::default(),
        }
    }

    /// When the CA is asked about the active certificate's renewal; after a restart not about all at once.
    fn next_renewal_check(&mut self, cluster: &Cluster, number: usize) -> Option<Timestamp> {
        let object = &cluster.cells[number].object;
        let status = object.status.as_ref()?;
        let id = status.active.as_ref()?.ari_id.as_ref()?;
        if let Some((known, at)) = self.memory.renewal_checks.get(&number) {
            return (known == id).then_some(*at);
        }
        status.renewal_info.as_ref().filter(|info| info.certificate_id == *id)?;
        let share = jitter::fraction(&[object.metadata.uid.as_deref().unwrap_or_default(), "renewalInfo"]);
        let at = cluster.now.checked_add(SignedDuration::from_secs((SPREAD_SECONDS * share) as i64)).ok()?;
        self.memory.renewal_checks.insert(number, (id.clone(), at));
        Some(at)
    }

    /// One pass over an object.
    pub async fn pass(&mut self, cluster: &mut Cluster, number: usize) -> Result<()> {
        self.passes += 1;
        let mut world = self.observe(cluster, number);
        let mut decision = certificate::decide(&world);
        for _ in 0..ROUNDS {
            if decision.actions.is_empty() {
                break;
            }
            self.act_all(cluster, number, &mut world, std::mem::take(&mut decision.actions)).await?;
            decision = certificate::decide(&world);
        }
        let pending = !decision.actions.is_empty();
        self.keep(&world, &decision.status, number);
        let cell = &mut cluster.cells[number];
        cell.set_status(decision.status);
        let far = cluster.now + SignedDuration::from_hours(24 * 3650);
        // Never the same moment again: a pass takes time.
        let soonest = cluster.now + SignedDuration::from_secs(1);
        cell.wake = if pending { soonest } else { decision.wake.unwrap_or(far).max(soonest) };
        Ok(())
    }

    async fn act_all(
        &mut self,
        cluster: &mut Cluster,
        number: usize,
        world: &mut World,
        actions: Vec<Action>,
    ) -> Result<()> {
        let abreast =
            |a: &Action| matches!(a, Action::SelfCheck { .. } | Action::Present { .. } | Action::CleanUp { .. });
        let (abreast, in_turn): (Vec<_>, Vec<_>) = actions.into_iter().partition(abreast);
        for action in abreast {
            let fact = self.act(cluster, number, action).await?;
            world.learn(fact);
        }
        let ended = |world: &World| world.learnt.overtaken || world.learnt.failure.is_some();
        let ended_before = ended(world);
        for action in in_turn {
            if ended(world) && !ended_before {
                return Ok(());
            }
            let fact = self.act(cluster, number, action).await?;
            world.learn(fact);
        }
        Ok(())
    }

    fn keep(&mut self, world: &World, status: &mailcert::api::MailCertificateStatus, number: usize) {
        match status.attempt.as_ref().and_then(|a| a.order.as_ref()) {
            Some(_) => drop(self.memory.open_orders.insert(number)),
            None => drop(self.memory.open_orders.remove(&number)),
        }
        if let Some(answer) = &world.learnt.renewal_info {
            let uid = world.object.metadata.uid.as_deref().unwrap_or_default();
            let next = certificate::next_renewal_check(world.now, answer, uid);
            self.memory.renewal_checks.insert(number, (answer.certificate_id.clone(), next));
        }
    }
}
