//! Doing what an action says, as `src/controller/certificate.rs` and `order.rs` do it.

use std::sync::Arc;

use k8s_openapi::jiff::SignedDuration;
use mailcert::controller::{failed_step, order_view};
use mailcert::decide::certificate::world::{
    Action, Asked, Blocked, Download, Fact, KeySource, NameLook, OrderStatus, Origin, RenewalAnswer, RenewalWindow,
    RevisionSecret,
};
use mailcert::decide::guard::{self, Ledger, Request};
use mailcert::issuers::acme::account::{AcmeAccount, open};
use mailcert::issuers::acme::challenge::ChallengeKind;
use mailcert::issuers::acme::failure::AcmeFailure;
use mailcert::issuers::acme::order::OrderRequest;
use mailcert::pki::{Chain, PemLimits, PrivateKey, csr};

use crate::Result;
use crate::cluster::Cluster;
use crate::fleet::is_dead;
use crate::operator::Operator;

/// As in the controller: how soon an order that waits for others of its issuer tries again.
const BUSY_PAUSE: SignedDuration = SignedDuration::from_secs(10);

fn failed(failure: AcmeFailure) -> Fact {
    Fact::Failed(failed_step(failure))
}

impl Operator {
    pub async fn act(&mut self, cluster: &mut Cluster, number: usize, action: Action) -> Result<Fact> {
        let cell = &mut cluster.cells[number];
        Ok(match action {
            Action::ReadSecret => Fact::Secret(cell.read()),
            Action::ReadRevision { revision, name } => {
                let found = cell.revisions.get(&revision).filter(|(stored, _)| *stored == name);
                Fact::Revision(revision, found.map(|(_, secret)| secret.clone()))
            }
            Action::StoreKey { revision, name, key } => {
                let key = match key {
                    KeySource::Generate(spec) => Arc::new(PrivateKey::generate(&spec)?),
                    KeySource::Keep(key) => key,
                };
                let secret = RevisionSecret { key: Ok(key), content: None, origin: Origin::default() };
                cell.store(revision, name, false, secret)
            }
            Action::StoreRevision { revision, name, exists, pair, origin } => {
                let secret = RevisionSecret { key: Ok(pair.key.clone()), content: Some(pair), origin };
                cell.store(revision, name, exists, secret)
            }
            Action::WriteActive { revision, pair, origin, over } => {
                cluster.write_active(number, revision, pair, origin, over.as_deref())
            }
            Action::Prune { revision, .. } => {
                cell.revisions.remove(&revision);
                Fact::Pruned(revision)
            }
            Action::Preflight { asked } => Fact::Preflight(asked.into_iter().map(look).collect()),
            Action::Reserve { dns_names, exempt } => self.reserve(cluster, number, dns_names, exempt),
            Action::SelfCheck { name, .. } => {
                let problem = is_dead(&name).then(|| "connection refused".to_owned());
                Fact::SelfChecked(name, problem.map_or(Ok(()), Err))
            }
            asks_the_ca => match self.opened().await {
                Ok(account) => self.ask(cluster, number, &account, asks_the_ca).await?,
                Err(failure) => failed(failure),
            },
        })
    }

    /// The account, whose directory is read once in each life of the operator.
    async fn opened(&mut self) -> std::result::Result<AcmeAccount, AcmeFailure> {
        if let Some(account) = &self.memory.account {
            return Ok(account.clone());
        }
        let uri = self.account.as_ref().map(|a| a.uri.clone()).unwrap_or_default();
        let account = open(&self.server, &self.http, &uri, &self.key).await?;
        self.memory.account = Some(account.clone());
        Ok(account)
    }

