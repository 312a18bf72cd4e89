//! What every pass has at hand.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use k8s_openapi::jiff::Timestamp;
use kube::Client;
use tokio::sync::{Notify, mpsc};

use super::account::Accounts;
use super::authority::Authorities;
use super::bindings::Bindings;
use super::caches::Kinds;
use super::calls::Loopback;
use super::challenges::Published;
use super::config_maps::ConfigMaps;
use super::index::Key;
use super::ledger::{Ledgers, Reserved};
use super::news::News;
use super::open_orders::OpenOrders;
use super::relations::Relations;
use super::sources::ImportSettings;
use super::turns::Turns;
use crate::decide::domain::world::Look;
use crate::dns::Settings;
use crate::issuers::acme::http::Limits;
use crate::operating::lease::Leader;
use crate::operating::metrics::Metrics;
use crate::probes::Prober;

/// Who this operator is in the cluster.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its namespace.
    pub namespace: String,
    /// Its Service for HTTP-01 challenges.
    pub challenge_service: String,
    /// For the default contact of ACME accounts.
    pub default_domain: Option<String>,
}

/// What every pass has at hand.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// Checked before every side effect.
    pub leader: Leader,
    /// Who this operator is.
    pub identity: Identity,
    /// The objects as they were watched last.
    pub kinds: Arc<Kinds>,
    /// Who refers to what.
    pub relations: Arc<Relations>,
    /// Where Secrets and workloads can be watched.
    pub bindings: Arc<Bindings>,
    /// Where ConfigMaps are watched, for MailTrustBundles.
    pub config_maps: Arc<ConfigMaps>,
    /// Namespaces besides the operator's own whose MailTrustBundles may write into other namespaces.
    pub trust_bundles_from: Vec<String>,
    /// CA key pairs, parsed.
    pub authorities: Authorities,
    /// ACME accounts, opened.
    pub accounts: Accounts,
    /// Bounds of requests to ACME servers.
    pub acme_limits: Limits,
    /// What has been asked of each ACME account.
    pub ledgers: Ledgers,
    /// Who may ask ACME servers now.
    pub turns: Turns,
    /// How DNS is asked, unless an issuer says otherwise.
    pub dns: Settings,
    /// ACME orders that are under way.
    pub open_orders: Arc<OpenOrders>,
    /// What the guard has counted for an order that is about to be made.
    pub reservations: Memory<Arc<Reserved>>,
    /// The ARI identifier of each active certificate, and when the CA is asked about it next.
    pub renewal_checks: Memory<(String, Timestamp)>,
    /// How imports are read.
    pub imports: ImportSettings,
    /// Whether calls may go to the operator's own machine.
    pub loopback: Loopback,
    /// Looks at endpoints.
    pub prober: Prober,
    /// ca.crt of active Secrets, with the resourceVersion that it was read at.
    pub ca_certificates: Memory<(String, Option<Vec<u8>>)>,
    /// TXT records that stand for the challenges of a MailCertificate.
    pub published: Memory<Published>,
    /// MailCertificates for whose challenges routes exist.
    pub exposed: Memory<()>,
    /// One of them was deleted.
    pub left_behind: Notify,
    /// Passes in a row that could not be finished, by kind and namespace, and name.
    pub failures: Memory<u32>,
    /// What the endpoints of each MailDomain showed last.
    pub looks: Memory<BTreeMap<String, Look>>,
    /// What is known about the TLSA records of each MailDomain.
    pub tlsa: Memory<crate::decide::domain::tlsa::Memory>,
    /// Events to publish.
    pub news: mpsc::Sender<News>,
    /// Metrics.
    pub metrics: Arc<Metrics>,
}

impl Context {
    /// Has those looked at whose turn to order has come.
    pub fn next_order(&self, certificates: impl IntoIterator<Item = Key>) {
        certificates.into_iter().for_each(|key| self.kinds.certificates.trigger(&key));
    }

    /// The time, in whole seconds, as the API keeps it.
    pub fn now() -> Timestamp {
        let now = Timestamp::now();
        Timestamp::from_second(now.as_second()).unwrap_or(now)
    }
}

/// Something remembered for each object, until it is deleted.
#[derive(Debug)]
pub struct Memory<T>(Mutex<HashMap<Key, T>>);

impl<T> Default for Memory<T> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<T: Clone> Memory<T> {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, T>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is remembered.
    pub fn get(&self, key: &Key) -> Option<T> {
        self.lock().get(key).cloned()
    }

    /// Everything that is remembered.
    pub fn all(&self) -> Vec<(Key, T)> {
        self.lock().iter().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// Remembers.
    pub fn set(&self, key: Key, value: T) {
        self.lock().insert(key, value);
    }

    /// Forgets.
    pub fn forget(&self, key: &Key) {
        self.lock().remove(key);
    }

    /// Changes what is remembered, starting from nothing.
    pub fn update<R>(&self, key: &Key, change: impl FnOnce(&mut Option<T>) -> R) -> R {
        let mut map = self.lock();
        let mut value = map.remove(key);
        let result = change(&mut value);
        if let Some(value) = value {
            map.insert(key.clone(), value);
        }
        result
    }
}