    async fn ask(
        &mut self,
        cluster: &mut Cluster,
        number: usize,
        account: &AcmeAccount,
        action: Action,
    ) -> Result<Fact> {
        Ok(match action {
            Action::CreateOrder { dns_names, profile, replaces, exempt } => {
                let request = OrderRequest { names: dns_names, profile, replaces };
                self.create(cluster, number, account, request, exempt).await
            }
            Action::LookAtOrder { url } => match account.look(&url).await {
                Ok(order) => {
                    let view = order_view(order);
                    if view.status == OrderStatus::Invalid {
                        let names: Vec<_> =
                            view.authorizations.iter().filter(|a| a.failed).map(|a| a.name.clone()).collect();
                        self.count(cluster, |ledger, now| ledger.record_failures(&names, now));
                    }
                    Fact::Order(view)
                }
                Err(e) => failed(e),
            },
            Action::Answer { url, asked } => {
                let chosen: Vec<_> = asked.iter().map(|a| (a.name.clone(), ChallengeKind::Http01)).collect();
                let names = asked.into_iter().map(|a| a.name).collect();
                account.answer(&url, &chosen).await.map_or_else(failed, |()| Fact::Answered(names))
            }
            Action::Finalize { url, key, subject, usages } => {
                let csr = csr(&key, &subject, &usages)?;
                account.finalize(&url, &csr).await.map_or_else(failed, |order| Fact::Finalized(order_view(order)))
            }
            Action::Download { url, revision, key, origin, .. } => {
                match account.download(&url).await.map(|pem| Chain::from_pem(pem.as_bytes(), &PemLimits::CHAIN)) {
                    Ok(Ok(chain)) => Fact::Downloaded(Download { revision, key, origin, chains: vec![chain] }),
                    Ok(Err(e)) => Fact::Failed(mailcert::controller::unreadable_chain(&e)),
                    Err(e) => failed(e),
                }
            }
            Action::FetchRenewalInfo { certificate_id } => {
                let asked = account.renewal_info(&certificate_id, cluster.now).await;
                let retry_after = asked.as_ref().ok().and_then(|info| info.retry_after);
                Fact::RenewalInfo(RenewalAnswer {
                    certificate_id,
                    retry_after: retry_after.and_then(|d| SignedDuration::try_from(d).ok()),
                    window: asked.map_err(|e| e.words).map(|info| RenewalWindow {
                        start: info.start,
                        end: info.end,
                        explanation_url: info.explanation_url,
                    }),
                })
            }
            other => return Err(format!("nothing in this year asks to {other}").into()),
        })
    }

    /// Has the guard count an order, where its limits allow one more.
    fn reserve(&mut self, cluster: &mut Cluster, number: usize, names: Vec<String>, exempt: bool) -> Fact {
        let now = cluster.now;
        let most = usize::try_from(self.limits.concurrent).unwrap_or(usize::MAX);
        if !self.memory.open_orders.contains(&number) && self.memory.open_orders.len() >= most {
            let until = now.checked_add(BUSY_PAUSE).unwrap_or(now);
            return Fact::Reserved(Err(Blocked { until, words: "others are under way".to_owned(), busy: true }));
        }
        let request = Request { names, exempt };
        if self.memory.reservations.get(&number).is_some_and(|(counted, _)| *counted == request) {
            // Counted by a pass that did not get as far as asking for it.
            return Fact::Reserved(Ok(()));
        }
        let limits = self.limits.into();
        if let Err(blocked) = guard::check(&[self.ledger(cluster)], &limits, &request, now) {
            return Fact::Reserved(Err(Blocked { until: blocked.until, words: blocked.words, busy: false }));
        }
        self.memory.open_orders.insert(number);
        self.count(cluster, |ledger, now| ledger.record_order(&request, now));
        self.memory.reservations.insert(number, (request, now));
        Fact::Reserved(Ok(()))
    }

    async fn create(
        &mut self,
        cluster: &mut Cluster,
        number: usize,
        account: &AcmeAccount,
        request: OrderRequest,
        exempt: bool,
    ) -> Fact {
        let placed = account.new_order(&request).await;
        let reserved = self.memory.reservations.remove(&number);
        match placed {
            Ok(order) => {
                if exempt && order.replaces_dropped.is_some() {
                    let request = Request { names: request.names, exempt: false };
                    self.count(cluster, |ledger, now| ledger.record_order(&request, now));
                }
                Fact::OrderCreated(order_view(order))
            }
            Err(e) => {
                if let Some((request, at)) = reserved.filter(|_| !e.unanswered) {
                    self.count(cluster, |ledger, _| {
                        ledger.forget_order(&request.names, at);
                    });
                }
                self.memory.open_orders.remove(&number);
                failed(e)
            }
        }
    }

    fn ledger(&mut self, cluster: &Cluster) -> &mut Ledger {
        self.memory.ledger.get_or_insert_with(|| match cluster.ledger.as_slice() {
            [] => Ledger::default(),
            stored => Ledger::from_bytes(stored).expect("the ledger that was written").ledger,
        })
    }

    /// Changes the ledger, and stores it at once.
    fn count(&mut self, cluster: &mut Cluster, change: impl FnOnce(&mut Ledger, k8s_openapi::jiff::Timestamp)) {
        let now = cluster.now;
        let ledger = self.ledger(cluster);
        change(ledger, now);
        cluster.ledger = ledger.to_bytes(now);
    }
}

/// DNS knows every name, and no CAA record.
fn look(asked: Asked) -> NameLook {
    NameLook {
        name: asked.name,
        has_address: Some(Ok(true)),
        caa: Some(Ok((None, Vec::new()))),
        persist: Some(Ok(Vec::new())),
    }
}
